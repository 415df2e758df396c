//! Typed configuration with constraints (HR-1); the descriptor's config schema is derived from it (DM-1).
//!
//! ```
//! use msup::{Config, Decimal};
//!
//! #[derive(Config, Clone, Debug)]
//! struct Lengths {
//!     /// Length of the fast average.
//!     #[config(default = 12, min = 1, max = 500, unit = "bars", apply = "bar")]
//!     fast: i64,
//!     #[config(default = "BINANCE", choices("BINANCE", "KRAKEN"))]
//!     venue: String,
//!     #[config(min = 0, unit = "USDT")] // no default: required
//!     budget: Decimal,
//! }
//! ```
//!
//! A field's type is an integer of at most 64 bits, `f64`, `bool`, `String` or [`Decimal`]. The bounds of a smaller integer
//! are bounds of the schema too. `doc` is the field's doc comment, or `doc = "…"`. A value that does not fit is refused as a
//! whole, with every finding: a strategy never runs on half a configuration.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt::Write;

use crate::decimal::Decimal;
use crate::fault::{Error, Result};
use crate::json::Json;
use crate::limits::MAX_TEXT_BYTES;
use crate::value::{Value, Values};

/// A configuration; made by `#[derive(Config)]`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no configuration",
    note = "write #[derive(msup::Config, Clone, Debug)] above the struct"
)]
pub trait Config: Sized {
    /// The fields, sorted by name.
    fn fields() -> Vec<ConfigField>;

    /// The configuration of values that have been checked.
    #[doc(hidden)]
    fn from_checked(values: &Values) -> Option<Self>;

    /// The whole configuration as wire values.
    fn to_values(&self) -> Values;

    /// Checks the values and makes the configuration, or tells everything that is wrong with them.
    fn from_values(values: &Values) -> Result<Self> {
        let fields = Self::fields();
        let checked = check(&fields, values).map_err(Error::config)?;
        Self::from_checked(&checked).ok_or_else(|| {
            Error::config("a checked value does not fit its field; write ConfigValue so that it does")
        })
    }
}

/// The configuration of a strategy that has none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NoConfig;

impl Config for NoConfig {
    fn fields() -> Vec<ConfigField> {
        Vec::new()
    }

    fn from_checked(_: &Values) -> Option<Self> {
        Some(Self)
    }

    fn to_values(&self) -> Values {
        Values::new()
    }
}

/// The earliest moment at which a changed value may be applied (HR-2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Apply {
    /// At any event.
    #[default]
    Tick,
    /// With the next finished bar.
    Bar,
    /// After a checkpoint.
    Checkpoint,
    /// Without a position.
    Flat,
}

impl Apply {
    /// The name in the schema.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tick => "tick",
            Self::Bar => "bar",
            Self::Checkpoint => "checkpoint",
            Self::Flat => "flat",
        }
    }
}

/// What a value is on the wire and in the schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigKind {
    /// A whole number of 64 bits.
    Int,
    /// A finite float64.
    Float,
    /// A text.
    Str,
    /// True or false.
    Bool,
    /// Money.
    Decimal,
}

impl ConfigKind {
    /// The name in the schema.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Int => "int",
            Self::Float => "float",
            Self::Str => "str",
            Self::Bool => "bool",
            Self::Decimal => "decimal",
        }
    }
}

/// The type of a field of a configuration.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a value of a configuration",
    note = "use an integer of at most 64 bits, f64, bool, String or msup::Decimal"
)]
pub trait ConfigValue: Sized {
    /// What it is in the schema.
    const KIND: ConfigKind;
    /// The least value that the type holds, where that is no bound of 64 bits anyway.
    const LEAST: Option<i64> = None;
    /// The largest value that the type holds.
    const MOST: Option<i64> = None;

    /// The value; `None` where it is of another kind or out of the type's bounds.
    fn from_value(value: &Value) -> Option<Self>;

    /// The value for the wire.
    fn to_value(&self) -> Value;
}

