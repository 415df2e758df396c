package folder

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/msup/msup/sandbox"
)

const period = 200 * time.Millisecond

// inodeBytes is what one file counts besides its blocks, so that empty ones are bounded too.
const inodeBytes = 4096

// Breach says which folder grew above its limit.
type Breach struct {
	Target       string // inside the sandbox
	Bytes, Limit int64
	Err          error // why it could not be measured; nil otherwise
}

// Watch measures the host folders among ws until done is closed, and calls breached for each that breaks its limit, once, from a
// goroutine of its own. What cannot be measured cannot be bounded: that is a breach too.
func Watch(ws []sandbox.Writable, done <-chan struct{}, breached func(Breach)) {
	for _, w := range ws {
		if w.Source != "" {
			go watch(w, done, breached)
		}
	}
}

func watch(w sandbox.Writable, done <-chan struct{}, breached func(Breach)) {
	tick := time.NewTicker(period)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return
		case <-tick.C:
		}
		if bytes, err := measure(w.Source, w.Bytes); err != nil || bytes > w.Bytes {
			breached(Breach{Target: w.Target, Bytes: bytes, Limit: w.Bytes, Err: err})
			return
		}
	}
}

// measure adds up what a folder holds, and stops when it is more than limit.
func measure(dir string, limit int64) (total int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // the job removed it meanwhile
		}
		if err != nil {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		total += inodeBytes
		if st, ok := info.Sys().(*syscall.Stat_t); ok {
			total += st.Blocks * 512
		}
		if total > limit {
			return filepath.SkipAll
		}
		return nil
	})
	if err != nil {
		return total, fmt.Errorf("measure %s: %w", dir, err)
	}
	return total, nil
}

// HandBack gives the host folders among ws, with all that the job wrote, to this process's user.
func HandBack(ws []sandbox.Writable) error {
	var errs []error
	for _, w := range ws {
		if w.Source == "" {
			continue
		}
		// WalkDir does not follow links, and Lchown changes the link itself. chown clears set-id bits.
		err := filepath.WalkDir(w.Source, func(path string, _ fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			return os.Lchown(path, os.Geteuid(), os.Getegid())
		})
		if err != nil {
			errs = append(errs, fmt.Errorf("take %s back from the runner: %w", w.Source, err))
		}
	}
	return errors.Join(errs...)
}
