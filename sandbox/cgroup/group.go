package cgroup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/sandbox"
	"golang.org/x/sys/unix"
)

// cpuPeriod is short, because a runner that has used up its quota stands still for the rest of it: with the kernel's
// default of 100 ms a deadline of a few ms would be missed by twenty times. The kernel takes no quota below 1 ms, so
// small shares need the long period.
const (
	cpuPeriod     = 20 * time.Millisecond
	cpuPeriodLong = 100 * time.Millisecond
	cpuQuotaLeast = time.Millisecond
)

// Group is one runner's group in every hierarchy.
type Group struct {
	manager *Manager
	dirs    map[string]string // controller → directory
	paths   []string          // every directory once
	unified string            // directory in the v2 hierarchy, or ""
}

// Create makes the group of one runner with its limits. On a host without controllers the group limits nothing.
func (m *Manager) Create(lane ipc.Lane, id string, limits sandbox.Limits) (*Group, error) {
	g := &Group{manager: m, dirs: map[string]string{}}
	for _, h := range m.hierarchies {
		dir, err := m.createIn(h, lane, id)
		if err == nil {
			g.add(h, dir)
			err = apply(dir, h, limits)
		}
		if err != nil {
			return nil, errors.Join(err, g.Remove(context.Background()))
		}
	}
	return g, nil
}

// createIn makes one directory. Another supervisor may remove the empty lane group between two steps: then again.
func (m *Manager) createIn(h hierarchy, lane ipc.Lane, id string) (string, error) {
	var err error
	for range 10 {
		if err = m.lanes(h); err == nil {
			dir := m.leaf(h, lane, id)
			if err = m.mkdir(dir); err == nil {
				return dir, nil
			}
			err = fmt.Errorf("make control group %s: %w", dir, err)
		}
		if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENODEV) {
			break
		}
	}
	return "", err
}

func (g *Group) add(h hierarchy, dir string) {
	g.paths = append(g.paths, dir)
	for _, c := range h.controllers {
		g.dirs[c] = dir
	}
	if h.v2 {
		g.unified = dir
	}
}

