package thread

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/msup/msup/sandbox"
)

// Proves: SB-L0, SB-2
func TestAProcessMayHaveWhatItsInstancesMay(t *testing.T) {
	box, fake := faked(t, func(c *Config) {
		c.PerProcess = 4
		c.Ceiling = sandbox.Limits{MemoryBytes: 1 << 30, CPUQuota: 2, PIDs: 100, OpenFiles: 300, TmpBytes: 1 << 20, TmpInodes: 5000}
	})
	started(t, box, "a")
	fake.last().orders(t, 1)
	one, all := sandbox.Limits{}.OrDefault(), fake.last().spec.Limits
	want := one
	want.MemoryBytes, want.CPUQuota, want.PIDs, want.OpenFiles = 1<<30, 2, 100, 300 // at most the ceiling
	want.TmpBytes = one.TmpBytes                                                    // never less than one asks for
	want.TmpInodes = 4 * one.TmpInodes
	if all != want {
		t.Errorf("limits %+v\nwant %+v", all, want)
	}
	if a := fake.last().spec.Address; a.String() != "bot/s/#shared" {
		t.Errorf("the process is called %s", a)
	}
}

// Proves: SB-L0
func TestAFullProcessIsFollowedByAnother(t *testing.T) {
	box, fake := faked(t, func(c *Config) { c.PerProcess = 2 })
	a, b := started(t, box, "a"), started(t, box, "b")
	first := fake.last()
	c := started(t, box, "c")
	if len(fake.started) != 2 {
		t.Fatalf("%d processes for 3 instances of 2 each", len(fake.started))
	}
	second := fake.last()
	second.orders(t, 1)
	ids, _ := first.orders(t, 2)
	if ids[0] == ids[1] {
		t.Errorf("orders of %v", ids)
	}
	first.say(t, fmt.Sprintf(`{"id":%d,"event":"began","thread":1}`+"\n"+`{"id":%d,"event":"ended","status":5,"cpu_ns":99}`+"\n", ids[0], ids[0]))
	gone, stays := a, b // orders may overtake each other
	if got := ended(t, byID(t, ids[0], a, b)); got.Code != 5 || got.Cause != sandbox.CauseExited || got.Usage.CPU != 99 || got.Usage.MemoryBytes != 42 {
		t.Errorf("exit %+v", got)
	}
	select {
	case <-gone.Done():
	default:
		gone, stays = b, a
	}
	// The free place is taken before another process is begun.
	d := started(t, box, "d")
	if len(fake.started) != 2 {
		t.Errorf("%d processes", len(fake.started))
	}
	first.orders(t, 1)
	for _, r := range []sandbox.Runner{stays, c, d} {
		if err := r.Kill(); err != nil {
			t.Error(err)
		}
	}
	for i, p := range fake.started {
		select {
		case <-p.done:
		case <-time.After(bound):
			t.Errorf("process %d outlives its instances", i)
		}
	}
}

// byID tells which of two instances has a number.
func byID(t *testing.T, id uint64, rs ...sandbox.Runner) sandbox.Runner {
	t.Helper()
	for _, r := range rs {
		if i, ok := r.(*instance); ok && i.id == id {
			return r
		}
	}
	t.Fatalf("nobody has number %d", id)
	return nil
}

// What a process says is untrusted: one that says something else is ended, and its instances are lost to something outside.
//
// Proves: SB-L0, SB-6, SB-8
func TestAProcessThatCannotBeUnderstoodIsEnded(t *testing.T) {
	for name, says := range map[string]string{
		"no JSON": "began\n", "other event": `{"id":1,"event":"danced"}` + "\n", "endless": strings.Repeat("x", 2*maxReportBytes), "number": `{"id":-1}` + "\n",
		"status": `{"id":1,"event":"ended","status":256}` + "\n",
	} {
		t.Run(name, func(t *testing.T) {
			box, fake := faked(t, nil)
			r := started(t, box, "a")
			fake.last().orders(t, 1)
			fake.last().say(t, says)
			if e := ended(t, r); e.Cause != sandbox.CauseSignaled || e.Reason != sandbox.ReasonSignaled || !strings.Contains(e.Detail, "could not be heard") {
				t.Errorf("exit %s: %s", e, e.Detail)
			}
			_, err := r.Conn(t.Context())
			var typed *sandbox.Error
			if !errors.As(err, &typed) || typed.Reason != sandbox.ReasonNoConnection {
				t.Errorf("connection: %v", err)
			}
		})
	}
}

