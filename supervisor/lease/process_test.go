package lease

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/msup/msup/ipc"
)

const (
	shortTTL = 600 * time.Millisecond
	longTTL  = time.Minute
)

func acquire(takeover bool) order { return order{Op: "acquire", Key: "k", Takeover: takeover} }

// Two supervisors with two state directories: the second start is refused while the first lives, whoever was first, and the refusal
// names it. When it has gone in order, the other counts on from it.
//
// Proves: LS-1, LS-2, NN-6, DOD-5
func TestADoubleStartIsRefusedWhateverTheStateDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "leases")
	a, b := startWorker(t, dir, t.TempDir(), longTTL), startWorker(t, dir, t.TempDir(), longTTL)
	if r := a.must(acquire(false), ""); r.Epoch != 1 {
		t.Errorf("the first start has epoch %d", r.Epoch)
	}
	r := b.must(acquire(false), "held")
	for _, want := range []string{"bot/strategy/k", "in use", fmt.Sprintf("process %d", a.cmd.Process.Pid), "epoch 1", "--bot"} {
		if !strings.Contains(r.Err, want) {
			t.Errorf("the refusal does not say %q: %s", want, r.Err)
		}
	}
	b.must(acquire(true), "held") // also with takeover: it lives
	a.must(order{Op: "renew", Key: "k"}, "")
	a.must(order{Op: "release", Key: "k"}, "")
	if r := b.must(acquire(false), ""); r.Epoch != 2 {
		t.Errorf("epoch %d, want 2: the two state directories do not count together", r.Epoch)
	}
	b.must(order{Op: "release", Key: "k"}, "")
	if r := a.must(acquire(false), ""); r.Epoch != 3 {
		t.Errorf("epoch %d, want 3", r.Epoch)
	}
}

// Proves: LS-1, NN-6
func TestOfManyContendersOneWins(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "leases")
	contenders := make([]*worker, 12)
	for i := range contenders {
		contenders[i] = startWorker(t, dir, t.TempDir(), longTTL)
	}
	var last ipc.Epoch
	for round := range 10 {
		replies := make([]reply, len(contenders))
		var wg sync.WaitGroup
		for i, w := range contenders {
			wg.Go(func() {
				var ok bool
				if replies[i], ok = w.do(acquire(round%2 == 0)); !ok {
					t.Errorf("contender %d died", i)
				}
			})
		}
		wg.Wait()
		winner := -1
		for i, r := range replies {
			switch {
			case r.OK && winner >= 0:
				t.Fatalf("round %d: %d and %d both have the lease", round, winner, i)
			case r.OK:
				winner = i
				if r.Epoch <= last {
					t.Errorf("round %d: epoch %d after %d", round, r.Epoch, last)
				}
				last = r.Epoch
			case r.Kind != "held" && r.Kind != "unknown":
				t.Errorf("round %d: contender %d: %s", round, i, r.Err)
			}
		}
		if winner < 0 {
			t.Fatalf("round %d: nobody got the lease: %+v", round, replies)
		}
		if round%3 == 2 { // killed instead of giving it back
			contenders[winner].kill()
			contenders[winner] = startWorker(t, dir, contenders[winner].state, longTTL)
		} else {
			contenders[winner].must(order{Op: "release", Key: "k"}, "")
		}
	}
}

// Proves: LS-3, RS-2
func TestAKilledOwnerIsReplacedAtOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "leases")
	state := t.TempDir()
	for round := range 5 {
		w := startWorker(t, dir, state, longTTL) // its heartbeat is fresh when it dies
		began := time.Now()
		if r := w.must(acquire(false), ""); r.Epoch != ipc.Epoch(round+1) {
			t.Errorf("start %d has epoch %d", round, r.Epoch)
		}
		if took := time.Since(began); took > longTTL/2 {
			t.Errorf("the take-over took %s", took)
		}
		w.kill()
	}
}

