package lease

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/msup/msup/ipc"
)

// fakeMachine has clocks and a boot id that a test sets; processes are the real ones.
type fakeMachine struct {
	boot atomic.Int64 // added to the boot-time clock
	wall atomic.Int64 // added to the wall clock
}

func (f *fakeMachine) machine(t *testing.T, bootID string) *machine {
	t.Helper()
	m, err := thisMachine()
	if err != nil {
		t.Fatal(err)
	}
	m.boottime = func() ipc.Nanos { return boottime() + ipc.Nanos(f.boot.Load()) }
	m.wall = func() time.Time { return time.Now().Add(time.Duration(f.wall.Load())) }
	if bootID != "" {
		m.boot = bootID
	}
	return &m
}

func recordOf(t *testing.T, dir string) record {
	t.Helper()
	file, err := os.ReadFile(filepath.Join(dir, FileName(address)))
	if err != nil {
		t.Fatal(err)
	}
	r, err := decodeFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func wantLost(t *testing.T, l *Lease, within time.Duration, cause string) {
	t.Helper()
	select {
	case <-l.Lost():
	case <-time.After(within):
		t.Fatalf("the lease was not lost within %s", within)
	}
	var e *Error
	if err := l.Err(); !errors.As(err, &e) || !errors.Is(err, ErrLost) || e.Reason != ipc.ReasonLeaseLost || !strings.Contains(err.Error(), cause) {
		t.Errorf("%v, want %s", err, cause)
	}
	if err := l.Raise(l.Epoch() + 1); !errors.Is(err, ErrLost) {
		t.Errorf("an epoch was raised on a lost lease: %v", err)
	}
}

// Proves: LS-2
func TestTheRecordSaysWhoOwnsIt(t *testing.T) {
	dir := t.TempDir()
	k := open(t, Options{Dir: dir, TTL: shortTTL})
	l := take(t, k)
	if err := l.Raise(4); err != nil {
		t.Fatal(err)
	}
	self, err := Self()
	if err != nil {
		t.Fatal(err)
	}
	first := recordOf(t, dir)
	if first.address() != address || first.identity() != self || first.Epoch != 4 || first.TTL != ipc.Nanos(shortTTL) || first.Released ||
		time.Since(time.Unix(0, int64(first.Since))) > time.Minute {
		t.Errorf("%+v", first)
	}
	time.Sleep(shortTTL)
	second := recordOf(t, dir)
	if writes := second.Number - first.Number; second.Heartbeat <= first.Heartbeat || writes < 1 || writes > 2*beats {
		t.Errorf("%d heartbeats in a ttl, want %d", writes, beats)
	}
	if s, err := Show(dir, address); err != nil || s.State != Live || s.Owner != self || s.Epoch != 4 {
		t.Errorf("the owner's own view: %+v %v", s, err)
	}
	if err := l.Release(); err != nil {
		t.Fatal(err)
	}
	if r := recordOf(t, dir); !r.Released || r.Epoch != 4 {
		t.Errorf("after the release: %+v", r)
	}
	if err := errors.Join(l.Release(), l.Err()); err != nil {
		t.Errorf("a second release: %v", err)
	}
	if err := l.Raise(5); err == nil {
		t.Error("an epoch was raised on a lease that was given back")
	}
}

// Proves: LS-3
func TestEpochsOnlyGrow(t *testing.T) {
	dir := t.TempDir()
	k := open(t, Options{Dir: dir})
	l := take(t, k)
	if l.Epoch() != 0 {
		t.Errorf("a new lease has epoch %d", l.Epoch())
	}
	for _, step := range []struct {
		to ipc.Epoch
		ok bool
	}{{1, true}, {1, false}, {9, true}, {3, false}, {0, false}, {maxEpoch + 1, false}, {10, true}} {
		if err := l.Raise(step.to); (err == nil) != step.ok {
			t.Errorf("raise to %d: %v", step.to, err)
		}
	}
	if err := l.Release(); err != nil {
		t.Fatal(err)
	}
	if again := take(t, open(t, Options{Dir: dir})); again.Epoch() != 10 {
		t.Errorf("the next owner finds epoch %d", again.Epoch())
	}
}

// A disk that takes longer than a ttl over a raised epoch costs nobody the lease; giving it back waits for the disk.
//
// Proves: LS-2, LS-3
func TestASlowDiskDoesNotHoldUpTheHeartbeat(t *testing.T) {
	m := (&fakeMachine{}).machine(t, "")
	disk, asked, stands, syncs := m.sync, make(chan struct{}), make(chan struct{}), atomic.Int64{}
	m.sync = func(fd int) error {
		if syncs.Add(1) == 2 { // the first is the acquisition's
			close(asked)
			<-stands
		}
		return disk(fd)
	}
	dir := t.TempDir()
	l := take(t, open(t, Options{Dir: dir, TTL: shortTTL, machine: m}))
	raised, released := make(chan error, 1), make(chan error, 1)
	go func() { raised <- l.Raise(7) }()
	<-asked
	before := recordOf(t, dir)
	time.Sleep(2 * shortTTL)
	if after := recordOf(t, dir); after.Heartbeat <= before.Heartbeat || after.Epoch != 7 || l.Err() != nil {
		t.Errorf("while the disk stood still: %+v, then %+v; %v", before, after, l.Err())
	}
	go func() { released <- l.Release() }()
	select {
	case <-released:
		t.Error("the lease was given back under the disk's hands")
	case <-time.After(shortTTL):
	}
	close(stands)
	if err := errors.Join(<-raised, <-released); err != nil {
		t.Error(err)
	}
	if r := recordOf(t, dir); !r.Released || r.Epoch != 7 {
		t.Errorf("after the release: %+v", r)
	}
}

// Two keepers of one process exclude each other, too, although the kernel's lock does not tell them apart; and looking at a lease does not
// give it back.
//
// Proves: LS-1
func TestOneProcessIsNoException(t *testing.T) {
	dir := t.TempDir()
	l := take(t, open(t, Options{Dir: dir, TTL: shortTTL}))
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{dir, link} {
		k := open(t, Options{Dir: path, TTL: shortTTL, Takeover: true})
		if _, err := k.Acquire(context.Background(), address); !errors.Is(err, ErrHeld) {
			t.Errorf("by %s: %v", path, err)
		}
		if all, err := List(path); err != nil || len(all) != 1 || all[0].State != Live {
			t.Errorf("%+v %v", all, err)
		}
	}
	outside := startWorker(t, dir, t.TempDir(), shortTTL)
	outside.must(acquire(false), "held")
	if err := l.renewNow(); err != nil {
		t.Error(err)
	}
}

// A wall clock that jumps changes nothing: heartbeats are of the boot-time clock.
//
// Proves: LS-2
func TestWallClockJumpsHaveNoEffect(t *testing.T) {
	dir := t.TempDir()
	var clock fakeMachine
	k := open(t, Options{Dir: dir, TTL: shortTTL, machine: clock.machine(t, "")})
	l := take(t, k)
	outside := startWorker(t, dir, t.TempDir(), shortTTL)
	for _, jump := range []time.Duration{24 * 365 * time.Hour, -24 * 365 * time.Hour} {
		clock.wall.Store(int64(jump))
		time.Sleep(shortTTL)
		if l.Err() != nil {
			t.Fatalf("a jump of %s lost the lease: %v", jump, l.Err())
		}
		outside.must(acquire(true), "held")
	}
}

// A stretch of silence in the boot-time clock is what makes an owner hung; and when it is heard while a take-over watches, it lives.
//
// Proves: LS-2, LS-3
func TestSilenceOfTheOwnersOwnTTLMakesItHung(t *testing.T) {
	dir := t.TempDir()
	var late fakeMachine // a contender on whose clock the owner was silent, as after a suspension
	owner := startWorker(t, dir, t.TempDir(), 3*time.Second)
	owner.must(acquire(false), "")
	refused := func(takeover bool, want error) {
		t.Helper()
		k := open(t, Options{Dir: dir, TTL: time.Hour, Takeover: takeover, machine: late.machine(t, "")}) // its own ttl does not count
		_, err := k.Acquire(context.Background(), address)
		var e *Error
		if !errors.As(err, &e) || !errors.Is(err, want) || e.Status.Owner.PID != owner.cmd.Process.Pid {
			t.Errorf("%v, want %v", err, want)
		}
	}
	refused(false, ErrHeld)
	late.boot.Store(int64(3500 * time.Millisecond))
	refused(false, ErrHung)
	// Only now and then does it look hung; while the take-over watches, the clock comes back: it goes on living.
	time.AfterFunc(500*time.Millisecond, func() { late.boot.Store(0) })
	refused(true, ErrHeld)
	if !owner.running() {
		t.Error("a live owner was killed")
	}
}

// Proves: LS-3, RS-2
func TestALeaseOfAnEarlierBootIsTakenOverAtOnce(t *testing.T) {
	dir := t.TempDir()
	k := open(t, Options{Dir: dir, TTL: time.Hour, machine: new(fakeMachine).machine(t, "an earlier boot")})
	l := take(t, k)
	if err := l.Raise(6); err != nil {
		t.Fatal(err)
	}
	l.crash(t)
	// The heartbeat is younger than the ttl by number, and the pid is this very process's, alive.
	if s, err := Show(dir, address); err != nil || s.State != Dead || s.Owner.Boot != "an earlier boot" {
		t.Errorf("%+v %v", s, err)
	}
	if again := take(t, open(t, Options{Dir: dir})); again.Epoch() != 6 {
		t.Errorf("the epoch %d has not survived", again.Epoch())
	}
}

// crash gives the lock back without a word, as the kernel does for a process that was killed.
func (l *Lease) crash(t *testing.T) {
	t.Helper()
	held.Lock()
	defer held.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.released = true
	held.drop(l)
	if err := l.file.close(); err != nil {
		t.Fatal(err)
	}
}

// Proves: LS-3, ST-4
func TestADamagedRecordIsTakenOver(t *testing.T) {
	for name, body := range map[string][]byte{"empty": nil, "zeros": make([]byte, fileBytes), "text": []byte("not a record\n"),
		"noise": bytes.Repeat([]byte{0xa5, 0x5a}, slotBytes)} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, FileName(address)), body, 0o600); err != nil {
				t.Fatal(err)
			}
			if s, err := Show(dir, address); err != nil || s.State != Damaged || s.Problem == "" {
				t.Errorf("%+v %v", s, err)
			}
			l := take(t, open(t, Options{Dir: dir}))
			if err := l.Raise(1); err != nil {
				t.Error(err)
			}
			if r := recordOf(t, dir); r.Epoch != 1 {
				t.Errorf("%+v", r)
			}
		})
	}
}

