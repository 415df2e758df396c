//! What a harness begins with, and what it keeps of an instance.

use std::collections::BTreeMap;
use std::marker::PhantomData;

use super::Harness;
use crate::decimal::Decimal;
use crate::id::{Nanos, Step};
use crate::intent::RiskContext;
use crate::message::{Instrument, RunMode};
use crate::strategy::Strategy;
use crate::value::{Value, Values};

/// 2026-01-01T00:00:00Z, when a harness begins unless told otherwise.
pub const START_NS: Nanos = Nanos(1_767_225_600_000_000_000);

/// The descriptor's risk metadata unless told otherwise: 10 bp, a second, a minute, 1000.
pub const DEFAULT_RISK: RiskContext = RiskContext {
    max_slippage: Decimal::literal(1, -3),
    max_delay: Nanos(1_000_000_000),
    holding_time: Nanos(60_000_000_000),
    budget: Decimal::literal(1, 3),
};

/// The state's bytes and what the supervisor's core would keep beside them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The step after which it was made.
    pub step: Step,
    /// The time.
    pub now: Nanos,
    /// The version of the state.
    pub state_version: u32,
    /// Its bytes.
    pub data: Vec<u8>,
    /// The timers that were set.
    pub timers: BTreeMap<String, Nanos>,
}

/// What a harness begins with.
#[derive(Clone, Debug)]
pub(super) struct Options {
    pub(super) config: Values,
    pub(super) instruments: Vec<Instrument>,
    pub(super) start: Nanos,
    pub(super) run_seed: u64,
    pub(super) instance: String,
    pub(super) mode: RunMode,
    pub(super) risk_context: Option<RiskContext>,
    pub(super) max_intents: u32,
    pub(super) raise_faults: bool,
}

/// Sets a harness up; see [`Harness::builder`].
#[must_use = "nothing runs before .start()"]
#[derive(Debug)]
pub struct Builder<S> {
    pub(super) options: Options,
    pub(super) strategy: PhantomData<fn() -> S>,
}

impl<S: Strategy> Builder<S> {
    /// A value of the configuration.
    pub fn config(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.options.config.insert(name.to_owned(), value.into());
        self
    }

    /// An instrument of the instance.
    pub fn instrument(mut self, instrument: Instrument) -> Self {
        self.options.instruments.push(instrument);
        self
    }

    /// When it begins.
    pub fn start_at(mut self, start: Nanos) -> Self {
        self.options.start = start;
        self
    }

    /// What seeds `ctx.rng`.
    pub fn run_seed(mut self, run_seed: u64) -> Self {
        self.options.run_seed = run_seed;
        self
    }

    /// The instance's id.
    pub fn instance(mut self, instance: &str) -> Self {
        instance.clone_into(&mut self.options.instance);
        self
    }

    /// What the events are said to be.
    pub fn mode(mut self, mode: RunMode) -> Self {
        self.options.mode = mode;
        self
    }

    /// The descriptor's risk metadata.
    pub fn risk_context(mut self, risk_context: impl Into<Option<RiskContext>>) -> Self {
        self.options.risk_context = risk_context.into();
        self
    }

    /// The descriptor's ceiling.
    pub fn max_intents(mut self, max_intents: u32) -> Self {
        self.options.max_intents = max_intents;
        self
    }

    /// Whether a fault panics, which fails the test (the default), or comes back in the answer.
    pub fn raise_faults(mut self, raise_faults: bool) -> Self {
        self.options.raise_faults = raise_faults;
        self
    }

    /// Starts the strategy.
    #[track_caller]
    pub fn start(self) -> Harness<S> {
        Harness::new(self.options, None)
    }
}
