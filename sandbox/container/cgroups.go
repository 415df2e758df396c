package container

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/sandbox"
	"github.com/msup/msup/sandbox/cgroup"
	"golang.org/x/sys/unix"
)

// The limits of a runner are set by package cgroup, on the same groups and with the same numbers as for the process
// sandbox; runc is told to use those groups (<parent>/<lane>/<id>). runc joins every hierarchy of a v1 host, also those
// that carry none of our walls (devices, blkio, cpuset …), and leaves its parents there: they are removed here.

// hierarchyPoints are the mount points of all cgroup hierarchies.
func hierarchyPoints(mountinfo io.Reader) ([]string, error) {
	var out []string
	scan := bufio.NewScanner(mountinfo)
	for scan.Scan() {
		before, after, ok := strings.Cut(scan.Text(), " - ")
		fields, kind := strings.Fields(before), strings.Fields(after)
		if ok && len(fields) >= 5 && len(kind) > 0 && (kind[0] == "cgroup" || kind[0] == "cgroup2") && !slices.Contains(out, fields[4]) {
			out = append(out, fields[4])
		}
	}
	if err := scan.Err(); err != nil {
		return nil, fmt.Errorf("read mountinfo: %w", err)
	}
	return out, nil
}

func hostHierarchies() ([]string, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("look for control groups: %w", err)
	}
	defer f.Close()
	return hierarchyPoints(f)
}

// cgroupsPath is what runc is told: the group's path below every mount point. It has only one word for all hierarchies.
func cgroupsPath(g *cgroup.Group, points []string, parent string, lane ipc.Lane, id string) (string, error) {
	want := "/" + filepath.Join(parent, lane.String(), id)
	for _, p := range g.Paths() {
		if !slices.ContainsFunc(points, func(point string) bool { return p == point+want }) {
			return "", &sandbox.Error{Reason: sandbox.ReasonSetupFailed, Op: "place the container in its control group",
				Err:    fmt.Errorf("the group is %s, but runc can be given only one path below every hierarchy, %s", p, want),
				Remedy: "run msup where it may make groups at the top of every hierarchy (as root of the host), or use the process sandbox"}
		}
	}
	return want, nil
}

// dropGroups removes what runc leaves in the hierarchies that package cgroup does not use: the runner's group. The groups above it stay while any
// msup runs: runc makes them, looks into them and makes its own in them, and fails where another removes an empty one in between.
func dropGroups(points []string, parent, id string) error {
	var errs []error
	for _, point := range points {
		for _, lane := range []ipc.Lane{ipc.LaneLL, ipc.LaneCompute} {
			own := filepath.Join(point, parent, lane.String(), id)
			if err := unix.Rmdir(own); err != nil && !errors.Is(err, unix.ENOENT) {
				errs = append(errs, fmt.Errorf("remove control group %s: %w", own, err))
			}
		}
	}
	return errors.Join(errs...)
}

// parents holds the groups above those of the runners, by a lock on the runtime directory: as long as somebody does, nobody removes them.
type parents struct {
	lock    *os.File
	dropped sync.Once
	err     error
}

// holdParents waits for one who is removing them, which takes a ms.
func holdParents(dir string) (*parents, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("hold the control groups: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_SH); err != nil {
		return nil, errors.Join(fmt.Errorf("hold the control groups by a lock on %s: %w", dir, err), f.Close())
	}
	return &parents{lock: f}, nil
}

// drop lets go of the groups, and removes them in all hierarchies when nobody else holds them. A group that somebody uses stays, which is no error.
// It may be called any number of times.
func (p *parents) drop(points []string, parent string) error {
	p.dropped.Do(func() { p.err = p.letGo(points, parent) })
	return p.err
}

func (p *parents) letGo(points []string, parent string) error {
	err := unix.Flock(int(p.lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		for _, point := range points {
			top := filepath.Join(point, parent)
			for _, lane := range []ipc.Lane{ipc.LaneLL, ipc.LaneCompute} {
				_ = unix.Rmdir(filepath.Join(top, lane.String()))
			}
			_ = unix.Rmdir(top)
		}
	} else if errors.Is(err, unix.EWOULDBLOCK) {
		err = nil
	}
	if err = errors.Join(err, p.lock.Close()); err != nil {
		return fmt.Errorf("let go of the control groups: %w", err)
	}
	return nil
}
