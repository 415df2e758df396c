package vectors

import (
	"math"
	"strings"

	"github.com/msup/msup/ipc"
)

// valid is one golden file that every reader takes.
type valid struct {
	name, about string
	from        ipc.Direction
	message     ipc.Message
	raw         []byte // set where the bytes are not the canonical ones: then writers produce others
}

var (
	lineage = ipc.Lineage{0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff}
	nonce   = ipc.Nonce{0xff, 0xee, 0xdd, 0xcc, 0xbb, 0xaa, 0x99, 0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, 0x00}
	digest  = ipc.Digest{0: 1, 15: 0x7f, 16: 0x80, 31: 0xff}
	address = ipc.Address{Bot: "alpha", Strategy: "ema_cross", Instance: "btc"}
	abroad  = ipc.Address{Bot: "β-bot", Strategy: "戦略", Instance: "🚀/1"}
	cursor  = ipc.Cursor{Source: "sim", Epoch: 3, Seq: 1 << 33}
	stepKey = ipc.Owner{Address: address, Lineage: lineage}.StepKey(7, 0)
	nameKey = ipc.Owner{Address: address, Lineage: lineage}.NamedKey("entry-1")
	context = ipc.RiskContext{MaxSlippage: dec("0.001"), MaxDelayNS: 250_000_000, HoldingTimeNS: 3_600_000_000_000, Budget: dec("10000")}
	ts      = ipc.Nanos(1_700_000_000_123_456_789)
	recvTS  = ts + 1_500_000
	procTS  = ts + 1_520_000
	hash64  = strings.Repeat("0123456789abcdef", 4)
)

func dec(s string) ipc.Decimal { return ipc.MustDecimal(s) }

func opt(s string) *ipc.Decimal {
	d := dec(s)
	return &d
}

func ptr[T any](v T) *T { return &v }

func market() ipc.Market {
	return ipc.Market{
		Instrument: "BTCUSDT.BINANCE", Source: "binance", EventTS: ts, RecvTS: recvTS, Seq: 42, VenueSeq: 5_000_000_000, Quality: 0,
	}
}

func meta() ipc.IntentMeta {
	c := context
	return ipc.IntentMeta{
		Bot: address.Bot, Strategy: address.Strategy, StrategyVersion: "1.2.3", Instance: address.Instance,
		RunID: "run-0001", TraceID: "run-0001-7", Key: stepKey, RiskContext: &c,
	}
}

func intent(body ipc.IntentBody) *ipc.Intent { return &ipc.Intent{Meta: meta(), Body: body} }

func order() *ipc.OrderIntent {
	return &ipc.OrderIntent{
		Instrument: "BTCUSDT.BINANCE", Side: ipc.SideBuy, Type: ipc.OrderLimit, Quantity: dec("0.25"), LimitPrice: opt("65000.1"),
		TimeInForce: ipc.TIFGoodTillCancel, PostOnly: true,
	}
}

func answer(a ipc.Answer) *ipc.Answer {
	a.Seq, a.Step = 9, 7
	return &a
}

func deliver(e ipc.Event) *ipc.Deliver {
	return &ipc.Deliver{Seq: 9, Step: 7, ProcessedTS: procTS, TraceID: "run-0001-7", Event: e}
}

func quote1() *ipc.Quote {
	return &ipc.Quote{Market: market(), Bid: opt("65000.1"), BidSize: opt("0.5"), Ask: opt("65000.2"), AskSize: opt("1.25")}
}

func instruments() []ipc.Instrument {
	return []ipc.Instrument{
		{
			ID: "BTCUSDT.BINANCE", Tick: dec("0.1"), Lot: dec("0.001"), MinQuantity: dec("0.001"), MaxQuantity: dec("100"),
			MinNotional: dec("5"), Base: "BTC", Quote: "USDT", Venue: "binance",
		},
		{ID: "EURUSD.OANDA", Tick: dec("0.00001"), Lot: dec("1"), Base: "EUR", Quote: "USD", Venue: "oanda"},
	}
}

