package userid

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"

	"github.com/msup/msup/sandbox"
	"golang.org/x/sys/unix"
)

// Pool is a span of user ids cut into slots of equal size.
type Pool struct {
	File  string // which all supervisors of the host lock
	First int    // user id of slot 0
	Each  int    // user ids a slot
	Slots int
}

// Claim holds one slot until Release, or until this process dies.
type Claim struct {
	First int // user id of the slot
	file  *os.File
}

// Claim takes a free slot. The error is an *sandbox.Error when there is none.
func (p Pool) Claim() (*Claim, error) {
	// Runners, also those of other sandboxes, pass through this folder with ids of their own.
	if err := os.MkdirAll(filepath.Dir(p.File), 0o711); err != nil {
		return nil, fmt.Errorf("make the user id file: %w", err)
	}
	f, err := os.OpenFile(p.File, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the user id file: %w", err)
	}
	start := rand.IntN(p.Slots) // so that an id is not given out again at once
	for i := range p.Slots {
		slot := (start + i) % p.Slots
		err := unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_WRLCK, Start: int64(slot), Len: 1})
		if err == nil {
			return &Claim{First: p.First + slot*p.Each, file: f}, nil
		}
		if !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EACCES) {
			return nil, errors.Join(fmt.Errorf("lock user ids in %s: %w", p.File, err), f.Close())
		}
	}
	return nil, errors.Join(&sandbox.Error{Reason: sandbox.ReasonSetupFailed, Op: "choose a user id",
		Err: fmt.Errorf("all %d in %s are in use", p.Slots, p.File), Remedy: "stop some instances"}, f.Close())
}

// Release gives the slot back.
func (c *Claim) Release() error { return c.file.Close() }
