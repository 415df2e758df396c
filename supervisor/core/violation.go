package core

import (
	"fmt"
	"strings"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/supervisor/guard"
)

// Violation says that the strategy reached a limit that only its sandbox sees, or broke a promise in the window that has just ended: what the
// log's other inputs do not show (SB-7, LN-7).
type Violation struct {
	At
	Reason   ipc.ReasonCode
	Limit    int64
	Observed int64
	Unit     string
}

// InputKind names the input in the log.
func (*Violation) InputKind() InputKind { return KindViolation }

// violation takes one from the shell.
func (s *State) violation(in *Violation, e *Effects) error {
	if _, ok := guard.KindOf(in.Reason); !ok {
		return fmt.Errorf("%s is no violation of a limit", in.Reason)
	}
	s.violate(in.Reason, fmt.Sprintf("limit %d %s, observed %d", in.Limit, in.Unit, in.Observed), e)
	return nil
}

// violate counts a violation on the ladder of its kind, acts on the rung that it reaches, and tells of it (SB-7, SB-8).
func (s *State) violate(reason ipc.ReasonCode, detail string, e *Effects) {
	kind, _ := guard.KindOf(reason)
	rule, ladders := s.params.Ladders[kind]
	if !ladders {
		e.note(guard.Warn, reason, detail)
		return
	}
	if s.Violations == nil {
		s.Violations = map[guard.Kind]guard.Ladder{}
	}
	ladder := s.Violations[kind]
	level := ladder.Observe(rule, s.CoreTS)
	s.Violations[kind] = ladder
	s.reach(max(level, guard.Warn), reason, detail, e)
}

// tell notes what happened, and counts it where it is a violation.
func (s *State) tell(reason ipc.ReasonCode, detail string, e *Effects) {
	if _, ok := guard.KindOf(reason); ok {
		s.violate(reason, detail, e)
		return
	}
	e.note(guard.Warn, reason, detail)
}

// Lowered reports whether the instance has broken a promise in the last window, so that its neighbours go first (LN-7).
func (s *State) Lowered() bool {
	for _, kind := range guard.Objectives {
		if rule, ok := s.params.Ladders[kind]; ok && rule.Warn > 0 && len(s.Violations[kind].Times) >= rule.Warn {
			return true
		}
	}
	return false
}

// Broke reports whether a promise was broken, and no window has kept it since: then the shell has to say when one does.
func (s *State) Broke(reason ipc.ReasonCode) bool {
	kind, _ := guard.KindOf(reason)
	return len(s.Violations[kind].Times) > 0 || s.find(SLOHeld(kind)) != nil
}

// dropPromises forgets those that the parameters of this start do not hold any more: no window could ever keep them.
func (s *State) dropPromises(e *Effects) {
	for _, kind := range guard.Objectives {
		if _, ok := s.params.Ladders[kind]; ok {
			continue
		}
		delete(s.Violations, kind)
		if s.find(SLOHeld(kind)) != nil {
			e.note(guard.Fine, ipc.ReasonConditionMet, SLOHeld(kind)+" is promised no more")
			s.lift(SLOHeld(kind))
		}
	}
}

// kept takes the guard's word that a window kept a promise: what was counted against it is forgotten.
func (s *State) kept(id string) {
	for _, kind := range guard.Objectives {
		if id == SLOHeld(kind) {
			delete(s.Violations, kind)
		}
	}
}

// SLOHeld names the restriction that broken promises of one kind lead to.
func SLOHeld(kind guard.Kind) string { return "slo/" + string(kind) }

// refusals of the kernel, by the errno that a failed step tells of. Of a swallowed error its sandbox may still tell, by a Violation.
var refusals = []struct {
	errno  string
	reason ipc.ReasonCode
}{
	{"1", ipc.ReasonSandboxCall},      // EPERM: seccomp, Landlock, a missing capability
	{"12", ipc.ReasonSandboxMemory},   // ENOMEM
	{"13", ipc.ReasonSandboxCall},     // EACCES
	{"24", ipc.ReasonSandboxFiles},    // EMFILE
	{"27", ipc.ReasonSandboxFileSize}, // EFBIG
	{"28", ipc.ReasonSandboxTmp},      // ENOSPC
	{"30", ipc.ReasonSandboxCall},     // EROFS
}

// limitOf finds the limit at which a step failed, from the fault that the runner tells: "OSError: [Errno 24] …" in Python, "… (os error 24)" in
// Rust. The text is the strategy's own, so it can only accuse itself.
func limitOf(f *ipc.Fault) (ipc.ReasonCode, bool) {
	switch {
	case f == nil:
		return "", false
	case f.Kind == "memory":
		return ipc.ReasonSandboxMemory, true
	}
	for _, r := range refusals {
		if strings.Contains(f.Message, "[Errno "+r.errno+"]") || strings.Contains(f.Message, "(os error "+r.errno+")") {
			return r.reason, true
		}
	}
	return "", false
}
