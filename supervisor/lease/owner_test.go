package lease_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/statedb"
	"github.com/msup/msup/supervisor/boundary/execution"
	"github.com/msup/msup/supervisor/boundary/sim"
	"github.com/msup/msup/supervisor/lease"
)

// What happens where the lease cannot help: state directories on two hosts, here two lease directories, with a real ledger each, and I.

var (
	instance = ipc.Address{Bot: "b", Strategy: "s", Instance: "i"}
	silence  = slog.New(slog.NewTextHandler(io.Discard, nil))
)

// owner is a supervisor reduced to lease, ledger and Hello.
type owner struct {
	t      *testing.T
	keeper *lease.Keeper
	lease  *lease.Lease
	db     *statedb.DB
	ledger *statedb.Instance
	nonce  ipc.Nonce
	epoch  ipc.Epoch
}

func start(t *testing.T, leases, state string, nonce byte) *owner {
	t.Helper()
	o := &owner{t: t, nonce: ipc.Nonce{nonce}}
	var err error
	if o.keeper, err = lease.Open(lease.Options{Dir: leases, Nonce: o.nonce, Logger: silence}); err != nil {
		t.Fatal(err)
	}
	if o.lease, err = o.keeper.Acquire(context.Background(), instance); err != nil {
		t.Fatal(err)
	}
	if o.db, err = statedb.Open(state, statedb.Options{Durability: statedb.Process, Logger: silence}); err != nil {
		t.Fatal(err)
	}
	if o.ledger, err = o.db.OpenInstance(instance); err != nil {
		t.Fatal(err)
	}
	if o.epoch, err = o.ledger.NextEpochAbove(o.lease.Epoch(), statedb.LeaseRow{PID: os.Getpid(), Nonce: o.nonce}); err != nil {
		t.Fatal(err)
	}
	if err := o.lease.Raise(o.epoch); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(o.stop)
	return o
}

func (o *owner) stop() {
	if err := errors.Join(o.keeper.Close(), o.db.Close()); err != nil {
		o.t.Error(err)
	}
}

// venue is I.
type venue struct {
	t      *testing.T
	socket string
}

