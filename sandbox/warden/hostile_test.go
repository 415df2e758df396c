package warden

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/sandbox"
	"github.com/msup/msup/sandbox/process"
	"github.com/msup/msup/sandbox/python"
	"github.com/msup/msup/sandbox/sandboxtest"
	"golang.org/x/sys/unix"
)

// bound is the time in which something has to happen that takes ms on an idle machine.
var bound = max(30*time.Second, sandboxtest.Patience())

// bed is a helper with the real process sandbox, and what is needed to use it.
type bed struct {
	*testing.T
	client *Client
	box    *Box
	dir    string
	spec   sandbox.Spec // of a program that says back what it is told
}

func start(t *testing.T) *bed {
	t.Helper()
	rt, err := interpreter()
	if err != nil {
		t.Fatal(err)
	}
	b := bare(t)
	if b.box, err = b.client.Open(t.Context(), kind, b.settings()); err != nil {
		t.Fatal(err)
	}
	b.spec = sandboxtest.PythonProgram(t, rt)("echo")
	b.spec.Address, b.spec.Lane, b.spec.NeedSocket = ipc.Address{Bot: "b", Strategy: "s", Instance: "i"}, ipc.LaneLL, true
	return b
}

var interpreter = sync.OnceValues(func() (python.Runtime, error) { return python.Discover(context.Background(), "python3") })

// bare is a helper that has opened nothing yet.
func bare(t *testing.T) *bed {
	t.Helper()
	b := &bed{T: t}
	var err error
	if b.dir, err = os.MkdirTemp("", "hp"); err != nil {
		t.Fatal(err)
	}
	if b.client, err = Start(Config{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = b.client.Close() // the cases that expect an error of it look for themselves
		b.gone()
		if err := os.Remove(b.dir); err != nil { // Remove takes an empty folder only
			t.Errorf("left behind: %v", err)
		}
	})
	return b
}

// settings are those of its process sandbox.
func (b *bed) settings() process.Config {
	return process.Config{RuntimeDir: b.dir, CgroupParent: sandboxtest.CgroupParent(b), StartTimeout: sandboxtest.Patience()}
}

// seal permits the program once, and seals.
func (b *bed) seal(lives int) {
	b.Helper()
	if err := errors.Join(b.box.Permit(b.Context(), b.spec, lives), b.client.Seal(b.Context())); err != nil {
		b.Fatal(err)
	}
}

// run starts the program and takes its connection, which the test's end closes.
func (b *bed) run() sandbox.Runner {
	b.Helper()
	r, err := b.box.Start(b.Context(), b.spec)
	if err != nil {
		b.Fatal(err)
	}
	conn, err := r.Conn(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(bound)); err != nil {
		b.Fatal(err)
	}
	said := make([]byte, 5)
	if _, err := conn.Write([]byte("ping\n")); err != nil {
		b.Fatal(err)
	}
	if _, err := conn.Read(said); err != nil || string(said) != "ping\n" {
		b.Fatalf("it said %q, %v", said, err)
	}
	return r
}

// gone waits until the helper's process has ended.
func (b *bed) gone() {
	b.Helper()
	for _, c := range []<-chan struct{}{b.client.exited, b.client.gone} {
		select {
		case <-c:
		case <-time.After(bound):
			b.Fatal("the helper does not end")
		}
	}
}

func refusedBySeal(err error) bool {
	typed, ok := errors.AsType[*sandbox.Error](err)
	return ok && typed.Reason == ipc.ReasonSandboxHelperRefused
}

