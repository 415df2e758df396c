package pack_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/sandbox"
	"github.com/msup/msup/supervisor/descriptor"
	"github.com/msup/msup/supervisor/pack"
)

const py = `[strategy]
id = "ema_cross"
version = "1.0.0"
runtime = "python"
entry = "strategy:Ema"
[capabilities]
events = ["quote"]
intents = ["order"]
[resources]
memory_mb = 512
`

const ema = `
from decimal import Decimal
from typing import Annotated, Literal
import msup

class Ema(msup.Strategy):
    class Config(msup.Config):
        fast: Annotated[int, msup.param(min=1, max=500, unit="bars", apply="bar", doc="fast window")] = 12
        size: Annotated[Decimal, msup.param(min="0.001", max="100", unit="BTC")]
        mode: Literal["fade", "follow"] = "follow"

    class State(msup.State):
        n: int = 0

    def on_config(self, ctx, config): ...
`

// The schema and the hooks come from the code, which is imported inside the sandbox only.
// Proves: DM-1, HR-1, NN-1
func TestInterfaceIsDerivedInsideTheSandbox(t *testing.T) {
	opts := testOptions(t)
	proof := filepath.Join(t.TempDir(), "imported")
	code := ema + "\nimport os\nprint('hello from import', os.getpid())\ntry:\n    open(" + quoted(proof) + ", 'w')\nexcept OSError: pass\n"
	p, err := pack.Build(t.Context(), write(t, map[string]string{"strategy.toml": py, "strategy.py": code}), opts)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(proof); !os.IsNotExist(err) {
		t.Error("the strategy was imported outside of the sandbox")
	}
	fast, _ := p.Descriptor.Config.Field("fast")
	want := descriptor.ConfigField{Name: "fast", Type: descriptor.ConfigInt, Unit: "bars", Doc: "fast window", Min: int64(1), Max: int64(500), Default: int64(12), Apply: descriptor.ApplyBar}
	if fast.Name != want.Name || fast.Min != want.Min || fast.Max != want.Max || fast.Default != want.Default || fast.Unit != want.Unit || fast.Doc != want.Doc || fast.Apply != want.Apply {
		t.Errorf("config.fast = %+v, want %+v", fast, want)
	}
	size, _ := p.Descriptor.Config.Field("size")
	if size.Type != descriptor.ConfigDecimal || !size.Required || size.Max != ipc.MustDecimal("100") {
		t.Errorf("config.size = %+v", size)
	}
	if !p.Interface.HasHook("on_config") || p.Interface.HasHook("on_recovered") {
		t.Errorf("hooks %v", p.Interface.Hooks)
	}
	again, err := pack.Open(p.Hash, opts)
	if err != nil {
		t.Fatal(err)
	}
	if diff := p.Descriptor.Config.Diff(again.Descriptor.Config); len(diff) > 0 {
		t.Errorf("the stored schema differs: %v", diff)
	}
	if n := len(glob(t, p.CodeDir, "__pycache__/*.pyc")); n != 1 {
		t.Errorf("%d files of bytecode, want 1", n)
	}
	storeHasNoStage(t, opts.Store)
}

func quoted(s string) string { return "'" + s + "'" }

