//! Exact decimal numbers for money: never a float (NN-5, GT-1).

use std::cmp::Ordering;
use std::fmt;
use std::ops::Neg;
use std::str::FromStr;

use crate::number::Number;

/// A decimal number m·10^e with an i64 mantissa and an i8 exponent.
///
/// Always canonical: the mantissa has no trailing zeros, zero is (0, 0), and the mantissa is never -2^63, so that the
/// opposite of every decimal is one. Two decimals are equal exactly when their
/// parts are, so the derived `Eq` and `Hash` are numeric. Arithmetic is exact or `None`: nothing is ever rounded behind
/// the caller's back; [`Decimal::floor_to`] and [`Decimal::ceil_to`] are the only ways to lose digits. The operators give a
/// [`Number`], which has 28 digits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Decimal {
    mantissa: i64,
    exponent: i8,
}

/// Powers of ten that fit an i128 together with an i64 factor: 10^19 is the first beyond every i64 mantissa.
const ALIGN_MAX: u32 = 19;

/// The largest exponent, of either sign, that is written without one.
const PLAIN_MOST: usize = 24;

/// The longest text that is looked at: the longest exact forms are far shorter.
const TEXT_MOST: usize = 400;

impl Decimal {
    /// Zero.
    pub const ZERO: Self = Self {
        mantissa: 0,
        exponent: 0,
    };
    /// One.
    pub const ONE: Self = Self {
        mantissa: 1,
        exponent: 0,
    };

    /// Makes m·10^e canonical; `None` when there is no canonical form.
    pub fn new(mantissa: i64, exponent: i8) -> Option<Self> {
        Self::reduce(i128::from(mantissa), i32::from(exponent))
    }

    /// Takes the parts as they are. `None` when they are not canonical: the test of the wire.
    pub fn from_canonical(mantissa: i64, exponent: i8) -> Option<Self> {
        let canonical = if mantissa == 0 {
            exponent == 0
        } else {
            mantissa % 10 != 0 && mantissa != i64::MIN
        };
        canonical.then_some(Self { mantissa, exponent })
    }

    /// The mantissa m.
    pub fn mantissa(self) -> i64 {
        self.mantissa
    }

    /// The exponent e.
    pub fn exponent(self) -> i8 {
        self.exponent
    }

    /// Whether the number is zero.
    pub fn is_zero(self) -> bool {
        self.mantissa == 0
    }

    /// Whether the number is below zero.
    pub fn is_negative(self) -> bool {
        self.mantissa < 0
    }

    /// The sum, `None` when it has no exact decimal form.
    pub fn checked_add(self, other: Self) -> Option<Self> {
        if self.is_zero() {
            return Some(other);
        }
        if other.is_zero() {
            return Some(self);
        }
        let (a, b, exponent) = align(self, other)?;
        Self::reduce(a + b, exponent)
    }

