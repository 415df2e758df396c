package lease

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/msup/msup/ipc"
)

// Lease is the claim of this process on one instance. Safe for concurrent use.
type Lease struct {
	keeper  *Keeper
	address ipc.Address
	file    lockFile

	raising  sync.Mutex // before mu: the file is not closed while an epoch is made durable
	mu       sync.Mutex // over the record, the file's content and released
	rec      record
	released bool

	missed  atomic.Int32 // looks since the last heartbeat
	failure atomic.Pointer[error]

	loseOnce sync.Once
	lost     chan struct{}
	err      error // before lost is closed
}

// Address names the instance.
func (l *Lease) Address() ipc.Address { return l.address }

// Epoch is the highest that any owner of this lease file has had, this one included (LS-3).
func (l *Lease) Epoch() ipc.Epoch {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.rec.Epoch
}

// Raise writes a higher epoch into the lease, durable where the directory is; it fails where the lease is lost (LS-3).
func (l *Lease) Raise(to ipc.Epoch) error {
	l.raising.Lock()
	defer l.raising.Unlock()
	if err := l.raise(to); err != nil {
		return err
	}
	return l.keeper.machine.keep(l.file) // without mu: a slow disk must not hold up the heartbeat
}

func (l *Lease) raise(to ipc.Epoch) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.released:
		return fmt.Errorf("lease of %s: epoch %d: it was given back", l.address, to)
	case to <= l.rec.Epoch || to > maxEpoch:
		return fmt.Errorf("lease of %s: epoch %d does not follow %d", l.address, to, l.rec.Epoch)
	}
	if err := l.check(); err != nil {
		return err
	}
	from := l.rec.Epoch
	l.rec.Epoch = to
	if err := l.write(); err != nil {
		l.rec.Epoch = from
		return err
	}
	return nil
}

// Lost is closed when this process is not the owner any more, or cannot show that it lives: its runners must stop (LS-2).
func (l *Lease) Lost() <-chan struct{} { return l.lost }

// Err says why the lease is lost; nil while it is not.
func (l *Lease) Err() error {
	select {
	case <-l.lost:
		return l.err
	default:
		return nil
	}
}

// Release gives the lease back; its file stays and keeps the epoch. Releasing twice is harmless.
func (l *Lease) Release() error {
	l.raising.Lock()
	defer l.raising.Unlock()
	held.Lock()
	defer held.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.released {
		return nil
	}
	l.released = true
	l.keeper.mu.Lock()
	delete(l.keeper.leases, l)
	l.keeper.mu.Unlock()
	held.drop(l)
	var err error
	if l.Err() == nil && l.check() == nil { // else the record may be another's
		l.rec.Released = true
		err = l.write()
	}
	return errors.Join(err, l.file.close())
}

// beat renews the lease when it is due.
func (l *Lease) beat() {
	l.mu.Lock()
	defer l.mu.Unlock()
	due := ipc.Nanos(l.keeper.opt.TTL / beats)
	if l.released || l.failure.Load() == nil && l.keeper.machine.boottime()-l.rec.Heartbeat < due {
		return
	}
	err := l.check()
	if err == nil {
		err = l.write()
	}
	if err == nil {
		return
	}
	if l.failure.Swap(&err) == nil && l.Err() == nil {
		l.keeper.log.Warn("renewing a lease failed; trying again", "instance", l.address, "err", err)
	}
}

// guard gives the lease up in time; it takes no lock that the heartbeat holds.
func (l *Lease) guard() {
	missed := l.missed.Add(1)
	if missed < giveUpAt {
		return
	}
	e := &Error{Kind: ErrLost, Reason: ipc.ReasonLeaseLost, Place: "lease of " + l.address.String(), Remedy: remedyLost,
		Cause: fmt.Sprintf("no heartbeat could be written for %s", l.keeper.opt.TTL/looks*time.Duration(missed))}
	if err := l.failure.Load(); err != nil {
		e.Err = *err
	}
	l.lose(e)
}

const remedyLost = "see that nothing removes, replaces or fills up the lease directory, then start the instance again"

// check loses the lease when it is another's: the lock is gone, the file is not the one at its path, or another has written into it.
// The caller holds mu.
func (l *Lease) check() error {
	if err := l.Err(); err != nil {
		return err
	}
	mine, err := l.file.lock()
	if err != nil {
		return err
	}
	if !mine {
		return l.superseded("another process has its lock")
	}
	there, err := l.file.atPath()
	if err != nil {
		return err
	}
	if !there {
		return l.superseded("its file was removed or replaced")
	}
	r, err := l.file.read()
	switch {
	case errors.Is(err, errNoRecord): // scribbled over: the lock is ours, so is the file; the next write mends it
	case err != nil:
		return err
	case r.Nonce != l.rec.Nonce:
		return l.superseded(fmt.Sprintf("process %d has taken it over with epoch %d", r.PID, r.Epoch))
	}
	return nil
}

func (l *Lease) superseded(cause string) error {
	l.lose(&Error{Kind: ErrLost, Reason: ipc.ReasonLeaseLost, Place: "lease of " + l.address.String(), Cause: cause, Remedy: remedyLost})
	return l.err
}

func (l *Lease) lose(err error) {
	l.loseOnce.Do(func() {
		l.err = err
		close(l.lost)
	})
}

// write puts the record with a fresh heartbeat into the file. The caller holds mu, or is the only one who knows the lease.
func (l *Lease) write() error {
	next := l.rec
	next.Number++
	next.Heartbeat = l.keeper.machine.boottime()
	if err := l.file.write(&next); err != nil {
		return err
	}
	l.rec = next
	l.missed.Store(0)
	l.failure.Store(nil)
	return nil
}
