package process

import (
	"path/filepath"
	"slices"
	"testing"

	"github.com/msup/msup/ipc"
)

// A runner is in its group from its first instruction on where the kernel can clone it there (v2 alone), and in any case before its program runs.
//
// Proves: SB-2, SB-L1, NN-6
func TestARunnerIsInItsGroup(t *testing.T) {
	s := open(t, filepath.Join(shortDir(t), "r"))
	spec := interpreted(t, "python3")("never")
	spec.Address, spec.Lane = ipc.Address{Bot: "b", Strategy: "s", Instance: "i"}, ipc.LaneLL
	started, err := s.Start(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	r := started.(*runner)
	whole, err := r.group.Whole()
	if err != nil {
		t.Fatal(err)
	}
	if r.inside != (whole != nil) {
		t.Errorf("it began inside: %v; its group can be cloned into: %v", r.inside, whole != nil)
	}
	if whole != nil {
		if err := whole.Close(); err != nil {
			t.Error(err)
		}
	}
	if len(r.group.Paths()) > 0 {
		if inside, err := r.group.PIDs(); err != nil || !slices.Contains(inside, r.PID()) {
			t.Errorf("its group holds %v, %v, and not %d", inside, err, r.PID())
		}
	}
	if err := r.Kill(); err != nil {
		t.Error(err)
	}
}