// Whoever holds the connection by now, for example another process, a kill ends it, and the thread can leave alone.
//
// Proves: SB-L0
func TestAKillReachesTheThreadWhoeverHoldsTheConnection(t *testing.T) {
	box, fake := faked(t, func(c *Config) { c.KillGrace = bound })
	a, b := started(t, box, "a"), started(t, box, "b")
	ids, sockets := fake.last().orders(t, 2)
	fake.last().say(t, fmt.Sprintf(`{"id":%d,"event":"connected"}`+"\n"+`{"id":%d,"event":"connected"}`+"\n", ids[0], ids[1]))
	r := byID(t, ids[0], a, b)
	c, err := r.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	held, err := c.(*net.UnixConn).File()
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	killed := make(chan error, 1)
	go func() { killed <- r.Kill() }()
	if n, err := sockets[0].Read(make([]byte, 1)); n > 0 || !errors.Is(err, io.EOF) {
		t.Errorf("the thread read %d bytes, %v", n, err)
	}
	if err := sockets[0].Close(); err != nil {
		t.Fatal(err)
	}
	fake.last().say(t, fmt.Sprintf(`{"id":%d,"event":"ended"}`+"\n", ids[0]))
	if err := <-killed; err != nil {
		t.Fatal(err)
	}
	if e := r.Exit(); e.Cause != sandbox.CauseKilled || e.Reason != sandbox.ReasonKilled {
		t.Errorf("exit %+v", e)
	}
	if n, err := held.Read(make([]byte, 1)); n > 0 || !errors.Is(err, io.EOF) {
		t.Errorf("its supervisor read %d bytes, %v", n, err)
	}
	select {
	case <-fake.last().done:
		t.Error("the process was killed for one that could leave alone")
	default:
	}
	other, err := byID(t, ids[1], a, b).Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Close(); err != nil {
		t.Error(err)
	}
}

// What cannot be told apart is nobody's violation.
//
// Proves: SB-L0, SB-7
func TestNobodyIsBlamedForANeighboursThreads(t *testing.T) {
	box, fake := faked(t, nil)
	a, b := started(t, box, "a"), started(t, box, "b")
	p := fake.last()
	p.orders(t, 2)
	p.end(sandbox.Exit{Cause: sandbox.CauseExited, Code: 1, Reason: sandbox.ReasonExited, Detail: "it exited", Usage: sandbox.Usage{PIDsRefused: 9}})
	for _, r := range []sandbox.Runner{a, b} {
		e := ended(t, r)
		for _, v := range sandbox.Violations(sandbox.DefaultLimits(), e, r.Logs()) {
			if v.Kind == sandbox.ViolationPIDs {
				t.Errorf("violation %s", v)
			}
		}
		if e.Cause != sandbox.CauseExited || e.Code != 1 || !strings.Contains(e.Detail, "2 instances shared") {
			t.Errorf("exit %s: %s", e, e.Detail)
		}
	}
	alone := started(t, box, "a")
	p = fake.last()
	p.orders(t, 1)
	p.end(sandbox.Exit{Cause: sandbox.CauseExited, Usage: sandbox.Usage{PIDsRefused: 9}})
	if e := ended(t, alone); e.Usage.PIDsRefused != 9 {
		t.Errorf("exit %+v", e.Usage)
	}
}

// Refused calls are the instance's that is alone, and nobody's while there are several, also once one of them has left.
//
// Proves: SB-L0, SB-7
func TestNobodyIsBlamedForANeighboursCalls(t *testing.T) {
	box, fake := faked(t, nil)
	a := started(t, box, "a")
	p := fake.last()
	refuse := func(name string) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.refused.Add(name)
	}
	want := func(r sandbox.Runner, calls string) {
		t.Helper()
		if u, err := r.Usage(); err != nil || u.Refused.Names() != calls {
			t.Errorf("blamed for %q, %v, want %q", u.Refused.Names(), err, calls)
		}
	}
	refuse("fork")
	want(a, "fork")
	b := started(t, box, "b")
	p.orders(t, 2) // in whatever order
	refuse("ptrace")
	want(a, "")
	want(b, "")
	p.say(t, fmt.Sprintf(`{"id":%d,"event":"ended","status":0}`+"\n", b.(*instance).id))
	if e := ended(t, b); e.Usage.Refused.Total() != 0 {
		t.Errorf("who has left is blamed for %s", e.Usage.Refused.Names())
	}
	want(a, "")
	refuse("socket")
	want(a, "socket")
	p.mu.Lock()
	refused := p.refused
	p.mu.Unlock()
	p.end(sandbox.Exit{Cause: sandbox.CauseExited, Usage: sandbox.Usage{Refused: refused}})
	if e := ended(t, a); e.Usage.Refused.Names() != "socket" {
		t.Errorf("in the end blamed for %q", e.Usage.Refused.Names())
	}
}

