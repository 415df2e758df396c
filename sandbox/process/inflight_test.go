package process

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/msup/msup/sandbox"
	"github.com/msup/msup/sandbox/sandboxtest"
	"golang.org/x/sys/unix"
)

// Descriptors that a strategy has sent and nobody has received count for its user, who without root is everybody's. They must not keep another
// runner from handing over the one that its refused calls are counted by.
//
// Proves: SB-7, SB-8, NN-2
func TestAStartBesideDescriptorsOnTheirWay(t *testing.T) {
	if os.Geteuid() == 0 { // root may send as many as it likes
		cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v")
		cmd.Env, cmd.Dir, cmd.SysProcAttr = []string{"PATH=/usr/bin:/bin", "TMPDIR=/tmp"}, "/", sandboxtest.Nobody()
		if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
			t.Errorf("as nobody: %v\n%s", err, out)
		}
		return
	}
	const limit, onTheirWay = 64, 200
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		for _, fd := range pair {
			if err := unix.Close(fd); err != nil {
				t.Error(err)
			}
		}
	}()
	many := make([]int, onTheirWay)
	for i := range many {
		many[i] = pair[1]
	}
	if err := unix.Sendmsg(pair[0], []byte{1}, unix.UnixRights(many...), nil, 0); err != nil {
		t.Fatal(err)
	}
	s := open(t, shortDir(t)+"/r")
	out, exit, err := runPython(t, s, "import resource; print(resource.getrlimit(resource.RLIMIT_NOFILE))", func(spec *sandbox.Spec) { spec.Limits.OpenFiles = limit })
	if err != nil || out != "(64, 64)\n" {
		t.Errorf("it printed %q, ended with %s, %v", out, exit, err)
	}
}

// Under the limit on address space the kernel gives a Go program nothing any more: what takes memory there kills the start, as one of some hundred
// beside a busy machine was.
//
// Proves: SB-2, SB-L1
func TestNothingTakesMemoryUnderTheLastLimits(t *testing.T) {
	last, err := lastRlimits(orders{OpenFiles: 1 << 62, Processes: 1 << 62, AddressSpace: 1 << 62}) // the host's own
	if err != nil || len(last) != 3 {
		t.Fatal(last, err)
	}
	argv, envv, err := vectors(orders{Argv: []string{"none"}})
	if err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(100, func() {
		if done, errno := plunge(last, argv, envv); done != len(last) || errno != unix.EACCES { // the null device stands at execFD here
			t.Errorf("%d limits were set: %v", done, errno)
		}
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
