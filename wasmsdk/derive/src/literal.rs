//! Literals in attributes and in `dec!`: exact decimals, and values of a configuration.

use std::cmp::Ordering;

use proc_macro2::{Span, TokenStream};
use quote::quote;
use syn::parse::{Parse, ParseStream};
use syn::{Error, Lit, Result, Token};

/// A decimal in its canonical form m·10^e.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Decimal {
    pub(crate) mantissa: i64,
    pub(crate) exponent: i8,
}

impl Decimal {
    /// Reads digits with an optional sign, point and exponent, exactly or not at all.
    pub(crate) fn read(text: &str) -> std::result::Result<Self, String> {
        let syntax = || format!("{text:?} is not a decimal number; write it like -12.5 or 1e-8");
        let range = || {
            format!("{text} does not fit a 64-bit mantissa and an exponent of -128 to 127; use fewer digits")
        };
        let (number, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let mut exponent: i64 = exponent.parse().map_err(|_| syntax())?;
        let (negative, digits) = match number.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, number.strip_prefix('+').unwrap_or(number)),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let all = format!("{whole}{fraction}");
        if all.is_empty() || !all.bytes().all(|digit| digit.is_ascii_digit()) {
            return Err(syntax());
        }
        exponent = exponent.checked_sub(fraction.len() as i64).ok_or_else(range)?;
        let kept = all.trim_end_matches('0');
        exponent = exponent
            .checked_add((all.len() - kept.len()) as i64)
            .ok_or_else(range)?;
        let kept = kept.trim_start_matches('0');
        if kept.is_empty() {
            return Ok(Self {
                mantissa: 0,
                exponent: 0,
            });
        }
        let mantissa: i64 = kept.parse().map_err(|_| range())?;
        Ok(Self {
            mantissa: if negative { -mantissa } else { mantissa },
            exponent: exponent.try_into().map_err(|_| range())?,
        })
    }

    fn order(self, other: Self) -> Ordering {
        let apart = u32::from(self.exponent.abs_diff(other.exponent));
        let (a, b) = (i128::from(self.mantissa), i128::from(other.mantissa));
        match 10_i128.checked_pow(apart).filter(|_| apart < 20) {
            Some(power) if self.exponent > other.exponent => (a * power).cmp(&b),
            Some(power) => a.cmp(&(b * power)),
            None if a.signum() != b.signum() || a == 0 => a.signum().cmp(&b.signum()),
            // So far apart, the exponents decide.
            None if a > 0 => self.exponent.cmp(&other.exponent),
            None => other.exponent.cmp(&self.exponent),
        }
    }
}

pub(crate) fn decimal_tokens(decimal: Decimal) -> TokenStream {
    let Decimal { mantissa, exponent } = decimal;
    quote!(::msup::decimal::Decimal::literal(#mantissa, #exponent))
}

impl Parse for Decimal {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        const REMEDY: &str = "dec! takes a number: dec!(0.001), dec!(-5) or dec!(\"1e-8\")";
        if input.is_empty() {
            return Err(input.error(REMEDY));
        }
        let literal = Literal::parse(input)?;
        if !input.is_empty() {
            return Err(input.error(REMEDY));
        }
        match literal.value(Kind::Decimal)? {
            Value::Decimal(decimal) => Ok(decimal),
            _ => Err(Error::new(literal.span, REMEDY)),
        }
    }
}

/// What a value of a configuration is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    /// A whole number within these bounds.
    Int(i64, i64),
    Float,
    Bool,
    Str,
    Decimal,
}

/// A literal with an optional sign.
pub(crate) struct Literal {
    negative: bool,
    literal: Lit,
    pub(crate) span: Span,
}

/// A literal as the value of a field.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Int(i64),
    Float(f64),
    Bool(bool),
    Str(String),
    Decimal(Decimal),
}

impl Parse for Literal {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let span = input.span();
        let negative = input.parse::<Option<Token![-]>>()?.is_some();
        let literal = input
            .parse()
            .map_err(|_| Error::new(span, "write a literal here: a number, a text or a bool"))?;
        Ok(Self {
            negative,
            literal,
            span,
        })
    }
}

impl Literal {
    fn digits(&self, digits: &str) -> String {
        let sign = if self.negative { "-" } else { "" };
        format!("{sign}{digits}")
    }

