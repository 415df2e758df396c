package process

import (
	"path/filepath"
	"testing"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/sandbox"
	"github.com/msup/msup/sandbox/sandboxtest"
)

// Runners of the compute lane leave processors to the others.
//
// Proves: LN-1, NN-4, DOD-4
func TestTheComputeLaneLeavesProcessors(t *testing.T) {
	s, err := New(Config{RuntimeDir: filepath.Join(shortDir(t), "r"), CgroupParent: sandboxtest.CgroupParent(t), StartTimeout: sandboxtest.Patience(), ReserveFrom: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	sandboxtest.LeavesProcessors(t, s, interpreted(t, "python3")("echo"))
	few := sandbox.Spec{Lane: ipc.LaneCompute, NeedSocket: true}
	if usual, err := New(Config{RuntimeDir: filepath.Join(shortDir(t), "u"), CgroupParent: sandboxtest.CgroupParent(t), StartTimeout: sandboxtest.Patience(), ReserveFrom: 1 << 20}); err != nil {
		t.Error(err)
	} else if err := usual.Close(); err != nil || usual.queueFor(few) != usual.queueFor(sandbox.Spec{}) {
		t.Errorf("few processors are shared out: %v", err)
	}
}
