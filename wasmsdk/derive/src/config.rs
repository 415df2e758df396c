//! `#[derive(Config)]`.

use std::cmp::Ordering;

use proc_macro2::{Span, TokenStream};
use quote::quote;
use syn::ext::IdentExt;
use syn::meta::ParseNestedMeta;
use syn::spanned::Spanned;
use syn::{Data, DeriveInput, Error, Expr, ExprLit, Field, Fields, Lit, LitStr, Meta, Result, Type};

use crate::literal::{Kind, Literal, Value};

const TYPES: &str =
    "a value of a configuration is i64, i32, i16, i8, u64, u32, u16, u8, f64, bool, String or Decimal";
const KEYS: &str = "known are default, min, max, choices(…), unit, apply and doc";

/// What stands in `#[config(…)]`.
#[derive(Default)]
struct Constraints {
    default: Option<(Value, Span)>,
    min: Option<Value>,
    max: Option<Value>,
    choices: Vec<Value>,
    unit: String,
    apply: Option<&'static str>,
    doc: Option<String>,
}

pub(crate) fn expand(input: &DeriveInput) -> Result<TokenStream> {
    let name = &input.ident;
    if !input.generics.params.is_empty() {
        return Err(Error::new_spanned(
            &input.generics,
            "a configuration has no type parameters; write the types out",
        ));
    }
    let fields: Vec<&Field> = match &input.data {
        Data::Struct(data) => match &data.fields {
            Fields::Named(fields) => fields.named.iter().collect(),
            Fields::Unit => Vec::new(),
            Fields::Unnamed(_) => return Err(not_named(name)),
        },
        _ => return Err(not_named(name)),
    };
    let mut made = Vec::new();
    let (mut idents, mut names, mut types) = (Vec::new(), Vec::new(), Vec::new());
    for field in fields {
        let Some(ident) = &field.ident else {
            return Err(not_named(name));
        };
        let text = ident.unraw().to_string();
        made.push((text.clone(), field_tokens(field, &text)?));
        idents.push(ident);
        names.push(text);
        types.push(&field.ty);
    }
    made.sort_by(|a, b| a.0.cmp(&b.0));
    let made = made.into_iter().map(|(_, tokens)| tokens);
    Ok(quote! {
        impl ::msup::config::Config for #name {
            fn fields() -> ::std::vec::Vec<::msup::config::ConfigField> {
                ::std::vec![#(#made),*]
            }

            fn from_checked(values: &::msup::value::Values) -> ::core::option::Option<Self> {
                let _ = values;
                ::core::option::Option::Some(Self {
                    #(#idents: <#types as ::msup::config::ConfigValue>::from_value(values.get(#names)?)?,)*
                })
            }

            fn to_values(&self) -> ::msup::value::Values {
                ::msup::value::Values::from([
                    #((
                        ::std::borrow::ToOwned::to_owned(#names),
                        <#types as ::msup::config::ConfigValue>::to_value(&self.#idents),
                    ),)*
                ])
            }
        }
    })
}

fn not_named(name: &syn::Ident) -> Error {
    Error::new_spanned(
        name,
        "a configuration is a struct with named fields: struct Config { fast: i64 }",
    )
}

