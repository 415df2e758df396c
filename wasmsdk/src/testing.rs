//! Tests of a strategy without a supervisor.
//!
//! [`Harness`] drives the strategy through the same session and the same bytes as the runner: every event is encoded and
//! decoded, and so is every answer. What it leaves out is the sandbox, the gate and the ledger: intents come back as the
//! strategy made them.
//!
//! ```
//! use msup::testing::{Harness, START_NS};
//! use msup::{Context, Event, Instrument, Nanos, Strategy, dec};
//!
//! struct Buyer;
//!
//! #[msup::strategy]
//! impl Strategy for Buyer {
//!     fn on_event(&mut self, ctx: &mut Context, event: &Event) -> msup::Result {
//!         if let Event::Quote(quote) = event {
//!             ctx.buy(&quote.market.instrument, dec!(0.001)).send()?;
//!             ctx.set_timer_after("again", Nanos::from_secs(60))?;
//!         }
//!         Ok(())
//!     }
//! }
//!
//! let btc = Instrument::of("BTCUSDT", dec!(0.01), dec!(0.001));
//! let mut h = Harness::<Buyer>::builder().instrument(btc).start();
//! let answer = h.quote("BTCUSDT", dec!(64000.1), dec!(64000.12));
//! assert_eq!(answer.intents.len(), 1);
//! assert_eq!(h.timers()["again"], START_NS + Nanos::from_secs(60));
//! let fired = h.advance(Nanos::from_secs(60)); // fires timers that are due
//! assert_eq!(fired.len(), 1);
//! let again = h.restore(&h.checkpoint()); // a new process with the same state
//! assert_eq!(again.step(), h.step());
//! ```

mod setup;

use std::collections::BTreeMap;
use std::marker::PhantomData;

use sha2::{Digest as _, Sha256};

use crate::answer::{Answer, BatchAnswer, Fault, TimerOp};
use crate::decimal::Decimal;
use crate::event::{ConfigUpdate, Event, ManualSignal, Shutdown, Timer};
use crate::execution::{Execution, ExecutionKind};
use crate::fault::ProtocolError;
use crate::frame::{Direction, decode_frame};
use crate::id::{Address, Digest, Epoch, InstrumentId, Key, Lane, Lineage, Nanos, Step, TraceId};
use crate::intent::{Intent, IntentBody, Side};
use crate::limits::{MAX_ANSWER_BYTES, MAX_CHUNK_BYTES, MAX_INTENTS, MAX_STATE_BYTES};
use crate::market::{Bar, Market, Quality, Quote, Trade};
use crate::message::{
    Batch, BatchEvent, CheckpointRequest, Chunk, Deliver, HealthReport, Healthcheck, Init, Message, RunMode,
};
use crate::session::{Flow, Session};
use crate::strategy::Strategy;
use crate::value::{Value, Values};

pub use setup::{Builder, Checkpoint, DEFAULT_RISK, START_NS};

use setup::Options;

/// One instance of a strategy in this process. A fault panics unless `raise_faults` is false.
#[derive(Debug)]
pub struct Harness<S: Strategy> {
    options: Options,
    session: Session<S>,
    now: Nanos,
    step: Step,
    timers: BTreeMap<String, Nanos>,
    seq: u64,
    source_seq: u64,
    init_answer: Answer,
}

impl<S: Strategy> Harness<S> {
    /// What to set up before the start; everything has a default.
    pub fn builder() -> Builder<S> {
        Builder {
            options: Options {
                config: Values::new(),
                instruments: Vec::new(),
                start: START_NS,
                run_seed: 1,
                instance: "test".to_owned(),
                mode: RunMode::Research,
                risk_context: Some(DEFAULT_RISK),
                max_intents: MAX_INTENTS as u32,
                raise_faults: true,
            },
            strategy: PhantomData,
        }
    }

    #[track_caller]
    fn new(options: Options, restore: Option<&Checkpoint>) -> Self {
        let mut this = Self {
            now: restore.map_or(options.start, |checkpoint| checkpoint.now),
            step: restore.map_or(Step(1), |checkpoint| checkpoint.step),
            timers: restore
                .map(|checkpoint| checkpoint.timers.clone())
                .unwrap_or_default(),
            options,
            session: Session::new(),
            seq: 0,
            source_seq: 0,
            init_answer: Answer::empty(0, Step(0)),
        };
        this.init_answer = this.init(restore);
        this
    }

    // --- what it is ---

    /// What `on_init` answered.
    pub fn init_answer(&self) -> &Answer {
        &self.init_answer
    }

    /// The strategy, to look at its state.
    #[track_caller]
    pub fn strategy(&self) -> &S {
        self.session
            .strategy()
            .expect("on_init has succeeded; where it must not, look at init_answer()")
    }

