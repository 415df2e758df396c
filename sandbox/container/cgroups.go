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

// dropGroups removes what runc leaves in the hierarchies that package cgroup does not use: the runner's group, and the
// lane and parent groups where they are empty. A group that somebody uses stays, which is no error.
func dropGroups(points []string, parent, id string) error {
	var errs []error
	for _, point := range points {
		top := filepath.Join(point, parent)
		for _, lane := range []ipc.Lane{ipc.LaneLL, ipc.LaneCompute} {
			dir := filepath.Join(top, lane.String())
			if id != "" {
				own := filepath.Join(dir, id)
				if err := unix.Rmdir(own); err != nil && !errors.Is(err, unix.ENOENT) {
					errs = append(errs, fmt.Errorf("remove control group %s: %w", own, err))
				}
			}
			_ = unix.Rmdir(dir)
		}
		_ = unix.Rmdir(top)
	}
	return errors.Join(errs...)
}