func initFirst() *ipc.Init {
	c := context
	return &ipc.Init{
		Seq: 1, Step: 1, ProcessedTS: procTS, TraceID: "run-0001-1", Address: address, StrategyVersion: "1.2.3", Lineage: lineage,
		RunID: "run-0001", Epoch: 4, Lane: ipc.LaneLL, Mode: ipc.ModeLive, RunSeed: math.MaxUint64,
		Config:      ipc.Values{"fast": int64(12), "slow": int64(26), "size": dec("0.25"), "symbol": "BTCUSDT.BINANCE"},
		Instruments: instruments(), RiskContext: &c, MaxAnswerBytes: 65536, MaxStateBytes: 1 << 20, MaxIntents: 16,
	}
}

func sessionVectors() []valid {
	const R, S = ipc.FromRunner, ipc.FromSupervisor
	restored := initFirst()
	restored.Step, restored.Restored, restored.StateVersion, restored.StateBytes = 1000, true, 3, ptr(uint64(70_000))
	minimal := &ipc.Init{
		Seq: 1, Step: 1, Address: address, Lane: ipc.LaneCompute, Mode: ipc.ModeSmoke, Config: ipc.Values{},
	}
	scalars := initFirst()
	scalars.Mode, scalars.RunSeed, scalars.Instruments = ipc.ModeReplay, 0, nil
	scalars.Config = ipc.Values{
		"nil": nil, "true": true, "false": false, "zero": int64(0), "int_min": int64(math.MinInt64), "int_max": int64(math.MaxInt64),
		"minus_33": int64(-33), "u8": int64(200), "float": 0.1, "float_whole": 2.0, "float_min": 5e-324, "float_max": math.MaxFloat64,
		"float_minus_zero": math.Copysign(0, -1), "text": "Größe 🚀", "empty": "", "dec": dec("-0.00000001"), "dec_zero": dec("0"),
		"text_1k": strings.Repeat("x", 1024), "ä": "sorted bytewise", "Z": "before a",
	}
	withUnicode := initFirst()
	withUnicode.Address, withUnicode.TraceID, withUnicode.RunID = abroad, "trace-ñ", "läuft-1"
	emptyState := initFirst()
	emptyState.Restored, emptyState.StateBytes = true, ptr(uint64(0))
	return []valid{
		{"hello", "the first frame of a session", R, &ipc.Hello{
			ABI: 1, SDK: "python", SDKVersion: "0.1.0", EventContract: 1, IntentContract: 1, PackageHash: hash64,
			Hooks: []string{"on_recovered", "on_config"}, StateSchemaVersion: 2,
		}, nil},
		{"hello-no-hooks", "an empty list", R, &ipc.Hello{
			ABI: 1, SDK: "rust", SDKVersion: "0.1.0", EventContract: 1, IntentContract: 1, PackageHash: hash64,
		}, nil},
		{"hello-largest-numbers", "u32 and u64 at their upper end", R, &ipc.Hello{
			Seq: math.MaxUint64, ABI: math.MaxUint32, SDK: "x", EventContract: math.MaxUint32, IntentContract: math.MaxUint32,
			PackageHash: hash64, StateSchemaVersion: math.MaxUint32,
		}, nil},
		{"init-first", "first start of an instance", S, initFirst(), nil},
		{"init-restored", "a start from a checkpoint; chunks follow", S, restored, nil},
		{"init-restored-empty-state", "state_bytes 0 is not nil: one empty chunk follows", S, emptyState, nil},
		{"init-minimal", "everything empty that may be", S, minimal, nil},
		{"init-config-scalars", "every type among the values, at its limits; keys sorted bytewise", S, scalars, nil},
		{"init-unicode", "ids outside ASCII", S, withUnicode, nil},
		{"deliver-empty-trace", "the SDK makes the trace id itself", S, &ipc.Deliver{Seq: 1, Step: 2, ProcessedTS: procTS, Event: quote1()}, nil},
		{"batch-empty", "no events", S, &ipc.Batch{Seq: 3, FirstStep: 10}, nil},
		{"batch-one", "one event", S, &ipc.Batch{Seq: 3, FirstStep: 10, Events: []ipc.BatchEvent{{ProcessedTS: procTS, TraceID: "run-0001-10", Event: quote1()}}}, nil},
		{"batch-mixed", "events of several kinds", S, &ipc.Batch{Seq: math.MaxUint32 + 1, FirstStep: 1 << 40, Events: []ipc.BatchEvent{
			{ProcessedTS: procTS, Event: quote1()}, {ProcessedTS: procTS + 1, TraceID: "t", Event: &ipc.Timer{TimerID: "tick", DueTS: procTS}},
			{ProcessedTS: procTS + 1, Event: &ipc.Shutdown{Reason: "FEED_ENDED"}},
		}}, nil},
		{"checkpoint_request", "", S, &ipc.CheckpointRequest{Seq: 12, Step: 7, MaxBytes: 16 << 20}, nil},
		{"chunk", "300 bytes: a bin with a two-byte length", R, &ipc.Chunk{Seq: 12, Total: 300, StateVersion: 2, Data: []byte(strings.Repeat("state!", 50))}, nil},
		{"chunk-to-runner", "the second part, on the way to the runner", S, &ipc.Chunk{Seq: 1, Offset: 1 << 20, Total: 1<<20 + 3, StateVersion: 2, Data: []byte{0, 0xff, 0x80}}, nil},
		{"chunk-empty", "a state of zero bytes", R, &ipc.Chunk{Seq: 12, StateVersion: 1, Data: []byte{}}, nil},
		{"healthcheck", "", S, &ipc.Healthcheck{Seq: 77}, nil},
		{"health_report-healthy", "", R, &ipc.HealthReport{Seq: 77}, nil},
		{"health_report-failing", "", R, &ipc.HealthReport{Seq: 77, Health: 2, Tag: "NO_DATA"}, nil},
		{"stop", "", S, &ipc.Stop{Seq: 78}, nil},
	}
}

