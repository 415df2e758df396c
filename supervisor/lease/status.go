package lease

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/msup/msup/ipc"
)

// State is how a lease stands.
type State string

// The states of a lease.
const (
	Live     State = "live"     // its owner runs and has been heard within its ttl
	Hung     State = "hung"     // its owner runs and is silent beyond its ttl
	Unknown  State = "unknown"  // its lock is held by a process that its record does not name
	Released State = "released" // free: the last owner gave it back
	Dead     State = "dead"     // free: the last owner ended without giving it back
	Damaged  State = "damaged"  // free, and its record cannot be read
	Foreign  State = "foreign"  // no lease at all
)

// Free reports whether the next start gets the lease at once.
func (s State) Free() bool { return s == Released || s == Dead || s == Damaged }

// Status is a lease as seen from outside.
type Status struct {
	Address ipc.Address
	File    string
	State   State
	Epoch   ipc.Epoch     // the highest that the file knows
	Owner   Identity      // the last one
	Command string        // of a running owner
	Nonce   string        // hex
	Holder  int           // pid that the kernel names as the lock's holder; 0 = nobody, -1 = a process that cannot be seen from here
	Since   time.Time     // wall time, for people
	Silent  time.Duration // since the last heartbeat; meaningless after a reboot
	TTL     time.Duration // the owner's own
	Problem string        // of a damaged or foreign file

	record recordID
}

// recordID tells two writes of a record apart.
type recordID struct {
	nonce  string
	number uint64
}

// name fills in the address where the record did not give it.
func (s *Status) name(a ipc.Address) {
	if s.Address == (ipc.Address{}) {
		s.Address = a
	}
}

// look reads how an open lock file stands, without touching its lock. The process itself must not hold it.
func (m machine) look(f lockFile) (*Status, error) {
	r, err := f.read()
	if err != nil && !errors.Is(err, errNoRecord) {
		return nil, err
	}
	s := &Status{File: f.path}
	if err != nil {
		s.Problem = err.Error()
	} else {
		s.fill(&r, m.boottime())
	}
	// After the record: a holder that is named by a record from before it took the lock could otherwise pass for its owner.
	if s.Holder, err = f.holder(); err != nil {
		return nil, err
	}
	switch {
	case s.Holder == 0 && s.Problem != "":
		s.State = Damaged
	case s.Holder == 0 && r.Released:
		s.State = Released
	case s.Holder == 0 && s.Silent <= s.TTL && s.Owner.PID != os.Getpid() && m.lifeOf(s.Owner) == alive:
		s.State = Live // its lock slipped from it and its next heartbeat takes it again, or it is dying at this moment
	case s.Holder == 0:
		s.State = Dead
	case s.Problem != "" || r.Released || s.Holder != r.PID || m.lifeOf(s.Owner) != alive:
		s.State = Unknown
	case s.Silent > s.TTL:
		s.State = Hung
	default:
		s.State = Live
	}
	if s.Holder > 0 {
		s.Command = command(s.Holder)
	}
	return s, nil
}

func (s *Status) fill(r *record, now ipc.Nanos) {
	s.Address, s.Epoch, s.Owner, s.Nonce = r.address(), r.Epoch, r.identity(), r.Nonce
	s.Since, s.Silent, s.TTL = time.Unix(0, int64(r.Since)).UTC(), r.silent(now), time.Duration(r.TTL)
	s.record = recordID{r.Nonce, r.Number}
}

// status is the view of the owner itself.
func (l *Lease) status() *Status {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := &Status{File: l.file.path, State: Live, Holder: l.rec.PID, Command: command(l.rec.PID)}
	s.fill(&l.rec, l.keeper.machine.boottime())
	return s
}

// refusal says who has the lease and what to do about it.
func (s *Status) refusal(dir string) error {
	e := &Error{Place: "lease of " + s.Address.String(), Status: s}
	who := fmt.Sprintf("process %d", s.Holder)
	if s.Command != "" {
		who += " (" + s.Command + ")"
	}
	switch s.State {
	case Hung:
		e.Kind, e.Reason = ErrHung, ipc.ReasonLeaseHung
		e.Cause = fmt.Sprintf("%s, owner since %s with epoch %d, was last heard %s ago, its ttl is %s", who, s.Since.Format(time.RFC3339), s.Epoch,
			s.Silent.Round(time.Millisecond), s.TTL)
		e.Remedy = "look at that process; --takeover kills it and goes on in its place, msup lease break only kills it"
	case Unknown:
		e.Kind, e.Reason = ErrUnknown, ipc.ReasonLeaseHeld
		if s.Holder < 0 {
			who = "a process of another container"
		}
		e.Cause = who + " has its lock and has not written who it is; it is never killed for that"
		e.Remedy = "end it by hand if it is no msup that starts just now; msup lease show says what is known; " + remedyDir
	default:
		e.Kind, e.Reason = ErrHeld, ipc.ReasonLeaseHeld
		e.Cause = fmt.Sprintf("%s, owner since %s with epoch %d, was last heard %s ago", who, s.Since.Format(time.RFC3339), s.Epoch,
			s.Silent.Round(time.Millisecond))
		e.Remedy = "stop it first, or run as another bot (--bot NAME); the directory of the leases is " + dir
	}
	return e
}