    /// The present.
    pub fn now(&self) -> Nanos {
        self.now
    }

    /// The last step.
    pub fn step(&self) -> Step {
        self.step
    }

    /// The timers that are set, with the times at which they are due.
    pub fn timers(&self) -> &BTreeMap<String, Nanos> {
        &self.timers
    }

    // --- events ---

    /// Lets time pass before the next event, without firing timers: `h.after(Nanos::SECOND).quote(…)`.
    pub fn after(&mut self, time: Nanos) -> &mut Self {
        self.now = self.now + time;
        self
    }

    /// The header of a market event of this moment.
    pub fn market(&mut self, instrument: impl AsRef<str>) -> Market {
        self.source_seq += 1;
        Market {
            instrument: instrument.as_ref().into(),
            source: "test".into(),
            event_ts: self.now,
            recv_ts: self.now,
            seq: self.source_seq,
            venue_seq: self.source_seq,
            quality: Quality::default(),
        }
    }

    /// Delivers a quote with one lot of 1 on each side; a missing side is `None`.
    #[track_caller]
    pub fn quote(
        &mut self,
        instrument: impl AsRef<str>,
        bid: impl Into<Option<Decimal>>,
        ask: impl Into<Option<Decimal>>,
    ) -> Answer {
        let market = self.market(instrument);
        self.send(Quote {
            market,
            bid: bid.into(),
            bid_size: Some(Decimal::ONE),
            ask: ask.into(),
            ask_size: Some(Decimal::ONE),
        })
    }

    /// Delivers a public trade.
    #[track_caller]
    pub fn trade(
        &mut self,
        instrument: impl AsRef<str>,
        price: Decimal,
        quantity: Decimal,
        side: Side,
    ) -> Answer {
        let market = self.market(instrument);
        self.send(Trade {
            market,
            price,
            quantity,
            side,
            trade_id: String::new(),
        })
    }

    /// Delivers a finished bar of a minute at one price, a minute later than now.
    #[track_caller]
    pub fn bar(&mut self, instrument: impl AsRef<str>, close: Decimal) -> Answer {
        let period = Nanos::from_secs(60);
        let event_ts = self.now;
        self.now = self.now + period;
        let market = Market {
            event_ts,
            ..self.market(instrument)
        };
        self.send(Bar {
            market,
            period,
            open: close,
            high: close,
            low: close,
            close,
            volume: Decimal::ONE,
        })
    }

    /// A final report on the order of an intent, of the first instrument, to be changed and sent:
    /// `h.send(Execution { report: ExecutionReport::Rejected, ..h.report(&key) })`.
    pub fn report(&self, key: &Key) -> Execution {
        let instrument = self
            .options
            .instruments
            .first()
            .map_or_else(|| InstrumentId::from("TEST"), |first| first.id.clone());
        Execution {
            key: key.clone(),
            report: ExecutionKind::Filled,
            instrument,
            event_ts: self.now,
            recv_ts: self.now,
            venue_order_id: String::new(),
            side: Side::Buy,
            price: None,
            quantity: None,
            remaining: Some(Decimal::ZERO),
            is_final: true,
            reason: String::new(),
            throttled: false,
            fee: None,
            fee_asset: String::new(),
        }
    }

    /// Delivers the report that an order was filled wholly at this price.
    #[track_caller]
    pub fn fill(&mut self, order: &Intent, price: Decimal) -> Answer {
        let IntentBody::Order(body) = &order.body else {
            panic!("a {} is not filled, only an order is", order.kind());
        };
        self.send(Execution {
            instrument: body.instrument.clone(),
            side: body.side,
            price: Some(price),
            quantity: Some(body.quantity),
            ..self.report(&order.meta.key)
        })
    }

    /// Delivers an operator's signal.
    #[track_caller]
    pub fn manual(&mut self, name: &str, values: Values) -> Answer {
        self.send(ManualSignal {
            event_ts: self.now,
            recv_ts: self.now,
            operator: "test".to_owned(),
            name: name.to_owned(),
            values,
        })
    }

    /// Delivers a new configuration: the present one with this value in it.
    #[track_caller]
    pub fn update_config(&mut self, name: &str, value: impl Into<Value>) -> Answer {
        self.options.config.insert(name.to_owned(), value.into());
        let config = self.options.config.clone();
        let config_hash = Digest(Sha256::digest(format!("{config:?}")).into());
        self.send(ConfigUpdate {
            config,
            config_hash,
            who: "test".to_owned(),
            why: "test".to_owned(),
            changed_ts: self.now,
        })
    }

