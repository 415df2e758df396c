package thread

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/msup/msup/sandbox"
)

// verdict says why a shared process was killed.
type verdict struct {
	by      *instance // that the supervisor wanted to end
	culprit *instance // because of which its thread did not leave
	all     bool      // nobody in particular
	why     string
}

// judge finds because of whom a thread did not leave: itself, unless it strove for the interpreter and another one had it. A thread in one
// long C call keeps all others from running, and then the first deadline that is missed may be somebody else's.
func (p *sharedProcess) judge(r *instance, before, after map[*instance]threadStat, took time.Duration) *verdict {
	v := &verdict{by: r, culprit: r}
	own := after[r].since(before[r])
	longest := took / 2
	for i, now := range after {
		t := now.since(before[i])
		if i != r && own.yields >= minStriving && own.ran < t.ran/2 && t.wanted() >= longest {
			v.culprit, longest = i, t.wanted()
		}
	}
	v.why = fmt.Sprintf("the thread of %s did not leave within %s", r.spec.Address, p.box.cfg.KillGrace)
	if v.culprit != r {
		v.why += fmt.Sprintf(", because that of %s held the interpreter (%s of %s)", v.culprit.spec.Address,
			longest.Round(time.Millisecond), took.Round(time.Millisecond))
	}
	v.why += ", so their process was killed"
	return v
}

// minStriving is how often a thread must have given up its processor to count as one that waits for the interpreter: that one looks every
// 5 ms, one that sleeps or waits for something else never.
const minStriving = 4

// threadStat is what the kernel counts of a thread.
type threadStat struct {
	ran    time.Duration // had a processor
	queued time.Duration // wanted one
	yields int64         // gave it up by itself
}

func (t threadStat) since(then threadStat) threadStat {
	return threadStat{t.ran - then.ran, t.queued - then.queued, t.yields - then.yields}
}

// wanted is how long it had something to do, whatever else the machine did.
func (t threadStat) wanted() time.Duration { return t.ran + t.queued }

// together is how an instance ended with its process.
func (r *instance) together(e sandbox.Exit, v *verdict, sharers int) sandbox.Exit {
	e.Usage = r.p.attributed(e.Usage, sharers)
	if e.Cause != sandbox.CauseKilled || v == nil {
		e.Detail += fmt.Sprintf(" (process %d, which %d instances shared)", r.PID(), sharers)
		return e
	}
	switch {
	case v.all && v.why == "": // the whole sandbox was closed
	case v.all:
		e.Cause, e.Reason, e.Detail = sandbox.CauseSignaled, sandbox.ReasonSignaled, v.why
	case r == v.culprit || r.killed.Load():
		e.Detail = v.why
	default:
		e.Cause, e.Reason = sandbox.CauseSignaled, sandbox.ReasonSignaled
		e.Detail = fmt.Sprintf("it was taken along: it shared process %d, where %s", r.PID(), v.why)
	}
	return e
}

// measure is what every instance's thread has done so far.
func (p *sharedProcess) measure() map[*instance]threadStat {
	stats, err := p.threadStats()
	if err != nil {
		p.box.log.Warn("reading what a shared process's threads do failed", "process", p.name, "error", err)
	}
	out := map[*instance]threadStat{}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range p.instances {
		if t, ok := stats[r.thread.Load()]; ok {
			out[r] = t
			r.cpu.Store(int64(t.ran))
		}
	}
	return out
}

// threadStats reads the counters of every thread of the process, by its id in the process's own pid namespace.
func (p *sharedProcess) threadStats() (map[int64]threadStat, error) {
	dir := fmt.Sprintf("/proc/%d/task", p.inner.PID())
	threads, err := os.ReadDir(dir)
	if err != nil {
		return nil, unlessGone(err)
	}
	out := make(map[int64]threadStat, len(threads))
	for _, t := range threads {
		id, stat, err := readThread(filepath.Join(dir, t.Name()))
		switch {
		case err == nil:
			out[id] = stat
		case unlessGone(err) != nil:
			return out, err
		}
	}
	return out, nil
}

// unlessGone drops the error of reading about a thread that has ended.
func unlessGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
		return nil
	}
	return err
}

// readThread reads one thread's folder in /proc.
func readThread(dir string) (id int64, t threadStat, err error) {
	status, err := os.ReadFile(filepath.Join(dir, "status"))
	if err != nil {
		return 0, t, fmt.Errorf("read a thread's status: %w", err)
	}
	if id, err = lastNumber(string(status), "NSpid:"); err != nil {
		return 0, t, err
	}
	if t.yields, err = lastNumber(string(status), "voluntary_ctxt_switches:"); err != nil {
		return 0, t, err
	}
	text, err := os.ReadFile(filepath.Join(dir, "schedstat"))
	if err != nil {
		return 0, t, fmt.Errorf("read a thread's processor time: %w", err)
	}
	if _, err := fmt.Sscan(string(text), &t.ran, &t.queued); err != nil {
		return 0, t, fmt.Errorf("read a thread's processor time from %q: %w", text, err)
	}
	return id, t, nil
}

// lastNumber reads the last number of a line of a status file.
func lastNumber(status, name string) (int64, error) {
	for line := range strings.Lines(status) {
		if rest, ok := strings.CutPrefix(line, name); ok {
			if fields := strings.Fields(rest); len(fields) > 0 {
				return strconv.ParseInt(fields[len(fields)-1], 10, 64)
			}
		}
	}
	return 0, fmt.Errorf("a thread's status has no %s", name)
}