// apply sets the limits that one hierarchy carries.
func apply(dir string, h hierarchy, l sandbox.Limits) error {
	period := cpuPeriod.Microseconds()
	if l.CPUQuota*float64(cpuPeriod) < float64(cpuQuotaLeast) {
		period = cpuPeriodLong.Microseconds()
	}
	quota := max(int64(l.CPUQuota*float64(period)), cpuQuotaLeast.Microseconds())
	mem := strconv.FormatInt(l.MemoryBytes, 10)
	for _, c := range h.controllers {
		var err error
		switch {
		case c == memory && h.v2:
			if err = write(dir, "memory.max", mem); err == nil {
				err = optional(write(dir, "memory.swap.max", "0"))
			}
			if err == nil {
				err = optional(write(dir, "memory.oom.group", "1"))
			}
		case c == memory:
			if err = write(dir, "memory.limit_in_bytes", mem); err == nil {
				err = optional(write(dir, "memory.memsw.limit_in_bytes", mem))
			}
		case c == cpu && h.v2:
			err = write(dir, "cpu.max", fmt.Sprintf("%d %d", quota, period))
		case c == cpu:
			if err = write(dir, "cpu.cfs_period_us", strconv.FormatInt(period, 10)); err == nil {
				err = write(dir, "cpu.cfs_quota_us", strconv.FormatInt(quota, 10))
			}
		case c == pids:
			err = write(dir, "pids.max", strconv.FormatInt(l.PIDs, 10))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// optional forgives a file that the kernel was built without: no swap accounting, or a kernel before memory.oom.group.
func optional(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// Open returns the group that a dead supervisor may have left behind. It can be killed and removed only.
func (m *Manager) Open(lane ipc.Lane, id string) *Group {
	g := &Group{manager: m, dirs: map[string]string{}}
	for _, h := range m.hierarchies {
		dir := m.leaf(h, lane, filepath.Base(id))
		if _, err := os.Stat(dir); err == nil {
			g.add(h, dir)
		}
	}
	return g
}

// Paths are the group's directories.
func (g *Group) Paths() []string { return g.paths }

// Whole opens the directory of a group that lies in v2 alone, so that a process can be cloned into it; nil where it lies elsewhere, too. To move one
// there takes the kernel's lock of all forks, and with it a grace period of RCU, up to 13 ms.
func (g *Group) Whole() (*os.File, error) {
	if g.unified == "" || len(g.paths) != 1 {
		return nil, nil
	}
	f, err := os.Open(g.unified)
	if err != nil {
		return nil, fmt.Errorf("open control group: %w", err)
	}
	return f, nil
}

// Add moves a process into the group.
func (g *Group) Add(pid int) error {
	for _, dir := range g.paths {
		if err := write(dir, "cgroup.procs", strconv.Itoa(pid)); err != nil {
			return err
		}
	}
	return nil
}

// SetPIDs changes the ceiling of processes and threads; nothing happens where that wall does not stand.
func (g *Group) SetPIDs(limit int64) error {
	dir, ok := g.dirs[pids]
	if !ok {
		return nil
	}
	return write(dir, "pids.max", strconv.FormatInt(limit, 10))
}

// PIDs lists the processes inside.
func (g *Group) PIDs() ([]int, error) {
	if len(g.paths) == 0 {
		return nil, nil
	}
	dir := g.unified
	if dir == "" {
		dir = g.paths[0]
	}
	return readPIDs(dir)
}

// Kill kills every process inside and returns when none is left.
func (g *Group) Kill(ctx context.Context) error {
	for wait := time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		inside, err := g.PIDs()
		if err != nil || len(inside) == 0 {
			return err
		}
		if err := g.killOnce(inside); err != nil {
			return err
		}
		if g.unified != "" && wait > time.Millisecond { // what has survived the first round
			if err := errors.Join(g.thaw(), g.killHeadless(inside)); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("kill control group %s: %d processes are left: %w", g.paths[0], len(inside), ctx.Err())
		case <-time.After(wait):
		}
	}
}

// killHeadless kills processes whose first thread has ended while others go on, which any program can bring about:
// cgroup.kill sends its signal to the first thread alone, where it is lost (seen on Linux 6.18). A process is held by a
// pidfd and looked for in the group again, so that a number that was given away meanwhile is not trusted.
func (g *Group) killHeadless(inside []int) error {
	var errs []error
	for _, pid := range inside {
		fd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			if !errors.Is(err, unix.ESRCH) && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOSYS) {
				errs = append(errs, fmt.Errorf("open process %d: %w", pid, err))
			}
			continue
		}
		still, err := readPIDs(g.unified)
		if err == nil && slices.Contains(still, pid) {
			if err = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); errors.Is(err, unix.ESRCH) {
				err = nil
			}
		}
		errs = append(errs, err, unix.Close(fd))
	}
	return errors.Join(errs...)
}

func (g *Group) killOnce(inside []int) error {
	if g.unified != "" {
		err := write(g.unified, "cgroup.kill", "1")
		if !errors.Is(err, fs.ErrNotExist) { // cgroup.kill came with Linux 5.14
			return err
		}
	}
	if dir, ok := g.dirs[freezer]; ok {
		if err := write(dir, "freezer.state", "FROZEN"); err != nil {
			return err
		}
		var err error
		if inside, err = readPIDs(dir); err != nil {
			return errors.Join(err, g.thaw())
		}
	}
	var errs []error
	for _, pid := range inside {
		if err := unix.Kill(pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
			errs = append(errs, fmt.Errorf("kill process %d: %w", pid, err))
		}
	}
	return errors.Join(append(errs, g.thaw())...)
}

// thaw lets go of what is frozen by v1's freezer. On a hybrid host somebody else may have frozen the group (an engine that pauses a
// container, say): cgroup.kill does not reach through that, and the killed would stay for ever. v2's own freezer lets a kill pass.
func (g *Group) thaw() error {
	dir, ok := g.dirs[freezer]
	if !ok {
		return nil
	}
	err := write(dir, "freezer.state", "THAWED")
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) { // gone meanwhile, with everybody inside
		return nil
	}
	return err
}