    /// The literal as a value of this kind, or what to write instead.
    pub(crate) fn value(&self, kind: Kind) -> Result<Value> {
        let fail = |cause: String| Err(Error::new(self.span, cause));
        match (kind, &self.literal) {
            (Kind::Int(least, most), Lit::Int(number)) => {
                let text = self.digits(number.base10_digits());
                match text.parse() {
                    Ok(value) if (least..=most).contains(&value) => Ok(Value::Int(value)),
                    _ => fail(format!(
                        "{text} does not fit the field's type, which holds {least} to {most}"
                    )),
                }
            }
            (Kind::Float, Lit::Int(number)) => self.float(number.base10_digits()),
            (Kind::Float, Lit::Float(number)) => self.float(number.base10_digits()),
            (Kind::Decimal, Lit::Int(number)) => self.decimal(&self.digits(number.base10_digits())),
            (Kind::Decimal, Lit::Float(number)) => self.decimal(&self.digits(number.base10_digits())),
            (Kind::Decimal, Lit::Str(text)) if !self.negative => self.decimal(&text.value()),
            (Kind::Bool, Lit::Bool(value)) if !self.negative => Ok(Value::Bool(value.value)),
            (Kind::Str, Lit::Str(text)) if !self.negative => Ok(Value::Str(text.value())),
            _ => fail(format!(
                "this is no value of the field's type; write {}",
                example(kind)
            )),
        }
    }

    fn float(&self, digits: &str) -> Result<Value> {
        match self.digits(digits).parse::<f64>() {
            Ok(value) if value.is_finite() => Ok(Value::Float(value)),
            _ => Err(Error::new(
                self.span,
                "this is no finite f64; write a smaller number",
            )),
        }
    }

    fn decimal(&self, text: &str) -> Result<Value> {
        Decimal::read(text)
            .map(Value::Decimal)
            .map_err(|cause| Error::new(self.span, cause))
    }
}

fn example(kind: Kind) -> &'static str {
    match kind {
        Kind::Int(..) => "a whole number, for example 12",
        Kind::Float => "a number, for example 0.5",
        Kind::Bool => "true or false",
        Kind::Str => "a text, for example \"BINANCE\"",
        Kind::Decimal => "a number, for example 0.5 or \"0.5\"",
    }
}

impl Value {
    /// Values of one kind have an order.
    pub(crate) fn order(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Int(a), Self::Int(b)) => a.cmp(b),
            (Self::Float(a), Self::Float(b)) => a.partial_cmp(b).unwrap_or(Ordering::Equal),
            (Self::Decimal(a), Self::Decimal(b)) => a.order(*b),
            _ => Ordering::Equal,
        }
    }

    pub(crate) fn tokens(&self) -> TokenStream {
        match self {
            Self::Int(value) => quote!(::msup::value::Value::Int(#value)),
            Self::Float(value) => quote!(::msup::value::Value::Float(#value)),
            Self::Bool(value) => quote!(::msup::value::Value::Bool(#value)),
            Self::Str(value) => quote!(::msup::value::Value::Str(::std::borrow::ToOwned::to_owned(#value))),
            Self::Decimal(value) => {
                let decimal = decimal_tokens(*value);
                quote!(::msup::value::Value::Decimal(#decimal))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Proves: NN-5
    #[test]
    fn decimals_are_exact_or_refused() {
        let of = |mantissa, exponent| Decimal { mantissa, exponent };
        for (text, expected) in [
            ("0.001", of(1, -3)),
            ("-12.50", of(-125, -1)),
            ("1500", of(15, 2)),
            ("0.000", of(0, 0)),
            ("1e-8", of(1, -8)),
            ("9223372036854775807", of(i64::MAX, 0)),
        ] {
            assert_eq!(Decimal::read(text), Ok(expected), "{text}");
        }
        for text in ["", "x", "1e", ".", "1.2.3", "92233720368547758.08", "1e200"] {
            assert!(Decimal::read(text).is_err(), "{text}");
        }
        for (less, more) in [
            ("-1e100", "1"),
            ("1", "1e100"),
            ("0.1", "0.11"),
            ("-2", "-1.5"),
            ("0", "1e-100"),
        ] {
            let (less, more) = (
                Decimal::read(less).expect("one"),
                Decimal::read(more).expect("one"),
            );
            assert_eq!(
                (less.order(more), more.order(less)),
                (Ordering::Less, Ordering::Greater),
                "{less:?} {more:?}"
            );
        }
    }
}
