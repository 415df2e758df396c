//! What a strategy is to Rust: a struct with callbacks (DM-3).

use crate::config::Config;
use crate::context::Context;
use crate::event::{Event, OpenIntent};
use crate::execution::PositionRow;
use crate::fault::{Error, Result};
use crate::health::Health;
use crate::id::Nanos;
use crate::intent::RiskContext;
use crate::state::State;

/// Callbacks that the handshake announces when a strategy has them, in this order.
pub const OPTIONAL_HOOKS: [&str; 4] = ["on_recovered", "on_config", "on_healthcheck", "migrate"];

/// One strategy. One value lives per instance, in one thread, in a process or module of its own.
///
/// Write `#[msup::strategy]` above the implementation. It notes which of the optional callbacks there are, and writes what is
/// left out: with the fields `config` and `state` in the struct, [`Strategy::state`], [`Strategy::set_config`] and an `on_init`
/// that fills them; without the types `Config` and `State`, a strategy that has none.
///
/// - A callback returns `Ok(())`. What it decides goes through `ctx`.
/// - The state is all that survives a restart: it is written at a checkpoint and given to `on_init`. Everything else must follow
///   from config, state and the events since then, or replay diverges (NN-7).
/// - An error, and natively a panic, ends the step as a typed fault: its intents are dropped, the state counts as suspect
///   (SB-6). In a module a panic ends the runner, and the supervisor restores the instance.
///
/// ```
/// use msup::{Context, Event, NoConfig, State, Strategy};
///
/// #[derive(State, Default)]
/// struct Seen {
///     quotes: u64,
/// }
///
/// struct Counter {
///     config: NoConfig,
///     state: Seen,
/// }
///
/// #[msup::strategy]
/// impl Strategy for Counter {
///     type Config = NoConfig;
///     type State = Seen;
///
///     fn on_event(&mut self, ctx: &mut Context, event: &Event) -> msup::Result {
///         if let Event::Quote(_) = event {
///             self.state.quotes += 1;
///             ctx.telemetry("quotes", self.state.quotes as f64)?;
///         }
///         Ok(())
///     }
/// }
/// # assert!(Counter::HOOKS.is_empty());
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no strategy",
    label = "this is no strategy",
    note = "write `#[msup::strategy] impl msup::Strategy for {Self} {{ … }}`"
)]
pub trait Strategy: Sized + 'static {
    /// The typed configuration.
    type Config: Config + Clone;
    /// All that survives a restart.
    type State: State;

    /// The optional callbacks that there are. Do not write it: write `#[msup::strategy]` above the implementation.
    const HOOKS: &'static [&'static str];

    /// Makes the strategy. `restored_state` is there when it comes from a checkpoint, `None` at the first start. Makes no
    /// intents.
    fn on_init(ctx: &mut Context, config: Self::Config, restored_state: Option<Self::State>) -> Result<Self>;

    /// What a checkpoint writes.
    fn state(&self) -> &Self::State;

    /// Takes a new configuration; [`Strategy::on_config`] follows.
    fn set_config(&mut self, config: Self::Config);

    /// The default of this strategy's intents; `None` takes the descriptor's (GT-4).
    fn risk_context() -> Option<RiskContext> {
        None
    }

    /// One event, of whatever kind is subscribed; executions, signals and notices of M arrive here too.
    fn on_event(&mut self, ctx: &mut Context, event: &Event) -> Result {
        let _ = (ctx, event);
        Ok(())
    }

    /// A timer set with [`Context::set_timer`] is due; `ts` is the time for which it was set.
    fn on_timer(&mut self, ctx: &mut Context, timer_id: &str, ts: Nanos) -> Result {
        let _ = (ctx, timer_id, ts);
        Ok(())
    }

    /// The last step before an orderly stop; a checkpoint follows it.
    fn on_shutdown(&mut self, ctx: &mut Context, reason: &str) -> Result {
        let _ = (ctx, reason);
        Ok(())
    }

    /// Judges itself. It is no step: `ctx` takes no effects.
    fn on_healthcheck(&self, ctx: &Context) -> Result<Health> {
        let _ = ctx;
        Ok(Health::healthy())
    }

    /// With `recovery = "inform"`: the state is the checkpoint's; this is what happened since. Where there is none, the event
    /// arrives at [`Strategy::on_event`].
    fn on_recovered(
        &mut self,
        ctx: &mut Context,
        positions: &[PositionRow],
        open_intents: &[OpenIntent],
        intents_since_checkpoint: &[OpenIntent],
    ) -> Result {
        let _ = (ctx, positions, open_intents, intents_since_checkpoint);
        Ok(())
    }

    /// The configuration changed; [`Strategy::set_config`] has taken it already.
    fn on_config(&mut self, ctx: &mut Context, config: &Self::Config) -> Result {
        let _ = (ctx, config);
        Ok(())
    }

    /// Makes the state of an older version a current one (ST-5).
    fn migrate(from_version: u32, data: &[u8]) -> Result<Self::State> {
        let _ = data;
        Err(Error::state(format!(
            "a state of version {from_version} cannot be migrated; write migrate"
        )))
    }
}

/// Whether a strategy has an optional callback of its own.
pub(crate) fn has_hook<S: Strategy>(name: &str) -> bool {
    S::HOOKS.contains(&name)
}
