package container

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/msup/msup/sandbox"
	"golang.org/x/sys/unix"
)

// fifos are the two pipes with names into which the shim copies what a runner prints. They lie in the runner's own
// closed folder, and are read by the one log limiter: a log file that containerd writes would take 2.5 GB in 3 s.
type fifos struct {
	paths [2]string
	files [2]*os.File
}

func newFIFOs(dir string) (*fifos, error) {
	f := &fifos{paths: [2]string{filepath.Join(dir, "stdout"), filepath.Join(dir, "stderr")}}
	for i, p := range f.paths {
		err := unix.Mkfifo(p, 0o600)
		if err == nil {
			f.files[i], err = os.OpenFile(p, os.O_RDONLY|unix.O_NONBLOCK, 0)
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("make the runner's %s: %w", filepath.Base(p), err), f.close())
		}
	}
	return f, nil
}

func (f *fifos) close() error {
	var errs []error
	for i, file := range f.files {
		if file != nil {
			errs = append(errs, file.Close())
			f.files[i] = nil
		}
	}
	return errors.Join(errs...)
}

// creator gives containerd the names only.
func (f *fifos) creator(string) (cio.IO, error) { return namedIO(f.paths), nil }

// namedIO is containerd's view of the two pipes, which this package reads and closes itself.
type namedIO [2]string

// Config names the pipes.
func (n namedIO) Config() cio.Config { return cio.Config{Stdout: n[0], Stderr: n[1]} }

// Cancel does nothing: there is nothing of containerd's to cancel.
func (n namedIO) Cancel() {}

// Wait does nothing: the runner drains the pipes itself.
func (n namedIO) Wait() {}

// Close does nothing: the runner closes the pipes itself.
func (n namedIO) Close() error { return nil }

// pump starts reading. The shim has both pipes open by then, so an end is an end.
func (r *runner) pump() {
	for i, stream := range [2]sandbox.Stream{sandbox.Stdout, sandbox.Stderr} {
		file := r.fds.files[i]
		r.pumps.Go(func() {
			if err := r.logs.Load().Pump(stream, file); err != nil {
				r.box.log.Warn("reading the runner's output failed", "instance", r.spec.Address.String(), "error", err)
			}
		})
	}
}

// drain waits for the pumps. All writers are gone, so the pipes end; the deadline is for a shim that hangs.
func (r *runner) drain() error {
	var errs []error
	for _, f := range r.fds.files {
		if f != nil {
			errs = append(errs, f.SetReadDeadline(time.Now().Add(drainTimeout)))
		}
	}
	r.pumps.Wait()
	return errors.Join(append(errs, r.fds.close())...)
}
