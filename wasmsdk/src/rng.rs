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
}
