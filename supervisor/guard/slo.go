package guard

import (
	"fmt"

	"github.com/msup/msup/ipc"
)

// Objective is what an instance promises for every window (LN-6). A promise of zero is none.
type Objective struct {
	Window   ipc.Nanos // of real time: a deadline and a processor do not follow a feed's
	P95      ipc.Nanos // nineteen of twenty answers take at most this
	DropRate float64   // dropped ÷ received market events; below zero = no promise, 0 = nothing may be dropped
	CPU      ipc.Nanos // processor time of the runner in one window
}

// Measures reports whether anything is promised.
func (o Objective) Measures() bool {
	return o.Window > 0 && (o.P95 > 0 || o.DropRate >= 0 || o.CPU > 0)
}

// fewest answers say something about their 95th percentile.
const fewest = 20

// Meter measures one window against an objective. It is fed live and never by a replay: what it finds goes into the log (LN-7). The zero
// Meter is ready for use.
type Meter struct {
	answers, slow   int
	longest         ipc.Nanos
	received, drops uint64
	cpu             ipc.Nanos
}

// Answered counts one answer.
func (m *Meter) Answered(o Objective, took ipc.Nanos) {
	m.answers++
	m.longest = max(m.longest, took)
	if took > o.P95 {
		m.slow++
	}
}

// Market adds market events that came and that were dropped.
func (m *Meter) Market(received, dropped uint64) {
	m.received += received
	m.drops += dropped
}

// Used adds processor time.
func (m *Meter) Used(cpu ipc.Nanos) { m.cpu += cpu }

// Finding is what one window says about one promise.
type Finding struct {
	Reason   ipc.ReasonCode
	Broken   bool
	Limit    int64
	Observed int64
	Unit     string
	Detail   string
}

// Close ends the window: one finding for each promise that it says something about. Answers that are too few for a percentile count into the
// next window.
func (m *Meter) Close(o Objective) []Finding {
	var found []Finding
	if o.P95 > 0 && m.answers >= fewest {
		allowed := m.answers / 20
		found = append(found, Finding{Reason: ipc.ReasonSLOLatency, Broken: m.slow > allowed, Limit: int64(allowed), Observed: int64(m.slow), Unit: "answers",
			Detail: fmt.Sprintf("%d of %d answers took longer than %d µs, %d may; the longest took %d µs", m.slow, m.answers, o.P95/1e3, allowed, m.longest/1e3)})
		m.answers, m.slow, m.longest = 0, 0, 0
	}
	if o.P95 <= 0 {
		m.answers, m.slow, m.longest = 0, 0, 0
	}
	if o.DropRate >= 0 {
		allowed := uint64(o.DropRate * float64(m.received))
		found = append(found, Finding{Reason: ipc.ReasonSLODrops, Broken: m.drops > allowed, Limit: int64(allowed), Observed: int64(m.drops), Unit: "events",
			Detail: fmt.Sprintf("%d of %d market events were dropped, %d may be", m.drops, m.received, allowed)})
	}
	if o.CPU > 0 {
		found = append(found, Finding{Reason: ipc.ReasonSLOCPU, Broken: m.cpu > o.CPU, Limit: int64(o.CPU), Observed: int64(m.cpu), Unit: "ns",
			Detail: fmt.Sprintf("%d ms of processor time were used, %d ms may be", m.cpu/1e6, o.CPU/1e6)})
	}
	m.received, m.drops, m.cpu = 0, 0, 0
	return found
}