// A torn write of the newest slot leaves the one before it, and with it the epoch.
//
// Proves: LS-3
func TestATornWriteKeepsTheEpoch(t *testing.T) {
	dir := t.TempDir()
	l := take(t, open(t, Options{Dir: dir}))
	if err := errors.Join(l.Raise(3), l.renewNow(), l.renewNow()); err != nil {
		t.Fatal(err)
	}
	newest := recordOf(t, dir).Number
	l.crash(t)
	path := filepath.Join(dir, FileName(address))
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	clear(file[newest%2*slotBytes+50:][:100])
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	if again := take(t, open(t, Options{Dir: dir})); again.Epoch() != 3 {
		t.Errorf("epoch %d", again.Epoch())
	}
}

// Proves: LS-2
func TestALiveOwnerMendsItsRecord(t *testing.T) {
	dir := t.TempDir()
	l := take(t, open(t, Options{Dir: dir, TTL: shortTTL}))
	f, err := os.OpenFile(filepath.Join(dir, FileName(address)), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	// Closing it gives the lock back, the known weakness of the classic lock: the next heartbeat takes it again.
	if _, err := f.WriteAt(make([]byte, fileBytes), 0); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(shortTTL)
	if l.Err() != nil {
		t.Fatal(l.Err())
	}
	startWorker(t, dir, t.TempDir(), shortTTL).must(acquire(false), "held")
	if r := recordOf(t, dir); r.Nonce != l.status().Nonce {
		t.Errorf("%+v", r)
	}
}

// Proves: LS-2, LS-3
func TestAReplacedLeaseIsLostInTime(t *testing.T) {
	for name, replace := range map[string]func(dir, path string) error{
		"removed":           func(_, path string) error { return os.Remove(path) },
		"renamed":           func(_, path string) error { return os.Rename(path, path+".old") },
		"replaced":          func(_, path string) error { return errors.Join(os.Remove(path), os.WriteFile(path, nil, 0o600)) },
		"directory renamed": func(dir, _ string) error { return os.Rename(dir, dir+".old") },
		"directory removed": func(dir, _ string) error { return os.RemoveAll(dir) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "leases")
			l := take(t, open(t, Options{Dir: dir, TTL: shortTTL}))
			if err := replace(dir, filepath.Join(dir, FileName(address))); err != nil {
				t.Fatal(err)
			}
			wantLost(t, l, 10*shortTTL, "removed or replaced")
		})
	}
}