// Once sealed, the helper starts what it was told before, and nothing that differs from it in anything.
//
// Proves: SB-2, SB-6, SB-8
func TestASealedHelperStartsOnlyWhatWasPermitted(t *testing.T) {
	b := start(t)
	b.seal(1)
	b.run()
	for what, change := range map[string]func(*sandbox.Spec){
		"program":   func(s *sandbox.Spec) { s.Argv = []string{"/bin/sh", "-c", "id"} },
		"argument":  func(s *sandbox.Spec) { s.Argv = append(slices.Clone(s.Argv), "more") },
		"variable":  func(s *sandbox.Spec) { s.Env = append(slices.Clone(s.Env), "LD_PRELOAD=/x.so") },
		"bind":      func(s *sandbox.Spec) { s.Binds = append(slices.Clone(s.Binds), sandbox.Bind{Source: "/etc/shadow"}) },
		"exec bind": func(s *sandbox.Spec) { s.Binds = slices.Clone(s.Binds); s.Binds[len(s.Binds)-1].NoExec = false },
		"writable": func(s *sandbox.Spec) {
			s.Writable = []sandbox.Writable{{Target: "/out", Source: "/etc", Bytes: 1 << 30}}
		},
		"folder":  func(s *sandbox.Spec) { s.Dir = "/usr" },
		"memory":  func(s *sandbox.Spec) { s.Limits.MemoryBytes = 1 << 50 },
		"address": func(s *sandbox.Spec) { s.Address.Instance = "other" },
		"lane":    func(s *sandbox.Spec) { s.Lane = ipc.LaneCompute },
		"job":     func(s *sandbox.Spec) { s.BuildJob, s.NeedSocket, s.Lane = true, false, ipc.LaneCompute },
		"lines":   func(s *sandbox.Spec) { s.Log = func(sandbox.LogLine) {} },
	} {
		spec := b.spec
		change(&spec)
		if r, err := b.box.Start(t.Context(), spec); !refusedBySeal(err) {
			t.Errorf("another %s: %v, %v", what, r, err)
		}
	}
	other := *b.box
	other.kind = "other"
	for what, ask := range map[string]func() error{
		"other sandbox": func() error { _, err := other.Start(t.Context(), b.spec); return err },
		"open": func() error {
			_, err := b.client.Open(t.Context(), "process", process.Config{RuntimeDir: "/etc"})
			return err
		},
		"permit":        func() error { return b.box.Permit(t.Context(), b.spec, 9) },
		"permit socket": func() error { return b.client.PermitSocket(t.Context(), "/run/x") },
		"reap":          func() error { _, err := b.box.Reap(t.Context()); return err },
		"dial":          func() error { _, err := b.client.Dial(t.Context(), "/run/x"); return err },
		"kill":          func() error { _, err := b.client.ask(request{Verb: verbKill, Runner: 99}); return err },
		"usage":         func() error { _, err := b.client.ask(request{Verb: verbUsage, Runner: 99}); return err },
	} {
		if err := ask(); !refusedBySeal(err) {
			t.Errorf("%s: %v", what, err)
		}
	}
	// One more may live while the end of the first is cleared up, and then no other.
	second := b.run()
	if _, err := b.box.Start(t.Context(), b.spec); !refusedBySeal(err) {
		t.Errorf("a third of one: %v", err)
	}
	for range 10 { // whoever has heard of an end may start again at once
		if err := second.Kill(); err != nil {
			t.Fatal(err)
		}
		second = b.run()
	}
	if err := b.client.Close(); err != nil {
		t.Error(err)
	}
}

