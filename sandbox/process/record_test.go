package process

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/sandbox"
	"github.com/msup/msup/sandbox/endpoint"
	"github.com/msup/msup/sandbox/sandboxtest"
	"github.com/msup/msup/sandbox/userid"
)

// shortDir is a runtime directory whose sockets have short paths.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "sb")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func open(t *testing.T, dir string) *Sandbox {
	t.Helper()
	s, err := New(Config{RuntimeDir: dir, CgroupParent: "msup-test-unit", StartTimeout: sandboxtest.Patience()})
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

// A process id may belong to somebody else by now: only with the recorded start time and boot id is it ours.
//
// Proves: SB-6
func TestReapNeverTrustsAProcessIDAlone(t *testing.T) {
	dir := shortDir(t)
	s := open(t, dir)
	boot, err := bootID()
	if err != nil {
		t.Fatal(err)
	}
	sleeper := exec.Command("sleep", "1000")
	if err := sleeper.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- sleeper.Wait() }()
	ticks, err := startTicks(sleeper.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	leave := func(boot string, ticks uint64) {
		body, err := json.Marshal(recordData{ID: "r00000000000a", Address: "b/s/i", Lane: ipc.LaneLL, CgroupParent: "msup-test-unit",
			BootID: boot, PID: sleeper.Process.Pid, StartTicks: ticks})
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, "r00000000000a.json"), body, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for name, foreign := range map[string]func(){
		"another start time": func() { leave(boot, ticks+1) },
		"another boot":       func() { leave("b", ticks) },
		"a torn record": func() {
			if err := os.WriteFile(filepath.Join(dir, "r00000000000a.json"), []byte(`{"ID":"r0`), 0o600); err != nil {
				t.Fatal(err)
			}
		},
	} {
		foreign()
		got, err := s.Reap(t.Context())
		if err != nil || got.Processes != 0 {
			t.Errorf("%s: reaped %+v, %v", name, got, err)
		}
		if left, err := filepath.Glob(filepath.Join(dir, "*")); err != nil || len(left) > 0 {
			t.Errorf("%s: left %v, %v", name, left, err)
		}
	}
	select {
	case err := <-ended:
		t.Fatalf("a foreign process was killed: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	leave(boot, ticks)
	if err := os.Mkdir(filepath.Join(dir, "r00000000000a"), 0o700); err != nil {
		t.Fatal(err)
	}
	got, err := s.Reap(t.Context())
	if err != nil || got.Processes != 1 || got.Dirs != 1 {
		t.Errorf("reaped %+v, %v", got, err)
	}
	select {
	case <-ended:
	case <-time.After(max(20*time.Second, sandboxtest.Patience())):
		t.Error("the recorded process lives on")
	}
}

// Proves: SB-6
func TestReapLeavesForeignFilesAlone(t *testing.T) {
	dir := shortDir(t)
	s := open(t, dir)
	foreign := filepath.Join(dir, "notes.json")
	if err := os.WriteFile(foreign, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Reap(t.Context()); err != nil || !got.Empty() {
		t.Errorf("reaped %+v, %v", got, err)
	}
	if _, err := os.Stat(foreign); err != nil {
		t.Error(err)
	}
}

// Proves: SB-8
func TestSocketPathTooLongSaysSo(t *testing.T) {
	dir := filepath.Join(shortDir(t), strings.Repeat("x", 100))
	_, err := New(Config{RuntimeDir: dir})
	var typed *sandbox.Error
	if !errors.As(err, &typed) || typed.Reason != sandbox.ReasonSocketTooLong || typed.Remedy == "" || !strings.Contains(err.Error(), dir) {
		t.Errorf("error %v", err)
	}
	// The longest that is accepted works.
	base := shortDir(t)
	longest := filepath.Join(base, strings.Repeat("x", maxSocketPath-16-len(base)-1))
	s := open(t, longest)
	rec, err := newID()
	if err != nil {
		t.Fatal(err)
	}
	e, err := endpoint.Listen(filepath.Join(s.dir, rec), os.Geteuid())
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
}

// Proves: SB-8
func TestRuntimeDirectoryThatCannotBeMade(t *testing.T) {
	file := filepath.Join(shortDir(t), "f")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := New(Config{RuntimeDir: filepath.Join(file, "below")})
	var typed *sandbox.Error
	if !errors.As(err, &typed) || typed.Reason != sandbox.ReasonSetupFailed || typed.Remedy == "" {
		t.Errorf("error %v", err)
	}
}

// Proves: SB-L1
func TestEveryRunnersUserIDIsItsOwn(t *testing.T) {
	pool := userIDs(filepath.Join(shortDir(t), "uids.lock"))
	first, err := pool.Claim()
	if err != nil {
		t.Fatal(err)
	}
	second, err := pool.Claim()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []*userid.Claim{first, second} {
		if c.First < firstUID || c.First >= firstUID+uidCount {
			t.Errorf("user id %d", c.First)
		}
		if err := c.Release(); err != nil {
			t.Error(err)
		}
	}
	if first.First == second.First {
		t.Errorf("user id %d twice", first.First)
	}
}