// Another process's record in the file that we hold: its writer thinks that it is the owner.
//
// Proves: LS-2
func TestAnotherOwnersRecordLosesTheLease(t *testing.T) {
	dir := t.TempDir()
	l := take(t, open(t, Options{Dir: dir, TTL: shortTTL}))
	r := recordOf(t, dir)
	r.Number += 100
	r.Nonce, r.PID, r.Epoch = strings.Repeat("ee", 16), 4242, 77
	l.mu.Lock()
	err := l.file.write(&r)
	l.mu.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	wantLost(t, l, 10*shortTTL, "process 4242 has taken it over with epoch 77")
	if err := l.Release(); err != nil {
		t.Fatal(err)
	}
	if after := recordOf(t, dir); after != r {
		t.Errorf("the release wrote over the other's record: %+v", after)
	}
}

// Heartbeats that cannot be written: the lease is given up before others may take the owner for hung, the ttl after the last one.
//
// Proves: LS-2
func TestAnOwnerThatCannotRenewGivesUpBeforeTheTTLEnds(t *testing.T) {
	dir := mount(t, "size=1m,mode=700")
	const ttl = 3 * time.Second
	k := open(t, Options{Dir: dir, TTL: ttl})
	l := take(t, k)
	l.mu.Lock()
	fd := l.file.fd
	// A disk that fails is a descriptor that cannot be written; its read lock stays refused to nobody, so only the write fails.
	broken, err := os.Open("/dev/full")
	if err != nil {
		t.Fatal(err)
	}
	good := l.file
	l.file.fd = int(broken.Fd())
	last := time.Now()
	l.mu.Unlock()
	defer broken.Close()
	wantLostAt := func() time.Duration {
		select {
		case <-l.Lost():
		case <-time.After(5 * ttl):
			t.Fatal("the lease was not given up")
		}
		return time.Since(last)
	}
	took := wantLostAt()
	if took < ttl/3 || took > ttl {
		t.Errorf("given up %s after the last heartbeat; the ttl is %s", took, ttl)
	}
	if err := l.Err(); !errors.Is(err, ErrLost) || !strings.Contains(err.Error(), "no heartbeat could be written") {
		t.Errorf("%v", err)
	}
	l.mu.Lock()
	l.file, l.file.fd = good, fd
	l.mu.Unlock()
}