// A child that has a descriptor of the lock file, inherited or handed to it, keeps flock and open file description locks alive; ours not.
//
// Proves: LS-3, NN-6
func TestAnInheritedDescriptorDoesNotKeepADeadOwnersLease(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "leases")
	owner := startWorker(t, dir, t.TempDir(), longTTL)
	owner.must(acquire(false), "")
	child := owner.must(order{Op: "child", Key: "k"}, "").PID
	t.Cleanup(func() { _ = syscall.Kill(child, syscall.SIGKILL) })
	inherits := func() bool {
		links, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", child))
		if err != nil {
			t.Fatal(err)
		}
		for _, link := range links {
			if to, err := os.Readlink(link); err == nil && filepath.Dir(to) == dir {
				return true
			}
		}
		return false
	}
	if !inherits() {
		t.Fatal("the child has no descriptor of the lock file: nothing is tested")
	}
	next := startWorker(t, dir, t.TempDir(), longTTL)
	next.must(acquire(false), "held")
	owner.kill()
	if !inherits() {
		t.Fatal("the child has lost its descriptor")
	}
	if r := next.must(acquire(false), ""); r.Epoch != 2 {
		t.Errorf("epoch %d", r.Epoch)
	}
	if err := syscall.Kill(child, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	third := startWorker(t, dir, t.TempDir(), longTTL)
	third.must(acquire(false), "held") // the end of the child did not give the new owner's lock back
}

// The known weakness of the classic lock: closing any descriptor of the file gives it back. Others see that the owner lives, and its next
// heartbeat takes the lock again.
//
// Proves: LS-1, LS-2
func TestALockThatSlippedIsNotTaken(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "leases")
	owner, other := startWorker(t, dir, t.TempDir(), longTTL), startWorker(t, dir, t.TempDir(), longTTL)
	owner.must(acquire(false), "")
	owner.must(order{Op: "slip", Key: "k"}, "")
	if s, err := Show(dir, addressOf("k")); err != nil || s.Holder != 0 || s.State != Live {
		t.Fatalf("the lock has not slipped: %+v %v", s, err)
	}
	other.must(acquire(true), "held")
	owner.must(order{Op: "renew", Key: "k"}, "")
	if s, err := Show(dir, addressOf("k")); err != nil || s.Holder != owner.cmd.Process.Pid {
		t.Errorf("%+v %v", s, err)
	}
	owner.must(order{Op: "slip", Key: "k"}, "")
	owner.kill()
	if r := other.must(acquire(false), ""); r.Epoch != 2 {
		t.Errorf("epoch %d", r.Epoch)
	}
}

// stopped stops the owner and waits until it counts as hung.
func stopped(t *testing.T, owner *worker) {
	t.Helper()
	owner.signal(syscall.SIGSTOP)
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		s, err := Show(owner.dir, addressOf("k"))
		if err != nil {
			t.Fatal(err)
		}
		if s.State == Hung {
			return
		}
		if s.State != Live || time.Now().After(deadline) {
			t.Fatalf("a stopped owner's lease is %s", s.State)
		}
	}
}

// Proves: LS-2, LS-3
func TestAStoppedOwnerIsRefusedAndGoesOnAfterwards(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "leases")
	owner, other := startWorker(t, dir, t.TempDir(), shortTTL), startWorker(t, dir, t.TempDir(), shortTTL)
	owner.must(acquire(false), "")
	stopped(t, owner)
	if r := other.must(acquire(false), "hung"); !strings.Contains(r.Err, "--takeover") {
		t.Errorf("the refusal does not say what to do: %s", r.Err)
	}
	owner.signal(syscall.SIGCONT)
	// Nobody could have taken the lock from it: it is the owner still, and heard again.
	if r, ok := owner.do(order{Op: "lost", Key: "k", Wait: shortTTL}); !ok || r.OK {
		t.Errorf("after SIGCONT the owner lost its lease: %+v", r)
	}
	other.must(acquire(true), "held")
	owner.must(order{Op: "renew", Key: "k"}, "")
}

// Proves: LS-3
func TestTakeoverKillsAStoppedOwnerFirst(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "leases")
	owner, other := startWorker(t, dir, t.TempDir(), shortTTL), startWorker(t, dir, t.TempDir(), shortTTL)
	owner.must(acquire(false), "")
	stopped(t, owner)
	if r := other.must(acquire(true), ""); r.Epoch != 2 {
		t.Errorf("epoch %d", r.Epoch)
	}
	if owner.running() {
		t.Error("the owner was not killed")
	}
	if err := owner.cmd.Wait(); err == nil || owner.cmd.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Errorf("the owner ended with %v", err)
	}
}

