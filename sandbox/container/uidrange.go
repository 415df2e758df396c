package container

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"

	"github.com/msup/msup/sandbox"
	"golang.org/x/sys/unix"
)

// Each runner has 65,536 user ids of its own. They lie above those of the process sandbox (0x70000000 to 0x7000ffff) and
// of systemd-nspawn, and below 2^31, beyond which some programs take an id for a negative number.
const (
	rangeSize  = 65_536
	firstRange = 0x7001_0000
	rangeCount = 4_094
)

// innerID is the user and group id that a strategy sees. Id 0 exists inside, for runc's set-up; nobody is it later.
const innerID = 1000

// uidRange is unique on this host while it is held. Each range is one byte of a file, locked by an open file description
// of its own: the kernel releases it when the supervisor dies, and nothing is left to clean up.
type uidRange struct {
	base int
	file *os.File
}

func lockRange(path string) (*uidRange, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o711); err != nil {
		return nil, fmt.Errorf("make the user id file: %w", err)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the user id file: %w", err)
	}
	start := rand.IntN(rangeCount) // so that a range is not given out again at once
	for i := range rangeCount {
		slot := (start + i) % rangeCount
		err := unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_WRLCK, Start: int64(slot), Len: 1})
		if err == nil {
			return &uidRange{base: firstRange + slot*rangeSize, file: f}, nil
		}
		if !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EACCES) {
			return nil, errors.Join(fmt.Errorf("lock user ids in %s: %w", path, err), f.Close())
		}
	}
	return nil, errors.Join(&sandbox.Error{Reason: sandbox.ReasonSetupFailed, Op: "choose user ids",
		Err: fmt.Errorf("all %d ranges are in use", rangeCount), Remedy: "stop some instances"}, f.Close())
}

func (r *uidRange) release() error { return r.file.Close() }
