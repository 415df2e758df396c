//! How an instrument is quantised (GT-1), from the strategy's side.

use crate::decimal::Decimal;
use crate::fault::{Error, Result};
use crate::id::InstrumentId;
use crate::intent::Side;
use crate::message::Instrument;
use crate::number::{Number, ToNumber};

/// Which multiple of a step a number goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rounding {
    Floor,
    Ceiling,
    HalfEven,
}

impl Instrument {
    /// An instrument without limits, for a test: `Instrument::of("BTCUSDT", dec!(0.01), dec!(0.001))`.
    pub fn of(id: &str, tick: Decimal, lot: Decimal) -> Self {
        Self {
            id: id.into(),
            tick,
            lot,
            min_quantity: Decimal::ZERO,
            max_quantity: Decimal::ZERO,
            min_notional: Decimal::ZERO,
            base: String::new(),
            quote: String::new(),
            venue: String::new(),
        }
    }

    /// Rounds to the tick: down for a buy, up for a sell (never a worse price), to the nearest, half to even, without a side.
    pub fn price(&self, value: impl ToNumber, side: impl Into<Option<Side>>) -> Result<Decimal> {
        let rounding = match side.into() {
            Some(Side::Buy) => Rounding::Floor,
            Some(Side::Sell) => Rounding::Ceiling,
            Some(Side::Unknown) | None => Rounding::HalfEven,
        };
        to_step(finite(value, "price")?, self.tick, rounding, "price")
    }

    /// Rounds towards zero to the lot: rounding never increases risk.
    pub fn quantity(&self, value: impl ToNumber) -> Result<Decimal> {
        let exact = finite(value, "quantity")?;
        let size = to_step(exact.abs(), self.lot, Rounding::Floor, "quantity")?;
        Ok(if exact.is_negative() { -size } else { size })
    }
}

impl AsRef<str> for Instrument {
    fn as_ref(&self) -> &str {
        self.id.as_str()
    }
}

impl From<&Instrument> for InstrumentId {
    fn from(instrument: &Instrument) -> Self {
        instrument.id.clone()
    }
}

fn finite(value: impl ToNumber, what: &str) -> Result<Number> {
    value
        .to_number()
        .ok_or_else(|| Error::new(format!("{what}: {value} is not a finite number")))
}

fn to_step(value: Number, step: Decimal, rounding: Rounding, what: &str) -> Result<Decimal> {
    let found = if step.is_zero() {
        value.exact().ok()
    } else {
        multiple(value, step, rounding)
    };
    found.ok_or_else(|| {
        Error::new(format!(
            "{what}: {value} does not fit the wire (a 64-bit mantissa, exponent -128..127) in steps of {step}"
        ))
    })
}

/// The multiple of the step, exactly as long division finds it; `None` where no decimal holds it.
fn multiple(value: Number, step: Decimal, rounding: Rounding) -> Option<Decimal> {
    let (mantissa, exponent) = value.parts();
    let (magnitude, negative) = (mantissa.unsigned_abs(), mantissa < 0);
    let divisor = u128::from(step.mantissa().unsigned_abs());
    let mut shift = i64::from(exponent) - i64::from(step.exponent());
    let (mut steps, rest, divisor) = if shift >= 0 {
        let (mut steps, mut rest) = (magnitude / divisor, magnitude % divisor);
        // Once nothing is left over, the other digits are zeros.
        while shift > 0 && rest != 0 {
            steps = steps.checked_mul(10)?.checked_add(rest * 10 / divisor)?;
            rest = rest * 10 % divisor;
            shift -= 1;
        }
        (steps, rest, divisor)
    } else {
        let scaled = u32::try_from(-shift)
            .ok()
            .and_then(|power| 10_u128.checked_pow(power))
            .and_then(|power| divisor.checked_mul(power))
            // A number has 28 digits: it is far below half of such a step.
            .unwrap_or(u128::MAX);
        shift = 0;
        (magnitude / scaled, magnitude % scaled, scaled)
    };
    let away = match rounding {
        Rounding::Floor => rest != 0 && negative,
        Rounding::Ceiling => rest != 0 && !negative,
        Rounding::HalfEven => rest > divisor - rest || (rest == divisor - rest && steps % 2 == 1),
    };
    steps += u128::from(away);
    let signed = i128::try_from(steps).ok()? * if negative { -1 } else { 1 };
    let exponent = i64::from(step.exponent()) + shift;
    Decimal::reduce(
        signed.checked_mul(step.mantissa().into())?,
        i32::try_from(exponent).ok()?,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dec(text: &str) -> Decimal {
        text.parse().expect("a decimal")
    }

    fn instrument(tick: &str, lot: &str) -> Instrument {
        Instrument::of("X", dec(tick), dec(lot))
    }

    // Proves: GT-1
    #[test]
    fn prices_never_get_worse() {
        let x = instrument("0.05", "1");
        for (value, buy, sell, nearest) in [
            ("1.23", "1.2", "1.25", "1.25"),
            ("1.225", "1.2", "1.25", "1.2"), // half: the even multiple
            ("1.275", "1.25", "1.3", "1.3"),
            ("-1.23", "-1.25", "-1.2", "-1.25"),
            ("1.25", "1.25", "1.25", "1.25"),
            ("0", "0", "0", "0"),
            ("1e-30", "0", "0.05", "0"),
            ("1e20", "1e20", "1e20", "1e20"),
        ] {
            let value = dec(value);
            assert_eq!(x.price(value, Side::Buy).expect("fits"), dec(buy), "{value} buy");
            assert_eq!(
                x.price(value, Side::Sell).expect("fits"),
                dec(sell),
                "{value} sell"
            );
            assert_eq!(x.price(value, None).expect("fits"), dec(nearest), "{value}");
        }
    }

    // Proves: GT-1
    #[test]
    fn quantities_go_towards_zero() {
        let x = instrument("0.01", "0.003");
        for (value, lots) in [
            ("0.0059", "0.003"),
            ("-0.0059", "-0.003"),
            ("0.0029", "0"),
            ("7", "6.999"),
        ] {
            assert_eq!(x.quantity(dec(value)).expect("fits"), dec(lots), "{value}");
        }
        assert_eq!(
            x.quantity(0.1 + 0.2).expect("fits"),
            dec("0.3"),
            "a float by its shortest form"
        );
        let third = Number::from(1).checked_div(3).expect("not zero");
        assert_eq!(x.quantity(third).expect("fits"), dec("0.333"));
    }

    // Proves: GT-1
    #[test]
    fn without_a_step_only_what_fits_is_taken() {
        let x = instrument("0", "0");
        assert_eq!(x.price(1.5, None).expect("fits"), dec("1.5"));
        let third = Number::from(1).checked_div(3).expect("not zero");
        let error = x.quantity(third).expect_err("28 digits");
        assert!(error.message().contains("does not fit the wire"), "{error:?}");
        let error = x.quantity(f64::NAN).expect_err("no number");
        assert!(
            error.message().contains("NaN is not a finite number"),
            "{error:?}"
        );
        let error = instrument("0.000000003", "1")
            .price(1e40, None)
            .expect_err("too large with a rest");
        assert!(error.message().contains("price"), "{error:?}");
    }
}
