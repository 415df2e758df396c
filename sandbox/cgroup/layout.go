package cgroup

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Kind names the layout of a host's control groups.
type Kind string

// The kinds.
const (
	None   Kind = "none"
	V1     Kind = "v1"
	Hybrid Kind = "hybrid"
	V2     Kind = "v2"
)

// The controllers that carry walls.
const (
	memory  = "memory"
	cpu     = "cpu"
	cpuacct = "cpuacct"
	pids    = "pids"
	freezer = "freezer"
)

// Layout says which hierarchy serves which controller.
type Layout struct {
	Kind    Kind
	Unified string            // mount point of the v2 hierarchy; "" when there is none
	V1      map[string]string // controller → mount point of its v1 hierarchy
	V2      []string          // controllers that the unified hierarchy offers
	self    map[string]string // controller ("" = unified) → path of this process's own group
	favored bool              // a hierarchy is mounted with favordynmods
}

// SlowMoves is what an operator can do so that a process changes its control groups at once; "" where it does, or where none has to. Otherwise each
// change waits for a grace period of RCU while nobody on the machine may fork, up to 13 ms. Linux has the option from 6.0 on, and keeps what it
// does until the next boot. On v2 alone runners are cloned into their groups.
func (l Layout) SlowMoves() string {
	switch {
	case l.favored || l.Kind == V2 || l.Kind == None:
		return ""
	case l.Unified != "":
		return "mount -o remount,favordynmods " + l.Unified
	}
	return "mkdir -p /run/cgroup-quick && mount -t cgroup -o none,name=quick,favordynmods none /run/cgroup-quick"
}

// Detect reads the layout of this host.
func Detect() (Layout, error) {
	mounts, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return Layout{}, fmt.Errorf("detect cgroups: %w", err)
	}
	defer mounts.Close()
	self, err := os.Open("/proc/self/cgroup")
	if err != nil {
		return Layout{}, fmt.Errorf("detect cgroups: %w", err)
	}
	defer self.Close()
	return parseLayout(mounts, self)
}

func parseLayout(mountinfo, selfCgroup io.Reader) (Layout, error) {
	l := Layout{V1: map[string]string{}, self: map[string]string{}}
	scan := bufio.NewScanner(mountinfo)
	for scan.Scan() {
		// 36 35 98:0 /root /mount/point opts optional… - fstype source superopts
		before, after, ok := strings.Cut(scan.Text(), " - ")
		fields, super := strings.Fields(before), strings.Fields(after)
		if !ok || len(fields) < 5 || len(super) < 3 {
			continue
		}
		point := unescape(fields[4])
		options := strings.Split(super[2], ",")
		l.favored = l.favored || strings.HasPrefix(super[0], "cgroup") && slices.Contains(options, "favordynmods")
		switch super[0] {
		case "cgroup2":
			if l.Unified == "" {
				l.Unified = point
			}
		case "cgroup":
			for _, c := range options {
				if slices.Contains([]string{memory, cpu, cpuacct, pids, freezer}, c) && l.V1[c] == "" {
					l.V1[c] = point
				}
			}
		}
	}
	if err := scan.Err(); err != nil {
		return l, fmt.Errorf("read mountinfo: %w", err)
	}
	if l.Unified != "" {
		text, err := os.ReadFile(filepath.Join(l.Unified, "cgroup.controllers"))
		if err != nil {
			return l, fmt.Errorf("read the unified hierarchy's controllers: %w", err)
		}
		l.V2 = strings.Fields(string(text))
	}
	scan = bufio.NewScanner(selfCgroup)
	for scan.Scan() {
		parts := strings.SplitN(scan.Text(), ":", 3)
		if len(parts) != 3 {
			continue
		}
		for _, c := range strings.Split(parts[1], ",") {
			l.self[c] = parts[2]
		}
	}
	if err := scan.Err(); err != nil {
		return l, fmt.Errorf("read own control group: %w", err)
	}
	switch {
	case len(l.V1) > 0 && l.Unified != "":
		l.Kind = Hybrid
	case len(l.V1) > 0:
		l.Kind = V1
	case l.Unified != "":
		l.Kind = V2
	default:
		l.Kind = None
	}
	return l, nil
}

// unescape resolves the octal escapes of mountinfo (space, tab, newline, backslash).
func unescape(s string) string {
	for _, e := range [...][2]string{{`\040`, " "}, {`\011`, "\t"}, {`\012`, "\n"}, {`\134`, `\`}} {
		s = strings.ReplaceAll(s, e[0], e[1])
	}
	return s
}