// What a run is given to start again must not be able to write to the host.
//
// Proves: SB-2
func TestJobsAreNotPermitted(t *testing.T) {
	b := start(t)
	for what, change := range map[string]func(*sandbox.Spec){
		"writable": func(s *sandbox.Spec) { s.Writable = []sandbox.Writable{{Target: "/out", Bytes: 4096}} },
		"job":      func(s *sandbox.Spec) { s.BuildJob, s.NeedSocket, s.Lane = true, false, ipc.LaneCompute },
		"nonsense": func(s *sandbox.Spec) { s.Limits.PIDs = -1 },
		"bytes":    func(s *sandbox.Spec) { s.Dir = "/\xff" },
	} {
		spec := b.spec
		change(&spec)
		err := b.box.Permit(t.Context(), spec, 1)
		if typed, ok := errors.AsType[*sandbox.Error](err); !ok || typed.Reason != sandbox.ReasonSpec {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := b.client.Close(); err != nil {
		t.Error(err)
	}
}

// The neighbours' sockets may be closed to everybody but root; the helper connects to those of the run, and only to them.
//
// Proves: SB-6
func TestDialPermittedSocket(t *testing.T) {
	b := bare(t)
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := errors.Join(b.client.PermitSocket(t.Context(), path), b.client.Seal(t.Context())); err != nil {
		t.Fatal(err)
	}
	conn, err := b.client.Dial(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := theirs.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	one := make([]byte, 1)
	if _, err := conn.Read(one); err != nil || one[0] != 'x' {
		t.Errorf("%q %v", one, err)
	}
	if err := errors.Join(conn.Close(), theirs.Close(), l.Close()); err != nil {
		t.Error(err)
	}
	if _, err := b.client.Dial(t.Context(), path); err == nil {
		t.Error("a socket that is gone was connected to")
	}
	if err := b.client.Close(); err != nil {
		t.Error(err)
	}
}

// Whoever breaks the rules of the interface is no supervisor of ours any more: the helper ends, with every runner, and leaves nothing.
//
// Proves: SB-2, SB-6, SB-8
func TestWhoBreaksTheRulesLosesItsHelper(t *testing.T) {
	long := strings.Repeat("x", maxPathBytes+1)
	for name, message := range map[string]string{
		"no JSON":        "\x00\x01",
		"no UTF-8":       "{\"id\":1,\"verb\":\"seal\xff\"}",
		"two values":     `{"id":1,"verb":"seal"}{"id":2,"verb":"seal"}`,
		"unknown field":  `{"id":1,"verb":"seal","uid":0}`,
		"unknown verb":   `{"id":1,"verb":"exec"}`,
		"no number":      `{"verb":"seal"}`,
		"other's field":  `{"id":1,"verb":"kill","path":"/etc/shadow"}`,
		"wrong type":     `{"id":"1","verb":"seal"}`,
		"negative":       `{"id":-1,"verb":"seal"}`,
		"long path":      `{"id":1,"verb":"dial","path":"` + long + `"}`,
		"zero byte":      `{"id":1,"verb":"dial","path":"/a\u0000b"}`,
		"unknown limit":  `{"id":1,"verb":"start","box":"process","spec":{"Limits":{"Root":true}}}`,
		"many arguments": `{"id":1,"verb":"start","box":"process","spec":{"Argv":[` + strings.Repeat(`"",`, maxStrings) + `""]}}`,
		"too large":      `{"id":1,"verb":"dial","path":"` + strings.Repeat("x", MaxMessageBytes) + `"}`,
	} {
		t.Run(name, func(t *testing.T) {
			b := bare(t)
			if _, _, err := b.client.link.conn.WriteMsgUnix([]byte(message), nil, nil); err != nil {
				t.Fatal(err)
			}
			b.gone()
			if b.client.state.Success() {
				t.Error("the helper calls it a success")
			}
		})
	}
	t.Run("descriptor", func(t *testing.T) {
		b := start(t)
		b.seal(1)
		r := b.run()
		if err := b.client.link.send(&request{ID: 7, Verb: verbSeal}, 0); err != nil {
			t.Fatal(err)
		}
		b.gone()
		<-r.Done()
		if _, err := os.Stat(fmt.Sprintf("/proc/%d", r.PID())); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("its runner lives on: %v", err)
		}
	})
}

// A supervisor that asks without end and never listens takes no more memory of the helper than its pending questions, and cannot keep it from
// ending.
//
// Proves: SB-2
func TestAFloodEndsTheHelper(t *testing.T) {
	ours, theirs, err := pair()
	if err != nil {
		t.Fatal(err)
	}
	l, err := newLink(theirs)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- serve(l, openers, discard) }()
	if err := ours.conn.SetWriteDeadline(time.Now().Add(bound)); err != nil {
		t.Fatal(err)
	}
	for id := uint64(1); ; id++ {
		if err := ours.send(&request{ID: id, Verb: verbKill, Runner: id}, -1); err != nil {
			if !errors.Is(err, unix.EPIPE) && !errors.Is(err, unix.ECONNRESET) && !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Error(err)
			}
			break
		}
		if id > 1e6 {
			t.Fatal("nobody is bothered")
		}
	}
	if err := ours.close(); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		if err == nil {
			t.Error("a flood is no breach of the rules")
		}
	case <-time.After(2 * bound):
		t.Fatal("it does not end")
	}
}

// Proves: SB-2, SB-8
func TestTheEndOfTheHelperIsToldToEverybody(t *testing.T) {
	b := start(t)
	b.seal(1)
	r := b.run()
	if err := b.client.child.Kill(); err != nil {
		t.Fatal(err)
	}
	b.gone()
	<-r.Done()
	if e := r.Exit(); e.Cause != sandbox.CauseSetupFailed || e.Reason != ipc.ReasonSandboxHelperLost || e.Detail == "" {
		t.Errorf("exit %+v", e)
	}
	if err := r.Kill(); err != nil {
		t.Errorf("kill: %v", err)
	}
	if u, err := r.Usage(); err != nil || u != sandbox.UnknownUsage() {
		t.Errorf("usage %+v, %v", u, err)
	}
	r.Logs()
	if _, err := b.box.Start(t.Context(), b.spec); !isLost(err) {
		t.Errorf("start: %v", err)
	}
	if _, err := b.client.Dial(t.Context(), "/run/x"); !isLost(err) {
		t.Errorf("dial: %v", err)
	}
	if err := b.box.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	if err := b.client.Close(); err == nil {
		t.Error("that it was killed is no news")
	}
	deadline := time.Now().Add(bound) // the kernel ends its runners
	for {
		if _, err := os.Stat(fmt.Sprintf("/proc/%d", r.PID())); errors.Is(err, os.ErrNotExist) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("its runner lives on")
		}
		time.Sleep(5 * time.Millisecond)
	}
	// What it left is for the next one.
	next := bare(t)
	box, err := next.client.Open(t.Context(), kind, b.settings())
	if err != nil {
		t.Fatal(err)
	}
	reaped, err := box.Reap(context.Background())
	if err = errors.Join(err, box.Close(), next.client.Close()); err != nil || reaped.Dirs != 1 {
		t.Errorf("reaped %+v, %v", reaped, err)
	}
}