// Remove removes the group's directories, and the lane and parent groups when they are empty. The kernel may hold a
// group for a moment after its last process ended.
func (g *Group) Remove(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	var errs []error
	for _, dir := range g.paths {
		errs = append(errs, g.removeDir(ctx, dir))
	}
	for _, h := range g.manager.hierarchies {
		g.manager.dropLanes(h)
	}
	return errors.Join(errs...)
}

func (g *Group) removeDir(ctx context.Context, dir string) error {
	for wait := time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		err := g.manager.rmdir(dir)
		if err == nil || errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if !errors.Is(err, unix.EBUSY) {
			return fmt.Errorf("remove control group %s: %w", dir, err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("remove control group %s: still busy: %w", dir, err)
		case <-time.After(wait):
		}
	}
}

// Usage reads the counters; what the host cannot count is -1.
func (g *Group) Usage() (sandbox.Usage, error) {
	u := sandbox.UnknownUsage()
	var errs []error
	read := func(controller, v1file, v1key, v2file, v2key string) int64 {
		dir, ok := g.dirs[controller]
		if !ok {
			return -1
		}
		file, key := v1file, v1key
		if dir == g.unified {
			file, key = v2file, v2key
		}
		n, err := readCounter(dir, file, key)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
		return n
	}
	u.MemoryBytes = read(memory, "memory.usage_in_bytes", "", "memory.current", "")
	u.MemoryPeakBytes = read(memory, "memory.max_usage_in_bytes", "", "memory.peak", "")
	u.OOMKills = read(memory, "memory.oom_control", "oom_kill", "memory.events", "oom_kill")
	u.PIDs = read(pids, "pids.current", "", "pids.current", "")
	u.PIDsRefused = read(pids, "pids.events", "max", "pids.events", "max")
	if dir, ok := g.dirs[cpu]; ok && dir == g.unified {
		u.CPU = scale(read(cpu, "", "", "cpu.stat", "usage_usec"), time.Microsecond)
		u.Throttled = scale(read(cpu, "", "", "cpu.stat", "throttled_usec"), time.Microsecond)
	} else {
		u.CPU = scale(read(cpuacct, "cpuacct.usage", "", "", ""), time.Nanosecond)
		u.Throttled = scale(read(cpu, "cpu.stat", "throttled_time", "", ""), time.Nanosecond)
	}
	return u, errors.Join(errs...)
}

func scale(n int64, unit time.Duration) time.Duration {
	if n < 0 {
		return -1
	}
	return time.Duration(n) * unit
}

// readCounter reads a file that holds one number, or the number after key in a file of "key number" lines.
func readCounter(dir, file, key string) (int64, error) {
	text, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		return -1, fmt.Errorf("read counter: %w", err)
	}
	value := strings.TrimSpace(string(text))
	if key != "" {
		value = ""
		for _, line := range strings.Split(string(text), "\n") {
			if k, v, ok := strings.Cut(line, " "); ok && k == key {
				value = v
			}
		}
		if value == "" {
			return -1, nil // an older kernel without this counter
		}
	}
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil {
		return -1, fmt.Errorf("counter %s/%s: %w", dir, file, err)
	}
	return n, nil
}

func readPIDs(dir string) ([]int, error) {
	text, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	var out []int
	for _, f := range strings.Fields(string(text)) {
		pid, err := strconv.Atoi(f)
		if err != nil {
			return nil, fmt.Errorf("list processes of %s: %w", dir, err)
		}
		out = append(out, pid)
	}
	return out, nil
}

// write writes one control file, which must exist: the kernel makes them, a typing error must not.
func write(dir, file, value string) error {
	f, err := os.OpenFile(filepath.Join(dir, file), os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return fmt.Errorf("set %s to %s: %w", file, value, err)
	}
	_, err = f.WriteString(value)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("set %s of %s to %s: %w", file, dir, value, err)
	}
	return nil
}
