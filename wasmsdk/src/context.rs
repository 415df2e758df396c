//! `ctx`: all that a strategy may know about the present, and all that it may ask for (DM-3, GT-4, NN-7).

use std::collections::BTreeMap;

use crate::answer::{Answer, ComputeRequest, StateUpdates, Telemetry, TelemetryValue, TimerOp, TimerRequest};
use crate::decimal::Decimal;
use crate::fault::{Error, Result};
use crate::id::{
    Address, BotId, InstanceId, InstrumentId, Key, Lane, Lineage, Nanos, RunId, Step, StrategyId, TraceId,
};
use crate::intent::{Intent, IntentBody, IntentMeta, RiskContext, Side};
use crate::key::{KeyForm, Owner};
use crate::limits::{
    MAX_ANSWER_BYTES, MAX_COMPUTES, MAX_ID_BYTES, MAX_INTENTS, MAX_TAG_BYTES, MAX_TELEMETRY, MAX_TIMERS,
};
use crate::message::{Init, Instrument, RunMode};
use crate::number::ToNumber;
use crate::request::Options;
use crate::rng::Rng;

/// One per instance. Effects are collected while a callback runs and leave as one answer when it has returned.
///
/// The asking methods are [`buy`](Context::buy), [`sell`](Context::sell), [`cancel`](Context::cancel),
/// [`amend`](Context::amend), [`target`](Context::target), [`alert`](Context::alert), [`no_op`](Context::no_op) and
/// [`risk_hint`](Context::risk_hint); nothing is asked for until `.send()`.
#[derive(Debug)]
pub struct Context {
    owner: Owner,
    strategy_version: String,
    run_id: RunId,
    run_seed: u64,
    lane: Lane,
    mode: RunMode,
    restored: bool,
    instruments: Vec<Instrument>,
    by_id: BTreeMap<InstrumentId, usize>,
    risk_context: Option<RiskContext>,
    max_intents: usize,
    now: Nanos,
    step: Step,
    trace_id: TraceId,
    rng: Option<Rng>,
    /// The effects of this step; its vectors are kept from step to step.
    pub(crate) answer: Answer,
    key_buffer: Vec<u8>,
}

impl Context {
    /// An empty context at time 0; the session fills it.
    pub(crate) fn new() -> Self {
        Self {
            owner: Owner {
                address: Address {
                    bot: BotId::default(),
                    strategy: StrategyId::default(),
                    instance: InstanceId::default(),
                },
                lineage: Lineage::default(),
            },
            strategy_version: String::new(),
            run_id: RunId::default(),
            run_seed: 0,
            lane: Lane::Ll,
            mode: RunMode::Live,
            restored: false,
            instruments: Vec::new(),
            by_id: BTreeMap::new(),
            risk_context: None,
            max_intents: MAX_INTENTS,
            now: Nanos(0),
            step: Step(0),
            trace_id: TraceId::default(),
            rng: None,
            answer: Answer::empty(0, Step(0)),
            key_buffer: Vec::new(),
        }
    }

    // --- the present ---

    /// The processed time of this step, ns since the Unix epoch, UTC. It never decreases, and is the same in a replay.
    pub fn now(&self) -> Nanos {
        self.now
    }

    /// Chance that a replay repeats: seeded from run seed, instance and step. An unused one costs nothing.
    pub fn rng(&mut self) -> &mut Rng {
        let (seed, instance, step) = (self.run_seed, &self.owner.address.instance, self.step);
        self.rng
            .get_or_insert_with(|| match Rng::new(seed, instance, step) {
                Ok(rng) => rng,
                Err(_) => unreachable!("an instance id has at most 128 bytes"),
            })
    }

    /// The number of this delivery, from 1, for ever.
    pub fn step(&self) -> Step {
        self.step
    }

    /// The run of the supervisor process; differs in a replay, so decide nothing by it.
    pub fn run_id(&self) -> &RunId {
        &self.run_id
    }

    /// Follows this event through every domain.
    pub fn trace_id(&self) -> TraceId {
        match self.trace_id.is_empty() {
            true => TraceId::from(format!("{}-{}", self.run_id, self.step)),
            false => self.trace_id.clone(),
        }
    }

    /// Live, replay, research, shadow or smoke; differs in a replay, so decide nothing by it.
    pub fn mode(&self) -> RunMode {
        self.mode
    }

    /// The lane of this instance.
    pub fn lane(&self) -> Lane {
        self.lane
    }

    /// The bot's id.
    pub fn bot(&self) -> &BotId {
        &self.owner.address.bot
    }

    /// The strategy's id.
    pub fn strategy(&self) -> &StrategyId {
        &self.owner.address.strategy
    }

