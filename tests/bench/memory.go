package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/msup/msup/sandbox"
	"github.com/msup/msup/tests/memory"
)

// idleMemory measures what one more instance costs while nothing happens: its runner, the shim that holds its container, and the share of
// the supervisor.
func idleMemory(ctx context.Context, r *rig, p plan, f *figures) error {
	for _, k := range r.kinds {
		if err := r.idle(ctx, k, p, f); err != nil {
			return fmt.Errorf("%s: %w", k.name, err)
		}
		if k.prepared == nil {
			continue
		}
		if err := r.idlePrepared(ctx, k, p.idle[0], f); err != nil {
			return fmt.Errorf("%s, prepared: %w", k.name, err)
		}
	}
	return nil
}

// idle measures one kind at every number of instances, starting those that are not there yet.
func (r *rig) idle(ctx context.Context, k *kind, p plan, f *figures) (err error) {
	before, err := residentMB(os.Getpid())
	if err != nil {
		return err
	}
	var all crowd
	defer func() { err = errors.Join(err, all.stop()) }()
	for _, n := range p.idle {
		if err := all.grow(ctx, r, wiring{kind: k}, n); err != nil {
			return err
		}
		after, err := residentMB(os.Getpid())
		if err != nil {
			return err
		}
		runners, err := sumMB(all.pids)
		if err != nil {
			return err
		}
		at := fmt.Sprintf("memory of an idle %s instance, %d instances: ", k.name, n)
		f.add(at+"runner", runners/float64(n), "MB", 0, "")
		f.add(at+"share of the supervisor", max(0, after-before)/float64(n), "MB", 0, "")
		if k.prepared == nil {
			continue
		}
		shims, err := all.shims()
		if err != nil {
			return err
		}
		mb, err := sumMB(shims)
		if err != nil {
			return err
		}
		f.add(at+"shim", mb/float64(n), "MB", 0, "")
	}
	return nil
}

// idlePrepared measures everything that containers cost an instance when their next start is made in advance.
func (r *rig) idlePrepared(ctx context.Context, k *kind, n int, f *figures) (err error) {
	// Runners in containers are children of shims of this daemon, whether they run or wait. What other sections have left prepared does not count.
	others, err := descendants("containerd-shim", r.engine.Address())
	if err != nil {
		return err
	}
	var all crowd
	defer func() { err = errors.Join(err, all.stop()) }()
	if err := all.grow(ctx, r, wiring{kind: k, prepared: true}, n); err != nil {
		return err
	}
	// Processes that end while they are counted are runc's, which come and go while the last containers are made: then it is counted again.
	const each = 4 // a shim and a runner, twice
	var mb float64
	for begin := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		pids, err := descendants("containerd-shim", r.engine.Address())
		pids = slices.DeleteFunc(pids, func(pid int) bool { return slices.Contains(others, pid) })
		if err == nil && len(pids) == each*n {
			if mb, err = sumMB(pids); err == nil {
				break
			}
		}
		if ctx.Err() != nil || time.Since(begin) > patience {
			return errors.Join(fmt.Errorf("%d processes of containers where %d are due", len(pids), each*n), err, ctx.Err())
		}
	}
	f.add(fmt.Sprintf("memory of an idle %s instance, %d instances: runner, shim, and both again for the next start", k.name, n), mb/float64(n), "MB", 0, "")
	return nil
}

// crowd is a number of idle instances.
type crowd struct {
	members []*live
	pids    []int
}

// grow starts instances until there are n.
func (c *crowd) grow(ctx context.Context, r *rig, w wiring, n int) error {
	for len(c.members) < n {
		w.every, w.ledger, w.started = 1, &memory.Ledger{}, func(x sandbox.Runner) { c.pids = append(c.pids, x.PID()) }
		l, err := r.start(ctx, w)
		if err != nil {
			return err
		}
		c.members = append(c.members, l)
	}
	return nil
}

func (c *crowd) stop() error {
	var errs []error
	for _, l := range c.members {
		errs = append(errs, l.stop())
	}
	return errors.Join(errs...)
}

// shims are the processes that hold the containers, each once.
func (c *crowd) shims() ([]int, error) {
	seen := map[int]bool{}
	var pids []int
	for _, pid := range c.pids {
		shim, err := shimOf(pid)
		if err != nil {
			return nil, err
		}
		if !seen[shim] {
			seen[shim] = true
			pids = append(pids, shim)
		}
	}
	return pids, nil
}

// descendants are the processes whose program begins with a name and that have the given argument, and their children.
func descendants(name, argument string) (pids []int, err error) {
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return nil, fmt.Errorf("looking at processes: %w", err)
	}
	for _, file := range files {
		line, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		args := strings.Split(string(line), "\x00")
		if !strings.HasPrefix(filepath.Base(args[0]), name) || !strings.Contains(string(line), "\x00"+argument+"\x00") {
			continue
		}
		dir := filepath.Dir(file)
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil {
			return nil, fmt.Errorf("looking at %s: %w", dir, err)
		}
		pids = append(pids, pid)
		lists, err := filepath.Glob(filepath.Join(dir, "task", "[0-9]*", "children"))
		if err != nil {
			return nil, fmt.Errorf("looking at %s: %w", dir, err)
		}
		for _, list := range lists {
			text, err := os.ReadFile(list)
			if err != nil {
				continue
			}
			for field := range strings.FieldsSeq(string(text)) {
				child, err := strconv.Atoi(field)
				if err != nil {
					return nil, fmt.Errorf("reading %s: %w", list, err)
				}
				pids = append(pids, child)
			}
		}
	}
	return pids, nil
}

func sumMB(pids []int) (total float64, err error) {
	for _, pid := range pids {
		mb, err := residentMB(pid)
		if err != nil {
			return 0, err
		}
		total += mb
	}
	return total, nil
}

// residentMB is the proportional set size of a process: pages that several share are counted in parts.
func residentMB(pid int) (mb float64, err error) {
	text, err := field(fmt.Sprintf("/proc/%d/smaps_rollup", pid), "Pss:")
	if err != nil {
		return 0, err
	}
	kb, err := strconv.ParseFloat(text, 64)
	return kb / 1e3 * 1.024, err
}

func parentOf(pid int) (int, error) {
	text, err := field(fmt.Sprintf("/proc/%d/status", pid), "PPid:")
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(text)
}

// field is the word behind a name at the beginning of a line.
func field(name, of string) (text string, err error) {
	file, err := os.Open(name)
	if err != nil {
		return "", fmt.Errorf("looking for %s: %w", of, err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	scan := bufio.NewScanner(file)
	for scan.Scan() {
		if fields := strings.Fields(scan.Text()); len(fields) > 1 && fields[0] == of {
			return fields[1], nil
		}
	}
	return "", errors.Join(fmt.Errorf("%s shows no %s", name, of), scan.Err())
}
