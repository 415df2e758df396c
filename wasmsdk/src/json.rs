//! Writing the one JSON document of the crate, a strategy's description: objects whose keys come sorted.

use std::fmt::Write;

use crate::value::Value;

/// Writes JSON into a text.
#[derive(Debug, Default)]
pub(crate) struct Json(String);

impl Json {
    pub(crate) fn into_text(self) -> String {
        self.0
    }

    pub(crate) fn raw(&mut self, text: &str) {
        self.0.push_str(text);
    }

    /// `{"name": value, …}`, the members written one by one by `member`.
    pub(crate) fn object<'a, T>(
        &mut self,
        members: impl IntoIterator<Item = (&'a str, T)>,
        mut member: impl FnMut(&mut Self, T),
    ) {
        self.raw("{");
        for (index, (name, value)) in members.into_iter().enumerate() {
            if index > 0 {
                self.raw(", ");
            }
            self.text(name);
            self.raw(": ");
            member(self, value);
        }
        self.raw("}");
    }

    pub(crate) fn list<T>(&mut self, items: impl IntoIterator<Item = T>, mut item: impl FnMut(&mut Self, T)) {
        self.raw("[");
        for (index, value) in items.into_iter().enumerate() {
            if index > 0 {
                self.raw(", ");
            }
            item(self, value);
        }
        self.raw("]");
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.0.push('"');
        for c in text.chars() {
            match c {
                '"' => self.raw("\\\""),
                '\\' => self.raw("\\\\"),
                '\n' => self.raw("\\n"),
                c if u32::from(c) < 0x20 => {
                    // Writing to a String cannot fail.
                    let _ = write!(self.0, "\\u{:04x}", u32::from(c));
                }
                c => self.0.push(c),
            }
        }
        self.0.push('"');
    }

    /// A scalar; a decimal is a string, exact.
    pub(crate) fn value(&mut self, value: &Value) {
        match value {
            Value::Nil => self.raw("null"),
            Value::Bool(value) => self.raw(if *value { "true" } else { "false" }),
            Value::Int(value) => self.raw(&value.to_string()),
            Value::Float(value) => self.raw(&format!("{value:?}")),
            Value::Str(value) => self.text(value),
            Value::Decimal(value) => self.text(&value.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_what_a_reader_reads() {
        let mut json = Json::default();
        let members = [
            ("a\"\\\n\u{1}ä", Value::Str("\u{1f}€".to_owned())),
            ("b", Value::Float(1e-7)),
            ("c", Value::Float(2.0)),
            ("d", Value::Int(-5)),
            ("e", Value::Nil),
        ];
        json.object(members, |json, value| {
            json.list([value], |json, value| json.value(&value))
        });
        let read: serde_json::Value = serde_json::from_str(&json.into_text()).expect("JSON");
        assert_eq!(
            read,
            serde_json::json!({"a\"\\\n\u{1}ä": ["\u{1f}€"], "b": [1e-7], "c": [2.0], "d": [-5], "e": [null]})
        );
    }
}
