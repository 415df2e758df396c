package container

import (
	"bufio"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/sandbox"
	"github.com/msup/msup/sandbox/python"
	"github.com/msup/msup/sandbox/sandboxtest"
)

// shortDir is a folder whose path leaves room for sockets, and which every user may pass.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "ct")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// daemonIn is the configuration of a private containerd below one folder.
func daemonIn(dir string) DaemonConfig {
	return DaemonConfig{RuntimeDir: filepath.Join(dir, "run"), StateDir: filepath.Join(dir, "state"), StartTimeout: callTimeout(), CallTimeout: callTimeout()}
}

// callTimeout is the default, 0, but for an emulated machine.
func callTimeout() time.Duration { return sandboxtest.Patience() }

// engine starts a private containerd for one test.
func engine(t *testing.T) *Daemon {
	t.Helper()
	d, err := OpenDaemon(t.Context(), daemonIn(shortDir(t)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// open opens a sandbox for one test, on the host's files unless change says otherwise.
func open(t *testing.T, d *Daemon, change func(*Config)) *Sandbox {
	t.Helper()
	cfg := Config{Engine: d, RuntimeDir: filepath.Join(shortDir(t), "r"), CgroupParent: sandboxtest.CgroupParent(t)}
	if change != nil {
		change(&cfg)
	}
	s, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func program(t *testing.T) func(name string, args ...string) sandbox.Spec {
	t.Helper()
	rt, err := python.Discover(t.Context(), "/usr/bin/python3")
	if err != nil {
		t.Fatal(err)
	}
	return sandboxtest.PythonProgram(t, rt)
}

// script is a spec that runs Python code of the test's own.
func script(t *testing.T, code string) sandbox.Spec {
	t.Helper()
	rt, err := python.Discover(t.Context(), "/usr/bin/python3")
	if err != nil {
		t.Fatal(err)
	}
	dir := shortDir(t)
	if err := errors.Join(os.Chmod(dir, 0o755), os.WriteFile(filepath.Join(dir, "x.py"), []byte(code), 0o644)); err != nil {
		t.Fatal(err)
	}
	return sandbox.Spec{Address: ipc.Address{Bot: "b", Strategy: "s", Instance: ipc.InstanceID(filepath.Base(dir))}, Lane: ipc.LaneLL, NeedSocket: true,
		Limits: sandbox.Limits{ConnectTimeout: callTimeout()},
		Argv:   rt.Argv("/app/x.py"), Env: rt.Env, Binds: append(slices.Clone(rt.Binds), sandbox.Bind{Source: dir, Target: "/app"})}
}

// echoCode answers every line, and exits with status 7 on an empty one.
const echoCode = `
import os, socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(os.environ["MSUP_SOCKET"])
f = s.makefile("rw")
for line in f:
    if line == "\n":
        os._exit(7)
    f.write(line)
    f.flush()
`

// echoRunner is a started echoCode with its connection.
type echoRunner struct {
	sandbox.Runner
	conn net.Conn
	in   *bufio.Reader
}

func startEcho(t *testing.T, s *Sandbox) *echoRunner {
	t.Helper()
	return connect(t, s, script(t, echoCode))
}

func connect(t *testing.T, s *Sandbox, spec sandbox.Spec) *echoRunner {
	t.Helper()
	r, err := s.Start(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	c, err := r.Conn(t.Context())
	if err != nil {
		t.Fatalf("%v; exit %+v", err, r.Exit())
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := c.SetDeadline(time.Now().Add(max(time.Minute, callTimeout()))); err != nil {
		t.Fatal(err)
	}
	return &echoRunner{Runner: r, conn: c, in: bufio.NewReader(c)}
}

// say sends a line and wants it back.
func (e *echoRunner) say(t *testing.T, line string) {
	t.Helper()
	if _, err := e.conn.Write([]byte(line + "\n")); err != nil {
		t.Fatal(err)
	}
	if got, err := e.in.ReadString('\n'); err != nil || got != line+"\n" {
		t.Fatalf("said %q, heard %q, %v; exit %+v", line, got, err, e.Exit())
	}
}

// typed wants an error with a reason, and words that say what and where.
func typed(t *testing.T, err error, words ...string) *sandbox.Error {
	t.Helper()
	var known *sandbox.Error
	if !errors.As(err, &known) || known.Reason == "" {
		t.Fatalf("error %v (%T) is not typed", err, err)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("error %q does not say %q", err, w)
		}
	}
	if known.Remedy == "" {
		t.Errorf("error %q has no remedy", err)
	}
	return known
}

// eventually waits for something that takes ms on an idle machine.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(max(20*time.Second, callTimeout())); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}

// wait returns how a runner ended.
func wait(t *testing.T, r sandbox.Runner) sandbox.Exit {
	t.Helper()
	select {
	case <-r.Done():
	case <-time.After(max(40*time.Second, callTimeout())):
		t.Fatal("the runner does not end")
	}
	return r.Exit()
}
