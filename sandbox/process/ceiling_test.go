package process

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/sandbox/sandboxtest"
	"golang.org/x/sys/unix"
)

// The ceiling of threads stands from a program's first instruction on, not only once the supervisor has heard that it is there.
//
// Proves: SB-2, SB-L1
func TestTheThreadCeilingStandsBeforeTheProgram(t *testing.T) {
	dir := shortDir(t)
	s, err := New(Config{RuntimeDir: filepath.Join(dir, "r"), CgroupParent: sandboxtest.CgroupParent(t), StartTimeout: sandboxtest.Patience()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	spec := interpreted(t, "python3")("never")
	spec.Address, spec.Lane = ipc.Address{Bot: "b", Strategy: "s", Instance: "i"}, ipc.LaneLL
	spec.Limits.PIDs = 5
	r, err := s.Start(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	// The report that Start waits for comes before the exec, and the limit with it.
	var got unix.Rlimit
	for began := time.Now(); time.Since(began) < max(20*time.Second, sandboxtest.Patience()) && got.Max != 6 && got.Max != 5; time.Sleep(time.Millisecond) {
		if err := unix.Prlimit(r.PID(), unix.RLIMIT_NPROC, nil, &got); err != nil {
			t.Fatal(err)
		}
	}
	want := uint64(5) // where it is the only wall
	if s.root && s.cgroups.HasPIDs() {
		want = 6
	}
	if got.Cur != want || got.Max != want {
		t.Errorf("RLIMIT_NPROC %+v under a limit of 5, want %d", got, want)
	}
	if err := r.Kill(); err != nil {
		t.Error(err)
	}
}
