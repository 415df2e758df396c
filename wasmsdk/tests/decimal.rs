//! Decimals are exact or refused.

mod support;

use std::cmp::Ordering;

use msup::decimal::{Decimal, ParseDecimalError};
use proptest::prelude::*;
use support::{Random, seeded};

fn dec(text: &str) -> Decimal {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// The value in units of 10^-20, for decimals of small exponents.
fn units(decimal: Decimal) -> i128 {
    let power = u32::try_from(20 + i32::from(decimal.exponent())).expect("a small exponent");
    i128::from(decimal.mantissa()) * 10_i128.pow(power)
}

/// The value, if a mantissa of 63 bits holds it.
fn fitting(units: i128) -> Option<i128> {
    let mut mantissa = units;
    while mantissa != 0 && mantissa % 10 == 0 {
        mantissa /= 10;
    }
    i64::try_from(mantissa)
        .is_ok_and(|mantissa| mantissa != i64::MIN)
        .then_some(units)
}

fn small() -> impl Strategy<Value = Decimal> {
    (-1_000_000_000_i64..1_000_000_000, -8_i8..8).prop_map(|(m, e)| Decimal::new(m, e).expect("small"))
}

// Proves: NN-5
#[test]
fn parsing_and_printing() {
    for (text, mantissa, exponent, printed) in [
        ("0", 0, 0, "0"),
        ("-0.000", 0, 0, "0"),
        ("0e99999", 0, 0, "0"),
        ("1.50", 15, -1, "1.5"),
        ("+1500", 15, 2, "1500"),
        ("-0.00012", -12, -5, "-0.00012"),
        (".5", 5, -1, "0.5"),
        ("5.", 5, 0, "5"),
        ("12E-3", 12, -3, "0.012"),
        ("1e24", 1, 24, "1000000000000000000000000"),
        ("1e+25", 1, 25, "1E25"),
        ("-7e-25", -7, -25, "-7E-25"),
        ("9223372036854775807", i64::MAX, 0, "9223372036854775807"),
        (
            "-9223372036854775807e127",
            -i64::MAX,
            127,
            "-9223372036854775807E127",
        ),
        (
            "0000000000000000000000000000000000000000000001.10000000000000000000000000",
            11,
            -1,
            "1.1",
        ),
        ("10e126", 1, 127, "1E127"),
        ("0.1e-127", 1, -128, "1E-128"),
    ] {
        let decimal = dec(text);
        assert_eq!(
            (decimal.mantissa(), decimal.exponent()),
            (mantissa, exponent),
            "{text}"
        );
        assert_eq!(decimal.to_string(), printed, "{text}");
        assert_eq!(dec(printed), decimal);
    }
    for text in [
        "", "-", "+", ".", "e5", "-.", "1e", "1e+", "1.2.3", "1-2", "--1", "+-1", "1_000", " 1", "1 ", "NaN",
        "inf", "0x1", "1e5.0", "１",
    ] {
        assert_eq!(
            text.parse::<Decimal>(),
            Err(ParseDecimalError::Syntax),
            "{text:?}"
        );
    }
    let long = "0".repeat(401);
    for text in [
        "9223372036854775808",
        "-9223372036854775808",
        "1e128",
        "1e-129",
        "1e99999999999",
        &long,
    ] {
        assert_eq!(text.parse::<Decimal>(), Err(ParseDecimalError::Range), "{text:?}");
    }
    assert_eq!(
        format!(
            "{:>8}|{:<8}|{:+}|{:08}",
            dec("1.5"),
            dec("-1.5"),
            dec("1.5"),
            dec("-1.5")
        ),
        "     1.5|-1.5    |+1.5|-00001.5"
    );
}

// Proves: NN-5
#[test]
fn only_canonical_parts_are_taken() {
    for (mantissa, exponent) in [(10, 0), (0, 1), (0, -1), (-20, -1), (i64::MIN, 0)] {
        assert_eq!(
            Decimal::from_canonical(mantissa, exponent),
            None,
            "{mantissa}e{exponent}"
        );
    }
    assert_eq!(Decimal::new(10, 127), None, "1·10^128 has no form");
    assert_eq!(Decimal::new(i64::MIN, 0), None, "-2^63 has no opposite");
    assert_eq!(Decimal::try_from(i64::MIN), Err(ParseDecimalError::Range));
    assert_eq!(Decimal::try_from(1500_i64), Ok(dec("1500")));
    assert_eq!(Decimal::from(-20_i32), dec("-2e1"));
}

// Proves: NN-5
#[test]
fn arithmetic_at_the_edges() {
    let (most, tiny, huge) = (dec("9223372036854775807"), dec("1e-128"), dec("1e127"));
    assert_eq!(most.checked_add(Decimal::ONE), None);
    assert_eq!(most.checked_add(dec("3")), Some(dec("922337203685477581e1")));
    assert_eq!((-most).checked_sub(dec("3")), Some(dec("-922337203685477581e1")));
    assert_eq!(most.checked_sub(most), Some(Decimal::ZERO));
    assert_eq!(huge.checked_add(tiny), None);
    assert_eq!(huge.checked_add(Decimal::ZERO), Some(huge));
    assert_eq!(Decimal::ZERO.checked_sub(tiny), Some(-tiny));
    assert_eq!(
        dec("1e18").checked_add(Decimal::ONE),
        Some(dec("1000000000000000001"))
    );
    assert_eq!(dec("1e19").checked_add(Decimal::ONE), None);
    assert_eq!(
        dec("5e127").checked_add(dec("5e127")),
        None,
        "1·10^128 has no form"
    );
    assert_eq!(tiny.checked_mul(tiny), None);
    assert_eq!(tiny.checked_mul(huge), Some(dec("0.1")));
    assert_eq!(dec("2e-128").checked_mul(dec("0.5")), Some(tiny));
    assert_eq!(most.checked_mul(dec("2")), None);
    assert_eq!(most.checked_mul(Decimal::ZERO), Some(Decimal::ZERO));
    assert_eq!((-most).abs(), most);
    assert!(huge > most && most > tiny && tiny > Decimal::ZERO && -tiny > -most && -most > -huge);
    assert_eq!(dec("0.1").to_f64(), 0.1);
    assert_eq!(huge.to_f64(), 1e127);
}

// Proves: GT-1
#[test]
fn rounding_to_a_step() {
    for (value, step, floor, ceil) in [
        ("65000.17", "0.1", "65000.1", "65000.2"),
        ("65000.1", "0.1", "65000.1", "65000.1"),
        ("-0.05", "0.1", "-0.1", "0"),
        ("7", "5", "5", "10"),
        ("-7", "5", "-10", "-5"),
        ("0.3", "0.25", "0.25", "0.5"),
        ("1e30", "3", "", ""),
        ("3e-60", "7", "0", "7"),
        ("-3e-60", "7", "-7", "0"),
        ("3e60", "7", "", ""),
        ("7e60", "7", "7e60", "7e60"),
        ("1e20", "6e18", "96e18", "102e18"),
        (
            "9223372036854775807",
            "1e1",
            "922337203685477580e1",
            "922337203685477581e1",
        ),
        ("0", "0.01", "0", "0"),
    ] {
        let (value, step) = (dec(value), dec(step));
        let expected = |text: &str| (!text.is_empty()).then(|| text.parse().ok()).flatten();
        assert_eq!(
            value.floor_to(step),
            expected(floor),
            "floor of {value} to {step}"
        );
        assert_eq!(value.ceil_to(step), expected(ceil), "ceil of {value} to {step}");
    }
    for step in ["0", "-0.1"] {
        assert_eq!(dec("1").floor_to(dec(step)), None);
        assert_eq!(dec("0").ceil_to(dec(step)), None);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    // Proves: NN-5
    #[test]
    fn arithmetic_is_that_of_integers(a in small(), b in small()) {
        prop_assert_eq!(a.checked_add(b).map(units), fitting(units(a) + units(b)));
        prop_assert_eq!(a.checked_sub(b).map(units), fitting(units(a) - units(b)));
        let product = i128::from(a.mantissa()) * i128::from(b.mantissa());
        let mut expected = (product, i32::from(a.exponent()) + i32::from(b.exponent()));
        while product != 0 && expected.0 % 10 == 0 {
            expected = (expected.0 / 10, expected.1 + 1);
        }
        let expected = if product == 0 { (0, 0) } else { expected };
        let got = a.checked_mul(b).map(|c| (i128::from(c.mantissa()), i32::from(c.exponent())));
        prop_assert_eq!(got, Some(expected));
        prop_assert_eq!(a.cmp(&b), units(a).cmp(&units(b)));
    }

    // Proves: GT-1
    #[test]
    fn a_step_is_kept(value in small(), step in small()) {
        let step = if step.is_zero() { Decimal::ONE } else { step.abs() };
        let (floor, ceil) = (value.floor_to(step), value.ceil_to(step));
        let below = units(value).div_euclid(units(step)) * units(step);
        prop_assert_eq!(floor.map(units), fitting(below));
        let above = if below == units(value) { below } else { below + units(step) };
        prop_assert_eq!(ceil.map(units), fitting(above));
    }

    // Proves: NN-5
    #[test]
    fn any_decimals_agree_with_their_text_and_opposites(seed: u64) {
        let rng = &mut seeded(seed);
        let (a, b) = (Decimal::random(rng), Decimal::random(rng));
        prop_assert_eq!(a.to_string().parse(), Ok(a));
        prop_assert_eq!(a.cmp(&b), (-b).cmp(&-a));
        prop_assert_eq!(a.cmp(&b) == Ordering::Equal, a == b);
        prop_assert_eq!(a.checked_add(b), b.checked_add(a));
        prop_assert_eq!(a.checked_sub(b), b.checked_sub(a).map(|difference| -difference));
        prop_assert_eq!(a.checked_mul(b), b.checked_mul(a));
        if let Some(difference) = a.checked_sub(b) {
            prop_assert_eq!(difference.cmp(&Decimal::ZERO), a.cmp(&b));
        }
        let step = if b.is_zero() { Decimal::ONE } else { b.abs() };
        if let Some(floor) = a.floor_to(step) {
            prop_assert!(floor <= a);
            prop_assert_eq!(floor.floor_to(step), Some(floor));
        }
        prop_assert_eq!((-a).ceil_to(step), a.floor_to(step).map(|floor| -floor));
    }
}
