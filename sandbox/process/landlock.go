package process

import (
	"github.com/landlock-lsm/go-landlock/landlock"
	ll "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"github.com/msup/msup/sandbox"
)

// referABI is the Landlock version that first could allow moving files between folders.
const referABI = 2

// landlockABI returns the version of the kernel's Landlock, 0 when it has none.
func landlockABI() int {
	abi, err := ll.LandlockGetABIVersion()
	if err != nil {
		return 0
	}
	return abi
}

// applyLandlock is a second wall behind the mounts: even if a mount were writable or a socket family got through
// seccomp, the kernel would refuse. It allows reading and executing below the binds, writing below /tmp and the
// writable places, the one socket, and no TCP, no UDP, no signal and no abstract socket out of the domain.
//
// Measured: Landlock alone blocks TCP but, before its version 10, neither UDP nor raw nor vsock: seccomp is the first wall.
func applyLandlock(o orders) (int, error) {
	abi := landlockABI()
	if abi == 0 {
		return 0, nil
	}
	writable := func(dir string) landlock.Rule {
		rule := landlock.RWDirs(dir)
		if abi >= referABI { // on version 1 a rule with this right would switch all of Landlock off
			rule = rule.WithRefer()
		}
		return rule
	}
	rules := []landlock.Rule{
		landlock.RODirs("/proc", "/dev"),
		writable("/tmp"),
	}
	for _, m := range o.Mounts {
		switch {
		case m.Device:
			rules = append(rules, landlock.RWFiles(m.Target))
		case m.Writable || m.Tmpfs > 0:
			rules = append(rules, writable(m.Target))
		case m.Target == sandbox.SocketDir:
			rules = append(rules, landlock.RODirs(m.Target).WithResolveUnix())
		case m.Dir:
			rules = append(rules, landlock.RODirs(m.Target))
		default:
			rules = append(rules, landlock.ROFiles(m.Target))
		}
	}
	if err := landlock.V10.BestEffort().Restrict(rules...); err != nil {
		return 0, step("apply Landlock", "report this with the kernel's version", err)
	}
	return abi, nil
}