fn field_tokens(field: &Field, name: &str) -> Result<TokenStream> {
    const MOST: usize = 128;
    if name.len() > MOST {
        return Err(Error::new_spanned(
            &field.ident,
            "the name is longer than 128 bytes",
        ));
    }
    let kind = kind_of(&field.ty)?;
    let mut found = Constraints::default();
    for attribute in &field.attrs {
        if attribute.path().is_ident("config") {
            attribute.parse_nested_meta(|meta| constraint(&meta, kind, &mut found))?;
        }
    }
    if let (Some(min), Some(max)) = (&found.min, &found.max) {
        if min.order(max) == Ordering::Greater {
            return Err(Error::new_spanned(&field.ident, "min is above max"));
        }
    }
    if let Some((default, span)) = &found.default {
        check_default(default, &found).map_err(|cause| Error::new(*span, cause))?;
    }
    let ty = &field.ty;
    let set = |target: TokenStream, value: Option<&Value>| {
        value.map(|value| {
            let value = value.tokens();
            quote!(#target = ::core::option::Option::Some(#value);)
        })
    };
    let min = set(quote!(field.min), found.min.as_ref());
    let max = set(quote!(field.max), found.max.as_ref());
    let default = set(
        quote!(field.default),
        found.default.as_ref().map(|(value, _)| value),
    );
    let choices = found.choices.iter().map(Value::tokens);
    let unit = &found.unit;
    let doc = found.doc.clone().unwrap_or_else(|| doc_comment(field));
    let apply = syn::Ident::new(found.apply.unwrap_or("Tick"), field.ty.span());
    Ok(quote! {{
        let mut field = ::msup::config::ConfigField::new::<#ty>(#name);
        #min
        #max
        #default
        field.choices = ::std::vec![#(#choices),*];
        field.unit = #unit;
        field.doc = #doc;
        field.apply = ::msup::config::Apply::#apply;
        field
    }})
}

/// The kind by the type's own name: the derive checks bounds and defaults while it compiles.
fn kind_of(ty: &Type) -> Result<Kind> {
    let name = match ty {
        Type::Path(path) => path.path.segments.last().map(|last| last.ident.to_string()),
        _ => None,
    };
    Ok(match name.as_deref() {
        Some("i64") => Kind::Int(i64::MIN, i64::MAX),
        Some("i32") => Kind::Int(i32::MIN.into(), i32::MAX.into()),
        Some("i16") => Kind::Int(i16::MIN.into(), i16::MAX.into()),
        Some("i8") => Kind::Int(i8::MIN.into(), i8::MAX.into()),
        Some("u64") => Kind::Int(0, i64::MAX),
        Some("u32") => Kind::Int(0, u32::MAX.into()),
        Some("u16") => Kind::Int(0, u16::MAX.into()),
        Some("u8") => Kind::Int(0, u8::MAX.into()),
        Some("f64") => Kind::Float,
        Some("bool") => Kind::Bool,
        Some("String") => Kind::Str,
        Some("Decimal") => Kind::Decimal,
        Some("f32") => {
            return Err(Error::new_spanned(
                ty,
                "write f64: on the wire a float has 64 bits",
            ));
        }
        Some("usize" | "isize") => {
            return Err(Error::new_spanned(
                ty,
                "write u64 or i64: the size must be the same on every machine",
            ));
        }
        Some("Option") => {
            return Err(Error::new_spanned(
                ty,
                "a value is never missing; give the field a default that says so",
            ));
        }
        _ => return Err(Error::new_spanned(ty, TYPES)),
    })
}

fn constraint(meta: &ParseNestedMeta<'_>, kind: Kind, found: &mut Constraints) -> Result<()> {
    let Some(key) = meta.path.get_ident().map(ToString::to_string) else {
        return Err(meta.error(KEYS));
    };
    let text = || meta.value()?.parse::<LitStr>().map(|text| text.value());
    match key.as_str() {
        "default" => {
            let literal: Literal = meta.value()?.parse()?;
            found.default = Some((literal.value(kind)?, literal.span));
        }
        "min" | "max" => {
            if matches!(kind, Kind::Str | Kind::Bool) {
                return Err(meta.error("min and max make no sense here; use choices(…)"));
            }
            let literal: Literal = meta.value()?.parse()?;
            let bound = Some(literal.value(kind)?);
            if key == "min" {
                found.min = bound
            } else {
                found.max = bound
            }
        }
        "choices" => {
            let content;
            syn::parenthesized!(content in meta.input);
            let all = content.parse_terminated(<Literal as syn::parse::Parse>::parse, syn::Token![,])?;
            for literal in &all {
                found.choices.push(literal.value(kind)?);
            }
            if found.choices.is_empty() {
                return Err(meta.error("choices() allows nothing; name the values that are allowed"));
            }
        }
        "unit" => found.unit = text()?,
        "doc" => found.doc = Some(text()?),
        "description" => return Err(meta.error("write doc = \"…\", or a doc comment above the field")),
        "apply" => {
            let name = meta.value()?.parse::<LitStr>()?;
            found.apply = Some(match name.value().as_str() {
                "tick" => "Tick",
                "bar" => "Bar",
                "checkpoint" => "Checkpoint",
                "flat" => "Flat",
                _ => {
                    return Err(Error::new_spanned(
                        &name,
                        "apply is \"tick\", \"bar\", \"checkpoint\" or \"flat\"",
                    ));
                }
            });
        }
        _ => return Err(meta.error(format!("there is no {key}; {KEYS}"))),
    }
    Ok(())
}

fn check_default(default: &Value, found: &Constraints) -> std::result::Result<(), &'static str> {
    if !found.choices.is_empty() && !found.choices.contains(default) {
        return Err("the default is none of the choices");
    }
    if found
        .min
        .as_ref()
        .is_some_and(|min| default.order(min) == Ordering::Less)
    {
        return Err("the default is below min");
    }
    if found
        .max
        .as_ref()
        .is_some_and(|max| default.order(max) == Ordering::Greater)
    {
        return Err("the default is above max");
    }
    Ok(())
}

/// The first paragraph of the doc comment, on one line.
fn doc_comment(field: &Field) -> String {
    let lines = field.attrs.iter().filter_map(|attribute| match &attribute.meta {
        Meta::NameValue(pair) if pair.path.is_ident("doc") => match &pair.value {
            Expr::Lit(ExprLit {
                lit: Lit::Str(text), ..
            }) => Some(text.value().trim().to_owned()),
            _ => None,
        },
        _ => None,
    });
    let paragraph: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
    paragraph.join(" ")
}

#[cfg(test)]
mod tests {
    use super::expand;

    fn refusal(fields: &str) -> String {
        let input = syn::parse_str(&format!("struct Config {{ {fields} }}")).expect("a struct");
        expand(&input).expect_err(fields).to_string()
    }

    // Proves: HR-1, AD-1
    #[test]
    fn nonsense_names_its_remedy() {
        for (fields, remedy) in [
            (
                "#[config(default = 0, min = 1)] n: i64",
                "the default is below min",
            ),
            (
                "#[config(default = 3, max = 2)] n: i64",
                "the default is above max",
            ),
            ("#[config(min = 2, max = 1)] n: f64", "min is above max"),
            (
                "#[config(min = 0.5, max = \"0.4\")] n: Decimal",
                "min is above max",
            ),
            (
                "#[config(default = \"C\", choices(\"A\", \"B\"))] n: String",
                "none of the choices",
            ),
            ("#[config(choices())] n: String", "choices() allows nothing"),
            ("#[config(min = \"a\")] n: String", "use choices"),
            ("#[config(default = 1.5)] n: i64", "write a whole number"),
            ("#[config(default = 300)] n: u8", "holds 0 to 255"),
            ("#[config(default = -1)] n: u32", "holds 0 to 4294967295"),
            ("#[config(default = true)] n: f64", "write a number"),
            ("#[config(default = \"x\")] n: Decimal", "is not a decimal number"),
            ("#[config(default = n)] n: i64", "write a literal"),
            (
                "#[config(apply = \"now\")] n: i64",
                "\"tick\", \"bar\", \"checkpoint\" or \"flat\"",
            ),
            ("#[config(description = \"x\")] n: i64", "write doc = "),
            (
                "#[config(step = 1)] n: i64",
                "there is no step; known are default",
            ),
            ("n: f32", "write f64"),
            ("n: usize", "write u64 or i64"),
            ("n: Option<i64>", "give the field a default"),
            ("n: Vec<i64>", "a value of a configuration is i64"),
        ] {
            let found = refusal(fields);
            assert!(found.contains(remedy), "{fields}: {found}");
        }
        for item in ["struct Config(i64);", "enum Config { A }"] {
            let found = expand(&syn::parse_str(item).expect("an item"))
                .expect_err(item)
                .to_string();
            assert!(found.contains("a struct with named fields"), "{found}");
        }
        let found =
            expand(&syn::parse_str("struct Config<T> { n: T }").expect("an item")).expect_err("generic");
        assert!(found.to_string().contains("write the types out"), "{found}");
    }
}
