package supervisor

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/sandbox"
	"github.com/msup/msup/supervisor/core"
	"github.com/msup/msup/supervisor/guard"
)

// neverConnects is a runner that ended before it connected.
type neverConnects struct {
	sandbox.Runner
	exit sandbox.Exit
}

var errNoConnection = errors.New("nobody connected")

func (neverConnects) Conn(context.Context) (net.Conn, error) { return nil, errNoConnection }
func (r neverConnects) Exit() sandbox.Exit                   { return r.exit }
func (neverConnects) Done() <-chan struct{} {
	ended := make(chan struct{})
	close(ended)
	return ended
}

// A runner that something outside ends before its hello is followed by another, with growing pauses, until the ceiling of restarts is reached.
// One that ends by itself, or wants too much memory, is not.
// Proves: RS-2, NN-2
func TestARunnerLostInItsBringUpIsFollowedByAnother(t *testing.T) {
	const ceiling = 3
	for name, c := range map[string]struct {
		exit  sandbox.Exit
		again int
		want  ipc.ReasonCode
	}{
		"signal":      {sandbox.Exit{Cause: sandbox.CauseSignaled, Reason: sandbox.ReasonSignaled, Signal: 9}, ceiling, ipc.ReasonRunnerSignaled},
		"engine lost": {sandbox.Exit{Cause: sandbox.CauseSetupFailed, Reason: sandbox.ReasonSetupFailed}, ceiling, ipc.ReasonSandboxSetupFailed},
		"own status":  {sandbox.Exit{Cause: sandbox.CauseExited, Reason: sandbox.ReasonExited, Code: 1}, 0, ipc.ReasonRunnerExited},
		"import":      {sandbox.Exit{Cause: sandbox.CauseExited, Reason: sandbox.ReasonExited, Code: exitImport}, 0, ipc.ReasonImportFailed},
		"memory":      {sandbox.Exit{Cause: sandbox.CauseOOM, Reason: sandbox.ReasonOOM, OOM: true}, 0, ipc.ReasonRunnerOOM},
	} {
		t.Run(name, func(t *testing.T) {
			p := NewInstance(InstanceConfig{Address: ipc.Address{Bot: "b", Strategy: "s", Instance: "i"}, QueueEvents: 1, Clock: &FeedClock{},
				Params: &core.Params{Kills: guard.Rule{Window: ipc.Nanos(time.Hour), Halt: ceiling + 1}},
				Ledger: brokenSlots{}, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
			var again int
			for last := time.Duration(0); ; again++ {
				_, err := OpenSession(t.Context(), neverConnects{exit: c.exit}, "", 0)
				var session *SessionError
				if !errors.As(err, &session) || session.Reason != c.want {
					t.Fatalf("the session's error is %v, want %s", err, c.want)
				}
				if !p.bringsUpAgain(err) {
					break
				}
				if p.bringUp.pause <= last || p.restart == "" {
					t.Fatalf("after a pause of %v it pauses %v, restart %q", last, p.bringUp.pause, p.restart)
				}
				last = p.bringUp.pause
			}
			if again != c.again {
				t.Errorf("it was brought up %d times again, want %d", again, c.again)
			}
		})
	}
}
