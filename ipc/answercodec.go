package ipc

import (
	"fmt"
	"maps"
	"slices"

	"github.com/tinylib/msgp/msgp"
)

// answerParts writes what Answer and BatchAnswer have in common after the step.
func (w *writer) answerParts(m *Answer) {
	w.intents(m.Intents, withAll)
	w.updates(m.Updates)
	w.effects(m)
	if m.Fault == nil {
		w.null()
		return
	}
	w.array(3)
	w.tag("fault.kind", m.Fault.Kind)
	w.str("fault.message", m.Fault.Message, MaxMessageBytes)
	w.str("fault.traceback", m.Fault.Traceback, MaxTracebackBytes)
}

func (w *writer) intents(intents []*Intent, without blanks) {
	w.list("intents", len(intents), MaxIntents)
	for i := range intents {
		w.intent(intents[i], without)
		if w.err != nil {
			w.within("intents", i)
			return
		}
	}
}

func (w *writer) updates(u *StateUpdates) {
	if u == nil {
		w.null()
		return
	}
	w.array(2)
	w.bool(u.Checkpoint)
	if u.Delta == nil {
		w.null()
		return
	}
	if len(u.Delta) > MaxDeltaEntries {
		w.fail("state_updates.delta", "%d entries; at most %d are allowed", len(u.Delta), MaxDeltaEntries)
	}
	w.b = msgp.AppendMapHeader(w.b, uint32(len(u.Delta)))
	for _, name := range slices.Sorted(maps.Keys(u.Delta)) {
		w.id("state_updates.delta", name)
		if value := u.Delta[name]; value == nil {
			w.null()
		} else {
			w.bin("state_updates.delta", value, MaxAnswerBytes)
		}
	}
}

// effects writes timers, compute requests and telemetry.
func (w *writer) effects(m *Answer) {
	w.list("timers", len(m.Timers), MaxTimers)
	for i := range m.Timers {
		w.array(3)
		w.enum("timers.op", uint8(m.Timers[i].Op), uint8(TimerSet), uint8(TimerCancel))
		w.tag("timers.timer_id", m.Timers[i].TimerID)
		w.nanos(m.Timers[i].DueTS)
	}
	w.list("compute", len(m.Compute), MaxComputes)
	for i := range m.Compute {
		w.array(3)
		w.tag("compute.task", m.Compute[i].Task)
		w.bin("compute.payload", m.Compute[i].Payload, MaxAnswerBytes)
		w.nanos(m.Compute[i].TTL)
	}
	w.list("telemetry", len(m.Telemetry), MaxTelemetry)
	for i := range m.Telemetry {
		w.array(2)
		w.tag("telemetry.name", m.Telemetry[i].Name)
		if m.Telemetry[i].IsTag {
			w.tag("telemetry.value", m.Telemetry[i].Tag)
		} else {
			w.float("telemetry.value", m.Telemetry[i].Value)
		}
	}
}

func (r *Reader) answer() Message {
	m := &Answer{Seq: r.seq(), Step: r.step("step")}
	r.answerParts(m)
	return m
}

func (r *Reader) batchAnswer() Message {
	m := &BatchAnswer{Answer: Answer{Seq: r.seq()}}
	at := r.rest
	m.Consumed = r.u32("consumed")
	if r.err == nil && (m.Consumed == 0 || m.Consumed > MaxBatchEvents) {
		r.rest = at
		r.fail(ClassRange, "consumed", fmt.Sprintf("%d; allowed are 1 to %d", m.Consumed, MaxBatchEvents))
	}
	m.Answer.Step = r.step("step")
	r.answerParts(&m.Answer)
	return m
}

func (r *Reader) answerParts(m *Answer) {
	if n := r.list("intents", MaxIntents, leastIntent); n > 0 {
		m.Intents = make([]*Intent, n)
	}
	for i := range m.Intents {
		m.Intents[i] = r.intent()
		if r.err != nil {
			r.within("intents", i)
			return
		}
	}
	r.endList()
	m.Updates = r.updates()
	m.Timers = r.timers()
	m.Compute = r.computes()
	m.Telemetry = r.telemetry()
	if r.null() {
		return
	}
	n := r.array("fault", 3)
	m.Fault = &Fault{
		Kind: r.tag("fault.kind"), Message: r.str("fault.message", MaxMessageBytes),
		Traceback: r.str("fault.traceback", MaxTracebackBytes),
	}
	r.end(n, 3)
}

func (r *Reader) updates() *StateUpdates {
	if r.null() {
		return nil
	}
	n := r.array("state_updates", 2)
	u := &StateUpdates{Checkpoint: r.bool("state_updates.checkpoint")}
	if !r.null() {
		u.Delta = r.delta("state_updates.delta")
	}
	r.end(n, 2)
	return u
}

func (r *Reader) delta(field string) map[string][]byte {
	n := r.table(field, MaxDeltaEntries, 2)
	if r.err != nil {
		return nil
	}
	delta := make(map[string][]byte, n)
	for range n {
		name := r.id(field)
		if _, twice := delta[name]; twice && r.err == nil {
			r.fail(ClassDuplicateKey, field, fmt.Sprintf("%q comes twice", name))
		}
		if r.null() {
			delta[name] = nil
		} else {
			delta[name] = r.bin(field, MaxAnswerBytes)
		}
		if r.err != nil {
			return nil
		}
	}
	r.endList()
	return delta
}

func (r *Reader) timers() []TimerRequest {
	var timers []TimerRequest
	if n := r.list("timers", MaxTimers, 4); n > 0 {
		timers = make([]TimerRequest, n)
	}
	for i := range timers {
		n := r.array("", 3)
		timers[i] = TimerRequest{
			Op: TimerOp(r.enum("op", uint8(TimerSet), uint8(TimerCancel))), TimerID: r.tag("timer_id"), DueTS: r.nanos("due_ts"),
		}
		r.end(n, 3)
		if r.err != nil {
			r.within("timers", i)
			return nil
		}
	}
	r.endList()
	return timers
}

func (r *Reader) computes() []ComputeRequest {
	var computes []ComputeRequest
	if n := r.list("compute", MaxComputes, 5); n > 0 {
		computes = make([]ComputeRequest, n)
	}
	for i := range computes {
		n := r.array("", 3)
		computes[i] = ComputeRequest{Task: r.tag("task"), Payload: r.bin("payload", MaxAnswerBytes), TTL: r.nanos("ttl")}
		r.end(n, 3)
		if r.err != nil {
			r.within("compute", i)
			return nil
		}
	}
	r.endList()
	return computes
}

func (r *Reader) telemetry() []Telemetry {
	var telemetry []Telemetry
	if n := r.list("telemetry", MaxTelemetry, 3); n > 0 {
		telemetry = make([]Telemetry, n)
	}
	for i := range telemetry {
		n := r.array("", 2)
		t := &telemetry[i]
		t.Name = r.tag("name")
		if msgp.NextType(r.rest) == msgp.StrType {
			t.IsTag, t.Tag = true, r.tag("value")
		} else {
			t.Value = r.float("value")
		}
		r.end(n, 2)
		if r.err != nil {
			r.within("telemetry", i)
			return nil
		}
	}
	r.endList()
	return telemetry
}
