package ipc

// The events that M makes itself.

func (w *writer) timer(e *Timer) {
	w.head(KindTimer, 2)
	w.tag("timer_id", e.TimerID)
	w.nanos(e.DueTS)
}

func (r *Reader) timer() Event {
	return &Timer{TimerID: r.tag("timer_id"), DueTS: r.nanos("due_ts")}
}

func (w *writer) manualSignal(e *ManualSignal) {
	w.head(KindManualSignal, 5)
	w.nanos(e.EventTS)
	w.nanos(e.RecvTS)
	w.id("operator", e.Operator)
	w.tag("name", e.Name)
	w.values("values", e.Values)
}

func (r *Reader) manualSignal() Event {
	return &ManualSignal{
		EventTS: r.nanos("event_ts"), RecvTS: r.nanos("recv_ts"), Operator: r.id("operator"), Name: r.tag("name"),
		Values: r.values("values"),
	}
}

func (w *writer) computeResult(e *ComputeResult) {
	w.head(KindComputeResult, 5)
	w.tag("task", e.Task)
	w.uint(uint64(e.RequestStep))
	w.uint(uint64(e.Ordinal))
	w.nanos(e.RequestedTS)
	w.bin("payload", e.Payload, MaxFrameBytes)
}

func (r *Reader) computeResult() Event {
	return &ComputeResult{
		Task: r.tag("task"), RequestStep: Step(r.u64("request_step")), Ordinal: r.u32("ordinal"),
		RequestedTS: r.nanos("requested_ts"), Payload: r.bin("payload", MaxFrameBytes),
	}
}

func (w *writer) computeUnavailable(e *ComputeUnavailable) {
	w.head(KindComputeUnavailable, 4)
	w.tag("task", e.Task)
	w.uint(uint64(e.RequestStep))
	w.uint(uint64(e.Ordinal))
	w.code(e.Reason)
}

func (r *Reader) computeUnavailable() Event {
	return &ComputeUnavailable{
		Task: r.tag("task"), RequestStep: Step(r.u64("request_step")), Ordinal: r.u32("ordinal"), Reason: r.reason("reason"),
	}
}

func (w *writer) configUpdate(e *ConfigUpdate) {
	w.head(KindConfigUpdate, 5)
	w.values("config", e.Config)
	w.bin("config_hash", e.ConfigHash[:], len(e.ConfigHash))
	w.id("who", e.Who)
	w.str("why", e.Why, MaxTextBytes)
	w.nanos(e.ChangedTS)
}

func (r *Reader) configUpdate() Event {
	e := &ConfigUpdate{Config: r.values("config")}
	r.fixed("config_hash", e.ConfigHash[:])
	e.Who = r.id("who")
	e.Why = r.str("why", MaxTextBytes)
	e.ChangedTS = r.nanos("changed_ts")
	return e
}

func (w *writer) openIntents(field string, list []OpenIntent) {
	w.list(field, len(list), MaxRows)
	for i := range list {
		w.array(3)
		w.id("key", string(list[i].Key))
		w.enum("status", uint8(list[i].Status), 0, uint8(StatusWithdrawn))
		w.intent(list[i].Intent, withAll)
		if w.err != nil {
			w.within(field, i)
			return
		}
	}
}

// leastIntent is [kind, meta of ten elements, body of one element].
const leastIntent = 1 + 1 + 11 + 2

func (r *Reader) openIntents(field string) []OpenIntent {
	n := r.list(field, MaxRows, 3+leastIntent)
	if n == 0 {
		r.endList()
		return nil
	}
	list := make([]OpenIntent, n)
	for i := range list {
		got := r.array("", 3)
		list[i].Key = Key(r.id("key"))
		list[i].Status = Status(r.enum("status", 0, uint8(StatusWithdrawn)))
		list[i].Intent = r.intent()
		r.end(got, 3)
		if r.err != nil {
			r.within(field, i)
			return nil
		}
	}
	r.endList()
	return list
}

func (w *writer) recovered(e *Recovered) {
	w.head(KindRecovered, 3)
	w.positions(e.Positions)
	w.openIntents("open", e.Open)
	w.openIntents("intents_since_checkpoint", e.IntentsSinceCheckpoint)
}

func (r *Reader) recovered() Event {
	return &Recovered{
		Positions: r.positions(), Open: r.openIntents("open"), IntentsSinceCheckpoint: r.openIntents("intents_since_checkpoint"),
	}
}

func (w *writer) eventSkipped(e *EventSkipped) {
	w.head(KindEventSkipped, 3)
	w.uint(uint64(e.SkippedStep))
	w.uint(uint64(e.SkippedKind))
	w.code(e.Reason)
}

func (r *Reader) eventSkipped() Event {
	return &EventSkipped{
		SkippedStep: Step(r.u64("skipped_step")), SkippedKind: EventKind(r.u8("skipped_kind")), Reason: r.reason("reason"),
	}
}

func (w *writer) intentsDiscarded(e *IntentsDiscarded) {
	w.head(KindIntentsDiscarded, 3)
	w.uint(uint64(e.DiscardedStep))
	w.list("keys", len(e.Keys), MaxRows)
	for i, key := range e.Keys {
		w.id("keys", string(key))
		if w.err != nil {
			w.within("keys", i)
			return
		}
	}
	w.code(e.Reason)
}

func (r *Reader) intentsDiscarded() Event {
	e := &IntentsDiscarded{DiscardedStep: Step(r.u64("discarded_step"))}
	for range r.list("keys", MaxRows, leastString) {
		e.Keys = append(e.Keys, Key(r.id("keys")))
	}
	r.endList()
	e.Reason = r.reason("reason")
	return e
}

func (r *Reader) shutdown() Event { return &Shutdown{Reason: r.reason("reason")} }
