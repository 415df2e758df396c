package container

import (
	"errors"
	"fmt"
	"testing"

	"github.com/msup/msup/sandbox"
)

// What runc says when a start was struck from outside is no fault of the strategy: the start begins anew. Each of these was seen in a campaign
// that kills shims and containerd.
//
// Proves: NN-2, RS-5
func TestAStartThatWasStruckFromOutsideIsLost(t *testing.T) {
	for _, text := range []string{
		"OCI runtime start failed: cannot start an already running container: unknown",
		"OCI runtime start failed: cannot start a container that has stopped: unknown",
		"ttrpc: closed: unknown",
		"runc did not terminate successfully: signal: killed",
	} {
		if err := lostInit(errors.New(text)); !errors.Is(err, sandbox.ErrLost) {
			t.Errorf("%s: it is not known as lost", text)
		}
	}
	for _, err := range []error{
		errors.New(`exec: "/no/such": stat /no/such: no such file or directory`),
		&sandbox.Error{Reason: sandbox.ReasonSetupOOM, Op: "start", Err: errors.New("signal: killed")},
	} {
		if errors.Is(lostInit(fmt.Errorf("start task: %w", err)), sandbox.ErrLost) {
			t.Errorf("%v is known as lost", err)
		}
	}
}