    /// The instance's id.
    pub fn instance(&self) -> &InstanceId {
        &self.owner.address.instance
    }

    /// Whether this process began from a checkpoint.
    pub fn restored(&self) -> bool {
        self.restored
    }

    /// The instruments of this instance.
    pub fn instruments(&self) -> &[Instrument] {
        &self.instruments
    }

    /// The instrument of this id, or an error that names those that there are.
    pub fn instrument(&self, id: impl AsRef<str>) -> Result<&Instrument> {
        let id = id.as_ref();
        match self.by_id.get(id) {
            Some(&index) => Ok(&self.instruments[index]),
            None => {
                let known: Vec<&str> = self.instruments.iter().map(|known| known.id.as_str()).collect();
                let known = if known.is_empty() {
                    "it has none".to_owned()
                } else {
                    known.join(", ")
                };
                Err(Error::new(format!(
                    "instrument {id:?} is not one of this instance: {known}"
                )))
            }
        }
    }

    /// What an intent carries unless the request says otherwise.
    pub fn risk_context(&self) -> Option<&RiskContext> {
        self.risk_context.as_ref()
    }

    // --- other effects ---

    /// Calls `on_timer` at a processed time; replaces a timer of the same id.
    pub fn set_timer(&mut self, timer_id: &str, at: Nanos) -> Result<Nanos> {
        self.add_timer(TimerOp::Set, timer_id, at)?;
        Ok(at)
    }

    /// Calls `on_timer` so long from now; the time comes back.
    pub fn set_timer_after(&mut self, timer_id: &str, after: Nanos) -> Result<Nanos> {
        match self.now.0.checked_add(after.0) {
            Some(at) => self.set_timer(timer_id, Nanos(at)),
            None => Err(Error::new(format!(
                "after_ns: {} + {after} does not fit 64 bits",
                self.now
            ))),
        }
    }

    /// Forgets a timer; one that is not set is no error.
    pub fn cancel_timer(&mut self, timer_id: &str) -> Result {
        self.add_timer(TimerOp::Cancel, timer_id, Nanos(0))
    }

    fn add_timer(&mut self, op: TimerOp, timer_id: &str, due_ts: Nanos) -> Result {
        let timer_id = text(timer_id, "timer_id", MAX_TAG_BYTES)?.to_owned();
        room(self.answer.timers.len(), MAX_TIMERS, "timers")?;
        self.answer.timers.push(TimerRequest { op, timer_id, due_ts });
        Ok(())
    }

    /// Asks the compute part (LN-2). The result comes as `ComputeResult` with this step and the returned ordinal.
    pub fn submit_compute(&mut self, task: &str, payload: &[u8], ttl: Nanos) -> Result<u32> {
        if payload.len() > MAX_ANSWER_BYTES {
            return Err(Error::new(format!(
                "payload: {} bytes; an answer holds at most {MAX_ANSWER_BYTES}",
                payload.len()
            )));
        }
        let task = text(task, "task", MAX_TAG_BYTES)?.to_owned();
        let ordinal = self.answer.compute.len();
        room(ordinal, MAX_COMPUTES, "compute requests")?;
        self.answer.compute.push(ComputeRequest {
            task,
            payload: payload.to_vec(),
            ttl,
        });
        Ok(ordinal as u32) // below MAX_COMPUTES
    }

    /// Reports a number or a short tag under a name that the descriptor declares (DM-3).
    pub fn telemetry(&mut self, name: &str, value: impl Into<TelemetryValue>) -> Result {
        let value = value.into();
        match &value {
            TelemetryValue::Number(number) if !number.is_finite() => {
                return Err(Error::new(format!(
                    "telemetry {name}: {number} is not a finite number"
                )));
            }
            TelemetryValue::Tag(tag) if tag.len() > MAX_TAG_BYTES => {
                return Err(Error::new(format!(
                    "telemetry tag: {} bytes; allowed are 0 to {MAX_TAG_BYTES}",
                    tag.len()
                )));
            }
            _ => {}
        }
        let name = text(name, "telemetry name", MAX_TAG_BYTES)?.to_owned();
        room(self.answer.telemetry.len(), MAX_TELEMETRY, "telemetry values")?;
        self.answer.telemetry.push(Telemetry { name, value });
        Ok(())
    }

    /// Asks for a checkpoint after this step (ST-2).
    pub fn checkpoint(&mut self) {
        self.answer.state_updates = Some(StateUpdates {
            checkpoint: true,
            delta: None,
        });
    }

    // --- exact numbers ---

    /// Rounds to the instrument's tick: down for a buy, up for a sell, to the nearest without a side. Takes a float.
    pub fn price(
        &self,
        instrument: impl AsRef<str>,
        value: impl ToNumber,
        side: impl Into<Option<Side>>,
    ) -> Result<Decimal> {
        self.instrument(instrument)?.price(value, side)
    }