// A stopped owner whose file is removed, so that another can start: when it goes on it finds itself superseded.
//
// Proves: LS-2, LS-3, NN-6
func TestAnOwnerThatWasReplacedWhileStoppedLosesItsLease(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "leases")
	owner, other := startWorker(t, dir, t.TempDir(), shortTTL), startWorker(t, dir, t.TempDir(), shortTTL)
	owner.must(acquire(false), "")
	stopped(t, owner)
	if err := os.Remove(filepath.Join(dir, FileName(addressOf("k")))); err != nil {
		t.Fatal(err)
	}
	other.must(acquire(false), "")
	owner.signal(syscall.SIGCONT)
	r := owner.must(order{Op: "lost", Key: "k", Wait: 20 * time.Second}, "lost")
	if !r.OK || !strings.Contains(r.Err, "removed or replaced") {
		t.Errorf("%+v", r)
	}
	owner.must(order{Op: "renew", Key: "k"}, "lost")
	owner.must(order{Op: "release", Key: "k"}, "") // does not disturb the new owner
	other.must(order{Op: "renew", Key: "k"}, "")
	if s, err := Show(dir, addressOf("k")); err != nil || s.State != Live || s.Owner.PID != other.cmd.Process.Pid {
		t.Errorf("%+v %v", s, err)
	}
}

// A record that names another process than the one that holds the lock, or that process at another time, leads to no kill.
//
// Proves: LS-3
func TestTheWrongProcessIsNeverKilled(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "leases")
	innocent := startWorker(t, dir, t.TempDir(), shortTTL)
	for name, forge := range map[string]func(*record){
		"another pid":  func(r *record) { r.PID = innocent.cmd.Process.Pid },
		"another time": func(r *record) { r.Start-- },
		"another boot": func(r *record) { r.Boot = "00000000-0000-0000-0000-000000000000" },
	} {
		t.Run(name, func(t *testing.T) {
			owner := startWorker(t, dir, t.TempDir(), shortTTL)
			owner.must(acquire(false), "")
			stopped(t, owner)
			rewrite(t, filepath.Join(dir, FileName(addressOf("k"))), forge)
			other := startWorker(t, dir, t.TempDir(), shortTTL)
			r := other.must(acquire(true), "unknown")
			if !strings.Contains(r.Err, fmt.Sprint(owner.cmd.Process.Pid)) {
				t.Errorf("the refusal does not name the holder, %d: %s", owner.cmd.Process.Pid, r.Err)
			}
			if !owner.running() || !innocent.running() {
				t.Errorf("somebody was killed: owner runs %v, innocent runs %v", owner.running(), innocent.running())
			}
		})
	}
}

// rewrite changes the newest record of a file that another process holds.
func rewrite(t *testing.T, path string, change func(*record)) {
	t.Helper()
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	r, err := decodeFile(file)
	if err != nil {
		t.Fatal(err)
	}
	change(&r)
	r.Number++
	slot, err := r.encode()
	if err != nil {
		t.Fatal(err)
	}
	copy(file[r.Number%2*slotBytes:], slot)
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(file, 0); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// Proves: LS-3
func TestKillChecksWhoItIs(t *testing.T) {
	m, err := thisMachine()
	if err != nil {
		t.Fatal(err)
	}
	w := startWorker(t, t.TempDir(), t.TempDir(), longTTL)
	start, _, err := processStat(w.cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	id := Identity{PID: w.cmd.Process.Pid, Start: start, Boot: m.boot}
	self, err := m.self()
	if err != nil {
		t.Fatal(err)
	}
	for name, wrong := range map[string]Identity{
		"another start": {PID: id.PID, Start: id.Start + 1, Boot: id.Boot},
		"another boot":  {PID: id.PID, Start: id.Start, Boot: "x"},
		"myself":        self,
		"init":          {PID: 1, Start: 0, Boot: id.Boot},
		"nobody":        {PID: -1, Start: 0, Boot: id.Boot},
	} {
		if err := m.kill(wrong); err == nil {
			t.Errorf("%s: killed", name)
		}
	}
	if !w.running() || m.lifeOf(id) != alive {
		t.Fatal("the process was killed, or counts as dead")
	}
	if err := m.kill(id); err != nil {
		t.Fatal(err)
	}
	if w.running() || m.lifeOf(id) != dead {
		t.Error("the process still runs")
	}
	w.kill() // reaps it
	if err := m.kill(id); err != nil {
		t.Errorf("one that has gone: %v", err)
	}
	if _, _, err := processStat(id.PID); !errors.Is(err, errGone) {
		t.Errorf("%v", err)
	}
}
