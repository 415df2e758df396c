package privilege

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Status is what the kernel says of the rights of one thread.
type Status struct {
	Thread                                               int
	UIDs, GIDs                                           [4]int // real, effective, saved, file system
	Groups                                               string // supplementary, separated by spaces
	Inheritable, Permitted, Effective, Ambient, Bounding string // capabilities, in hex
	NoNewPrivs                                           bool
}

// Threads reads the status of every thread of a process; 0 is this one.
func Threads(pid int) ([]Status, error) {
	self := "self"
	if pid != 0 {
		self = strconv.Itoa(pid)
	}
	files, err := filepath.Glob(filepath.Join("/proc", self, "task", "*", "status"))
	if err != nil {
		return nil, fmt.Errorf("find the threads of process %s: %w", self, err)
	}
	var all []Status
	for _, name := range files {
		text, err := os.ReadFile(name)
		if errors.Is(err, os.ErrNotExist) || err != nil && strings.Contains(err.Error(), "no such process") {
			continue // it ended meanwhile
		}
		if err != nil {
			return nil, fmt.Errorf("read a thread's rights: %w", err)
		}
		s, err := parseStatus(string(text))
		if err != nil {
			return nil, fmt.Errorf("read a thread's rights: %s: %w", name, err)
		}
		all = append(all, s)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("find the threads of process %s: there is none; mount /proc", self)
	}
	return all, nil
}

func parseStatus(text string) (Status, error) {
	var s Status
	seen := map[string]bool{}
	var errs []error
	ids := func(v string) (out [4]int) {
		fields := strings.Fields(v)
		if len(fields) != len(out) {
			errs = append(errs, fmt.Errorf("ids %q", v))
			return out
		}
		for i, f := range fields {
			n, err := strconv.Atoi(f)
			errs = append(errs, err)
			out[i] = n
		}
		return out
	}
	for line := range strings.Lines(text) {
		name, v, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ":")
		v = strings.TrimSpace(v)
		seen[name] = true
		switch name {
		case "Pid":
			n, err := strconv.Atoi(v)
			errs = append(errs, err)
			s.Thread = n
		case "Uid":
			s.UIDs = ids(v)
		case "Gid":
			s.GIDs = ids(v)
		case "Groups":
			s.Groups = v
		case "CapInh":
			s.Inheritable = v
		case "CapPrm":
			s.Permitted = v
		case "CapEff":
			s.Effective = v
		case "CapBnd":
			s.Bounding = v
		case "CapAmb":
			s.Ambient = v
		case "NoNewPrivs":
			s.NoNewPrivs = v == "1"
		}
	}
	for _, name := range []string{"Pid", "Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapAmb", "NoNewPrivs"} {
		if !seen[name] {
			errs = append(errs, fmt.Errorf("the kernel says nothing of %s", name))
		}
	}
	return s, errors.Join(errs...)
}
