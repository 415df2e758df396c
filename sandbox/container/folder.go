package container

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

// diskPeriod is how often the host folder of a job is measured. The kernel offers an ordinary folder no quota of its own.
const diskPeriod = 200 * time.Millisecond

// inodeBytes is what one file counts besides its blocks, so that empty ones are bounded too.
const inodeBytes = 4096

// diskBreach says which folder of a job grew above its limit.
type diskBreach struct {
	target       string
	bytes, limit int64
}

// handOver gives the writable host folders to the runner's user id.
func (r *runner) handOver() error {
	for _, w := range r.spec.Writable {
		if w.Source == "" {
			continue
		}
		if err := os.Lchown(w.Source, r.uid(), r.uid()); err != nil {
			return specError("hand "+w.Source+" to the runner", err, "name an existing folder of the supervisor's")
		}
	}
	return nil
}

// handBack returns them, with all that the job wrote, to the supervisor.
func (r *runner) handBack() error {
	var errs []error
	for _, w := range r.spec.Writable {
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

// watchDisk kills a job whose host folder grows above its limit.
func (r *runner) watchDisk() {
	for _, w := range r.spec.Writable {
		if w.Source != "" {
			go r.watchFolder(w)
		}
	}
}

func (r *runner) watchFolder(w sandbox.Writable) {
	tick := time.NewTicker(diskPeriod)
	defer tick.Stop()
	for {
		select {
		case <-r.done:
			return
		case <-tick.C:
		}
		bytes, err := measure(w.Source, w.Bytes)
		if err != nil {
			// What cannot be measured cannot be bounded: the job is ended.
			r.box.log.Error("measuring a job's folder failed", "instance", r.spec.Address.String(), "error", err)
		}
		if err == nil && bytes <= w.Bytes {
			continue
		}
		r.disk.Store(&diskBreach{target: w.Target, bytes: bytes, limit: w.Bytes})
		if err := r.Kill(); err != nil {
			r.box.log.Error("killing a job above its limit failed", "instance", r.spec.Address.String(), "error", err)
		}
		return
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
