//! Arithmetic and quantisation as Python's `decimal` has them: tests/golden/make.py wrote the results.

use msup::{Decimal, Instrument, Number, Side};

/// Reads what Python writes with `{:e}`, which may have more digits than a `Decimal`.
fn number(text: &str) -> Number {
    let (digits, exponent) = text.split_once('e').expect("an exponent");
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let exponent: i32 = exponent.parse().expect("a number");
    let all = format!("{whole}{fraction}");
    let cut = all.len().saturating_sub(15);
    let sign = if all.starts_with('-') { "-" } else { "" };
    let part = |text: &str, exponent: i32| -> Number {
        let mut number = Number::from(text.parse::<i64>().expect("digits"));
        let ten: Number = 10.into();
        for _ in 0..exponent.abs() {
            number = if exponent > 0 {
                number * ten
            } else {
                number.checked_div(ten).expect("not zero")
            };
        }
        number
    };
    let scale = exponent - i32::try_from(fraction.len()).expect("short");
    let low = part(&format!("{sign}{}", all[cut..].trim_start_matches('-')), scale);
    match cut {
        0 => low,
        cut if &all[..cut] == "-" => low,
        cut => part(&all[..cut], scale + 15) + low,
    }
}

fn float(text: &str) -> f64 {
    let (negative, text) = match text.strip_prefix('-') {
        Some(text) => (true, text),
        None => (false, text),
    };
    let (digits, exponent) = text
        .strip_prefix("0x")
        .and_then(|text| text.split_once('p'))
        .expect("hex");
    let (whole, fraction) = digits.split_once('.').expect("a point");
    let mantissa = u64::from_str_radix(&format!("{whole}{fraction}"), 16).expect("hex");
    let exponent: i32 = exponent.parse().expect("a number");
    let value = mantissa as f64 * 2_f64.powi(exponent - 4 * i32::try_from(fraction.len()).expect("short"));
    if negative { -value } else { value }
}

// Proves: GT-1, NN-1, NN-7
#[test]
fn the_same_formula_has_the_same_digits_as_in_python() {
    let text = include_str!("golden/number.txt");
    let mut lines = 0;
    for line in text.lines() {
        let parts: Vec<&str> = line.split(' ').collect();
        let [name, first, second, third, expected, nearest] = parts.as_slice() else {
            panic!("{line}");
        };
        let expected = number(expected);
        let step = || number(second).exact().expect("a step");
        let instrument = || Instrument::of("X", step(), step());
        let found = match *name {
            "buy" | "sell" | "nearest" | "lots" => {
                let money: Decimal = match first.strip_prefix('f') {
                    Some(value) => quantised(&instrument(), name, float(value)),
                    None => quantised(&instrument(), name, number(first)),
                };
                money.into()
            }
            _ => {
                let exact = |text: &str| number(text).exact().expect("19 digits");
                let (a, b) = (exact(first), exact(second));
                let c = || exact(third);
                match *name {
                    "+" => a + b,
                    "-" => a - b,
                    "*" => a * b,
                    "*+" => a * b + c(),
                    "**" => a * b * c(),
                    "/" => a / b,
                    "/+" => a / b + c(),
                    "/*" => a / b * c(),
                    "//" => a / b / c(),
                    other => panic!("{other}"),
                }
            }
        };
        assert_eq!(found, expected, "{line}: {found}");
        assert_eq!(
            found.to_f64().to_bits(),
            (float(nearest) + 0.0).to_bits(),
            "{line}: {}",
            found.to_f64()
        );
        lines += 1;
    }
    assert!(lines > 1500, "{lines}");
}

fn quantised(x: &Instrument, name: &str, value: impl msup::number::ToNumber) -> Decimal {
    let found = match name {
        "buy" => x.price(value, Side::Buy),
        "sell" => x.price(value, Side::Sell),
        "nearest" => x.price(value, None),
        _ => x.quantity(value),
    };
    found.expect("it fits")
}
