package owned

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Suffix is what the name of an unfinished file ends in: it belongs to nobody as soon as it can be taken.
const Suffix = ".new"

// tries is how often Create begins anew: each time another process swept the unfinished file away between two of its steps.
const tries = 100

var errSwept = errors.New("the unfinished file was swept away")

// Create makes a file, locks it, fills it, and only then gives it its name, which must be free.
func Create(path string, fill func(*os.File) error) (*os.File, error) {
	var err error
	for range tries {
		var f *os.File
		if f, err = create(path, fill); !errors.Is(err, errSwept) {
			return f, err
		}
		time.Sleep(rand.N(time.Millisecond)) // out of step with who sweeps
	}
	return nil, err
}

func create(path string, fill func(*os.File) error) (*os.File, error) {
	temp := path + Suffix
	f, err := os.OpenFile(temp, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if errors.Is(err, fs.ErrExist) && sweep(temp) == nil { // a name is used once, so that it is a dead maker's or on its way out
		return nil, errSwept
	}
	if err != nil {
		return nil, err
	}
	// Between the opening and the lock a reaper may take the file for a dead maker's.
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); errors.Is(err, unix.EWOULDBLOCK) {
		return nil, errors.Join(errSwept, f.Close())
	} else if err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", temp, err), f.Close(), os.Remove(temp))
	}
	if there, err := named(f); err != nil || !there {
		return nil, errors.Join(errSwept, err, f.Close())
	}
	err = fill(f)
	if err == nil {
		err = os.Rename(temp, path)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close(), os.Remove(temp))
	}
	return f, nil
}

// sweep removes an unfinished file that nobody holds.
func sweep(temp string) error {
	f, err := Take(temp)
	if f == nil || err != nil {
		return err
	}
	return Remove(temp, f)
}

// Take opens and locks a file whose owner is dead; nil where the owner lives, or the file is gone.
func Take(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); errors.Is(err, unix.EWOULDBLOCK) {
		return nil, f.Close()
	} else if err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), f.Close())
	}
	// Its owner, or another reaper, may have removed it between the opening and the lock.
	if there, err := named(f); err != nil || !there {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// Remove deletes an owned file and then lets go of it.
func Remove(path string, f *os.File) error {
	err := os.Remove(path)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return errors.Join(err, f.Close())
}

// named says whether the file still has a name.
func named(f *os.File) (bool, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return false, fmt.Errorf("stat %s: %w", f.Name(), err)
	}
	return st.Nlink > 0, nil
}
