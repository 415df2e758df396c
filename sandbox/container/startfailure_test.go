package container

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/msup/msup/sandbox"
)

// What runc and shims say when a start was struck from outside is no fault of the strategy: the start begins anew. Each of these was seen in a
// campaign that kills shims and containerd. What is known as a fault is told with its remedy, and not tried again.
//
// Proves: NN-2, RS-5
func TestAStartThatWasStruckFromOutsideIsLost(t *testing.T) {
	spec := sandbox.Spec{Argv: []string{"/no/such"}, Dir: "/work/inside"}
	for _, text := range []string{
		"OCI runtime start failed: cannot start an already running container: unknown",
		"OCI runtime start failed: cannot start a container that has stopped: unknown",
		"OCI runtime create failed: runc create failed: unable to start container process: error getting pipe fds for pid 5614: readlink /proc/5614/fd/0: no such file or directory: unknown",
		"error during container init: read init-p: connection reset by peer: unknown",
		"ttrpc: closed: unknown",
		"runc did not terminate successfully: signal: killed",
		"unable to apply cgroup configuration: signal: killed",
		"write /sys/fs/cgroup/cpuacct/msup/ll/cfa0d2b2096ea/cgroup.procs: no such process",
	} {
		if err := startFailure(errors.New(text), spec, false); !errors.Is(err, sandbox.ErrLost) {
			t.Errorf("%s: it is not known as lost", text)
		}
	}
	for text, remedy := range map[string]string{
		`exec: "/no/such": stat /no/such: no such file or directory`:                 "use an image with that interpreter",
		"OCI runtime create failed: chdir to cwd (\"/work/inside\") set in config":   "must exist inside",
		"unable to apply cgroup configuration: mkdir /sys/fs/cgroup: read-only file": "msup doctor",
	} {
		err := startFailure(fmt.Errorf("start task: %w", errors.New(text)), spec, false)
		var known *sandbox.Error
		if errors.Is(err, sandbox.ErrLost) || !errors.As(err, &known) {
			t.Errorf("%v is known as lost", err)
		} else if !strings.Contains(known.Remedy, remedy) {
			t.Errorf("%s: remedy %q", text, known.Remedy)
		}
	}
	err := startFailure(errors.New("signal: killed"), spec, true)
	var known *sandbox.Error
	if !errors.As(err, &known) || known.Reason != sandbox.ReasonSetupOOM || errors.Is(err, sandbox.ErrLost) {
		t.Errorf("out of memory: %v", err)
	}
}
