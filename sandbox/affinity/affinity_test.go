package affinity

import (
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"
)

func set(cpus ...int) (s unix.CPUSet) {
	for _, cpu := range cpus {
		s.Set(cpu)
	}
	return s
}

// Proves: LN-1, NN-4
func TestAQuarterIsLeftOut(t *testing.T) {
	for _, c := range []struct {
		all    unix.CPUSet
		enough int
		want   *unix.CPUSet
	}{
		{set(0), 1, nil},
		{set(0, 1), Enough, nil},
		{set(0, 1, 2), Enough, nil},
		{set(0, 1), 2, ptr(set(1))},
		{set(0, 1, 2, 3), Enough, ptr(set(1, 2, 3))},
		{set(2, 5, 9, 11, 100, 101, 102, 1000), Enough, ptr(set(9, 11, 100, 101, 102, 1000))},
	} {
		if got := without(c.all, c.enough); (got == nil) != (c.want == nil) || got != nil && *got != *c.want {
			t.Errorf("of %d processors, from %d on: %v, want %v", c.all.Count(), c.enough, got, c.want)
		}
	}
}

func ptr(s unix.CPUSet) *unix.CPUSet { return &s }

// Proves: LN-1, NN-4
func TestAProcessIsConfined(t *testing.T) {
	cmd := exec.Command("sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := cmd.Process.Kill(); err != nil {
			t.Error(err)
		}
		if err := cmd.Wait(); err == nil {
			t.Error("it ended by itself")
		}
	}()
	want, err := ForCompute(2)
	if err != nil {
		t.Fatal(err)
	}
	var got unix.CPUSet
	if err := Confine(cmd.Process.Pid, want); err != nil {
		t.Fatal(err)
	}
	if err := unix.SchedGetaffinity(cmd.Process.Pid, &got); err != nil {
		t.Fatal(err)
	}
	if want == nil { // a machine of one processor
		if err := unix.SchedGetaffinity(0, ptr(got)); err != nil || got.Count() != 1 {
			t.Errorf("confined to %v, %v", got, err)
		}
		return
	}
	if got != *want {
		t.Errorf("confined to %v, want %v", got, want)
	}
	if err := Confine(1<<22+1, want); err == nil {
		t.Error("a process that is not there was confined")
	}
}