    /// Delivers the last event.
    #[track_caller]
    pub fn shutdown(&mut self, reason: &str) -> Answer {
        self.send(Shutdown {
            reason: reason.into(),
        })
    }

    /// Lets time pass and fires the timers that fall due meanwhile, in order; their answers.
    #[track_caller]
    pub fn advance(&mut self, time: Nanos) -> Vec<Answer> {
        let until = self.now + time;
        let mut answers = Vec::new();
        while let Some((due_ts, timer_id)) = self
            .timers
            .iter()
            .map(|(id, due)| (*due, id.clone()))
            .min()
            .filter(|(due, _)| *due <= until)
        {
            self.timers.remove(&timer_id);
            self.now = self.now.max(due_ts);
            answers.push(self.send(Timer { timer_id, due_ts }));
        }
        self.now = until;
        answers
    }

    /// Delivers any event at the present time; one step.
    #[track_caller]
    pub fn send(&mut self, event: impl Into<Event>) -> Answer {
        self.step = Step(self.step.0 + 1);
        let deliver = Deliver {
            seq: self.next_seq(),
            step: self.step,
            processed_ts: self.now,
            trace_id: self.trace_id(self.step),
            event: event.into(),
        };
        match self.ask(deliver.into()) {
            Message::Answer(answer) => self.settle(answer),
            other => panic!("a {} in answer to a deliver", other.kind()),
        }
    }

    /// Delivers events with their processed times in batches, as research and replay do; the answers that are not empty.
    /// Timers that the strategy sets are kept, not fired.
    #[track_caller]
    pub fn send_batch(&mut self, events: &[(Nanos, Event)], batch_size: usize) -> Vec<Answer> {
        let mut answers = Vec::new();
        let mut done = 0;
        while done < events.len() {
            let first_step = Step(self.step.0 + 1);
            let part = &events[done..events.len().min(done + batch_size.max(1))];
            let rows = part
                .iter()
                .zip(first_step.0..)
                .map(|((now, event), step)| BatchEvent {
                    processed_ts: *now,
                    trace_id: self.trace_id(Step(step)),
                    event: event.clone(),
                });
            let batch = Batch {
                first_step,
                events: rows.collect(),
                seq: self.next_seq(),
            };
            let BatchAnswer { consumed, answer } = match self.ask(batch.into()) {
                Message::BatchAnswer(found) => found,
                other => panic!("a {} in answer to a batch", other.kind()),
            };
            done += consumed as usize;
            self.step = answer.step;
            self.now = part[consumed as usize - 1].0;
            let answer = self.settle(answer);
            if !answer.is_empty() {
                answers.push(answer);
            }
        }
        answers
    }

    // --- state ---

    /// The state as the supervisor would store it.
    #[track_caller]
    pub fn checkpoint(&self) -> Checkpoint {
        self.try_checkpoint()
            .unwrap_or_else(|fault| panic!("{}: {}", fault.kind, fault.message))
    }

    /// The state, or the fault that stands in its way.
    pub fn try_checkpoint(&self) -> Result<Checkpoint, Fault> {
        let question = CheckpointRequest {
            seq: self.seq + 1,
            step: self.step,
            max_bytes: MAX_STATE_BYTES as u64,
        };
        let mut out = Vec::new();
        self.session
            .checkpoint_frames(&question, &mut out)
            .map_err(crate::fault::Error::into_fault)?;
        let mut data = Vec::new();
        let mut state_version = 0;
        for message in messages(&out) {
            match message {
                Message::Chunk(chunk) => {
                    state_version = chunk.state_version;
                    data.extend(chunk.data);
                }
                other => panic!("a {} among the chunks", other.kind()),
            }
        }
        Ok(Checkpoint {
            step: self.step,
            now: self.now,
            state_version,
            data,
            timers: self.timers.clone(),
        })
    }

    /// A new harness from a checkpoint, as after a restart.
    #[track_caller]
    pub fn restore(&self, checkpoint: &Checkpoint) -> Self {
        Self::new(self.options.clone(), Some(checkpoint))
    }

    /// A new harness of another strategy from a checkpoint, as after an update.
    #[track_caller]
    pub fn restore_as<T: Strategy>(&self, checkpoint: &Checkpoint) -> Harness<T> {
        Harness::new(self.options.clone(), Some(checkpoint))
    }

    /// Asks `on_healthcheck`.
    #[track_caller]
    pub fn health(&mut self) -> HealthReport {
        let question = Healthcheck { seq: self.next_seq() };
        match self.ask(question.into()) {
            Message::HealthReport(report) => report,
            other => panic!("a {} in answer to a health check", other.kind()),
        }
    }