    /// The difference, `None` when it has no exact decimal form.
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.checked_add(-other)
    }

    /// The product, `None` when it has no exact decimal form.
    pub fn checked_mul(self, other: Self) -> Option<Self> {
        Self::reduce(
            i128::from(self.mantissa) * i128::from(other.mantissa),
            i32::from(self.exponent) + i32::from(other.exponent),
        )
    }

    /// The number without its sign.
    #[must_use]
    pub fn abs(self) -> Self {
        if self.is_negative() { -self } else { self }
    }

    /// The largest multiple of `step` that is not above the number (GT-1: quantities go down to the lot, bids to the
    /// tick). `None` when `step` is not above zero or the multiple has no exact decimal form.
    pub fn floor_to(self, step: Self) -> Option<Self> {
        self.round_to(step, false)
    }

    /// The smallest multiple of `step` that is not below the number (GT-1: asks go up to the tick). `None` as in
    /// [`Decimal::floor_to`].
    pub fn ceil_to(self, step: Self) -> Option<Self> {
        self.round_to(step, true)
    }

    fn round_to(self, step: Self, up: bool) -> Option<Self> {
        if step.mantissa <= 0 {
            return None;
        }
        if self.is_zero() {
            return Some(self);
        }
        if let Some((value, unit, exponent)) = align(self, step) {
            let mut quotient = value.div_euclid(unit);
            if up && value.rem_euclid(unit) != 0 {
                quotient += 1;
            }
            return Self::reduce(quotient * unit, exponent);
        }
        if self.exponent < step.exponent {
            // The step is larger than the number by so much that only its neighbours of zero come into question.
            return match (up, self.is_negative()) {
                (false, true) => Some(-step),
                (true, false) => Some(step),
                _ => Some(Self::ZERO),
            };
        }
        let power = u32::from(self.exponent.abs_diff(step.exponent));
        let modulus = i128::from(step.mantissa);
        let rest =
            (i128::from(self.mantissa).rem_euclid(modulus) * power_mod(power, modulus)).rem_euclid(modulus);
        let exponent = i32::from(step.exponent);
        match (rest, up) {
            (0, _) => Some(self),
            (_, false) => self.checked_sub(Self::reduce(rest, exponent)?),
            (_, true) => self.checked_add(Self::reduce(modulus - rest, exponent)?),
        }
    }

    /// The nearest float64. For indicators only: money stays decimal.
    pub fn to_f64(self) -> f64 {
        Number::from(self).to_f64()
    }

    /// The parts of a literal; `dec!` checks at compile time what canonical is.
    #[doc(hidden)]
    pub const fn literal(mantissa: i64, exponent: i8) -> Self {
        Self { mantissa, exponent }
    }

    /// Strips trailing zeros and fits the parts, or tells that they do not fit.
    pub(crate) fn reduce(mut mantissa: i128, mut exponent: i32) -> Option<Self> {
        if mantissa == 0 {
            return Some(Self::ZERO);
        }
        while mantissa % 10 == 0 {
            mantissa /= 10;
            exponent = exponent.checked_add(1)?;
        }
        Self::from_canonical(mantissa.try_into().ok()?, exponent.try_into().ok()?)
    }
}

/// Both mantissas at the smaller exponent. `None` when the exponents are further apart than any i64 mantissa reaches.
fn align(a: Decimal, b: Decimal) -> Option<(i128, i128, i32)> {
    let apart = u32::from(a.exponent.abs_diff(b.exponent));
    if apart > ALIGN_MAX {
        return None;
    }
    let factor = 10_i128.pow(apart);
    let (left, right) = (i128::from(a.mantissa), i128::from(b.mantissa));
    if a.exponent > b.exponent {
        Some((left * factor, right, i32::from(b.exponent)))
    } else {
        Some((left, right * factor, i32::from(a.exponent)))
    }
}

/// 10^power mod modulus; modulus is an i64's value, so that the products fit.
fn power_mod(power: u32, modulus: i128) -> i128 {
    (0..power).fold(1 % modulus, |rest, _| rest * 10 % modulus)
}

impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> Ordering {
        let signs = self.mantissa.signum().cmp(&other.mantissa.signum());
        if signs != Ordering::Equal || self.is_zero() {
            return signs;
        }
        if let Some((a, b, _)) = align(*self, *other) {
            return a.cmp(&b);
        }
        let magnitude = self.exponent.cmp(&other.exponent);
        if self.is_negative() {
            magnitude.reverse()
        } else {
            magnitude
        }
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl From<i32> for Decimal {
    fn from(value: i32) -> Self {
        let Some(decimal) = Self::reduce(i128::from(value), 0) else {
            unreachable!("an i32 has at most ten digits")
        };
        decimal
    }
}

impl TryFrom<i64> for Decimal {
    type Error = ParseDecimalError;

    /// Every i64 but -2^63 is a decimal.
    fn try_from(value: i64) -> Result<Self, Self::Error> {
        Self::new(value, 0).ok_or(ParseDecimalError::Range)
    }
}

impl Neg for Decimal {
    type Output = Self;

    fn neg(self) -> Self {
        Self {
            mantissa: -self.mantissa,
            exponent: self.exponent,
        }
    }
}

impl fmt::Display for Decimal {
    /// Plain notation, for example `-0.00012` or `1500`, for exponents from -24 to 24, else `<mantissa>E<exponent>`: the
    /// same text as in Go. The precision of the format string is ignored.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.mantissa.unsigned_abs().to_string();
        let places = usize::from(self.exponent.unsigned_abs());
        let text = if places > PLAIN_MOST {
            format!("{digits}E{}", self.exponent)
        } else if self.exponent >= 0 {
            digits + &"0".repeat(places)
        } else if digits.len() > places {
            let (whole, fraction) = digits.split_at(digits.len() - places);
            format!("{whole}.{fraction}")
        } else {
            format!("0.{}{digits}", "0".repeat(places - digits.len()))
        };
        f.pad_integral(!self.is_negative(), "", &text)
    }
}

