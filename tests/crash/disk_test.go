package crash

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/msup/msup/ipc"
	"golang.org/x/sys/unix"
)

// failures is how many calls fail per change, each in a world of its own.
const failures = 100

// The N-th write, sync or truncation of the state directory fails, alone or with the nineteen after it: with EIO, or for want of space. The
// supervisor fails closed, and goes on by itself where it can; after one more run I was told what it is told without, and nothing twice.
// Proves: NN-3, NN-6, RS-5, ST-4, GT-6
func TestFailingDisk(t *testing.T) {
	s := newSetting(t, plan{strategies: map[string]map[string]string{"turner": eager()}, events: 90, atLeast: 20})
	total := s.countPoints()[moment{"", true}]
	c := newCampaign(t, failures)
	c.run(func(seed uint64, _ *rand.Rand) (int, error) {
		// Odd worlds take one call after the other, which is the start for long; even ones lie evenly over the run, however many there are.
		at, many, errno := 1+int(seed/2)%total, 1, syscall.EIO
		if seed%2 == 0 {
			_, part := math.Modf(float64(seed) * math.Phi)
			at = 1 + int(part*float64(total))
		}
		if seed%3 == 0 {
			errno = syscall.ENOSPC
		}
		if seed%5 == 0 {
			many = 20
		}
		code, err := s.failing(seed, at, many, errno)
		c.count(fmt.Sprintf("runs that ended with %d", code), 1)
		if err != nil {
			return 1, fmt.Errorf("%d calls from the %d-th fail with %v: %w", many, at, errno, err)
		}
		return 1, nil
	})
	c.demand("runs that ended with 0")
}

// failing plays one world in which calls fail, and a second run in which none does.
func (s *setting) failing(seed uint64, at, many int, errno syscall.Errno) (code int, err error) {
	w, err := s.numbered(seed)
	if err != nil {
		return 0, err
	}
	defer w.close(&err)
	passed := 0
	code, err = w.traced(func(p point, before bool) verdict {
		if !before || !p.disk() {
			return verdict{}
		}
		if passed++; passed >= at && passed < at+many {
			return verdict{err: errno, done: passed == at+many-1}
		}
		return verdict{}
	}, w.runArgs()...)
	if err != nil {
		return code, fmt.Errorf("%w\n%s", err, w.said())
	}
	switch code {
	case 0: // it healed
		if err := w.same(); err != nil {
			return code, fmt.Errorf("ended with 0, and %w\nit said:\n%s", err, w.said())
		}
		return code, nil
	case exitState, exitHalted:
		said := w.said()
		if err := w.finish(); err != nil {
			return code, fmt.Errorf("ended with %d, and then: %w\nthe failing run said:\n%s", code, err, said)
		}
		if err := w.same(); err != nil {
			return code, fmt.Errorf("ended with %d, and after a run without failures: %w\nthe failing run said:\n%s", code, err, said)
		}
		return code, nil
	}
	return code, fmt.Errorf("ended with %d:\n%s", code, w.said())
}

// The exit codes of runs that the disk ended.
const (
	exitState  = 5
	exitHalted = 7
)

// The disk is full for a while, again and again, while a strategy trades with an I that lives on another one. The same run goes on when there
// is space, and comes to its end.
// Proves: NN-3, NN-6, RS-5, ST-4, GT-6
func TestFullDisk(t *testing.T) {
	s := newSetting(t, plan{strategies: map[string]map[string]string{"turner": turner("0.0005")}, events: 1800, python: true,
		args: []string{"--keep-log"}, atLeast: 80})
	c := newCampaign(t, 3)
	c.run(func(seed uint64, chance *rand.Rand) (trials int, err error) {
		w, err := s.numbered(seed)
		if err != nil {
			return 0, err
		}
		defer w.close(&err)
		unmount, err := w.smallDisk()
		if err != nil {
			return 0, err
		}
		defer func() { err = errors.Join(err, unmount()) }()
		if err := w.startI(); err != nil {
			return 0, err
		}
		p, err := w.start(w.runArgs()...)
		if err != nil {
			return 0, err
		}
		times, err := w.fillNowAndThen(p, chance)
		if err != nil {
			return 1, errors.Join(err, p.cmd.Process.Kill())
		}
		c.count("times full", times)
		code, err := p.code(patience)
		if err == nil && code == exitState && strings.Contains(p.out.String(), string(ipc.ReasonLedgerFull)) {
			c.count("runs that found no space to stop in order, and a run more", 1)
			err = w.finish()
		} else if err == nil && code != 0 {
			err = errors.New("no run may end so")
		}
		if err != nil {
			return 1, fmt.Errorf("full %d times, the run ended with %d: %w\n%s", times, code, err, tail(p.out.String()))
		}
		return 1, errors.Join(w.stopI(), w.same())
	})
	c.demand("times full")
}

// smallDisk puts the state directory on a file system of its own.
func (w *world) smallDisk() (unmount func() error, err error) {
	aside := w.state + ".aside"
	if err := errors.Join(os.Rename(w.state, aside), os.Mkdir(w.state, 0o700)); err != nil {
		return nil, err
	}
	if err := unix.Mount("crash", w.state, "tmpfs", 0, "size=16m,mode=0700"); err != nil {
		return nil, fmt.Errorf("mounting a small file system: %w", err)
	}
	unmount = func() error { return unix.Unmount(w.state, 0) }
	if err := copyTree(aside, w.state); err != nil {
		return nil, errors.Join(err, unmount())
	}
	return unmount, nil
}

// fillNowAndThen lets no space be left for a while, until the run has ended.
func (w *world) fillNowAndThen(p *started, chance *rand.Rand) (times int, err error) {
	ballast := filepath.Join(w.state, "ballast")
	told, err := w.book()
	for more := told; err == nil && len(more.told) == len(told.told); more, err = w.book() { // a full disk at the start is refused
		select {
		case <-p.ended:
			return 0, nil
		case <-time.After(10 * time.Millisecond):
		}
	}
	if err != nil {
		return 0, err
	}
	for {
		select {
		case <-p.ended:
			return times, nil
		case <-time.After(between(chance, 200*time.Millisecond, 800*time.Millisecond)):
		}
		if err := fill(ballast); err != nil {
			return times, err
		}
		times++
		time.Sleep(between(chance, 50*time.Millisecond, 400*time.Millisecond))
		if err := os.Remove(ballast); err != nil {
			return times, err
		}
	}
}

// fill writes until there is no space.
func fill(path string) error {
	f, err := os.Create(path)
	if err != nil {
		if errors.Is(err, syscall.ENOSPC) {
			return nil
		}
		return err
	}
	block := make([]byte, 4096)
	for err == nil {
		_, err = f.Write(block)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		return errors.Join(err, f.Close())
	}
	return f.Close()
}
