package ipc

func (w *writer) address(a Address) {
	w.array(3)
	w.id("address.bot", string(a.Bot))
	w.id("address.strategy", string(a.Strategy))
	w.id("address.instance", string(a.Instance))
}

func (r *Reader) address() Address {
	n := r.array("address", 3)
	a := Address{
		Bot: BotID(r.id("address.bot")), Strategy: StrategyID(r.id("address.strategy")),
		Instance: InstanceID(r.id("address.instance")),
	}
	r.end(n, 3)
	return a
}

func (w *writer) init(m *Init) {
	w.open(TypeInit, m.Seq)
	w.step(m.Step)
	w.nanos(m.ProcessedTS)
	w.id("trace_id", string(m.TraceID))
	w.address(m.Address)
	w.id("strategy_version", m.StrategyVersion)
	w.bin("lineage", m.Lineage[:], len(m.Lineage))
	w.id("run_id", string(m.RunID))
	w.uint(uint64(m.Epoch))
	w.enum("lane", uint8(m.Lane), uint8(LaneLL), uint8(LaneCompute))
	w.enum("mode", uint8(m.Mode), uint8(ModeLive), uint8(ModeSmoke))
	w.uint(m.RunSeed)
	w.values("config", m.Config)
	w.list("instruments", len(m.Instruments), MaxRows)
	for i := range m.Instruments {
		w.instrument(&m.Instruments[i])
		if w.err != nil {
			w.within("instruments", i)
			return
		}
	}
	w.riskContext(m.RiskContext)
	w.bool(m.Restored)
	w.uint(uint64(m.StateVersion))
	if m.StateBytes == nil {
		w.null()
	} else {
		w.uint(*m.StateBytes)
	}
	w.uint(m.MaxAnswerBytes)
	w.uint(m.MaxStateBytes)
	w.uint(uint64(m.MaxIntents))
}

func (r *Reader) init() Message {
	m := &Init{
		Seq: r.seq(), Step: r.step("step"), ProcessedTS: r.nanos("processed_ts"), TraceID: TraceID(r.id("trace_id")),
		Address: r.address(), StrategyVersion: r.id("strategy_version"),
	}
	r.fixed("lineage", m.Lineage[:])
	m.RunID = RunID(r.id("run_id"))
	m.Epoch = Epoch(r.u64("epoch"))
	m.Lane = Lane(r.enum("lane", uint8(LaneLL), uint8(LaneCompute)))
	m.Mode = RunMode(r.enum("mode", uint8(ModeLive), uint8(ModeSmoke)))
	m.RunSeed = r.u64("run_seed")
	m.Config = r.values("config")
	if n := r.list("instruments", MaxRows, leastInstrument); n > 0 {
		m.Instruments = make([]Instrument, n)
	}
	for i := range m.Instruments {
		r.instrument(&m.Instruments[i])
		if r.err != nil {
			r.within("instruments", i)
			return m
		}
	}
	r.endList()
	m.RiskContext = r.riskContext()
	m.Restored = r.bool("restored")
	m.StateVersion = r.u32("state_version")
	if !r.null() {
		n := r.u64("state_bytes")
		m.StateBytes = &n
	}
	m.MaxAnswerBytes = r.u64("max_answer_bytes")
	m.MaxStateBytes = r.u64("max_state_bytes")
	m.MaxIntents = r.u32("max_intents")
	return m
}

// leastInstrument is an array of four strings and five decimals.
const leastInstrument = 1 + 4 + 5*decimalBytes

func (w *writer) instrument(x *Instrument) {
	w.array(9)
	w.id("id", string(x.ID))
	w.dec("tick", x.Tick)
	w.dec("lot", x.Lot)
	w.dec("min_quantity", x.MinQuantity)
	w.dec("max_quantity", x.MaxQuantity)
	w.dec("min_notional", x.MinNotional)
	w.id("base", x.Base)
	w.id("quote", x.Quote)
	w.id("venue", x.Venue)
}

func (r *Reader) instrument(x *Instrument) {
	n := r.array("", 9)
	x.ID = InstrumentID(r.id("id"))
	x.Tick = r.dec("tick")
	x.Lot = r.dec("lot")
	x.MinQuantity = r.dec("min_quantity")
	x.MaxQuantity = r.dec("max_quantity")
	x.MinNotional = r.dec("min_notional")
	x.Base = r.id("base")
	x.Quote = r.id("quote")
	x.Venue = r.id("venue")
	r.end(n, 9)
}
