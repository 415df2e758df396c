package lease

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/msup/msup/ipc"
)

// The ttl is what an owner may be silent before it counts as hung. Below the least, a busy machine alone makes an owner look hung.
const (
	DefaultTTL = 15 * time.Second
	LeastTTL   = 100 * time.Millisecond
	MostTTL    = time.Hour
)

// Of a ttl: looks per ttl, heartbeats per ttl, and the looks without a heartbeat after which the lease is given up, a third before its end.
const (
	looks    = 12
	beats    = 3
	giveUpAt = looks * 2 / 3
)

// settle is how long a lock may be held by a process that is not, or not yet, the one in the record.
const settle = time.Second

// Options of Open.
type Options struct {
	Dir      string        // "" = DefaultDir
	TTL      time.Duration // 0 = DefaultTTL
	Nonce    ipc.Nonce     // of this process start, the one that I is told
	Takeover bool          // kill an owner that is silent beyond its ttl
	Logger   *slog.Logger  // nil = slog.Default

	machine *machine // nil = this one
}

// Keeper holds the leases of one process and renews them all.
type Keeper struct {
	opt     Options
	dir     string
	machine machine
	self    Identity
	log     *slog.Logger

	mu     sync.Mutex
	leases map[*Lease]struct{}
	closed bool
	stop   chan struct{}
	wg     sync.WaitGroup
}

// Open prepares the directory and starts the heartbeat. Close it.
func Open(opt Options) (*Keeper, error) {
	if opt.TTL == 0 {
		opt.TTL = DefaultTTL
	}
	if opt.TTL < LeastTTL || opt.TTL > MostTTL {
		return nil, fmt.Errorf("a lease ttl of %s is not within %s and %s", opt.TTL, LeastTTL, MostTTL)
	}
	if opt.Logger == nil {
		opt.Logger = slog.Default()
	}
	k := &Keeper{opt: opt, log: opt.Logger, leases: map[*Lease]struct{}{}, stop: make(chan struct{})}
	var err error
	if opt.machine != nil {
		k.machine = *opt.machine
	} else if k.machine, err = thisMachine(); err != nil {
		return nil, err
	}
	if k.self, err = k.machine.self(); err != nil {
		return nil, err
	}
	if k.dir, err = openDir(opt.Dir); err != nil {
		return nil, err
	}
	k.every(k.beat)
	k.every(k.guard)
	return k, nil
}

// every calls f at each look, in a goroutine of its own. While the process is stopped there are no looks, and none are made up for.
func (k *Keeper) every(f func()) {
	k.wg.Add(1)
	go func() {
		defer k.wg.Done()
		t := time.NewTicker(k.opt.TTL / looks)
		defer t.Stop()
		for {
			select {
			case <-t.C:
				f()
			case <-k.stop:
				return
			}
		}
	}()
}

func (k *Keeper) each(f func(*Lease)) {
	k.mu.Lock()
	all := make([]*Lease, 0, len(k.leases))
	for l := range k.leases {
		all = append(all, l)
	}
	k.mu.Unlock()
	for _, l := range all {
		f(l)
	}
}

// beat renews every lease whose last heartbeat is a third of the ttl ago; one that failed is tried again at every look.
func (k *Keeper) beat() { k.each((*Lease).beat) }

// guard gives up leases whose heartbeat has not been written for two thirds of the ttl: the goroutine that writes may hang in the kernel.
func (k *Keeper) guard() { k.each((*Lease).guard) }

