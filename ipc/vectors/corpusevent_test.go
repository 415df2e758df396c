package vectors

import (
	"math"
	"strings"

	"github.com/msup/msup/ipc"
)

// Extremes of the decimal: the mantissa is symmetric, the exponent is not.
var (
	decMax   = ipc.Decimal{M: math.MaxInt64, E: 127}
	decMin   = ipc.Decimal{M: -math.MaxInt64, E: 127}
	decSmall = ipc.Decimal{M: 1, E: -128}
)

func levels(pairs ...string) []ipc.Level {
	var list []ipc.Level
	for i := 0; i < len(pairs); i += 2 {
		list = append(list, ipc.Level{Price: dec(pairs[i]), Quantity: dec(pairs[i+1])})
	}
	return list
}

func event(name, about string, e ipc.Event) valid {
	return valid{"deliver-" + name, about, ipc.FromSupervisor, deliver(e), nil}
}

func marketVectors() []valid {
	flagged := market()
	flagged.Quality = ipc.QualityStale | ipc.QualityGap | ipc.QualityDup | ipc.QualityOutOfOrder | ipc.QualityClockSkew |
		ipc.QualityCrossed | ipc.QualityWarmup
	extreme := ipc.Market{
		Instrument: ipc.InstrumentID(strings.Repeat("i", ipc.MaxIDBytes)), Source: ipc.SourceID(strings.Repeat("s", 32)),
		EventTS: math.MinInt64, RecvTS: math.MaxInt64, Seq: math.MaxUint64, VenueSeq: 1 << 32, Quality: 0xff,
	}
	foreign := market()
	foreign.Instrument, foreign.Source = "株式.東京", "börse"
	short := market()
	short.Instrument, short.Source, short.EventTS, short.RecvTS, short.Seq, short.VenueSeq = "E", "", 0, -1, 127, 128
	many := make([]ipc.Level, 20)
	for i := range many {
		many[i] = ipc.Level{Price: ipc.FromInt(int64(1000 - i)), Quantity: ipc.FromInt(int64(i + 1))}
	}
	return []valid{
		event("quote", "the best bid and ask", quote1()),
		event("quote-one-sided", "no ask", &ipc.Quote{Market: market(), Bid: opt("65000.1"), BidSize: opt("0.5")}),
		event("quote-empty", "neither side, every quality flag", &ipc.Quote{Market: flagged}),
		event("quote-extreme", "numbers and decimals at their limits", &ipc.Quote{Market: extreme, Bid: &decMin, BidSize: &decSmall, Ask: &decMax, AskSize: opt("0")}),
		event("quote-unicode", "ids outside ASCII", &ipc.Quote{Market: foreign, Bid: opt("1")}),
		event("quote-small-numbers", "one-byte forms, a negative time, no source", &ipc.Quote{Market: short}),
		event("trade", "", &ipc.Trade{Market: market(), Price: dec("65000.1"), Quantity: dec("0.002"), Side: ipc.SideSell, TradeID: "3094852"}),
		event("trade-side-unknown", "no side, no id, a negative price", &ipc.Trade{Market: market(), Price: dec("-37.63"), Quantity: dec("1")}),
		event("trade_aggregate", "", &ipc.TradeAggregate{
			Market: market(), Count: 300, BuyQuantity: dec("12.5"), SellQuantity: dec("0"), First: dec("100"), Last: dec("101.5"),
			High: dec("102"), Low: dec("99.5"), VWAP: dec("100.123456789"), FirstSeq: 41, LastSeq: 340,
		}),
		event("book_delta", "quantity zero removes a level", &ipc.BookDelta{
			Market: market(), FirstSeq: 100, LastSeq: 105, Bids: levels("65000.1", "0", "65000", "2.5"), Asks: levels("65000.2", "1"),
		}),
		event("book_delta-empty", "no level on either side", &ipc.BookDelta{Market: market(), FirstSeq: 100, LastSeq: 100}),
		event("book_snapshot", "", &ipc.BookSnapshot{Market: market(), LastSeq: 99, Bids: levels("65000.1", "1", "65000", "2"), Asks: levels("65000.2", "1")}),
		event("book_snapshot-20", "20 levels: an array with a two-byte count", &ipc.BookSnapshot{Market: market(), LastSeq: 99, Bids: many}),
		event("bar", "", &ipc.Bar{Market: market(), PeriodNS: 60_000_000_000, Open: dec("1.0812"), High: dec("1.0813"), Low: dec("1.081"), Close: dec("1.08125"), Volume: dec("0")}),
		event("bar-extreme", "decimals at their limits", &ipc.Bar{
			Market: market(), PeriodNS: math.MaxInt64, Open: decMin, High: decMax, Low: decSmall, Close: decSmall.Neg(),
			Volume: ipc.Decimal{M: math.MaxInt64, E: -128},
		}),
		event("quote_bar", "", &ipc.QuoteBar{
			Market: market(), PeriodNS: 1_000_000_000, BidOpen: opt("1.1"), BidHigh: opt("1.3"), BidLow: opt("1"), BidClose: opt("1.2"), BidSize: opt("10"),
			AskOpen: opt("1.2"), AskHigh: opt("1.4"), AskLow: opt("1.1"), AskClose: opt("1.3"), AskSize: opt("20"),
		}),
		event("quote_bar-bid-only", "an ask of nil", &ipc.QuoteBar{
			Market: market(), PeriodNS: 1_000_000_000, BidOpen: opt("1.1"), BidHigh: opt("1.3"), BidLow: opt("1"), BidClose: opt("1.2"),
		}),
		event("trading_status", "", &ipc.TradingStatus{Market: market(), Status: ipc.TradingHalted, Reason: "LULD"}),
		event("trading_status-unknown", "", &ipc.TradingStatus{Market: market()}),
	}
}