// Also when the goroutine that writes is stuck in the kernel.
//
// Proves: LS-2
func TestAStuckHeartbeatIsNoticed(t *testing.T) {
	l := take(t, open(t, Options{Dir: t.TempDir(), TTL: shortTTL}))
	l.mu.Lock() // as a write that does not return
	select {
	case <-l.Lost():
	case <-time.After(20 * shortTTL):
		t.Error("the lease was not given up")
	}
	l.mu.Unlock()
}

// Proves: LS-1
func TestListShowAndBreak(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "leases")
	if all, err := List(dir); err != nil || len(all) != 0 {
		t.Errorf("a directory that is not there: %v %v", all, err)
	}
	if _, err := Show(dir, address); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
	if _, err := Break(context.Background(), Options{Dir: dir, Logger: quiet()}, address); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
	owner := startWorker(t, dir, t.TempDir(), shortTTL)
	owner.must(order{Op: "acquire", Key: "a"}, "")
	owner.must(order{Op: "release", Key: "a"}, "")
	owner.must(acquire(false), "")
	if err := os.WriteFile(filepath.Join(dir, "notes.txt"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	all, err := List(dir)
	if err != nil || len(all) != 3 || all[0].State != Released || all[0].Epoch != 1 || all[1].State != Live || all[2].State != Foreign {
		t.Fatalf("%+v %v", all, err)
	}
	broken := func() (*Status, error) {
		return Break(context.Background(), Options{Dir: dir, TTL: shortTTL, Logger: quiet()}, address)
	}
	if s, err := broken(); !errors.Is(err, ErrHeld) || s.State != Live {
		t.Errorf("a live owner: %+v %v", s, err)
	}
	stopped(t, owner)
	if s, err := broken(); err != nil || s.State != Hung || s.Owner.PID != owner.cmd.Process.Pid || owner.running() {
		t.Errorf("a hung owner: %+v %v, it runs: %v", s, err, owner.running())
	}
	if s, err := broken(); err != nil || !s.State.Free() || s.Epoch != 2 { // the owner had epoch 1 of the other key in the same state directory
		t.Errorf("a free lease: %+v %v", s, err)
	}
}

// Proves: LS-1
func TestACloseGivesAllBack(t *testing.T) {
	dir := t.TempDir()
	k := open(t, Options{Dir: dir})
	for _, key := range []string{"a", "b", "c"} {
		if _, err := k.Acquire(context.Background(), addressOf(key)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(k.Close(), k.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := k.Acquire(context.Background(), addressOf("a")); !errors.Is(err, ErrClosed) {
		t.Errorf("%v", err)
	}
	all, err := List(dir)
	if err != nil || len(all) != 3 {
		t.Fatalf("%+v %v", all, err)
	}
	for _, s := range all {
		if !s.State.Free() {
			t.Errorf("%+v", s)
		}
	}
	if _, err := k.Acquire(context.Background(), ipc.Address{Bot: "b"}); err == nil {
		t.Error("an address without a strategy has a lease")
	}
}

// Proves: LS-3
func TestWaitingForATakeoverCanBeGivenUp(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "leases")
	owner := startWorker(t, dir, t.TempDir(), shortTTL)
	owner.must(acquire(false), "")
	stopped(t, owner)
	ctx, cancel := context.WithTimeout(context.Background(), shortTTL/20)
	defer cancel()
	_, err := open(t, Options{Dir: dir, Takeover: true}).Acquire(ctx, address)
	if !errors.Is(err, context.DeadlineExceeded) || !owner.running() {
		t.Errorf("%v, the owner runs: %v", err, owner.running())
	}
	owner.signal(syscall.SIGCONT)
}
