package process

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"

	"github.com/msup/msup/sandbox"
	"golang.org/x/sys/unix"
)

// The user ids that runners get under root lie above those of containers and of systemd-nspawn (524288 to 1879048191).
const (
	firstUID = 1_879_048_192
	uidCount = 65_536
)

// uidLock is one user id, unique on this host while the lock is held. Each id is one byte of a file, locked by an open
// file description of its own: the kernel releases it when the supervisor dies, and nothing is left to clean up.
type uidLock struct {
	uid  int
	file *os.File
}

func lockUID(path string) (*uidLock, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o711); err != nil {
		return nil, fmt.Errorf("make the user id file: %w", err)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the user id file: %w", err)
	}
	start := rand.IntN(uidCount) // so that an id is not given out again at once
	for i := range uidCount {
		slot := (start + i) % uidCount
		err := unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_WRLCK, Start: int64(slot), Len: 1})
		if err == nil {
			return &uidLock{uid: firstUID + slot, file: f}, nil
		}
		if !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EACCES) {
			return nil, errors.Join(fmt.Errorf("lock a user id in %s: %w", path, err), f.Close())
		}
	}
	return nil, errors.Join(&sandbox.Error{Reason: sandbox.ReasonSetupFailed, Op: "choose a user id",
		Err: fmt.Errorf("all %d are in use", uidCount), Remedy: "stop some instances"}, f.Close())
}

func (l *uidLock) release() error { return l.file.Close() }
