package syscalls

import (
	"encoding/json"
	"math"
	"testing"
)

// What is counted is refused by the list itself, has room and one place, and leaves out what libraries try and do without.
//
// Proves: SB-3, SB-7
func TestCountedCallsAreRefused(t *testing.T) {
	allowed := map[string]Group{}
	for _, g := range Strategy() {
		for _, n := range g.Names {
			allowed[n] = g
		}
		if g.Counted && (len(g.AnyOf) != 1 || g.Errno != 0) {
			t.Errorf("group %q is counted, and its opposite is not one condition", g.Why)
		}
	}
	seen := map[string]bool{}
	for _, g := range Counted() {
		if g.Why == "" || len(g.Names) == 0 || len(g.AnyOf) > 0 || g.Errno != 0 || g.Counted || g.Arch != "" && g.Arch != amd64 {
			t.Errorf("group %+v", g)
		}
		for _, n := range g.Names {
			if by, ok := allowed[n]; ok || seen[n] {
				t.Errorf("%s is there twice, or in %q as well", n, by.Why)
			}
			seen[n] = true
		}
	}
	for _, probed := range []string{"clone3", "memfd_create", "mlock", "sched_setaffinity", "mbind", "getxattr", "linkat", "fchownat", "setfsuid", "personality",
		"prctl", "ioctl", "pidfd_open", "openat2", "landlock_create_ruleset", "seccomp", "inotify_init1", "name_to_handle_at", "process_madvise"} {
		if seen[probed] {
			t.Errorf("%s is counted, which libraries try", probed)
		}
	}
	if n := len(index().names); n > room || n < len(seen)+3 {
		t.Errorf("%d names, room for %d", n, room)
	}
	for _, n := range index().names {
		var c Counts
		if c.Add(n); c.Of(n) != 1 || c.Total() != 1 || c.Names() != n {
			t.Errorf("%s counts as %s", n, c.Names())
		}
	}
}

// Counters are compared, sent and named; they stop at their highest value, and what another process sends is judged.
//
// Proves: SB-7, SB-8
func TestCounts(t *testing.T) {
	var c Counts
	for _, n := range []string{"fork", "socket", "socket", "no call of this name"} {
		c.Add(n)
	}
	if c.Total() != 4 || c.Of("socket") != 2 || c.Of("read") != 0 || c.Names() != "socket, another call, fork" {
		t.Errorf("%d: %s", c.Total(), c.Names())
	}
	text, err := json.Marshal(c)
	if err != nil || string(text) != `{"another call":1,"fork":1,"socket":2}` {
		t.Errorf("%s, %v", text, err)
	}
	back := Counts{5: 9}
	if err := json.Unmarshal(text, &back); err != nil || back != c {
		t.Errorf("%s comes back as %s, %v", text, back.Names(), err)
	}
	for _, bad := range []string{`{"read":1}`, `{"socket":-1}`, `{"socket":4294967296}`, `[1]`, `{"socket":"1"}`} {
		if err := json.Unmarshal([]byte(bad), &back); err == nil {
			t.Errorf("%s is taken", bad)
		}
	}
	later := c
	for _, n := range []string{"ptrace", "ptrace", "bpf", "mount", "setns"} {
		later.Add(n)
	}
	if got := later.Since(c); got.Total() != 5 || got.Names() != "ptrace, bpf, mount, setns" {
		t.Errorf("since then %d: %s", got.Total(), got.Names())
	}
	if later.Names() != "ptrace, socket, another call, bpf and 3 more" {
		t.Errorf("all: %s", later.Names())
	}
	if got := c.Since(later); got != (Counts{}) || got.Names() != "" {
		t.Errorf("counters that went back are %d: %s", got.Total(), got.Names())
	}
	most := Counts{0: math.MaxUint32}
	if most.Add(""); most.Total() != math.MaxUint32 {
		t.Errorf("a full counter is %d", most.Total())
	}
}