macro_rules! integers {
    ($($kind:ty: $least:expr, $most:expr;)*) => { $(
        impl ConfigValue for $kind {
            const KIND: ConfigKind = ConfigKind::Int;
            const LEAST: Option<i64> = $least;
            const MOST: Option<i64> = $most;

            fn from_value(value: &Value) -> Option<Self> {
                match value {
                    Value::Int(value) => (*value).try_into().ok(),
                    _ => None,
                }
            }

            fn to_value(&self) -> Value {
                // Only a u64 above every i64 does not fit, and no configuration has brought one.
                Value::Int((*self).try_into().unwrap_or(i64::MAX))
            }
        }
    )* };
}

integers! {
    i64: None, None;
    u64: Some(0), None;
    i32: Some(i32::MIN as i64), Some(i32::MAX as i64);
    u32: Some(0), Some(u32::MAX as i64);
    i16: Some(i16::MIN as i64), Some(i16::MAX as i64);
    u16: Some(0), Some(u16::MAX as i64);
    i8: Some(i8::MIN as i64), Some(i8::MAX as i64);
    u8: Some(0), Some(u8::MAX as i64);
}

macro_rules! scalars {
    ($($kind:ty, $variant:ident;)*) => { $(
        impl ConfigValue for $kind {
            const KIND: ConfigKind = ConfigKind::$variant;

            fn from_value(value: &Value) -> Option<Self> {
                match value {
                    Value::$variant(value) => Some(value.clone()),
                    _ => None,
                }
            }

            fn to_value(&self) -> Value {
                Value::$variant(self.clone())
            }
        }
    )* };
}

scalars! {
    f64, Float;
    bool, Bool;
    String, Str;
    Decimal, Decimal;
}

/// One field of a configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct ConfigField {
    /// Its name.
    pub name: &'static str,
    /// Its type.
    pub kind: ConfigKind,
    /// Its unit; empty for none.
    pub unit: &'static str,
    /// The least value allowed.
    pub min: Option<Value>,
    /// The largest value allowed.
    pub max: Option<Value>,
    /// The only values allowed; empty for all.
    pub choices: Vec<Value>,
    /// The value where none is given; `None` demands one.
    pub default: Option<Value>,
    /// When a change may be applied.
    pub apply: Apply,
    /// What it is.
    pub doc: &'static str,
}

impl ConfigField {
    /// A required field without constraints but those of its type.
    pub fn new<T: ConfigValue>(name: &'static str) -> Self {
        Self {
            name,
            kind: T::KIND,
            unit: "",
            min: T::LEAST.map(Value::Int),
            max: T::MOST.map(Value::Int),
            choices: Vec::new(),
            default: None,
            apply: Apply::Tick,
            doc: "",
        }
    }

    /// The value as this field's type, or what is wrong with it.
    pub fn check(&self, value: &Value) -> std::result::Result<Value, String> {
        let value = convert(self.kind, value)?;
        let unit = match self.unit {
            "" => String::new(),
            unit => format!(" {unit}"),
        };
        if !self.choices.is_empty() && !self.choices.contains(&value) {
            let known: Vec<String> = self.choices.iter().map(quoted).collect();
            return Err(format!("{} is none of {}", quoted(&value), known.join(", ")));
        }
        match &self.min {
            Some(min) if order(&value, min) == Some(Ordering::Less) => {
                let (value, min) = (plain(&value), plain(min));
                return Err(format!(
                    "{value}{unit} is too small; at least {min}{unit} is allowed"
                ));
            }
            _ => {}
        }
        match &self.max {
            Some(max) if order(&value, max) == Some(Ordering::Greater) => {
                let (value, max) = (plain(&value), plain(max));
                Err(format!(
                    "{value}{unit} is too large; at most {max}{unit} is allowed"
                ))
            }
            _ => Ok(value),
        }
    }

