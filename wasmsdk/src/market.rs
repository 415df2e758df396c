//! The events of a market (H).

use std::fmt;

use crate::codec::{Fields, Reader, Wire, Writer};
use crate::decimal::Decimal;
use crate::error::{DecodeError, EncodeError};
use crate::id::{InstrumentId, Nanos, SourceId};
use crate::intent::Side;
use crate::limits::{MAX_ID_BYTES, MAX_LEVELS, MAX_TAG_BYTES};
use crate::record::{byte, nested, number_enum, record};

/// The input-quality flags of a market event; flags of conflated events are OR-ed together (DQ-1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Quality(pub u8);

impl Quality {
    /// Older than the source promises.
    pub const STALE: Self = Self(1);
    /// Something before this event is missing.
    pub const GAP: Self = Self(2);
    /// Seen before.
    pub const DUP: Self = Self(4);
    /// Older than an event already delivered.
    pub const OUT_OF_ORDER: Self = Self(8);
    /// The venue's time and the time of reception cannot both be right (DQ-3).
    pub const CLOCK_SKEW: Self = Self(16);
    /// Bid above ask.
    pub const CROSSED: Self = Self(32);
    /// History, delivered before going live.
    pub const WARMUP: Self = Self(64);

    /// Whether all flags of `other` are set.
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl fmt::Display for Quality {
    /// The names of the flags, `ok` for none; unknown ones in hex.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMES: [&str; 7] = [
            "stale",
            "gap",
            "dup",
            "out_of_order",
            "clock_skew",
            "crossed",
            "warmup",
        ];
        let mut flags: Vec<&str> = NAMES
            .iter()
            .enumerate()
            .filter(|(bit, _)| self.0 >> bit & 1 == 1)
            .map(|(_, name)| *name)
            .collect();
        if self.0 & 0x80 != 0 {
            flags.push("0x80");
        }
        f.pad(&if flags.is_empty() {
            "ok".to_owned()
        } else {
            flags.join("|")
        })
    }
}

record! {
    /// The header that every market event starts with.
    pub struct Market {
        /// What is traded.
        instrument: InstrumentId,
        /// The stream of the event.
        source: SourceId,
        /// The venue's time, ns UTC; 0 when the venue gives none.
        event_ts: Nanos,
        /// H's time of reception, ns UTC.
        recv_ts: Nanos,
        /// Number within (source, source epoch).
        seq: u64,
        /// The venue's own number; 0 for none.
        venue_seq: u64,
        /// DQ-1.
        quality: Quality,
    }
}

/// The header's fields stand directly among those of the event.
impl Wire for Market {
    const WIDTH: usize = <Self as Fields>::WIDTH;
    const LEAST_BYTES: usize = <Self as Fields>::LEAST_BYTES;

    fn put(&self, w: &mut Writer, _: usize) -> Result<(), EncodeError> {
        Fields::put_fields(self, w)
    }

    fn take(r: &mut Reader<'_>, _: usize) -> Result<Self, DecodeError> {
        Fields::take_fields(r)
    }
}

record! {
    /// The best bid and ask. A missing side or size is `None`.
    pub struct Quote {
        /// The header.
        market: Market,
        /// Highest price bid.
        bid: Option<Decimal>,
        /// Quantity bid at it.
        bid_size: Option<Decimal>,
        /// Lowest price asked.
        ask: Option<Decimal>,
        /// Quantity asked at it.
        ask_size: Option<Decimal>,
    }
}

record! {
    /// One public trade.
    pub struct Trade {
        /// The header.
        market: Market,
        /// Its price.
        price: Decimal,
        /// Its quantity.
        quantity: Decimal,
        /// The aggressor's side.
        side: Side,
        /// The venue's id; empty for none.
        trade_id: String [max MAX_ID_BYTES],
    }
}

record! {
    /// What conflation makes of several trades.
    pub struct TradeAggregate {
        /// The header.
        market: Market,
        /// How many trades.
        count: u64,
        /// Quantity bought by aggressors.
        buy_quantity: Decimal,
        /// Quantity sold by aggressors.
        sell_quantity: Decimal,
        /// First price.
        first: Decimal,
        /// Last price.
        last: Decimal,
        /// Highest price.
        high: Decimal,
        /// Lowest price.
        low: Decimal,
        /// Mean price, weighted by quantity.
        vwap: Decimal,
        /// `seq` of the first trade.
        first_seq: u64,
        /// `seq` of the last trade.
        last_seq: u64,
    }
}

record! {
    /// One price level of a book; quantity zero removes it.
    pub struct Level {
        /// The price.
        price: Decimal,
        /// The quantity at it.
        quantity: Decimal,
    }
}

record! {
    /// Changed levels of a book; `first_seq` to `last_seq` span the venue's update numbers that it merges.
    pub struct BookDelta {
        /// The header.
        market: Market,
        /// The venue's first update number.
        first_seq: u64,
        /// The venue's last update number.
        last_seq: u64,
        /// Levels of the bid side.
        bids: Vec<Level> [max MAX_LEVELS],
        /// Levels of the ask side.
        asks: Vec<Level> [max MAX_LEVELS],
    }
}

record! {
    /// Replaces the book.
    pub struct BookSnapshot {
        /// The header.
        market: Market,
        /// The venue's last update number that it contains.
        last_seq: u64,
        /// Levels of the bid side, best first.
        bids: Vec<Level> [max MAX_LEVELS],
        /// Levels of the ask side, best first.
        asks: Vec<Level> [max MAX_LEVELS],
    }
}

record! {
    /// A finished trade bar; `event_ts` is the bar's start.
    pub struct Bar {
        /// The header.
        market: Market,
        /// Length of the bar, ns.
        period: Nanos,
        /// First price.
        open: Decimal,
        /// Highest price.
        high: Decimal,
        /// Lowest price.
        low: Decimal,
        /// Last price.
        close: Decimal,
        /// Quantity traded.
        volume: Decimal,
    }
}

record! {
    /// A finished bar of bid and ask; `event_ts` is the bar's start. A missing value is `None`.
    pub struct QuoteBar {
        /// The header.
        market: Market,
        /// Length of the bar, ns.
        period: Nanos,
        /// First bid.
        bid_open: Option<Decimal>,
        /// Highest bid.
        bid_high: Option<Decimal>,
        /// Lowest bid.
        bid_low: Option<Decimal>,
        /// Last bid.
        bid_close: Option<Decimal>,
        /// Last quantity bid.
        bid_size: Option<Decimal>,
        /// First ask.
        ask_open: Option<Decimal>,
        /// Highest ask.
        ask_high: Option<Decimal>,
        /// Lowest ask.
        ask_low: Option<Decimal>,
        /// Last ask.
        ask_close: Option<Decimal>,
        /// Last quantity asked.
        ask_size: Option<Decimal>,
    }
}

number_enum! {
    /// The venue's state for one instrument.
    pub enum Trading as "trading status", Range {
        /// Not known.
        Unknown = 0 "unknown",
        /// Trading goes on.
        Open = 1 "open",
        /// Trading is interrupted.
        Halted = 2 "halted",
        /// Trading is over for the session.
        Closed = 3 "closed",
        /// An auction collects orders.
        Auction = 4 "auction",
    }
}

record! {
    /// Tells of a halt, a close, a reopening.
    pub struct TradingStatus {
        /// The header.
        market: Market,
        /// The new state.
        status: Trading,
        /// The venue's reason; empty for none.
        reason: String [max MAX_TAG_BYTES],
    }
}

byte!(Quality);
nested!(Level);
