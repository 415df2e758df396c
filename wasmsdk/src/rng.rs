//! `ctx.rng`: random numbers that a replay draws again (RS-2).

use sha2::{Digest as _, Sha256};

use crate::codec::{UNLIMITED, Writer};
use crate::error::EncodeError;
use crate::id::{InstanceId, Step};

/// xoshiro256++, seeded for one step of one instance. It is no source of secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rng {
    state: [u64; 4],
}

impl Rng {
    /// The generator of one step: its four words, little-endian, are SHA-256 over msgpack `[run_seed, instance, step]`. An
    /// error only for an instance id of 4 GiB and more, which msgpack cannot hold.
    pub fn new(run_seed: u64, instance: &InstanceId, step: Step) -> Result<Self, EncodeError> {
        let mut w = Writer::default();
        w.array(3)?;
        w.uint(run_seed);
        w.str(instance.as_str(), UNLIMITED)?;
        w.uint(step.0);
        let sum = Sha256::digest(w.into_bytes());
        let mut state = [0; 4];
        for (word, bytes) in state.iter_mut().zip(sum.chunks_exact(8)) {
            *word = bytes
                .iter()
                .rev()
                .fold(0, |bits, &byte| bits << 8 | u64::from(byte));
        }
        Ok(Self { state })
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        let s = &mut self.state;
        let result = s[0].wrapping_add(s[3]).rotate_left(23).wrapping_add(s[0]);
        let shifted = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= shifted;
        s[3] = s[3].rotate_left(45);
        result
    }

    /// A number with 53 random bits, at least 0 and below 1.
    pub fn random(&mut self) -> f64 {
        const UNIT: f64 = 1.0 / (1_u64 << 53) as f64;
        (self.next_u64() >> 11) as f64 * UNIT
    }

    /// So many random bits, at most 64: the upper ones of the next word. None are drawn for 0.
    pub fn bits(&mut self, count: u32) -> u64 {
        match count {
            0 => 0,
            1..=63 => self.next_u64() >> (64 - count),
            _ => self.next_u64(),
        }
    }

    /// A whole number below `end`, every one as likely, as Python's `randrange(end)`; 0 where there is none.
    pub fn below(&mut self, end: u64) -> u64 {
        if end == 0 {
            return 0;
        }
        let count = u64::BITS - end.leading_zeros();
        loop {
            let found = self.bits(count);
            if found < end {
                return found;
            }
        }
    }

    /// A number from `low` to `high`.
    pub fn uniform(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.random()
    }

    /// One of the items, every one as likely; `None` where there is none.
    pub fn choice<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        match items.len() as u64 {
            0 => None,
            count => items.get(self.below(count) as usize),
        }
    }

    /// Puts the items into a random order, the same as Python's `shuffle`.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for index in (1..items.len()).rev() {
            let other = self.below(index as u64 + 1) as usize;
            items.swap(index, other);
        }
    }
}