    /// The field's entry in the config schema; what is not set is left out.
    pub(crate) fn write_json(&self, json: &mut Json) {
        let text = |text: &str| Value::Str(text.to_owned());
        let some = |name: &str| (!name.is_empty()).then(|| text(name));
        let members = [
            ("apply", Some(text(self.apply.as_str()))),
            ("choices", (!self.choices.is_empty()).then_some(Value::Nil)),
            ("default", self.default.clone()),
            ("doc", some(self.doc)),
            ("max", self.max.clone()),
            ("min", self.min.clone()),
            ("required", Some(Value::Bool(self.default.is_none()))),
            ("type", Some(text(self.kind.as_str()))),
            ("unit", some(self.unit)),
        ];
        let given = members
            .into_iter()
            .filter_map(|(name, value)| Some((name, (name, value?))));
        json.object(given, |json, (name, value)| match name {
            "choices" => json.list(&self.choices, Json::value),
            _ => json.value(&value),
        });
    }
}

fn convert(kind: ConfigKind, value: &Value) -> std::result::Result<Value, String> {
    match (kind, value) {
        (ConfigKind::Float, Value::Int(number)) => Ok(Value::Float(*number as f64)),
        (ConfigKind::Float, Value::Float(number)) if !number.is_finite() => {
            Err(format!("{number} is not a finite number"))
        }
        (ConfigKind::Str, Value::Str(text)) if text.len() > MAX_TEXT_BYTES => {
            Err(format!("longer than {MAX_TEXT_BYTES} bytes"))
        }
        (ConfigKind::Decimal, Value::Int(number)) => Decimal::try_from(*number)
            .map(Value::Decimal)
            .map_err(|error| format!("{number}: {error}")),
        (ConfigKind::Decimal, Value::Str(text)) => text
            .parse()
            .map(Value::Decimal)
            .map_err(|error| format!("{text:?}: {error}")),
        (ConfigKind::Int, Value::Int(_))
        | (ConfigKind::Float, Value::Float(_))
        | (ConfigKind::Str, Value::Str(_))
        | (ConfigKind::Bool, Value::Bool(_))
        | (ConfigKind::Decimal, Value::Decimal(_)) => Ok(value.clone()),
        _ => Err(format!(
            "{} is a {}; expected {}",
            quoted(value),
            kind_of(value),
            kind.as_str()
        )),
    }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Nil => "nil",
        Value::Bool(_) => "bool",
        Value::Int(_) => "int",
        Value::Float(_) => "float",
        Value::Str(_) => "str",
        Value::Decimal(_) => "decimal",
    }
}

/// Values of one kind compare; the others never meet.
fn order(a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        (Value::Int(a), Value::Int(b)) => Some(a.cmp(b)),
        (Value::Float(a), Value::Float(b)) => a.partial_cmp(b),
        (Value::Decimal(a), Value::Decimal(b)) => Some(a.cmp(b)),
        _ => None,
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::Str(text) => text.clone(),
        value => quoted(value),
    }
}

fn quoted(value: &Value) -> String {
    match value {
        Value::Nil => "nil".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Float(value) => format!("{value:?}"),
        Value::Str(value) => format!("{value:?}"),
        Value::Decimal(value) => value.to_string(),
    }
}

/// The values as the fields' types, with the defaults of those that are not given; or every finding.
fn check(fields: &[ConfigField], values: &Values) -> std::result::Result<Values, String> {
    let names: Vec<&str> = fields.iter().map(|field| field.name).collect();
    let known = match names.as_slice() {
        [] => "this strategy has no configuration".to_owned(),
        names => format!("known are {}", names.join(", ")),
    };
    let mut findings = String::new();
    let mut find = |name: &str, finding: &str| {
        let separator = if findings.is_empty() { "" } else { "; " };
        // Writing to a String cannot fail.
        let _ = write!(findings, "{separator}{name}: {finding}");
    };
    for name in values.keys().filter(|name| !names.contains(&name.as_str())) {
        find(name, &format!("unknown; {known}"));
    }
    let mut checked = BTreeMap::new();
    for field in fields {
        let value = match (values.get(field.name), &field.default) {
            (Some(value), _) => field.check(value),
            (None, Some(default)) => Ok(default.clone()),
            (None, None) => Err(format!("missing; it is required (a {})", field.kind.as_str())),
        };
        match value {
            Ok(value) => drop(checked.insert(field.name.to_owned(), value)),
            Err(finding) => find(field.name, &finding),
        }
    }
    if findings.is_empty() {
        Ok(checked)
    } else {
        Err(findings)
    }
}
