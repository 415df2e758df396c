package process

import (
	"fmt"
	"os"
	"runtime"

	"github.com/elastic/go-seccomp-bpf"
	"github.com/msup/msup/sandbox"
	"github.com/msup/msup/sandbox/cgroup"
	"golang.org/x/sys/unix"
)

// Host is what `msup doctor` says about this machine.
type Host struct {
	Kernel      string // release
	Arch        string // GOARCH
	Root        bool
	Cgroups     cgroup.Kind
	UserNS      bool // a runner could be started in a user namespace
	LandlockABI int  // 0 = none
	Seccomp     bool
	Walls       []sandbox.Wall
	SlowStarts  string // a command after which starts wait less for the kernel; "" = there is nothing to gain
	Err         error  // why no runner can be started; nil when one can
}

// Inspect tries everything on this host. It starts one short process and leaves nothing behind.
func Inspect(cfg Config) Host {
	h := Host{Arch: runtime.GOARCH, Root: os.Geteuid() == 0, LandlockABI: landlockABI(), Seccomp: seccomp.Supported()}
	var uts unix.Utsname
	if err := unix.Uname(&uts); err == nil {
		h.Kernel = unix.ByteSliceToString(uts.Release[:])
	}
	layout, err := cgroup.Detect()
	if err != nil {
		h.Err = fmt.Errorf("inspect control groups: %w", err)
	}
	h.Cgroups = layout.Kind
	var major int
	if _, err := fmt.Sscanf(h.Kernel, "%d.", &major); err == nil && major >= 6 && h.Root {
		h.SlowStarts = layout.SlowMoves()
	}
	s, err := New(cfg)
	if err != nil {
		h.Err = err
		return h
	}
	h.UserNS, h.Walls = true, s.Walls()
	h.Err = s.Close()
	return h
}

func allowedCount() int {
	n := 0
	for _, g := range syscallGroups {
		if g.errno == 0 && (!g.counted || len(g.when) > 0) && (g.arch == "" || g.arch == libraryArch[runtime.GOARCH]) {
			n += len(g.names)
		}
	}
	return n
}

var libraryArch = map[string]string{"amd64": amd64, "arm64": arm64}
