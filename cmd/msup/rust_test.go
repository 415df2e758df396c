package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/msup/msup/supervisor/descriptor"
)

// The scaffold is a crate whose tests pass, that is tidy, that builds to a module, and that runs.
// Proves: NN-1, DM-1, AD-3
func TestNewRustStrategyBuildsAndRuns(t *testing.T) {
	dir := t.TempDir()
	if code, _, stderr := newStrategy(t, "my_rust", "--lang", "rust", "--dir", dir); code != exitOK {
		t.Fatalf("msup new: exit code %d: %s", code, stderr)
	}
	made := filepath.Join(dir, "my_rust")
	d, err := descriptor.Load(made)
	if err != nil {
		t.Fatal(err)
	}
	if d.Runtime != descriptor.RuntimeRustWasm || d.Entry != "strategy.wasm" {
		t.Errorf("runtime %s, entry %s", d.Runtime, d.Entry)
	}
	for _, check := range []struct {
		args []string
		want string
	}{
		{[]string{"fmt", "--check"}, ""},
		{[]string{"test", "--locked", "--quiet"}, "3 passed"},
		{[]string{"clippy", "--locked", "--quiet", "--all-targets", "--", "-D", "warnings"}, ""},
	} {
		c := exec.CommandContext(t.Context(), "cargo", check.args...)
		c.Dir = made
		if out, err := c.CombinedOutput(); err != nil || !strings.Contains(string(out), check.want) {
			t.Errorf("cargo %s: %v\n%s", check.args[0], err, out)
		}
	}
	store := filepath.Join(t.TempDir(), "store")
	stdout, stderr := runProgram(t, "build", made, "--store", store, "--json")
	var first []built
	if err := json.Unmarshal([]byte(stdout), &first); err != nil || len(first) != 1 || first[0].Files != 2 {
		t.Fatalf("printed %q, %v", stdout, err)
	}
	if !strings.Contains(stderr, "building the package of "+made) || !strings.Contains(stderr, "compiling my_rust: crate ") {
		t.Errorf("it took long, and said %q", stderr)
	}
	began := time.Now()
	stdout, stderr = runProgram(t, "run", made, "--store", store, "--events", "5000")
	if !strings.Contains(stdout+stderr, "my_rust/main") || strings.Contains(stderr, "compiling") {
		t.Errorf("msup run printed %q, %q", stdout, stderr)
	}
	t.Logf("it ran for %s", time.Since(began))
	if kept, err := filepath.Glob(filepath.Join(store, "packages", "*")); err != nil || len(kept) != 1 || filepath.Base(kept[0]) != first[0].Hash {
		t.Errorf("packages %v, %v; want %s alone", kept, err, first[0].Hash)
	}
}

// runProgram runs the real msup, which the sandbox needs as its second stage.
func runProgram(t *testing.T, args ...string) (stdout, stderr string) {
	t.Helper()
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	c := exec.CommandContext(t.Context(), path, args...)
	c.Stdout, c.Stderr = &out, &errs
	if err := c.Run(); err != nil {
		t.Fatalf("msup %s: %v: %s\n%s", args[0], err, out.String(), errs.String())
	}
	return out.String(), errs.String()
}

// Proves: AD-5
func TestNewRustStrategyWithoutCargo(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	dir := t.TempDir()
	code, stdout, stderr := newStrategy(t, "one", "--lang", "rust", "--dir", dir, "--json")
	var s scaffolded
	if err := json.Unmarshal([]byte(stdout), &s); err != nil || code != exitOK {
		t.Fatalf("exit code %d, %v: %s", code, err, stderr)
	}
	if len(s.Next) != 4 || !strings.HasPrefix(s.Next[0], "cargo generate-lockfile --manifest-path ") || !strings.Contains(s.Next[0], "executable file not found") {
		t.Errorf("next %q", s.Next)
	}
	if _, err := os.Stat(filepath.Join(s.Dir, "Cargo.lock")); !os.IsNotExist(err) {
		t.Errorf("half a lock was left: %v", err)
	}
}

func TestCrateDependency(t *testing.T) {
	for _, c := range []struct{ dir, crate, want string }{
		{"/home/a/mine", "", `"0.1"`},
		{"/home/a/mine", "/src/msup/wasmsdk", `{ path = "/src/msup/wasmsdk" }`},
		{"/src/msup/mine", "/src/msup/wasmsdk", `{ path = "../wasmsdk" }`},
		{"/src/msup/examples/mine", "/src/msup/wasmsdk", `{ path = "../../wasmsdk" }`},
	} {
		if got := crateDependency(c.dir, c.crate); got != c.want {
			t.Errorf("%s: %s, want %s", c.dir, got, c.want)
		}
	}
	if crate := sdkCrate(); filepath.Base(crate) != "wasmsdk" {
		t.Errorf("the crate of this checkout is %q", crate)
	}
	if got := className("self", languages[1].taken); got != "SelfStrategy" {
		t.Errorf("a strategy called self is the struct %s", got)
	}
}
