package supervisor

import (
	"io"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/supervisor/core"
)

// answering plays a runner that answers every question with what reply makes of it.
func answering(t *testing.T, hooks []string, reply func(ipc.Message) ipc.Message) *Session {
	t.Helper()
	ours, theirs := net.Pipe()
	t.Cleanup(func() { _ = ours.Close() })
	go func() {
		runner := ipc.NewConn(theirs, ipc.FromSupervisor)
		for {
			m, err := runner.Receive()
			if err != nil {
				return
			}
			if err := runner.Send(reply(m)); err != nil {
				return
			}
		}
	}()
	return &Session{conn: ipc.NewConn(ours, ipc.FromRunner), hello: ipc.Hello{Hooks: hooks}}
}

// Proves: DM-3
func TestAStrategyThatCallsItselfUnwellIsToldOf(t *testing.T) {
	a := ipc.Address{Bot: "b", Strategy: "s", Instance: "i"}
	stats := NewStats()
	p := NewInstance(InstanceConfig{Address: a, Observer: stats, QueueEvents: 1, Deadlines: Deadlines{Hard: time.Minute},
		Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	p.state = core.New(a, ipc.Lineage{})
	p.state.StepNo = 3
	p.session = answering(t, []string{"on_healthcheck"}, func(m ipc.Message) ipc.Message {
		return &ipc.HealthReport{Seq: m.(*ipc.Healthcheck).Seq, Health: 1, Tag: "stale_model"}
	})
	if !p.healthcheckDue() {
		t.Fatal("a strategy with on_healthcheck that was never asked is not due")
	}
	if err := p.checkHealth(); err != nil {
		t.Fatal(err)
	}
	if p.healthcheckDue() {
		t.Error("it is due again at once")
	}
	stats.Read(a, func(tally *Tally) {
		if tally.Reasons[ipc.ReasonStrategyUnwell] != 1 {
			t.Errorf("reasons %v, want one %s", tally.Reasons, ipc.ReasonStrategyUnwell)
		}
	})
	p.session = answering(t, nil, nil)
	p.lastHealth = time.Time{}
	if p.healthcheckDue() {
		t.Error("a strategy without on_healthcheck is asked")
	}
}