    /// Gives the session the bytes of a frame, prefix not included, and returns those of its answer.
    pub fn handle(&mut self, payload: &[u8]) -> Result<Vec<u8>, ProtocolError> {
        let mut out = Vec::new();
        self.session.handle(payload, &mut out)?;
        Ok(out)
    }

    // --- inside ---

    fn next_seq(&mut self) -> u64 {
        self.seq += 1;
        self.seq
    }

    fn trace_id(&self, step: Step) -> TraceId {
        TraceId::from(format!("trace-{step}"))
    }

    /// Asks through the bytes of the wire; the one answer.
    #[track_caller]
    fn ask(&mut self, question: Message) -> Message {
        let mut out = Vec::new();
        self.tell(&question, &mut out);
        let mut answers = messages(&out);
        match (answers.pop(), answers.is_empty()) {
            (Some(answer), true) => answer,
            _ => panic!("not one answer to a {}", question.kind()),
        }
    }

    #[track_caller]
    fn tell(&mut self, message: &Message, out: &mut Vec<u8>) {
        let payload = message
            .encode()
            .unwrap_or_else(|error| panic!("the event cannot be written: {error}"));
        match self.session.handle(&payload, out) {
            Ok(flow) => assert_eq!(flow, Flow::Continue),
            Err(error) => panic!("{error}"),
        }
    }

    #[track_caller]
    fn settle(&mut self, answer: Answer) -> Answer {
        if let (Some(fault), true) = (&answer.fault, self.options.raise_faults) {
            panic!(
                "the strategy faulted: {}: {} {}",
                fault.kind, fault.message, fault.traceback
            );
        }
        for timer in &answer.timers {
            match timer.op {
                TimerOp::Set => drop(self.timers.insert(timer.timer_id.clone(), timer.due_ts)),
                TimerOp::Cancel => drop(self.timers.remove(&timer.timer_id)),
            }
        }
        answer
    }

    #[track_caller]
    fn init(&mut self, restore: Option<&Checkpoint>) -> Answer {
        let name = std::any::type_name::<S>();
        let name = name.rsplit("::").next().unwrap_or(name).to_lowercase();
        let mut lineage = Lineage::default();
        let length = lineage.0.len();
        lineage
            .0
            .copy_from_slice(&Sha256::digest(b"msup.testing")[..length]);
        let init = Init {
            seq: self.next_seq(),
            step: self.step,
            processed_ts: self.now,
            trace_id: self.trace_id(self.step),
            address: Address {
                bot: "test-bot".into(),
                strategy: name.into(),
                instance: self.options.instance.as_str().into(),
            },
            strategy_version: "0.0.0".to_owned(),
            lineage,
            run_id: "test-run".into(),
            epoch: Epoch(1),
            lane: Lane::Ll,
            mode: self.options.mode,
            run_seed: self.options.run_seed,
            config: self.options.config.clone(),
            instruments: self.options.instruments.clone(),
            risk_context: self.options.risk_context.clone(),
            restored: restore.is_some(),
            state_version: restore.map_or(0, |checkpoint| checkpoint.state_version),
            state_bytes: restore.map(|checkpoint| checkpoint.data.len() as u64),
            max_answer_bytes: MAX_ANSWER_BYTES as u64,
            max_state_bytes: MAX_STATE_BYTES as u64,
            max_intents: self.options.max_intents,
        };
        let seq = init.seq;
        let mut out = Vec::new();
        self.tell(&init.into(), &mut out);
        if let Some(Checkpoint {
            data, state_version, ..
        }) = restore
        {
            let mut offset = 0;
            loop {
                let part = &data[offset..data.len().min(offset + MAX_CHUNK_BYTES)];
                let chunk = Chunk {
                    seq,
                    offset: offset as u64,
                    total: data.len() as u64,
                    state_version: *state_version,
                    data: part.to_vec(),
                };
                self.tell(&chunk.into(), &mut out);
                offset += part.len();
                if offset >= data.len() {
                    break;
                }
            }
        }
        match messages(&out).pop() {
            Some(Message::Answer(answer)) if restore.is_some() && answer.fault.is_none() => answer, // its timers count already
            Some(Message::Answer(answer)) => self.settle(answer),
            other => panic!("{other:?} in answer to an init"),
        }
    }
}

/// The messages of a runner's bytes.
fn messages(mut bytes: &[u8]) -> Vec<Message> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        match decode_frame(bytes, Direction::FromRunner) {
            Ok(Some((message, len))) => {
                found.push(message);
                bytes = &bytes[len..];
            }
            Ok(None) => panic!("the answer is cut off"),
            Err(error) => panic!("the answer cannot be read: {error}"),
        }
    }
    found
}