func answerVectors() []valid {
	const R = ipc.FromRunner
	missing := &ipc.Intent{Body: order()}
	named := intent(order())
	named.Meta.Name, named.Meta.Key, named.Meta.Proposal = "entry-1", nameKey, "prop-9"
	foreign := intent(&ipc.PositionIntent{Instrument: "株式.東京", TargetQuantity: dec("-1500")})
	foreign.Meta.Bot, foreign.Meta.Strategy, foreign.Meta.Instance = abroad.Bot, abroad.Strategy, abroad.Instance
	many := make([]*ipc.Intent, ipc.MaxIntents)
	for i := range many {
		many[i] = &ipc.Intent{Meta: ipc.IntentMeta{Name: "n"}, Body: &ipc.NoOpIntent{Reason: "wait"}}
	}
	full := ipc.Answer{
		Intents:   []*ipc.Intent{intent(order()), intent(&ipc.NoOpIntent{Reason: "flat"})},
		Updates:   &ipc.StateUpdates{Checkpoint: true, Delta: map[string][]byte{"b": {1, 2}, "a": nil, "": {}}},
		Timers:    []ipc.TimerRequest{{Op: ipc.TimerSet, TimerID: "tick", DueTS: ts}, {Op: ipc.TimerCancel, TimerID: "old"}},
		Compute:   []ipc.ComputeRequest{{Task: "refit", Payload: []byte("x"), TTL: 1_000_000_000}, {Task: "empty", Payload: []byte{}}},
		Telemetry: []ipc.Telemetry{{Name: "spread", Value: -1.5}, {Name: "regime", Tag: "calm", IsTag: true}, {Name: "zero", Value: 0}},
		Fault:     &ipc.Fault{Kind: "exception", Message: "ValueError: nein", Traceback: "Traceback …\n  File \"s.py\", line 3"},
	}
	one := func(name string, body ipc.IntentBody) valid {
		return valid{"answer-" + name, "one " + strings.ReplaceAll(name, "-", " "), R, answer(ipc.Answer{Intents: []*ipc.Intent{intent(body)}}), nil}
	}
	list := []valid{
		{"answer-empty", "nothing to say: the most frequent answer", R, answer(ipc.Answer{}), nil},
		one("order", order()),
		one("order-market", &ipc.OrderIntent{Instrument: "EURUSD.OANDA", Side: ipc.SideSell, Type: ipc.OrderMarket, Quantity: dec("100000"), TimeInForce: ipc.TIFImmediateOrCancel, ReduceOnly: true}),
		one("order-stop-limit", &ipc.OrderIntent{Instrument: "EURUSD.OANDA", Side: ipc.SideSell, Type: ipc.OrderStopLimit, Quantity: dec("1"), LimitPrice: opt("1.08"), StopPrice: opt("1.0801"), TimeInForce: ipc.TIFDay}),
		one("cancel", &ipc.CancelIntent{Instrument: "BTCUSDT.BINANCE", TargetKey: nameKey}),
		one("amend", &ipc.AmendIntent{Instrument: "BTCUSDT.BINANCE", TargetKey: nameKey, Quantity: opt("0.5")}),
		one("amend-price", &ipc.AmendIntent{Instrument: "BTCUSDT.BINANCE", TargetKey: nameKey, LimitPrice: opt("64999.9")}),
		one("position", &ipc.PositionIntent{Instrument: "BTCUSDT.BINANCE", TargetQuantity: dec("-0.75"), LimitPrice: opt("65010")}),
		one("alert", &ipc.AlertIntent{Severity: ipc.SeverityWarning, Code: "SPREAD_WIDE", Instrument: "BTCUSDT.BINANCE"}),
		one("alert-critical", &ipc.AlertIntent{Severity: ipc.SeverityCritical, Code: "HELP"}),
		one("no_op", &ipc.NoOpIntent{Reason: "no_edge"}),
		one("risk_hint", &ipc.RiskHint{Hint: "reduce_leverage", Instrument: "BTCUSDT.BINANCE", Value: opt("0.5")}),
		one("risk_hint-bare", &ipc.RiskHint{Hint: "hedge"}),
		{"answer-order-named", "a named key and a proposal", R, answer(ipc.Answer{Intents: []*ipc.Intent{named}}), nil},
		{"answer-metadata-missing", "empty metadata decodes: the gate discards the intent", R, answer(ipc.Answer{Intents: []*ipc.Intent{missing}}), nil},
		{"answer-unicode", "ids outside ASCII", R, answer(ipc.Answer{Intents: []*ipc.Intent{foreign}}), nil},
		{"answer-256-intents", "as many as one answer may hold: an array with a two-byte count", R, answer(ipc.Answer{Intents: many}), nil},
		{"answer-full", "every part at once; delta with nil, empty and other values", R, answer(full), nil},
		{"answer-checkpoint", "state_updates without a delta", R, answer(ipc.Answer{Updates: &ipc.StateUpdates{Checkpoint: true}}), nil},
		{"answer-delta-empty", "an empty delta is not nil", R, answer(ipc.Answer{Updates: &ipc.StateUpdates{Delta: map[string][]byte{}}}), nil},
		{"answer-timers", "due times at both ends of i64", R, answer(ipc.Answer{Timers: []ipc.TimerRequest{
			{Op: ipc.TimerSet, TimerID: "min", DueTS: math.MinInt64}, {Op: ipc.TimerSet, TimerID: "max", DueTS: math.MaxInt64},
		}}), nil},
		{"answer-telemetry", "numbers and tags", R, answer(ipc.Answer{Telemetry: full.Telemetry}), nil},
		{"answer-compute", "requests to the compute part", R, answer(ipc.Answer{Compute: full.Compute}), nil},
		{"answer-fault", "a typed failure", R, answer(ipc.Answer{Fault: full.Fault}), nil},
		{"answer-fault-longest", "message and traceback at their limits", R, answer(ipc.Answer{Fault: &ipc.Fault{
			Kind: "memory", Message: strings.Repeat("m", ipc.MaxMessageBytes), Traceback: strings.Repeat("t", ipc.MaxTracebackBytes),
		}}), nil},
		{"batch_answer-empty", "the whole batch without a word", R, &ipc.BatchAnswer{Consumed: 4096, Answer: *answer(ipc.Answer{})}, nil},
		{"batch_answer-order", "stopped at the first event", R, &ipc.BatchAnswer{Consumed: 1, Answer: *answer(ipc.Answer{Intents: []*ipc.Intent{intent(order())}})}, nil},
	}
	return list
}

