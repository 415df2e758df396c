package ipc

import (
	"crypto/sha256"
	"fmt"
	"sync"
)

// EmptyAnswerDigest is the digest of an answer in which nothing but the step is said: by far the most frequent one.
var EmptyAnswerDigest = Digest{
	0xe4, 0xaa, 0xc7, 0x84, 0xf3, 0x26, 0x41, 0xb0, 0x8a, 0xd6, 0xd4, 0x3b, 0x4b, 0x97, 0x1b, 0xb1,
	0xc7, 0x7b, 0x6c, 0xb2, 0x91, 0xe2, 0x49, 0x09, 0xc0, 0x4e, 0x8d, 0xc2, 0x37, 0xb8, 0x82, 0x19,
}

// digestBuffers hold what is summed: an array of the caller's would escape through the writer, a kilobyte for every answer.
var digestBuffers = sync.Pool{New: func() any {
	b := make([]byte, 0, 4096)
	return &b
}}

// AnswerDigest sums everything in an answer that replay must reproduce: [intents, state_updates, timers, compute, telemetry,
// fault_kind] in canonical msgpack, without seq, step, run_id, trace_id and the fault's texts (RS-2).
func AnswerDigest(a *Answer) (Digest, error) {
	if a.Empty() {
		return EmptyAnswerDigest, nil
	}
	buf := digestBuffers.Get().(*[]byte)
	defer digestBuffers.Put(buf)
	w := writer{b: (*buf)[:0]}
	w.array(6)
	w.intents(a.Intents, withoutRun)
	w.updates(a.Updates)
	w.effects(a)
	kind := ""
	if a.Fault != nil {
		kind = a.Fault.Kind
	}
	w.tag("fault.kind", kind)
	if w.err != nil {
		return Digest{}, fmt.Errorf("summing an answer: %w", w.err)
	}
	return sha256.Sum256(w.b), nil
}

// IntentDigest sums what an intent asks for: [kind, meta, body] without run_id, trace_id and key. Before the gate it is the
// request digest, after it the digest that I checks (GT-5): the same key with another digest is a KEY_CONFLICT.
func IntentDigest(i *Intent) (Digest, error) {
	buf := digestBuffers.Get().(*[]byte)
	defer digestBuffers.Put(buf)
	w := writer{b: (*buf)[:0]}
	w.intent(i, withoutKey)
	if w.err != nil {
		return Digest{}, fmt.Errorf("summing an intent: %w", w.err)
	}
	return sha256.Sum256(w.b), nil
}
