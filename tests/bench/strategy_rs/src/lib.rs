//! What `make bench` measures: one limit order for every so many quotes, and as little else as a strategy can do. The twin of
//! `../strategy/strategy.py`, operation by operation.

use msup::{Config, Context, Decimal, Event, State, Strategy, dec};

const SIZE: Decimal = dec!(1000);

/// How often it orders, and how much it carries.
#[derive(Config, Clone, Debug)]
pub struct Settings {
    /// quotes per order; 0 = none
    #[config(default = 1, min = 0, max = 1_000_000_000, unit = "events")]
    pub every: i64,
    /// size of the state, in bytes
    #[config(default = 0, min = 0, max = 16_700_000)]
    pub ballast: i64,
}

/// A count, so that there is something to restore, and what makes it large.
#[derive(State, Debug, Default)]
pub struct Memory {
    /// Quotes seen.
    pub quotes: i64,
    /// Dead weight.
    pub ballast: Vec<u8>,
}

/// Bids at the bid.
#[derive(Debug)]
pub struct Bench {
    /// The configuration in force.
    pub config: Settings,
    /// All that survives a restart.
    pub state: Memory,
}

#[msup::strategy]
impl Strategy for Bench {
    type Config = Settings;
    type State = Memory;

    /// Takes up the ballast.
    fn on_init(_: &mut Context, config: Settings, restored_state: Option<Memory>) -> msup::Result<Self> {
        let state = restored_state.unwrap_or_else(|| Memory {
            quotes: 0,
            ballast: vec![0x5a; usize::try_from(config.ballast).unwrap_or_default()],
        });
        Ok(Self { config, state })
    }

    /// Counts quotes; orders at every `every`-th.
    fn on_event(&mut self, ctx: &mut Context, event: &Event) -> msup::Result {
        let Event::Quote(quote) = event else {
            return Ok(());
        };
        self.state.quotes += 1;
        let every = self.config.every;
        if every > 0 && self.state.quotes % every == 0 {
            if let Some(bid) = quote.bid {
                ctx.buy(&quote.market.instrument, SIZE).limit(bid).send()?;
            }
        }
        Ok(())
    }
}

msup::export!(Bench);