func boundaryVectors() []valid {
	const M, P = ipc.FromM, ipc.FromPeer
	offer := ipc.Offer{
		Seq: 5, Address: address, Epoch: 4, Step: 7, Ordinal: 1, Digest: digest, ValidUntil: procTS + 250_000_000, Intent: intent(order()),
	}
	approval := ipc.ApprovalRequest(offer)
	exec := &ipc.Execution{
		Key: stepKey, Report: ipc.ExecAccepted, Instrument: "BTCUSDT.BINANCE", EventTS: ts, RecvTS: recvTS, VenueOrderID: "8389765", Side: ipc.SideBuy,
	}
	return []valid{
		{"boundary_hello", "", M, &ipc.BoundaryHello{Seq: 1, Address: address, Lineage: lineage, Epoch: 4, Owner: nonce, OldestOpenStep: 3}, nil},
		{"boundary_hello-unicode", "ids outside ASCII", M, &ipc.BoundaryHello{Seq: 1, Address: abroad, Epoch: math.MaxUint64}, nil},
		{"welcome", "", P, &ipc.Welcome{Seq: 1, Address: address, LastStep: 7, Cursor: cursor}, nil},
		{"welcome-nothing-seen", "", P, &ipc.Welcome{Seq: 1, Address: address}, nil},
		{"refused", "", P, &ipc.Refused{Seq: 1, Address: address, Reason: "EPOCH_PASSED", Epoch: 5}, nil},
		{"offer", "", M, &offer, nil},
		{"query", "", M, &ipc.Query{Seq: 6, Address: address, Epoch: 4, Key: stepKey}, nil},
		{"status-committed", "", P, &ipc.StatusReport{Seq: 6, Address: address, Key: stepKey, Status: ipc.StatusCommitted, Digest: &digest}, nil},
		{"status-not-seen", "no digest", P, &ipc.StatusReport{Seq: 6, Address: address, Key: stepKey}, nil},
		{"status-unasked", "seq 0", P, &ipc.StatusReport{Address: address, Key: stepKey, Status: ipc.StatusRejected, Digest: &digest, Reason: "SINK_REFUSED"}, nil},
		{"tombstone", "", M, &ipc.Tombstone{Seq: 7, Address: address, Epoch: 4, Key: stepKey}, nil},
		{"last_step", "", P, &ipc.LastStep{Seq: 8, Address: address, Step: 1 << 50}, nil},
		{"event-quote", "a market event has no address", P, &ipc.SourceEvent{Seq: 9, Cursor: cursor, RecvTS: recvTS, TraceID: "h-1", Event: quote1()}, nil},
		{"event-execution", "", P, &ipc.SourceEvent{Seq: 10, Address: &address, Cursor: cursor, RecvTS: recvTS, Event: exec}, nil},
		{"event-manual_signal", "the only event from 32 on that a peer may send", P, &ipc.SourceEvent{Seq: 10, Address: &address, Cursor: cursor, Event: &ipc.ManualSignal{
			EventTS: ts, RecvTS: recvTS, Operator: "ada", Name: "pause_entries", Values: ipc.Values{"minutes": int64(5)},
		}}, nil},
		{"ack", "", M, &ipc.Ack{Seq: 10, Address: &address, Cursor: cursor}, nil},
		{"ack-sync", "the answer to a sync: seq alone", P, &ipc.Ack{Seq: 15}, nil},
		{"resume", "", M, &ipc.Resume{Seq: 11, Address: &address, Cursor: cursor}, nil},
		{"resume-market", "a market source has no address", M, &ipc.Resume{Seq: 11, Cursor: ipc.Cursor{Source: "binance"}}, nil},
		{"snapshot_request", "", M, &ipc.SnapshotRequest{Seq: 12, Address: address}, nil},
		{"approval_request", "", M, &approval, nil},
		{"approval-granted", "", P, &ipc.Approval{Seq: 13, Address: address, Key: stepKey, Approved: true}, nil},
		{"approval-denied", "", P, &ipc.Approval{Seq: 13, Address: address, Key: stepKey, Reason: "APPROVAL_DENIED"}, nil},
		{"sync", "", M, &ipc.Sync{Seq: 15}, nil},
	}
}
