//! Arithmetic on decimals: 28 significant digits, rounded half to even, which is what Python's `decimal` does in its default
//! context. The same formula has the same digits in both languages, so that the same logic asks for the same orders.
//!
//! What two [`Decimal`]s make is a [`Number`]. It goes back to money by the instrument ([`Context::quantity`],
//! [`Context::price`]), which rounds, or by [`Number::exact`], which does not.
//!
//! [`Context::quantity`]: crate::context::Context::quantity
//! [`Context::price`]: crate::context::Context::price

use std::cmp::Ordering;
use std::fmt;
use std::ops::{Add, Div, Mul, Neg, Sub};

use crate::decimal::{Decimal, ParseDecimalError};
use crate::wide::Wide;

/// Significant digits of a result.
const DIGITS: u32 = 28;

/// 10^28: the smallest magnitude with a digit too many.
const TOO_LARGE: u128 = 10_u128.pow(DIGITS);

/// A decimal result m·10^e with at most 28 digits in m.
#[derive(Clone, Copy, Debug, Default)]
pub struct Number {
    mantissa: i128,
    exponent: i32,
}

impl Number {
    /// Zero.
    pub const ZERO: Self = Self {
        mantissa: 0,
        exponent: 0,
    };

    /// A float by its shortest decimal form: 0.1 is 0.1, not 0.1000000000000000055. `None` for NaN and infinities.
    pub fn from_f64(value: f64) -> Option<Self> {
        if !value.is_finite() {
            return None;
        }
        let text = format!("{value:e}");
        let (digits, exponent) = text.split_once('e')?;
        let exponent: i32 = exponent.parse().ok()?;
        let places = digits.split_once('.').map_or(0, |(_, fraction)| fraction.len());
        let mantissa = digits.replace('.', "").parse().ok()?;
        Some(Self {
            mantissa,
            exponent: exponent - i32::try_from(places).ok()?,
        })
    }

    /// Whether the number is zero.
    pub fn is_zero(self) -> bool {
        self.mantissa == 0
    }

    /// Whether the number is below zero.
    pub fn is_negative(self) -> bool {
        self.mantissa < 0
    }

    /// The number without its sign.
    #[must_use]
    pub fn abs(self) -> Self {
        if self.is_negative() { -self } else { self }
    }

    /// The quotient; `None` when the divisor is zero.
    pub fn checked_div(self, divisor: impl Into<Self>) -> Option<Self> {
        let divisor = divisor.into();
        if divisor.is_zero() {
            return None;
        }
        if self.is_zero() {
            return Some(Self::ZERO);
        }
        let (a, b) = (self.mantissa.unsigned_abs(), divisor.mantissa.unsigned_abs());
        let shift = b.ilog10() + 1 + DIGITS - a.ilog10();
        // 10^37 fits: the chunks are as long as the divisor allows.
        let most = 37 - (b.ilog10() + 1);
        let (mut quotient, mut rest, mut left) = (a / b, a % b, shift);
        while left > 0 {
            let power = 10_u128.pow(left.min(most));
            quotient = quotient * power + rest * power / b;
            rest = rest * power % b;
            left -= left.min(most);
        }
        let exponent = i64::from(self.exponent) - i64::from(divisor.exponent) - i64::from(shift);
        let negative = self.is_negative() != divisor.is_negative();
        Some(Self::fit(negative, Wide::new(quotient), exponent, rest != 0))
    }

    /// The number as money, exactly or not at all: a [`Decimal`] has a 64-bit mantissa.
    pub fn exact(self) -> Result<Decimal, ParseDecimalError> {
        Decimal::reduce(self.mantissa, self.exponent).ok_or(ParseDecimalError::Range)
    }

    /// The nearest float64, for indicators.
    pub fn to_f64(self) -> f64 {
        /// Up to here a power of ten is a float64 exactly, so one division or product rounds once.
        const EXACT_POWERS: [f64; 23] = [
            1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17,
            1e18, 1e19, 1e20, 1e21, 1e22,
        ];
        const EXACT_INTS: u128 = 1 << 53;
        if self.mantissa.unsigned_abs() <= EXACT_INTS {
            if let Some(power) = EXACT_POWERS.get(self.exponent.unsigned_abs() as usize) {
                let mantissa = self.mantissa as i64 as f64;
                return if self.exponent < 0 {
                    mantissa / power
                } else {
                    mantissa * power
                };
            }
        }
        let Ok(value) = format!("{}e{}", self.mantissa, self.exponent).parse() else {
            unreachable!("an integer with an exponent is a float literal")
        };
        value
    }

    pub(crate) fn parts(self) -> (i128, i32) {
        (self.mantissa, self.exponent)
    }

    /// Rounds to 28 digits, half to even. `lost` says that the true magnitude is a little larger.
    fn fit(negative: bool, magnitude: Wide, exponent: i64, mut lost: bool) -> Self {
        let mut exponent = exponent;
        let mut kept = match magnitude.small() {
            Some(small) if small < TOO_LARGE => small,
            _ => {
                let drop = magnitude.digits() - DIGITS;
                let (almost, more) = magnitude.over_ten(drop - 1);
                lost |= more;
                exponent += i64::from(drop);
                let Some(almost) = almost.small() else {
                    unreachable!("29 digits have fewer than 128 bits")
                };
                let kept = almost / 10;
                let up = match (almost % 10).cmp(&5) {
                    Ordering::Less => false,
                    Ordering::Equal => lost || kept % 2 == 1,
                    Ordering::Greater => true,
                };
                kept + u128::from(up)
            }
        };
        if kept >= TOO_LARGE {
            kept /= 10; // 10^28, from 9…9
            exponent += 1;
        }
        let mantissa = kept as i128;
        let most = i64::from(i32::MAX / 2); // far beyond what money can be; `exact` refuses it
        Self {
            mantissa: if negative { -mantissa } else { mantissa },
            exponent: exponent.clamp(-most, most) as i32,
        }
    }