    /// Rounds towards zero to the instrument's lot. Takes a float.
    pub fn quantity(&self, instrument: impl AsRef<str>, value: impl ToNumber) -> Result<Decimal> {
        self.instrument(instrument)?.quantity(value)
    }

    // --- inside ---

    /// The instrument that a request names; left out, the only one.
    pub(crate) fn instrument_of(&self, instrument: InstrumentId) -> Result<InstrumentId> {
        if !instrument.is_empty() {
            return id_of(instrument);
        }
        match self.instruments.as_slice() {
            [only] => Ok(only.id.clone()),
            all => Err(Error::new(format!(
                "name the instrument: this instance has {}",
                all.len()
            ))),
        }
    }

    /// Takes an intent; its metadata is filled in here, its key comes back.
    pub(crate) fn emit(&mut self, body: IntentBody, options: Options) -> Result<Key> {
        let ordinal = self.answer.intents.len();
        if ordinal >= self.max_intents {
            return Err(Error::new(format!(
                "more than {} intents in one step; spread them over several (a timer does)",
                self.max_intents
            )));
        }
        if !options.name.is_empty() {
            text(&options.name, "name", MAX_ID_BYTES)?;
        }
        if !options.proposal.is_empty() {
            text(&options.proposal, "proposal", MAX_ID_BYTES)?;
        }
        let form = KeyForm::of_intent(self.step, ordinal as u32, &options.name); // below MAX_INTENTS
        let key = self.owner.key_in(form, &mut self.key_buffer)?;
        let address = &self.owner.address;
        let meta = IntentMeta {
            bot: address.bot.clone(),
            strategy: address.strategy.clone(),
            strategy_version: self.strategy_version.clone(),
            instance: address.instance.clone(),
            run_id: self.run_id.clone(),
            trace_id: self.trace_id(),
            key: key.clone(),
            risk_context: options.risk.or_else(|| self.risk_context.clone()),
            name: options.name,
            proposal: options.proposal,
        };
        self.answer.intents.push(Intent { meta, body });
        Ok(key)
    }

    /// What follows is the session's side; strategies have no use for it.
    pub(crate) fn fill(&mut self, init: &Init, risk_context: Option<RiskContext>) {
        self.owner = Owner {
            address: init.address.clone(),
            lineage: init.lineage,
        };
        self.strategy_version.clone_from(&init.strategy_version);
        self.run_id = init.run_id.clone();
        self.run_seed = init.run_seed;
        self.lane = init.lane;
        self.mode = init.mode;
        self.restored = init.restored;
        self.by_id.clear();
        self.instruments.clear();
        for instrument in &init.instruments {
            match self.by_id.get(&instrument.id) {
                Some(&index) => self.instruments[index] = instrument.clone(),
                None => {
                    self.by_id.insert(instrument.id.clone(), self.instruments.len());
                    self.instruments.push(instrument.clone());
                }
            }
        }
        self.risk_context = risk_context.or_else(|| init.risk_context.clone());
        self.max_intents = match init.max_intents as usize {
            0 => MAX_INTENTS,
            most => most.min(MAX_INTENTS),
        };
    }

    pub(crate) fn begin(&mut self, step: Step, now: Nanos, trace_id: TraceId) {
        self.step = step;
        self.now = now;
        self.trace_id = trace_id;
        self.rng = None;
    }
}

impl From<f64> for TelemetryValue {
    fn from(number: f64) -> Self {
        Self::Number(number)
    }
}

impl From<i32> for TelemetryValue {
    fn from(number: i32) -> Self {
        Self::Number(number.into())
    }
}

impl From<Decimal> for TelemetryValue {
    fn from(number: Decimal) -> Self {
        Self::Number(number.to_f64())
    }
}

impl From<&str> for TelemetryValue {
    fn from(tag: &str) -> Self {
        Self::Tag(tag.to_owned())
    }
}

/// A text of at least one byte.
pub(crate) fn text<'a>(value: &'a str, what: &str, most: usize) -> Result<&'a str> {
    let size = value.len();
    if size == 0 || size > most {
        return Err(Error::new(format!(
            "{what}: {size} bytes; allowed are 1 to {most}"
        )));
    }
    Ok(value)
}

pub(crate) fn id_of(instrument: InstrumentId) -> Result<InstrumentId> {
    if !instrument.is_empty() {
        text(instrument.as_str(), "instrument", MAX_ID_BYTES)?;
    }
    Ok(instrument)
}

fn room(have: usize, most: usize, what: &str) -> Result {
    if have >= most {
        return Err(Error::new(format!("more than {most} {what} in one step")));
    }
    Ok(())
}
