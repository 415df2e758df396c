package ipc

func (w *writer) head(kind EventKind, fields int) {
	w.array(1 + fields)
	w.uint(uint64(kind))
}

func (w *writer) execution(e *Execution) {
	w.head(KindExecution, 15)
	w.id("key", string(e.Key))
	w.enum("report", uint8(e.Report), uint8(ExecAccepted), uint8(ExecUnknown))
	w.id("instrument", string(e.Instrument))
	w.nanos(e.EventTS)
	w.nanos(e.RecvTS)
	w.id("venue_order_id", e.VenueOrderID)
	w.enum("side", uint8(e.Side), 0, uint8(SideSell))
	w.optDec("price", e.Price)
	w.optDec("quantity", e.Quantity)
	w.optDec("remaining", e.Remaining)
	w.bool(e.Final)
	w.tag("reason", e.Reason)
	w.bool(e.Throttled)
	w.optDec("fee", e.Fee)
	w.tag("fee_asset", e.FeeAsset)
}

func (r *Reader) execution() Event {
	var x struct { // one allocation for the report and its numbers
		Execution
		dec [4]Decimal
	}
	e := &x
	e.Key = Key(r.id("key"))
	e.Report = ExecutionKind(r.enum("report", uint8(ExecAccepted), uint8(ExecUnknown)))
	e.Instrument = InstrumentID(r.id("instrument"))
	e.EventTS = r.nanos("event_ts")
	e.RecvTS = r.nanos("recv_ts")
	e.VenueOrderID = r.id("venue_order_id")
	e.Side = Side(r.enum("side", 0, uint8(SideSell)))
	e.Price = r.optDec("price", &e.dec[0])
	e.Quantity = r.optDec("quantity", &e.dec[1])
	e.Remaining = r.optDec("remaining", &e.dec[2])
	e.Final = r.bool("final")
	e.Reason = r.tag("reason")
	e.Throttled = r.bool("throttled")
	e.Fee = r.optDec("fee", &e.dec[3])
	e.FeeAsset = r.tag("fee_asset")
	return &e.Execution
}

func (w *writer) positions(rows []PositionRow) {
	w.list("positions", len(rows), MaxRows)
	for i := range rows {
		w.array(2)
		w.id("instrument", string(rows[i].Instrument))
		w.dec("quantity", rows[i].Quantity)
		if w.err != nil {
			w.within("positions", i)
			return
		}
	}
}

func (r *Reader) positions() []PositionRow {
	n := r.list("positions", MaxRows, leastRow)
	if n == 0 {
		r.endList()
		return nil
	}
	rows := make([]PositionRow, n)
	for i := range rows {
		got := r.array("", 2)
		rows[i].Instrument = InstrumentID(r.id("instrument"))
		rows[i].Quantity = r.dec("quantity")
		r.end(got, 2)
		if r.err != nil {
			r.within("positions", i)
			return nil
		}
	}
	r.endList()
	return rows
}

func (w *writer) executionSnapshot(e *ExecutionSnapshot) {
	w.head(KindExecutionSnapshot, 5)
	w.nanos(e.EventTS)
	w.nanos(e.RecvTS)
	w.positions(e.Positions)
	w.list("open", len(e.Open), MaxRows)
	for i := range e.Open {
		w.array(2)
		w.id("key", string(e.Open[i].Key))
		w.dec("remaining", e.Open[i].Remaining)
		if w.err != nil {
			w.within("open", i)
			return
		}
	}
	w.cursor(e.Cursor)
}

func (r *Reader) executionSnapshot() Event {
	e := new(ExecutionSnapshot)
	e.EventTS = r.nanos("event_ts")
	e.RecvTS = r.nanos("recv_ts")
	e.Positions = r.positions()
	if n := r.list("open", MaxRows, leastRow); n > 0 {
		e.Open = make([]OpenOrder, n)
	}
	for i := range e.Open {
		got := r.array("", 2)
		e.Open[i].Key = Key(r.id("key"))
		e.Open[i].Remaining = r.dec("remaining")
		r.end(got, 2)
		if r.err != nil {
			r.within("open", i)
			return e
		}
	}
	r.endList()
	e.Cursor = r.cursor()
	return e
}

func (w *writer) cursor(c Cursor) {
	w.array(3)
	w.id("cursor.source", string(c.Source))
	w.uint(c.Epoch)
	w.uint(c.Seq)
}

func (r *Reader) cursor() Cursor {
	n := r.array("cursor", 3)
	c := Cursor{Source: SourceID(r.id("cursor.source")), Epoch: r.u64("cursor.source_epoch"), Seq: r.u64("cursor.seq")}
	r.end(n, 3)
	return c
}

func (w *writer) risk(e *RiskEvent) {
	w.head(KindRisk, 6)
	w.nanos(e.EventTS)
	w.nanos(e.RecvTS)
	w.id("restrict_id", e.RestrictID)
	w.bool(e.Release)
	w.restriction(e.Restriction)
	w.code(e.Reason)
}

func (r *Reader) risk() Event {
	e := new(RiskEvent)
	e.EventTS = r.nanos("event_ts")
	e.RecvTS = r.nanos("recv_ts")
	e.RestrictID = r.id("restrict_id")
	e.Release = r.bool("release")
	e.Restriction = r.restriction()
	e.Reason = r.reason("reason")
	return e
}

func (w *writer) restriction(x Restriction) {
	w.array(4)
	w.dec("restriction.size_factor", x.SizeFactor)
	w.bool(x.LimitOnly)
	w.bool(x.ReduceOnly)
	w.bool(x.NoTrade)
}

func (r *Reader) restriction() Restriction {
	n := r.array("restriction", 4)
	x := Restriction{
		SizeFactor: r.dec("restriction.size_factor"), LimitOnly: r.bool("restriction.limit_only"),
		ReduceOnly: r.bool("restriction.reduce_only"), NoTrade: r.bool("restriction.no_trade"),
	}
	r.end(n, 4)
	return x
}

func (w *writer) safety(e *SafetyEvent) {
	w.head(KindSafety, 4)
	w.nanos(e.EventTS)
	w.nanos(e.RecvTS)
	w.enum("command", uint8(e.Command), uint8(SafetyFreeze), uint8(SafetyHalt))
	w.code(e.Reason)
}

func (r *Reader) safety() Event {
	e := new(SafetyEvent)
	e.EventTS = r.nanos("event_ts")
	e.RecvTS = r.nanos("recv_ts")
	e.Command = SafetyCommand(r.enum("command", uint8(SafetyFreeze), uint8(SafetyHalt)))
	e.Reason = r.reason("reason")
	return e
}