func glob(t *testing.T, dir, pattern string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func storeHasNoStage(t *testing.T, store string) {
	t.Helper()
	if left := glob(t, store, "staging/*"); len(left) > 0 {
		t.Errorf("left in the stage: %v", left)
	}
}

// What the code says and what the descriptor says must agree, and the finding names the line.
// Proves: DM-1, AD-1
func TestDescriptorAndCodeMustAgree(t *testing.T) {
	opts := testOptions(t)
	for name, c := range map[string]struct{ toml, want string }{
		"config":   {py + "[config.fast]\ntype = \"int\"\ndefault = 13\n", "config: the descriptor and the Config class differ: fast"},
		"state":    {py + "[state]\nschema_version = 2\n", "strategy.toml:12:18: state.schema_version"},
		"recovery": {py + "[state]\nrecovery = \"inform\"\n", "strategy.toml:12:12: state.recovery"},
		"migrate":  {py + "[state]\nschema_version = 2\nmigrates_from = [1]\n", "strategy.toml:13:1: state.migrates_from"},
	} {
		_, err := pack.Build(t.Context(), write(t, map[string]string{"strategy.toml": c.toml, "strategy.py": ema}), opts)
		if _, ok := descriptor.AsFindings(err); !ok || !contains(err, c.want, string(descriptor.CodeConflict)) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	storeEmpty(t, opts.Store)
}

// Code that does not import, or that attacks the build, fails the build with the cause, and leaves nothing.
// Proves: AD-1, AD-5, SB-6
func TestHostileCodeFailsTheBuild(t *testing.T) {
	opts := testOptions(t)
	for name, c := range map[string]struct{ code, want string }{
		"syntax":        {"def broken(:\n", "invalid syntax"},
		"missing":       {"x = 1\n", "Ema"},
		"raises":        {"raise RuntimeError('boom\\x1b[2J')\n", "boom"},
		"exits":         {"import os; os._exit(0)\n", "description"},
		"exits loudly":  {"import sys; sys.exit(3)\n", "SystemExit: 3"},
		"garbage":       {"import os\nopen('/job/interface.json','w').write('[]')\nos._exit(0)\n", "not usable"},
		"lies":          {`import os; open('/job/interface.json','w').write('{"config_schema":{"a":{"type":"complex"}},"hooks":[],"sdk_version":"","state_schema_version":1}'); os._exit(0)`, "complex"},
		"false hook":    {`import os; open('/job/interface.json','w').write('{"config_schema":{},"hooks":["rm"],"sdk_version":"","state_schema_version":1}'); os._exit(0)`, "does not exist"},
		"symlink":       {"import os\nos.remove('/job/interface.json'); os.symlink('/etc/passwd','/job/interface.json'); os._exit(0)\n", "Operation not permitted"},
		"fifo":          {"import os\nos.remove('/job/interface.json'); os.mkfifo('/job/interface.json'); os._exit(0)\n", "Operation not permitted"},
		"floods disk":   {"import os\nf=open('/job/interface.json','wb')\nwhile True: f.write(b'x'*65536)\n", "say what it is"},
		"floods stdout": {"while True: print('x'*1000, flush=True)\n", "not done after 2s"},
		"hangs":         {"import time; time.sleep(1000)\n", "not done after 2s"},
		"memory":        {"x = bytearray(4 << 30)\n", "say what it is"},
		"tampers code":  {"open('/strategy/strategy.py','w').write('')\n", "Read-only"},
		"forks":         {"import os; os.fork()\n", "Operation not permitted"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := pack.Build(t.Context(), write(t, map[string]string{"strategy.toml": py + "deadline_init_ms = 2000\n", "strategy.py": c.code}), opts)
			if !contains(err, c.want) {
				t.Errorf("Build = %v, want %q", err, c.want)
			}
			if err != nil && strings.ContainsRune(err.Error(), 0x1b) {
				t.Errorf("the error %q moves the terminal", err)
			}
			storeEmpty(t, opts.Store)
		})
	}
}

// A package with numpy: wheels fetched outside by hash, installed offline inside the sandbox into a layer that a runner
// can import from, with bytecode, and that the next build finds again.
// Proves: DM-1, NN-1, AD-3
func TestNumpyLayer(t *testing.T) {
	opts := testOptions(t)
	lock, err := os.ReadFile("testdata/numpy.lock")
	if err != nil {
		t.Fatal(err)
	}
	code := ema + `
import numpy
import importlib.util
if not numpy.__file__.startswith("/layer/"):
    raise RuntimeError("numpy comes from " + numpy.__file__)
if not numpy.__cached__.startswith("/layer/") or not __import__("os").path.exists(numpy.__cached__):
    raise RuntimeError("numpy is not compiled")
float(numpy.linalg.solve(numpy.eye(3), numpy.ones(3)).sum())
`
	dir := write(t, map[string]string{"strategy.toml": py + "[python]\nlock = \"requirements.lock\"\n", "strategy.py": code, "requirements.lock": string(lock)})
	p, err := pack.Build(t.Context(), dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	if p.LayerHash == "" || len(glob(t, p.LayerDir, "numpy/__pycache__/*.pyc")) == 0 {
		t.Fatalf("layer %+v", p)
	}
	// The package runs, from the store alone, as a runner would see it.
	r, err := opts.Sandbox.Start(t.Context(), sandbox.Spec{
		Address: ipc.Address{Bot: "b", Strategy: "s", Instance: "i"}, Lane: ipc.LaneLL,
		Argv:   append(append([]string{opts.Python.Interpreter}, opts.Python.Args...), "-c", "import sys; sys.path[:0]=['/strategy','/layer']; import strategy; print('numpy runs')"),
		Env:    append(p.Env(), opts.Python.Env...),
		Binds:  append(p.Binds(), opts.Python.Binds...),
		Limits: pack.SandboxLimits(p.Descriptor.Resources),
	})
	if err != nil {
		t.Fatal(err)
	}
	<-r.Done()
	if e := r.Exit(); e.Cause != sandbox.CauseExited || e.Code != 0 {
		t.Fatalf("the runner ended: %s\n%s", e, e.Stderr)
	}
	// Again, from the caches, without a network.
	opts.Offline = true
	again, err := pack.Build(t.Context(), dir, opts)
	if err != nil || again.Hash != p.Hash {
		t.Fatalf("second build: %v, %v", again, err)
	}
	// In another store, from the same wheels: the hash does not depend on when and where the layer was made.
	other := opts
	other.Store = filepath.Join(t.TempDir(), "other")
	if err := os.CopyFS(filepath.Join(other.Store, "wheels"), os.DirFS(filepath.Join(opts.Store, "wheels"))); err != nil {
		t.Fatal(err)
	}
	elsewhere, err := pack.Build(t.Context(), dir, other)
	if err != nil || elsewhere.Hash != p.Hash {
		t.Fatalf("elsewhere: %v, %v; want hash %s", elsewhere, err, p.Hash)
	}
	// A layer that changed is refused like code.
	victim := filepath.Join(p.LayerDir, "numpy", "__init__.py")
	if err := overwrite(victim, "import os\n"); err != nil {
		t.Fatal(err)
	}
	var mismatch *pack.HashMismatch
	if _, err := pack.Open(p.Hash, opts); !errors.As(err, &mismatch) || mismatch.File != victim {
		t.Errorf("Open = %v, want a mismatch that names %s", err, victim)
	}
	storeHasNoStage(t, opts.Store)
}

// A wheel whose bytes are not those of the lock never reaches the layer.
// Proves: AD-3
func TestWrongHashIsRefused(t *testing.T) {
	opts := testOptions(t)
	lock := "msgspec==0.20.0 --hash=sha256:" + strings.Repeat("0", 64) + "\n"
	dir := write(t, map[string]string{"strategy.toml": py + "[python]\nlock = \"r.lock\"\n", "strategy.py": ema, "r.lock": lock})
	_, err := pack.Build(t.Context(), dir, opts)
	if !contains(err, "download the wheels of r.lock") {
		t.Errorf("Build = %v", err)
	}
	storeEmpty(t, opts.Store)
	if left := glob(t, opts.Store, "wheels/*"); len(left) > 0 {
		t.Errorf("wheels were kept: %v", left)
	}
	opts.Offline = true
	if _, err := pack.Build(t.Context(), dir, opts); !contains(err, "switched off") {
		t.Errorf("offline: %v", err)
	}
}

// Without an interpreter the error says what is missing.
func TestPythonNeedsAnInterpreter(t *testing.T) {
	_, err := pack.Build(t.Context(), write(t, map[string]string{"strategy.toml": py, "strategy.py": ema}), pack.Options{Store: filepath.Join(t.TempDir(), "s")})
	if !contains(err, "needs a sandbox and a Python interpreter", "msup doctor") {
		t.Errorf("Build = %v", err)
	}
}

// When the SDK changes, the interface is derived again, and the files stay as they are.
func TestInterfaceIsDerivedAgainForAnotherSDK(t *testing.T) {
	opts := testOptions(t)
	dir := write(t, map[string]string{"strategy.toml": py, "strategy.py": ema})
	p, err := pack.Build(t.Context(), dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	manifest := filepath.Join(filepath.Dir(p.CodeDir), "package.json")
	before, err := os.ReadFile(manifest)
	if err != nil {
		t.Fatal(err)
	}
	changed := *opts.Python
	changed.SDK = "another"
	opts.Python = &changed
	again, err := pack.Build(t.Context(), dir, opts)
	if err != nil || again.Hash != p.Hash {
		t.Fatalf("%v %v", again, err)
	}
	after, err := os.ReadFile(manifest)
	if err != nil || string(before) == string(after) || !strings.Contains(string(after), `"sdk": "another"`) {
		t.Errorf("the manifest is %s, %v", after, err)
	}
}
