package process

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/sandbox"
	"github.com/msup/msup/sandbox/python"
)

// runPython runs a script as a job and returns what it printed.
func runPython(t *testing.T, s *Sandbox, script string, change func(*sandbox.Spec)) (string, sandbox.Exit, error) {
	t.Helper()
	rt, err := python.Discover(t.Context(), "python3")
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	spec := sandbox.Spec{Address: ipc.Address{Bot: "b", Strategy: "s", Instance: "i"}, Lane: ipc.LaneCompute,
		Argv: rt.Argv("-c", script), Env: rt.Env, Binds: rt.Binds,
		Log: func(l sandbox.LogLine) { out.WriteString(l.Text + "\n") }}
	if change != nil {
		change(&spec)
	}
	r, err := s.Start(t.Context(), spec)
	if err != nil {
		return "", sandbox.Exit{}, err
	}
	<-r.Done()
	return out.String(), r.Exit(), nil
}

// Proves: SB-L1, SB-3
func TestBindsAreReadOnlyNestAndNeverFollowPackageLinks(t *testing.T) {
	dir := shortDir(t)
	s := open(t, filepath.Join(dir, "r"))
	pkg := filepath.Join(dir, "pkg")
	inner := filepath.Join(dir, "inner")
	for _, d := range []string{pkg, inner, filepath.Join(pkg, "data")} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for path, text := range map[string]string{filepath.Join(pkg, "code.py"): "x", filepath.Join(inner, "in"): "y"} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/usr", filepath.Join(pkg, "trap")); err != nil {
		t.Fatal(err)
	}
	nested := func(target string) func(*sandbox.Spec) {
		return func(sp *sandbox.Spec) {
			// The inner one first: the order of the list must not matter.
			sp.Binds = append([]sandbox.Bind{{Source: inner, Target: target}}, append(sp.Binds, sandbox.Bind{Source: pkg, Target: "/pkg"})...)
		}
	}
	out, exit, err := runPython(t, s, `
import os
print(open("/pkg/code.py").read() + open("/pkg/data/in").read())
for f in ("/pkg/code.py", "/pkg/new", "/pkg/data/in"):
    try:
        open(f, "w")
        print("written", f)
    except OSError as e:
        print(e.errno)
`, nested("/pkg/data"))
	if err != nil || exit.Code != 0 || !strings.HasPrefix(out, "xy\n") || strings.Contains(out, "written") {
		t.Errorf("%q, %+v, %v", out, exit, err)
	}
	if _, _, err := runPython(t, s, "", nested("/pkg/trap")); err == nil || !strings.Contains(err.Error(), "/pkg/trap") {
		t.Errorf("a nested bind followed a package's link: %v", err)
	}
	if _, _, err := runPython(t, s, "", nested("/pkg/missing")); err == nil || !strings.Contains(err.Error(), "must exist") {
		t.Errorf("a nested bind on nothing: %v", err)
	}
}

// Proves: SB-L1
func TestUnreadableBindIsRefusedWithItsRemedy(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Log("as an ordinary user the runner has the supervisor's own user id: there is nothing to refuse")
		return
	}
	dir := shortDir(t)
	s := open(t, filepath.Join(dir, "r"))
	private := filepath.Join(dir, "private")
	if err := os.Mkdir(private, 0o700); err != nil {
		t.Fatal(err)
	}
	_, _, err := runPython(t, s, "", func(sp *sandbox.Spec) { sp.Binds = append(sp.Binds, sandbox.Bind{Source: private}) })
	if err == nil || !strings.Contains(err.Error(), "chmod") {
		t.Errorf("error %v", err)
	}
}

// Proves: SB-L1, NN-7
func TestHostInspectionNamesKernelAndWalls(t *testing.T) {
	h := Inspect(Config{RuntimeDir: filepath.Join(shortDir(t), "r"), CgroupParent: "msup-test-unit"})
	if h.Err != nil || h.Kernel == "" || !h.UserNS || !h.Seccomp || len(h.Walls) < 10 || h.Cgroups == "" {
		t.Errorf("host %+v", h)
	}
	if bad := Inspect(Config{RuntimeDir: strings.Repeat("/x", 90)}); bad.Err == nil || bad.UserNS {
		t.Errorf("host %+v", bad)
	}
}

// What a runner reads is checked while its process comes up: it runs nothing before the check is done, and not at all where that fails.
//
// Proves: SB-2, SB-L2
func TestARunnerWaitsForTheCheckOfWhatItReads(t *testing.T) {
	s := open(t, filepath.Join(shortDir(t), "r"))
	var out strings.Builder
	spec := sandbox.Spec{Address: ipc.Address{Bot: "b", Strategy: "s", Instance: "i"}, Lane: ipc.LaneLL, Env: []string{"RAN=yes"},
		Log: func(l sandbox.LogLine) { out.WriteString(l.Text) }}
	rt, err := python.Discover(t.Context(), "python3")
	if err != nil {
		t.Fatal(err)
	}
	spec.Argv, spec.Binds = rt.Argv("-c", "import os; print(os.environ['RAN'])"), rt.Binds
	spec.Env = append(spec.Env, rt.Env...)
	checked := false
	r, err := s.StartChecked(t.Context(), spec, func() error {
		time.Sleep(200 * time.Millisecond) // the process has come up long ago
		if out.Len() > 0 {
			t.Errorf("it runs already: %s", out.String())
		}
		checked = true
		return nil
	})
	if err != nil || !checked {
		t.Fatalf("checked %t, %v", checked, err)
	}
	<-r.Done()
	if out.String() != "yes" {
		t.Errorf("it said %q, it ended with %s", out.String(), r.Exit())
	}
	out.Reset()
	refused := errors.New("it was changed")
	if r, err = s.StartChecked(t.Context(), spec, func() error { return refused }); !errors.Is(err, refused) || r != nil || out.Len() > 0 {
		t.Errorf("started %v, %v; it said %q", r, err, out.String())
	}
	if left, err := filepath.Glob(filepath.Join(s.dir, "*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %q, %v", left, err)
	}
}

// Proves: SB-2, SB-8
func TestTooLittleMemoryForTheStartSaysSo(t *testing.T) {
	s := open(t, filepath.Join(shortDir(t), "r"))
	if !s.cgroups.HasMemory() {
		t.Log("no memory control group here: RLIMIT_AS is set after the start")
		return
	}
	spec := sandbox.Spec{Address: ipc.Address{Bot: "b", Strategy: "s", Instance: "i"}, Lane: ipc.LaneLL, Argv: []string{"/usr/bin/env"}}
	spec.Limits.MemoryBytes = 64 << 10 // Validate, which Start calls, would refuse it
	spec.Limits = spec.Limits.OrDefault()
	r, err := s.launch(t.Context(), spec, func() error { return nil })
	if err == nil {
		t.Fatalf("started; kill: %v", r.Kill())
	}
	var typed *sandbox.Error
	if !errors.As(err, &typed) || typed.Reason != sandbox.ReasonSetupOOM {
		t.Errorf("error %v", err)
	}
}