/// Why a text is no decimal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParseDecimalError {
    /// Not digits with an optional sign, point and exponent.
    Syntax,
    /// More significant digits than an i64 holds, or an exponent outside -128 … 127.
    Range,
}

impl fmt::Display for ParseDecimalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Syntax => "not a decimal number; write it like -12.5 or 1e-8",
            Self::Range => {
                "the decimal does not fit an i64 mantissa and an exponent of -128 to 127; use fewer digits"
            }
        })
    }
}

impl std::error::Error for ParseDecimalError {}

impl FromStr for Decimal {
    type Err = ParseDecimalError;

    /// Reads digits with an optional sign, point and exponent (`-0.015`, `12E-3`), exactly or not at all.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() > TEXT_MOST {
            return Err(ParseDecimalError::Range);
        }
        let (number, exponent) = match text.split_once(['e', 'E']) {
            Some((number, exponent)) => (number, parse_exponent(exponent)?),
            None => (text, 0),
        };
        let negative = number.starts_with('-');
        let number = number.strip_prefix(['+', '-']).unwrap_or(number);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let digits = whole.bytes().chain(fraction.bytes());
        if number.len() < 2 && number.trim_matches('.').is_empty()
            || !digits.clone().all(|digit| digit.is_ascii_digit())
        {
            return Err(ParseDecimalError::Syntax);
        }
        let (mantissa, zeros) = significant(digits).ok_or(ParseDecimalError::Range)?;
        let places = i64::try_from(fraction.len()).map_err(|_| ParseDecimalError::Range)?;
        let exponent = i32::try_from(exponent + zeros - places).map_err(|_| ParseDecimalError::Range)?;
        let signed = if negative { -mantissa } else { mantissa };
        Self::reduce(signed, exponent).ok_or(ParseDecimalError::Range)
    }
}

/// The digits as (mantissa without trailing zeros, number of those zeros); `None` beyond what an i64 could hold.
fn significant(digits: impl Iterator<Item = u8>) -> Option<(i128, i64)> {
    let (mut mantissa, mut zeros) = (0_i128, 0_i64);
    for digit in digits {
        if digit == b'0' {
            zeros += 1;
            continue;
        }
        let shift = if mantissa == 0 {
            0
        } else {
            u32::try_from(zeros + 1).ok()?
        };
        if shift > ALIGN_MAX {
            return None;
        }
        mantissa = mantissa * 10_i128.pow(shift) + i128::from(digit - b'0');
        zeros = 0;
        if mantissa > 1 << 63 {
            return None;
        }
    }
    Some((mantissa, if mantissa == 0 { 0 } else { zeros }))
}

fn parse_exponent(text: &str) -> Result<i64, ParseDecimalError> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err(ParseDecimalError::Syntax);
    }
    // Beyond four digits all mean the same: out of range, or zero.
    let most = digits.trim_start_matches('0');
    let size = if most.len() > 4 {
        9999
    } else {
        most.bytes()
            .fold(0, |size, digit| size * 10 + i64::from(digit - b'0'))
    };
    Ok(if text.starts_with('-') { -size } else { size })
}