    fn sum(self, other: Self) -> Self {
        if self.is_zero() || other.is_zero() {
            return if self.is_zero() { other } else { self };
        }
        if self.exponent == other.exponent {
            let sum = self.mantissa + other.mantissa;
            return Self::fit(
                sum < 0,
                Wide::new(sum.unsigned_abs()),
                i64::from(self.exponent),
                false,
            );
        }
        let (high, mut low) = if self.exponent > other.exponent {
            (self, other)
        } else {
            (other, self)
        };
        let digits = |number: Self| number.mantissa.unsigned_abs().ilog10() as i32 + 1;
        // Below this place the smaller number only decides a rounding: any number there does the same.
        let floor = high.exponent + (-1).min(digits(high) - DIGITS as i32 - 2);
        if low.exponent.saturating_add(digits(low) - 1) < floor {
            low = Self {
                mantissa: low.mantissa.signum(),
                exponent: floor,
            };
        }
        let apart = high.exponent.abs_diff(low.exponent);
        let a = Wide::new(high.mantissa.unsigned_abs()).times_ten(apart);
        let b = Wide::new(low.mantissa.unsigned_abs());
        let exponent = i64::from(low.exponent);
        if high.is_negative() == low.is_negative() {
            return Self::fit(high.is_negative(), a.plus(b), exponent, false);
        }
        match a.cmp(&b) {
            Ordering::Less => Self::fit(low.is_negative(), b.minus(a), exponent, false),
            _ => Self::fit(high.is_negative(), a.minus(b), exponent, false),
        }
    }

    fn product(self, other: Self) -> Self {
        Self::fit(
            self.is_negative() != other.is_negative(),
            Wide::product(self.mantissa.unsigned_abs(), other.mantissa.unsigned_abs()),
            i64::from(self.exponent) + i64::from(other.exponent),
            false,
        )
    }
}

impl Decimal {
    /// The quotient; `None` when the divisor is zero.
    pub fn checked_div(self, divisor: impl Into<Number>) -> Option<Number> {
        Number::from(self).checked_div(divisor)
    }
}

impl From<Decimal> for Number {
    fn from(decimal: Decimal) -> Self {
        Self {
            mantissa: decimal.mantissa().into(),
            exponent: decimal.exponent().into(),
        }
    }
}

impl From<i32> for Number {
    fn from(value: i32) -> Self {
        i64::from(value).into()
    }
}

impl From<i64> for Number {
    fn from(value: i64) -> Self {
        Self {
            mantissa: value.into(),
            exponent: 0,
        }
    }
}

impl TryFrom<Number> for Decimal {
    type Error = ParseDecimalError;

    fn try_from(number: Number) -> Result<Self, Self::Error> {
        number.exact()
    }
}

impl Neg for Number {
    type Output = Self;

    fn neg(self) -> Self {
        Self {
            mantissa: -self.mantissa,
            exponent: self.exponent,
        }
    }
}

macro_rules! operators {
    ($($left:ty, $right:ty;)*) => { $(
        impl Add<$right> for $left {
            type Output = Number;

            fn add(self, other: $right) -> Number {
                Number::from(self).sum(other.into())
            }
        }

        impl Sub<$right> for $left {
            type Output = Number;

            fn sub(self, other: $right) -> Number {
                Number::from(self).sum(-Number::from(other))
            }
        }

        impl Mul<$right> for $left {
            type Output = Number;

            fn mul(self, other: $right) -> Number {
                Number::from(self).product(other.into())
            }
        }

        /// Panics when the divisor is zero, as integers do; [`Number::checked_div`] does not.
        impl Div<$right> for $left {
            type Output = Number;

            fn div(self, divisor: $right) -> Number {
                match Number::from(self).checked_div(divisor) {
                    Some(quotient) => quotient,
                    None => panic!("attempt to divide by zero; checked_div says so without a panic"),
                }
            }
        }
    )* };
}

operators! {
    Decimal, Decimal;
    Decimal, Number;
    Number, Decimal;
    Number, Number;
}

impl Ord for Number {
    fn cmp(&self, other: &Self) -> Ordering {
        // Rounding never turns a difference into zero.
        (*self - *other).mantissa.cmp(&0)
    }
}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Number {}

impl PartialEq<Decimal> for Number {
    fn eq(&self, other: &Decimal) -> bool {
        *self == Self::from(*other)
    }
}

impl PartialOrd<Decimal> for Number {
    fn partial_cmp(&self, other: &Decimal) -> Option<Ordering> {
        Some(self.cmp(&(*other).into()))
    }
}

impl fmt::Display for Number {
    /// As the [`Decimal`] where it is one, else `<mantissa>E<exponent>`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.exact() {
            Ok(decimal) => decimal.fmt(f),
            Err(_) => write!(f, "{}E{}", self.mantissa, self.exponent),
        }
    }
}

/// What a price or a quantity may be made of before it is rounded: money, a result, a float, a whole number.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no number that can be rounded to a tick or a lot",
    note = "pass a Decimal, a Number, an f64, an i32 or an i64"
)]
pub trait ToNumber: Copy + fmt::Display {
    /// The number; `None` for NaN and infinities.
    fn to_number(self) -> Option<Number>;
}

impl ToNumber for f64 {
    fn to_number(self) -> Option<Number> {
        Number::from_f64(self)
    }
}

macro_rules! to_number {
    ($($kind:ty),*) => { $(
        impl ToNumber for $kind {
            fn to_number(self) -> Option<Number> {
                Some(self.into())
            }
        }
    )* };
}

to_number!(Decimal, Number, i32, i64);
