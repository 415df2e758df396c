package supervisor

import (
	"sync"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/supervisor/core"
	"github.com/msup/msup/supervisor/gate"
	"github.com/msup/msup/supervisor/mailbox"
)

// Latencies are recorded from 1 µs to a minute, with two significant digits.
const (
	lowestLatencyNS  = 1_000
	highestLatencyNS = 60_000_000_000
)

// Tally counts what one instance did.
type Tally struct {
	Delivered map[ipc.EventKind]uint64
	Outcomes  map[core.Outcome]uint64
	Intents   map[ipc.IntentKind]map[gate.Outcome]uint64
	Offered   map[ipc.IntentKind]uint64
	Reasons   map[ipc.ReasonCode]uint64
	Fills     uint64
	Restarts  map[ipc.ReasonCode]uint64
	Telemetry map[string]ipc.Telemetry // last value of each name
	Health    core.Health
	Reason    ipc.ReasonCode
	Latency   *hdrhistogram.Histogram // of answers, ns
	Market    mailbox.Counts          // received = delivered + conflated + dropped + waiting, of this moment

	Progress Progress // of this moment: health is judged by it (OB-8)

	counts   func() mailbox.Counts
	progress func() Progress
}

// Stats is the Observer that summaries and metrics are made from. Safe for concurrent use.
type Stats struct {
	mu      sync.Mutex
	tallies map[ipc.Address]*Tally
}

// NewStats returns empty statistics.
func NewStats() *Stats { return &Stats{tallies: map[ipc.Address]*Tally{}} }

func (s *Stats) with(a ipc.Address, f func(*Tally)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tallies[a]
	if t == nil {
		t = &Tally{Delivered: map[ipc.EventKind]uint64{}, Outcomes: map[core.Outcome]uint64{},
			Intents: map[ipc.IntentKind]map[gate.Outcome]uint64{}, Offered: map[ipc.IntentKind]uint64{},
			Reasons: map[ipc.ReasonCode]uint64{}, Restarts: map[ipc.ReasonCode]uint64{}, Telemetry: map[string]ipc.Telemetry{},
			Health: core.Healthy, Latency: hdrhistogram.New(lowestLatencyNS, highestLatencyNS, 2)}
		s.tallies[a] = t
	}
	f(t)
}

// Read calls f with the tally of an instance while nobody changes it.
func (s *Stats) Read(a ipc.Address, f func(*Tally)) {
	s.with(a, func(t *Tally) {
		if t.counts != nil {
			t.Market = t.counts()
		}
		if t.progress != nil {
			t.Progress = t.progress()
		}
		f(t)
	})
}

// Account keeps where the accounts of an instance's market events are (BP-1).
func (s *Stats) Account(a ipc.Address, counts func() mailbox.Counts) {
	s.with(a, func(t *Tally) { t.counts = counts })
}

// Follow keeps whom to ask how far an instance is.
func (s *Stats) Follow(a ipc.Address, ask func() Progress) {
	s.with(a, func(t *Tally) { t.progress = ask })
}

// Delivered counts a delivery.
func (s *Stats) Delivered(a ipc.Address, kind ipc.EventKind) {
	s.with(a, func(t *Tally) {
		t.Delivered[kind]++
	})
}

// Answered counts an outcome and its latency (OB-1).
func (s *Stats) Answered(a ipc.Address, outcome core.Outcome, took ipc.Nanos) {
	s.with(a, func(t *Tally) {
		t.Outcomes[outcome]++
		// A latency above the histogram's range is its highest value; the outcome says the rest.
		_ = t.Latency.RecordValue(min(max(int64(took), lowestLatencyNS), highestLatencyNS))
	})
}

// Judged counts a verdict.
func (s *Stats) Judged(a ipc.Address, row *core.IntentRow) {
	s.with(a, func(t *Tally) {
		byOutcome := t.Intents[row.Kind]
		if byOutcome == nil {
			byOutcome = map[gate.Outcome]uint64{}
			t.Intents[row.Kind] = byOutcome
		}
		byOutcome[row.Verdict.Outcome]++
	})
}

// Offered counts an intent that left M (OB-5).
func (s *Stats) Offered(a ipc.Address, tracked *gate.Tracked) {
	s.with(a, func(t *Tally) { t.Offered[tracked.Intent.Kind()]++ })
}

// Arrived counts the fills that I reports.
func (s *Stats) Arrived(a ipc.Address, e ipc.Event) {
	if x, ok := e.(*ipc.Execution); ok && x.Report == ipc.ExecFilled {
		s.with(a, func(t *Tally) { t.Fills++ })
	}
}

// Noted counts a reason code (SB-8).
func (s *Stats) Noted(a ipc.Address, n core.Note) {
	s.with(a, func(t *Tally) { t.Reasons[n.Reason]++ })
}

// Telemetry keeps the last value of a declared name.
func (s *Stats) Telemetry(a ipc.Address, v ipc.Telemetry) {
	s.with(a, func(t *Tally) { t.Telemetry[v.Name] = v })
}

// Restarted counts a runner that had to be restored.
func (s *Stats) Restarted(a ipc.Address, reason ipc.ReasonCode) {
	s.with(a, func(t *Tally) { t.Restarts[reason]++ })
}

// Health keeps the health state (OB-8).
func (s *Stats) Health(a ipc.Address, h core.Health, reason ipc.ReasonCode) {
	s.with(a, func(t *Tally) { t.Health, t.Reason = h, reason })
}