func otherEventVectors() []valid {
	filled := &ipc.Execution{
		Key: stepKey, Report: ipc.ExecFilled, Instrument: "BTCUSDT.BINANCE", EventTS: ts, RecvTS: recvTS, VenueOrderID: "8389765", Side: ipc.SideBuy,
		Price: opt("65000.1"), Quantity: opt("0.25"), Remaining: opt("0"), Final: true, Fee: opt("-0.0001"), FeeAsset: "BNB",
	}
	open := ipc.OpenIntent{Key: stepKey, Status: ipc.StatusApproved, Intent: intent(order())}
	cancel := ipc.OpenIntent{Key: nameKey, Status: ipc.StatusCommitted, Intent: intent(&ipc.CancelIntent{Instrument: "BTCUSDT.BINANCE", TargetKey: stepKey})}
	positions := []ipc.PositionRow{{Instrument: "BTCUSDT.BINANCE", Quantity: dec("-0.25")}, {Instrument: "EURUSD.OANDA", Quantity: dec("100000")}}
	return []valid{
		event("execution-filled", "", filled),
		event("execution-accepted", "no numbers yet", &ipc.Execution{Key: stepKey, Report: ipc.ExecAccepted, Instrument: "BTCUSDT.BINANCE", RecvTS: recvTS, Side: ipc.SideSell}),
		event("execution-rejected", "throttled: a 429", &ipc.Execution{
			Key: stepKey, Report: ipc.ExecRejected, Instrument: "BTCUSDT.BINANCE", EventTS: ts, RecvTS: recvTS, Side: ipc.SideBuy, Final: true,
			Reason: "Too many requests.", Throttled: true,
		}),
		event("execution-unknown", "unknown is a state: not even the side is known", &ipc.Execution{Key: stepKey, Report: ipc.ExecUnknown, Instrument: "BTCUSDT.BINANCE", RecvTS: recvTS}),
		event("execution_snapshot", "", &ipc.ExecutionSnapshot{
			EventTS: ts, RecvTS: recvTS, Positions: positions, Open: []ipc.OpenOrder{{Key: stepKey, Remaining: dec("0.2")}}, Cursor: cursor,
		}),
		event("execution_snapshot-flat", "no position, no order", &ipc.ExecutionSnapshot{RecvTS: recvTS, Cursor: ipc.Cursor{Source: "sim", Epoch: 1}}),
		event("risk-impose", "", &ipc.RiskEvent{EventTS: ts, RecvTS: recvTS, RestrictID: "vol-spike", Restriction: ipc.Restriction{SizeFactor: dec("0.5"), LimitOnly: true}, Reason: "RISK_RESTRICTION"}),
		event("risk-release", "", &ipc.RiskEvent{EventTS: ts, RecvTS: recvTS, RestrictID: "vol-spike", Release: true, Restriction: ipc.Restriction{SizeFactor: dec("1")}}),
		event("risk-no-trade", "", &ipc.RiskEvent{EventTS: ts, RecvTS: recvTS, RestrictID: "limit", Restriction: ipc.Restriction{ReduceOnly: true, NoTrade: true}}),
		event("safety-freeze", "", &ipc.SafetyEvent{EventTS: ts, RecvTS: recvTS, Command: ipc.SafetyFreeze, Reason: "SAFETY_FREEZE"}),
		event("safety-halt", "", &ipc.SafetyEvent{EventTS: ts, RecvTS: recvTS, Command: ipc.SafetyHalt}),
		event("timer", "", &ipc.Timer{TimerID: "rebalance", DueTS: procTS}),
		event("manual_signal", "", &ipc.ManualSignal{EventTS: ts, RecvTS: recvTS, Operator: "ada", Name: "bias", Values: ipc.Values{"direction": "long", "weight": 0.5, "cap": dec("2.5"), "until": nil}}),
		event("manual_signal-empty", "no values", &ipc.ManualSignal{Operator: "ada", Name: "ping", Values: ipc.Values{}}),
		event("compute_result", "", &ipc.ComputeResult{Task: "refit", RequestStep: 5, Ordinal: 1, RequestedTS: procTS, Payload: []byte{0x93, 1, 2, 3}}),
		event("compute_result-empty", "no payload", &ipc.ComputeResult{Task: "refit", RequestStep: 5, Payload: []byte{}}),
		event("compute_unavailable", "", &ipc.ComputeUnavailable{Task: "refit", RequestStep: 5, Reason: "COMPUTE_UNAVAILABLE"}),
		event("config_update", "", &ipc.ConfigUpdate{Config: ipc.Values{"fast": int64(10), "size": dec("0.1")}, ConfigHash: digest, Who: "ada", Why: "less risk before the announcement", ChangedTS: ts}),
		event("recovered", "", &ipc.Recovered{Positions: positions, Open: []ipc.OpenIntent{open}, IntentsSinceCheckpoint: []ipc.OpenIntent{open, cancel}}),
		event("recovered-empty", "nothing open", &ipc.Recovered{}),
		event("event_skipped", "", &ipc.EventSkipped{SkippedStep: 6, SkippedKind: ipc.KindBar, Reason: "POISON_EVENT"}),
		event("intents_discarded", "", &ipc.IntentsDiscarded{DiscardedStep: 6, Keys: []ipc.Key{stepKey, nameKey}, Reason: "ANSWER_LATE"}),
		event("shutdown", "", &ipc.Shutdown{Reason: "SHUTDOWN_REQUESTED"}),
	}
}
