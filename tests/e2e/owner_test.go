package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/supervisor/boundary/execution"
)

// deaf hears nothing.
type deaf struct{}

func (deaf) Event(*ipc.SourceEvent)   {}
func (deaf) Status(*ipc.StatusReport) {}
func (deaf) Refused(*ipc.Refused)     {}
func (deaf) Lost(error)               {}

// Another owner announces a higher epoch to I while the run trades: the run ends, its instance is not to be trusted with I any more, and I is told
// nothing else of it.
// Proves: LS-3, GT-5, NN-6
func TestALaterOwnerEndsTheRun(t *testing.T) {
	x := newFast(t, "owner", 40000)
	i := x.adverse(1)
	c := x.command(x.args()...)
	var said strings.Builder
	c.Stderr = &said
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	x.await(func() bool { return strings.Count(x.effects(), "\n") > 10 })
	client, err := execution.Dial(t.Context(), x.socket, execution.Options{})
	if err != nil {
		t.Fatal(err)
	}
	here := ipc.Address{Bot: "default", Strategy: "turner", Instance: "main"}
	if _, err := client.Hello(t.Context(), execution.Announcement{Address: here, Lineage: ipc.Lineage{1}, Epoch: 1000, Owner: ipc.Nonce{9}}, deaf{}); err != nil {
		t.Fatal(err)
	}
	after := len(x.applied())
	_ = c.Wait() // the code says it
	if code := c.ProcessState.ExitCode(); code != exitBoundary || !strings.Contains(said.String(), "EPOCH_PASSED") {
		t.Errorf("the run ended with %d: %s", code, tail(said.String()))
	}
	if n := len(x.applied()); n > after+1 { // one may have been with the handler
		t.Errorf("%d effects after the other owner", n-after)
	}
	if err := client.Close(); err != nil {
		t.Error(err)
	}
	x.stopI(i)
}

// The simulated I is msup's own child. Killed in the middle of a run it is started again on what it kept, knows the market again, and the run ends as
// without.
// Proves: BC-I, GT-6, NN-6
func TestTheSimulatedIIsStartedAgain(t *testing.T) {
	whole := newFast(t, "whole", 20000)
	args := func(x *fast) []string {
		return []string{"run", filepath.Join(x.dir, "turner"), "--feed", x.feed, "--state", filepath.Join(x.dir, "state"), "--durability", "process", "--json"}
	}
	want := whole.tell(0, args(whole)...)
	x := newFast(t, "killed", 20000)
	ended := make(chan struct{})
	kills := 0
	go func() {
		defer close(ended)
		for seen := map[int]bool{}; kills < 3; {
			pid := simOf(x.dir)
			if pid == 0 || seen[pid] {
				if x.done.Load() {
					return
				}
				continue
			}
			seen[pid] = true
			x.pause()
			if syscall.Kill(pid, syscall.SIGKILL) == nil {
				kills++
			}
		}
	}()
	got := x.tell(0, args(x)...)
	x.done.Store(true)
	<-ended
	if kills == 0 {
		t.Fatal("the simulated I was not killed")
	}
	if fmt.Sprint(got.Instances[0].Positions) != fmt.Sprint(want.Instances[0].Positions) || got.Instances[0].Fills != want.Instances[0].Fills || got.Instances[0].Open != 0 {
		t.Errorf("with %d kills %+v\nwithout %+v", kills, got.Instances[0], want.Instances[0])
	}
	t.Logf("%d kills, %d fills", kills, got.Instances[0].Fills)
}

// simOf finds the simulated I of a run by its state folder; 0 = none.
func simOf(dir string) int {
	processes, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		panic(err) // the pattern stands above
	}
	for _, path := range processes {
		text, err := os.ReadFile(path)
		if err != nil || !strings.Contains(string(text), "\x00sim\x00") || !strings.Contains(string(text), dir) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err == nil {
			return pid
		}
	}
	return 0
}
