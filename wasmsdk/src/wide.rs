//! Unsigned integers of 256 bits, as far as decimal arithmetic of 28 digits needs them: its intermediate results have up to
//! 57 digits.

/// The largest power of ten that multiplies and divides in one go.
const CHUNK: u32 = 18;

/// Four words, the lowest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wide([u64; 4]);

fn low(value: u128) -> u64 {
    (value & u128::from(u64::MAX)) as u64
}

impl Wide {
    pub(crate) fn new(value: u128) -> Self {
        Self([low(value), low(value >> 64), 0, 0])
    }

    /// The product, which always fits.
    pub(crate) fn product(a: u128, b: u128) -> Self {
        let mut words = [0_u64; 4];
        for (i, x) in [low(a), low(a >> 64)].into_iter().enumerate() {
            let mut carry = 0_u128;
            for (j, y) in [low(b), low(b >> 64)].into_iter().enumerate() {
                let sum = u128::from(x) * u128::from(y) + u128::from(words[i + j]) + carry;
                words[i + j] = low(sum);
                carry = sum >> 64;
            }
            words[i + 2] = low(carry);
        }
        Self(words)
    }

    /// The value where 128 bits hold it.
    pub(crate) fn small(self) -> Option<u128> {
        let [a, b, c, d] = self.0;
        (c == 0 && d == 0).then_some(u128::from(b) << 64 | u128::from(a))
    }

    /// Times 10^power; the caller knows that it fits.
    pub(crate) fn times_ten(mut self, mut power: u32) -> Self {
        while power > 0 {
            let chunk = power.min(CHUNK);
            let factor = u128::from(10_u64.pow(chunk));
            let mut carry = 0;
            for word in &mut self.0 {
                let sum = u128::from(*word) * factor + carry;
                *word = low(sum);
                carry = sum >> 64;
            }
            debug_assert_eq!(carry, 0, "more than 256 bits");
            power -= chunk;
        }
        self
    }

    /// Divides by 10^power; also whether anything was lost.
    pub(crate) fn over_ten(mut self, mut power: u32) -> (Self, bool) {
        let mut lost = false;
        while power > 0 {
            let chunk = power.min(CHUNK);
            let divisor = u128::from(10_u64.pow(chunk));
            let mut rest = 0;
            for word in self.0.iter_mut().rev() {
                let part = rest << 64 | u128::from(*word);
                *word = low(part / divisor);
                rest = part % divisor;
            }
            lost |= rest != 0;
            power -= chunk;
        }
        (self, lost)
    }

    /// How many decimal digits it has; 0 for zero.
    pub(crate) fn digits(self) -> u32 {
        match self.small() {
            Some(0) => 0,
            Some(value) => value.ilog10() + 1,
            None => CHUNK + self.over_ten(CHUNK).0.digits(),
        }
    }

    pub(crate) fn plus(self, other: Self) -> Self {
        let mut carry = 0;
        Self(std::array::from_fn(|i| {
            let sum = u128::from(self.0[i]) + u128::from(other.0[i]) + carry;
            carry = sum >> 64;
            low(sum)
        }))
    }

    /// The difference; `other` is not the larger one.
    pub(crate) fn minus(self, other: Self) -> Self {
        let mut borrow = false;
        Self(std::array::from_fn(|i| {
            let (part, under) = self.0[i].overflowing_sub(other.0[i]);
            let (part, again) = part.overflowing_sub(u64::from(borrow));
            borrow = under || again;
            part
        }))
    }
}

impl Ord for Wide {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.iter().rev().cmp(other.0.iter().rev())
    }
}

impl PartialOrd for Wide {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