// List tells how every lease of a directory stands, by address; things that are no lease come last. A directory that is not there has none.
func List(dir string) ([]Status, error) {
	if dir == "" {
		dir = DefaultDir()
	}
	m, err := thisMachine()
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fileError(dir, "listing the leases", err)
	}
	var all []Status
	for _, entry := range entries {
		s, err := m.show(filepath.Join(dir, entry.Name()))
		if errors.Is(err, fs.ErrNotExist) {
			continue // gone since
		}
		if err != nil {
			return nil, err
		}
		all = append(all, *s)
	}
	slices.SortFunc(all, func(a, b Status) int {
		foreign := func(s Status) int {
			if s.State == Foreign {
				return 1
			}
			return 0
		}
		return cmp.Or(foreign(a)-foreign(b), strings.Compare(a.Address.String(), b.Address.String()), strings.Compare(a.File, b.File))
	})
	return all, nil
}

// show reads one file of a lease directory.
func (m machine) show(path string) (s *Status, err error) {
	held.Lock()
	defer held.Unlock()
	if !isLeaseName(filepath.Base(path)) {
		return &Status{File: path, State: Foreign, Problem: "its name is not a lease's"}, nil
	}
	own, err := held.at(path)
	if err != nil {
		return nil, err
	}
	if own != nil {
		return own.status(), nil
	}
	f, err := openLock(path, unix.O_RDONLY)
	if err != nil {
		if errors.Is(err, ErrForeign) {
			return &Status{File: path, State: Foreign, Problem: err.Error()}, nil
		}
		return nil, err
	}
	defer func() { err = errors.Join(err, f.close()) }()
	s, err = m.look(f)
	if err == nil && s.Problem == "" && FileName(s.Address) != filepath.Base(path) {
		s.State, s.Problem = Foreign, "its name is not that of "+s.Address.String()
	}
	return s, err
}

// Show tells how the lease of one instance stands; fs.ErrNotExist when it never had one here.
func Show(dir string, a ipc.Address) (*Status, error) {
	if dir == "" {
		dir = DefaultDir()
	}
	m, err := thisMachine()
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, FileName(a))
	if _, err := os.Lstat(path); err != nil {
		return nil, fmt.Errorf("lease of %s: %w", a, err)
	}
	s, err := m.show(path)
	if err != nil {
		return nil, err
	}
	s.name(a)
	return s, nil
}

// Break kills the owner of a lease when it is silent beyond its ttl, by the rules of a take-over, and leaves the lease free. It returns how
// the lease stood before. A live owner is refused.
func Break(ctx context.Context, opt Options, a ipc.Address) (before *Status, err error) {
	if before, err = Show(opt.Dir, a); err != nil {
		return nil, err
	}
	opt.Takeover = true
	k, err := Open(opt)
	if err != nil {
		return before, err
	}
	defer func() { err = errors.Join(err, k.Close()) }()
	_, err = k.Acquire(ctx, a)
	return before, err
}

// Kill ends the owner of a lease, however lately it was heard, and leaves the lease free: an operator has said that it must go. It is known by
// pid, start time and boot, and never another process. It returns how the lease stood before.
func Kill(ctx context.Context, dir string, a ipc.Address) (before *Status, err error) {
	if before, err = Show(dir, a); err != nil || before.State != Live && before.State != Hung {
		return before, err
	}
	m, err := thisMachine()
	if err != nil {
		return before, err
	}
	if err := m.kill(before.Owner); err != nil {
		return before, fmt.Errorf("killing the owner of %s: %w", a, err)
	}
	for {
		now, err := Show(dir, a)
		if err != nil || now.State.Free() {
			return before, err
		}
		select {
		case <-ctx.Done():
			return before, fmt.Errorf("waiting for the lease of %s: %w", a, ctx.Err())
		case <-time.After(10 * time.Millisecond):
		}
	}
}
