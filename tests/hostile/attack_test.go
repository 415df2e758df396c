package hostile

import (
	"strings"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/sandbox"
	"github.com/msup/msup/supervisor/core"
)

// attack is one row of the table: a strategy in python/ and how it has to end.
type attack struct {
	entry        string // module:Class
	want         want
	at           map[level]want // where the walls of a level answer differently
	levels       []level        // empty: every one
	events       int            // quotes that it gets; the default of 2 shows whether it lives on
	hangsAtStart bool
	apart        bool // as nobody nothing but its user holds it, and its neighbours have the same user
	limits       func(*sandbox.Limits)
}

// neverBegan is the outcome of a strategy that never saw an event.
const neverBegan = "never began"

// want is how an attack has to end.
type want struct {
	outcome string           // of the first delivery that was not simply applied
	reasons []ipc.ReasonCode // the supervisor gives one of them
	also    []ipc.ReasonCode // and all of them
	calls   []string         // the supervisor names these refused system calls, and counts them
	tells   bool             // it lives, and names what stopped each attempt
	hangs   bool             // the hard deadline has to end it, in time
}

func (a *attack) name() string {
	_, class, _ := strings.Cut(a.entry, ":")
	return class
}

func (a *attack) wantAt(l level) want {
	if w, ok := a.at[l]; ok {
		return w
	}
	return a.want
}

func of(w want) func(entry string) *attack {
	return func(entry string) *attack { return &attack{entry: "hostile_" + entry, want: w, events: 2} }
}

// refused lives on; every attempt was refused.
var refused = of(isRefused)

// caught is refused, and what it asked for is a violation that its supervisor counts.
func caught(entry string) *attack { return refused(entry).giving(ipc.ReasonSandboxCall) }

// harmless lives on; what it does changes nothing for anybody.
var harmless = of(isHarmless)

// hangs is killed by the hard deadline.
var hangs = of(isHung)

var (
	isRefused  = want{outcome: core.Applied.String(), tells: true}
	isHarmless = want{outcome: core.Applied.String()}
	isHung     = want{outcome: core.Killed.String(), reasons: []ipc.ReasonCode{ipc.ReasonDeadlineHard}, hangs: true}
)

func isKilled(reasons ...ipc.ReasonCode) want {
	return want{outcome: core.Killed.String(), reasons: reasons}
}
func isFaulted(reasons ...ipc.ReasonCode) want {
	return want{outcome: core.Faulted.String(), reasons: reasons}
}
func isNoted(reasons ...ipc.ReasonCode) want {
	return want{outcome: core.Applied.String(), reasons: reasons}
}
func isBarred(reasons ...ipc.ReasonCode) want { return want{outcome: neverBegan, reasons: reasons} }

// killed ends by its own doing, or is killed for it.
func killed(entry string, reasons ...ipc.ReasonCode) *attack { return of(isKilled(reasons...))(entry) }

// faulted is told that its step failed, and lives on.
func faulted(entry string, reasons ...ipc.ReasonCode) *attack {
	return of(isFaulted(reasons...))(entry)
}

// counted lives on and says nothing; what it was refused is counted and named.
func counted(entry string, calls ...string) *attack {
	a := noted(entry, ipc.ReasonSandboxCall)
	a.want.calls = calls
	return a
}

// noted lives on; what it asked for was refused with a reason.
func noted(entry string, reasons ...ipc.ReasonCode) *attack { return of(isNoted(reasons...))(entry) }

// barred never sees an event.
func barred(entry string, reasons ...ipc.ReasonCode) *attack { return of(isBarred(reasons...))(entry) }

// giving wants more reasons beside the first.
func (a *attack) giving(reasons ...ipc.ReasonCode) *attack {
	a.want.also = append(a.want.also, reasons...)
	return a
}

// on says how it ends at one level.
func (a *attack) on(l level, w want) *attack {
	if a.at == nil {
		a.at = map[level]want{}
	}
	a.at[l] = w
	return a
}

func (a *attack) isApart() *attack { a.apart = true; return a }

func (a *attack) slowStart() *attack { a.hangsAtStart = true; return a }
