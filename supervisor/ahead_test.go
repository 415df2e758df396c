package supervisor

import (
	"log/slog"
	"sync/atomic"
	"testing"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/supervisor/core"
)

// A report that I made where the feed has not come to again waits until it has; one that I makes now never does.
// Proves: NN-3, GT-6
func TestAReportFromAfterTheFeedWaits(t *testing.T) {
	var feed atomic.Int64
	address := ipc.Address{Bot: "b", Strategy: "s", Instance: "i"}
	p := &Instance{cfg: InstanceConfig{LockStep: true}, log: slog.New(slog.DiscardHandler), state: core.New(address, ipc.Lineage{1})}
	p.ahead.feed = &feed
	report := func(seq uint64, recv ipc.Nanos) *ipc.SourceEvent {
		return &ipc.SourceEvent{Address: &address, Cursor: ipc.Cursor{Source: "sim", Epoch: 1, Seq: seq}, RecvTS: recv, Event: &ipc.Execution{RecvTS: recv}}
	}
	feed.Store(10)
	early, later := report(1, 11), report(2, 12)
	if p.isAhead(report(1, 10)) || !p.isAhead(early) {
		t.Fatal("at 10, a report of 10 is due and one of 11 is not")
	}
	p.sink.made = later.Cursor
	if !p.behind() {
		t.Fatal("I has made two reports, and none is here")
	}
	for _, e := range []*ipc.SourceEvent{early, later, early, later} { // I sends again what is not acknowledged
		p.hold(e)
	}
	if len(p.ahead.held) != 2 || p.ahead.due.Load() != 11 {
		t.Fatalf("%d are held, the first until %d", len(p.ahead.held), p.ahead.due.Load())
	}
	if p.behind() {
		t.Fatal("what is held is here")
	}
	p.sink.greeted = true
	if !p.isAhead(later) || p.isAhead(report(3, 99)) {
		t.Fatal("the last report of the welcome is from before this run, the next one is not")
	}
	if p.stopping = true; p.isAhead(later) {
		t.Fatal("at the stop nothing waits any more")
	}
}