func startVenue(t *testing.T) *venue {
	t.Helper()
	dir, err := os.MkdirTemp("", "lease-i-") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	v := &venue{t: t, socket: filepath.Join(dir, "i")}
	listener, err := sim.Listen(v.socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() {
		served <- sim.Serve(ctx, listener, sim.Options{Dir: filepath.Join(dir, "state"), Logger: silence})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return v
}

type deaf struct{}

func (deaf) Event(*ipc.SourceEvent)   {}
func (deaf) Status(*ipc.StatusReport) {}
func (deaf) Refused(*ipc.Refused)     {}
func (deaf) Lost(error)               {}

// hello announces an owner and returns its connection, or why I refuses it.
func (v *venue) hello(o *owner) (*execution.Client, ipc.ReasonCode) {
	v.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	v.t.Cleanup(cancel)
	c, err := execution.Dial(ctx, v.socket, execution.Options{Logger: silence})
	if err != nil {
		v.t.Fatal(err)
	}
	v.t.Cleanup(func() { _ = c.Close() }) // I may have gone first
	_, err = c.Hello(ctx, execution.Announcement{Address: instance, Lineage: o.ledger.Lineage(), Epoch: o.epoch, Owner: o.nonce}, deaf{})
	return c, v.reason(err)
}

func (v *venue) reason(err error) ipc.ReasonCode {
	v.t.Helper()
	var refused *execution.RefusedError
	switch {
	case err == nil:
		return ""
	case errors.As(err, &refused):
		return refused.Reason
	}
	v.t.Fatal(err)
	return ""
}

// acts asks I something that only the owner may ask.
func (v *venue) acts(c *execution.Client, o *owner) ipc.ReasonCode {
	v.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	_, err := c.Query(ctx, instance, o.epoch, "00000000000000000000000000000001")
	return v.reason(err)
}

// On one host two state directories count their starts together, so that I takes each in its turn.
//
// Proves: LS-3, NN-6
func TestTwoStateDirectoriesCountTogether(t *testing.T) {
	leases, i := filepath.Join(t.TempDir(), "leases"), startVenue(t)
	states := []string{t.TempDir(), t.TempDir()}
	for n, state := range []string{states[0], states[1], states[1], states[0], states[0], states[1]} {
		o := start(t, leases, state, byte(n+1))
		if o.epoch != ipc.Epoch(n+1) || o.lease.Epoch() != o.epoch || o.ledger.Epoch() != o.epoch {
			t.Errorf("start %d has epoch %d; the lease says %d, the ledger %d", n, o.epoch, o.lease.Epoch(), o.ledger.Epoch())
		}
		if _, refused := i.hello(o); refused != "" {
			t.Errorf("start %d is refused by I: %s", n, refused)
		}
		o.stop()
	}
	// The memory of /run is gone with a reboot: the ledger's own count is what remains.
	if o := start(t, filepath.Join(t.TempDir(), "fresh"), states[1], 9); o.epoch != 7 {
		t.Errorf("after a reboot the next start has epoch %d", o.epoch)
	}
}

// A copy of a state directory on another host comes to the same epoch. I knows the nonce of whoever came first and refuses the second;
// started again, the second has a higher epoch, and it is the first that is barred. Never do both speak.
//
// Proves: LS-3, NN-6
func TestOfTwoCopiesTheNonceDecides(t *testing.T) {
	i, here, there := startVenue(t), filepath.Join(t.TempDir(), "here"), filepath.Join(t.TempDir(), "there")
	state, twin := t.TempDir(), filepath.Join(t.TempDir(), "copy")
	start(t, here, state, 1).stop()
	if err := os.CopyFS(twin, os.DirFS(state)); err != nil {
		t.Fatal(err)
	}
	first, second := start(t, here, state, 2), start(t, there, twin, 3)
	if first.epoch != 2 || second.epoch != 2 {
		t.Fatalf("epochs %d and %d: they should be equal", first.epoch, second.epoch)
	}
	one, refused := i.hello(first)
	if refused != "" {
		t.Fatal(refused)
	}
	if _, refused := i.hello(second); refused != ipc.ReasonSecondOwner {
		t.Errorf("the copy is told %q", refused)
	}
	if refused := i.acts(one, first); refused != "" {
		t.Errorf("the first may not act: %s", refused)
	}
	second.stop()
	again := start(t, there, twin, 4)
	if again.epoch != 3 {
		t.Fatalf("epoch %d", again.epoch)
	}
	two, refused := i.hello(again)
	if refused != "" {
		t.Errorf("the copy's second start is told %q", refused)
	}
	if refused := i.acts(one, first); refused != ipc.ReasonEpochPassed {
		t.Errorf("the first acts beside the copy: %q", refused)
	}
	if refused := i.acts(two, again); refused != "" {
		t.Errorf("the copy may not act: %s", refused)
	}
	if _, refused := i.hello(first); refused != ipc.ReasonEpochPassed {
		t.Errorf("the first comes back and is told %q", refused)
	}
}

// On one host the lease refuses the copy before it comes to I, and afterwards lifts it above the original.
//
// Proves: LS-1, LS-3
func TestACopyOnTheSameHostIsRefusedAndThenCountsOn(t *testing.T) {
	leases, state, twin := filepath.Join(t.TempDir(), "leases"), t.TempDir(), filepath.Join(t.TempDir(), "copy")
	start(t, leases, state, 1).stop()
	if err := os.CopyFS(twin, os.DirFS(state)); err != nil {
		t.Fatal(err)
	}
	first := start(t, leases, state, 2)
	k, err := lease.Open(lease.Options{Dir: leases, Nonce: ipc.Nonce{3}, Logger: silence})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.Acquire(context.Background(), instance); !errors.Is(err, lease.ErrHeld) {
		t.Errorf("%v", err)
	}
	if err := k.Close(); err != nil {
		t.Fatal(err)
	}
	first.stop()
	if copied := start(t, leases, twin, 4); copied.epoch != 3 {
		t.Errorf("the copy has epoch %d, the original had %d", copied.epoch, first.epoch)
	}
}
