package ipc

import "fmt"

// EncodedEvent is an event of a Batch whose bytes AppendEvent has made.
type EncodedEvent struct {
	ProcessedTS Nanos
	TraceID     TraceID
	Event       []byte
}

// AppendDeliver appends the array of a Deliver around an event that AppendEvent has encoded: an event is encoded once,
// however many instances it goes to.
func AppendDeliver(b []byte, seq uint64, step Step, processed Nanos, trace TraceID, event []byte) ([]byte, error) {
	if len(event) == 0 {
		return b, fmt.Errorf("delivering step %d: the event has no bytes", step)
	}
	w := writer{b: b}
	w.open(TypeDeliver, seq)
	w.step(step)
	w.nanos(processed)
	w.id("trace_id", string(trace))
	w.b = append(w.b, event...)
	return w.done(b)
}

// AppendBatch appends the array of a Batch around events that AppendEvent has encoded.
func AppendBatch(b []byte, seq uint64, first Step, events []EncodedEvent) ([]byte, error) {
	w := writer{b: b}
	w.open(TypeBatch, seq)
	w.step(first)
	w.list("events", len(events), MaxBatchEvents)
	for i := range events {
		if len(events[i].Event) == 0 {
			w.fail("event", "no bytes")
		}
		w.array(3)
		w.nanos(events[i].ProcessedTS)
		w.id("trace_id", string(events[i].TraceID))
		w.b = append(w.b, events[i].Event...)
		if w.err != nil {
			w.within("events", i)
			break
		}
	}
	return w.done(b)
}