// Reports of instances that are gone, or never were, concern nobody.
//
// Proves: SB-L0
func TestReportsOfNobodyAreIgnored(t *testing.T) {
	box, fake := faked(t, nil)
	r := started(t, box, "a")
	ids, _ := fake.last().orders(t, 1)
	fake.last().say(t, `{"id":77,"event":"ended","status":3}`+"\n"+fmt.Sprintf(`{"id":%d,"event":"connected"}`+"\n", ids[0]))
	c, err := r.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	fake.last().say(t, fmt.Sprintf(`{"id":%d,"event":"ended","status":0}`+"\n", ids[0]))
	if e := ended(t, r); e.Cause != sandbox.CauseExited || e.Code != 0 {
		t.Errorf("exit %+v", e)
	}
	if again, err := r.Conn(t.Context()); err != nil || again != c {
		t.Errorf("the connection is its holder's to close: %v, %v", again, err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

// Proves: SB-L0, SB-8
func TestAStartThatFailsIsItsOwnersAlone(t *testing.T) {
	box, fake := faked(t, nil)
	broken := &sandbox.Error{Reason: sandbox.ReasonSetupOOM, Op: "start"}
	fake.fails = []error{broken}
	if _, err := box.Start(t.Context(), threadSpec("a")); !errors.Is(err, broken) {
		t.Errorf("error %v", err)
	}
	r := started(t, box, "a") // nothing of the failure is left
	fake.last().orders(t, 1)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := box.Start(ctx, threadSpec("b")); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if err := box.Close(); err != nil {
		t.Error(err)
	}
	if e := ended(t, r); e.Cause != sandbox.CauseKilled || e.Reason != sandbox.ReasonKilled {
		t.Errorf("exit %+v", e)
	}
	if _, err := box.Start(t.Context(), threadSpec("c")); err == nil {
		t.Error("a closed sandbox starts instances")
	}
	if got, err := box.Reap(t.Context()); err != nil || got.Dirs != 7 {
		t.Errorf("reaped %+v, %v", got, err)
	}
	if _, err := Open(Config{}); err == nil {
		t.Error("a shared sandbox without a process sandbox")
	}
}

// An instance that is killed before its process has been heard of takes nobody along.
//
// Proves: SB-L0
func TestKilledBeforeItBegan(t *testing.T) {
	box, fake := faked(t, nil)
	a, b := started(t, box, "a"), started(t, box, "b")
	fake.last().orders(t, 2)
	p := b.(*instance).p
	p.mu.Lock()
	a.(*instance).sent = false
	p.mu.Unlock()
	if err := a.Kill(); err != nil {
		t.Fatal(err)
	}
	if e := a.Exit(); e.Cause != sandbox.CauseKilled || e.Reason != sandbox.ReasonKilled {
		t.Errorf("exit %+v", e)
	}
	select {
	case <-b.Done():
		t.Errorf("its neighbour ended: %+v", b.Exit())
	case <-fake.last().done:
		t.Error("the process ended")
	default:
	}
	if err := a.Kill(); err != nil {
		t.Errorf("kill after the end: %v", err)
	}
}

// Proves: SB-L0, SB-8
func TestJudge(t *testing.T) {
	const took = 250 * time.Millisecond
	box, fake := faked(t, nil)
	late, other := started(t, box, "late").(*instance), started(t, box, "other").(*instance)
	fake.last().orders(t, 2)
	ms := func(n int) time.Duration { return time.Duration(n) * time.Millisecond }
	for name, c := range map[string]struct {
		late, other threadStat
		guilty      *instance
	}{
		"sleeps beside one at work":            {threadStat{ms(0), ms(0), 0}, threadStat{ms(240), ms(5), 0}, late},
		"waits for one that holds":             {threadStat{ms(1), ms(2), 48}, threadStat{ms(240), ms(5), 0}, other},
		"waits, on a machine with other work":  {threadStat{ms(1), ms(90), 20}, threadStat{ms(70), ms(160), 0}, other},
		"spins beside an idle one":             {threadStat{ms(240), ms(5), 0}, threadStat{}, late},
		"spins beside one that wants its turn": {threadStat{ms(120), ms(5), 30}, threadStat{ms(125), ms(5), 30}, late},
		"waits for nobody here":                {threadStat{ms(1), ms(1), 40}, threadStat{ms(20), ms(3), 40}, late},
	} {
		zero := map[*instance]threadStat{late: {ms(500), ms(3), 9}, other: {ms(900), ms(7), 4}}
		now := map[*instance]threadStat{}
		for i, add := range map[*instance]threadStat{late: c.late, other: c.other} {
			now[i] = threadStat{zero[i].ran + add.ran, zero[i].queued + add.queued, zero[i].yields + add.yields}
		}
		v := late.p.judge(late, zero, now, took)
		if v.culprit != c.guilty || v.by != late || !strings.Contains(v.why, "the thread of bot/s/late did not leave") ||
			strings.Contains(v.why, "bot/s/other held the interpreter") != (c.guilty == other) {
			t.Errorf("%s: %s", name, v.why)
		}
	}
}