// Acquire takes the lease of an instance, or says who has it (LS-1). A free one is taken at once; of a hung owner, with Takeover, the
// process is killed first (LS-3).
func (k *Keeper) Acquire(ctx context.Context, a ipc.Address) (*Lease, error) {
	if err := a.Validate(); err != nil {
		return nil, fmt.Errorf("lease of %s: %w", a, err)
	}
	began := time.Now()
	var watched *Status
	for {
		l, s, err := k.try(a)
		if err != nil || l != nil {
			return l, err
		}
		pause := 5 * time.Millisecond
		switch {
		case (s.State == Unknown || s.Holder == 0) && time.Since(began) < settle: // its owner is writing its record, or on its way out
		case s.State != Hung || !k.opt.Takeover:
			return nil, s.refusal(k.dir)
		case watched == nil || watched.record != s.record:
			// Silence may have been ours: a machine that wakes up finds everybody silent. It has another beat to be heard.
			watched, pause = s, s.TTL/beats+s.TTL/looks
		default:
			k.log.Warn("killing the owner of a lease, which is silent beyond its ttl", "instance", a, "pid", s.Owner.PID, "silent", s.Silent, "ttl", s.TTL)
			if err := k.machine.kill(s.Owner); err != nil {
				return nil, &Error{Kind: ErrHung, Reason: ipc.ReasonLeaseHung, Place: "lease of " + a.String(), Status: s, Err: err,
					Cause: "its owner could not be killed", Remedy: fmt.Sprintf("look at process %d and end it by hand", s.Owner.PID)}
			}
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting for the lease of %s: %w", a, context.Cause(ctx))
		case <-time.After(pause):
		}
	}
}

// try takes the lease if it is free, else says how it stands.
func (k *Keeper) try(a ipc.Address) (*Lease, *Status, error) {
	path := filepath.Join(k.dir, FileName(a))
	held.Lock()
	defer held.Unlock()
	for {
		own, err := held.at(path)
		if err != nil {
			return nil, nil, err
		}
		if own != nil {
			return nil, own.status(), nil
		}
		f, err := openLock(path, unix.O_RDWR|unix.O_CREAT)
		if err != nil {
			return nil, nil, err
		}
		l, s, err := k.take(f, a)
		if l != nil {
			return l, nil, nil
		}
		if err = errors.Join(err, f.close()); err != nil {
			return nil, nil, err
		}
		if s != nil {
			s.name(a)
			return nil, s, nil
		}
		// The file was replaced, or its lock given back, while we looked.
	}
}

// take locks an open file and makes it ours. Without a lease, status or error the caller is to begin anew.
func (k *Keeper) take(f lockFile, a ipc.Address) (*Lease, *Status, error) {
	// Before the lock is touched: an owner that has lost it by accident must not find it taken.
	if s, err := k.machine.look(f); err != nil || !s.State.Free() {
		return nil, s, err
	}
	got, err := f.lock()
	if err != nil {
		return nil, nil, err
	}
	if !got {
		return nil, nil, nil // another was faster
	}
	if there, err := f.atPath(); err != nil || !there {
		return nil, nil, err
	}
	before, err := f.read()
	switch {
	case errors.Is(err, errNoRecord):
		before = record{}
	case err != nil:
		return nil, nil, err
	case before.address() != a:
		return nil, nil, foreign(f.path, "it is the lease of "+before.address().String())
	}
	l := &Lease{keeper: k, address: a, file: f, lost: make(chan struct{}), rec: record{
		Number: before.Number, Bot: string(a.Bot), Strategy: string(a.Strategy), Instance: string(a.Instance), Epoch: before.Epoch,
		Nonce: hex.EncodeToString(k.opt.Nonce[:]), PID: k.self.PID, Start: k.self.Start, Boot: k.self.Boot,
		TTL: ipc.Nanos(k.opt.TTL), Since: ipc.Nanos(k.machine.wall().UnixNano()),
	}}
	for range 2 { // both slots, so that heartbeats need no more space
		if err := l.write(); err != nil {
			return nil, nil, err
		}
	}
	if err := k.machine.keep(f); err != nil {
		return nil, nil, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return nil, nil, ErrClosed
	}
	k.leases[l] = struct{}{}
	held.put(l)
	if before.Number > 0 && !before.Released {
		k.log.Info("took over the lease of an owner that has ended", "instance", a, "pid", before.PID, "epoch", before.Epoch)
	}
	return l, nil, nil
}

// Close gives back every lease and ends the heartbeat.
func (k *Keeper) Close() error {
	k.mu.Lock()
	if k.closed {
		k.mu.Unlock()
		return nil
	}
	k.closed = true
	k.mu.Unlock()
	close(k.stop)
	k.wg.Wait()
	var all error
	k.each(func(l *Lease) { all = errors.Join(all, l.Release()) })
	return all
}
