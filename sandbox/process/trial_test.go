package process

import (
	"errors"
	"fmt"
	"testing"

	"github.com/msup/msup/sandbox"
)

// A trial that somebody kills is made again, and when that does not help, the error says so: it is no word on what this host can isolate.
//
// Proves: SB-8, SB-L1
func TestATrialThatIsKilledIsMadeAgain(t *testing.T) {
	killed := judged(sandbox.Exit{Cause: sandbox.CauseSignaled, Reason: sandbox.ReasonSignaled, Signal: 9})
	inside := &sandbox.Error{Reason: sandbox.ReasonSetupFailed, Op: "build the sandbox", Err: fmt.Errorf("stage two ended without a report, it may be %w", sandbox.ErrLost)}
	walls := judged(sandbox.Exit{Cause: sandbox.CauseExited, Code: 3, Stderr: "no Landlock"})
	for name, c := range map[string]struct {
		ends   []error
		tries  int
		reason sandbox.ReasonCode // "" = it stands
	}{
		"it stands":              {[]error{nil}, 1, ""},
		"killed once":            {[]error{killed, nil}, 2, ""},
		"killed, then within":    {[]error{killed, inside, nil}, 3, ""},
		"killed again and again": {[]error{killed, inside, killed}, mostTrials, sandbox.ReasonSignaled},
		"a wall does not stand":  {[]error{walls}, 1, sandbox.ReasonSetupFailed},
		"killed, then a wall":    {[]error{killed, walls}, 2, sandbox.ReasonSetupFailed},
	} {
		n := 0
		_, err := tried(func() (report, error) { n++; return report{}, c.ends[n-1] })
		if n != c.tries {
			t.Errorf("%s: tried %d times, want %d", name, n, c.tries)
		}
		var known *sandbox.Error
		switch {
		case c.reason == "":
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
		case !errors.As(err, &known) || known.Reason != c.reason:
			t.Errorf("%s: %v, want %s", name, err, c.reason)
		case c.reason == sandbox.ReasonSignaled && (errors.Is(err, sandbox.ErrLost) || known.Remedy == ""):
			t.Errorf("%s: %v", name, err)
		}
	}
}
