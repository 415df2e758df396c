package pack_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/msup/msup/sandbox"
	"github.com/msup/msup/sandbox/process"
	"github.com/msup/msup/sandbox/python"
	"github.com/msup/msup/sandbox/wasm"
	"github.com/msup/msup/supervisor/pack"
)

func TestMain(m *testing.M) {
	process.Init(wasm.Programs()...) // this binary is also the sandbox's second stage
	os.Exit(m.Run())
}

// interpreter is the tree's virtual environment where it exists, else a temporary one with what the SDK needs. The SDK
// itself always comes from this tree.
var interpreter = sync.OnceValues(func() (*pack.Python, error) {
	root, err := filepath.Abs("../..")
	if err != nil {
		return nil, err
	}
	name := os.Getenv("MSUP_PYTHON")
	if name == "" {
		name = filepath.Join(root, ".venv", "bin", "python")
	}
	rt, err := python.Discover(context.Background(), name)
	if err != nil {
		return nil, fmt.Errorf("%w (run make setup, or set MSUP_PYTHON to a Python with pip and msgspec)", err)
	}
	if out, err := exec.Command(rt.Interpreter, "-I", "-c", "import msgspec, pip").CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%s lacks msgspec or pip: %w: %s", rt.Interpreter, err, out)
	}
	py := &pack.Python{Interpreter: rt.Interpreter, Args: rt.Argv()[1:], Version: rt.Version, SDK: "test", Binds: rt.Binds, Env: rt.Env}
	if exec.Command(rt.Interpreter, "-I", "-c", "import msup").Run() != nil {
		sdk := filepath.Join(root, "pysdk")
		py.Binds = append(py.Binds, sandbox.Bind{Source: sdk, Target: "/sdk"})
		py.Env = append(py.Env, "PYTHONPATH=/sdk")
	}
	return py, nil
})

func testPython(t *testing.T) *pack.Python {
	t.Helper()
	py, err := interpreter()
	if err != nil {
		t.Fatal(err)
	}
	return py
}

// testOptions use a real process sandbox, a real interpreter, and a store of the test's own.
func testOptions(t *testing.T) pack.Options {
	t.Helper()
	opts := sandboxOptions(t)
	opts.Python = testPython(t)
	return opts
}

// sandboxOptions have no interpreter.
func sandboxOptions(t *testing.T) pack.Options {
	t.Helper()
	runtimeDir, err := os.MkdirTemp("", "pk") // short: sockets live in it
	if err != nil {
		t.Fatal(err)
	}
	sb, err := process.New(process.Config{RuntimeDir: runtimeDir, CgroupParent: "msup-pack-test"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(sb.Close(), os.RemoveAll(runtimeDir)); err != nil {
			t.Error(err)
		}
	})
	return pack.Options{Store: filepath.Join(t.TempDir(), "store"), Sandbox: sb, Log: slog.New(slog.NewTextHandler(testLog{t}, nil))}
}

type testLog struct{ t *testing.T }

func (l testLog) Write(p []byte) (int, error) {
	l.t.Log(string(bytes.TrimSpace(p)))
	return len(p), nil
}

// write makes a folder with the given files.
func write(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		file := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

const rust = `[strategy]
id = "maker"
version = "0.1.0"
runtime = "rust_wasm"
entry = "maker.wasm"
[capabilities]
events = ["quote"]
intents = ["order"]
`

// moduleFolder is a package that is compiled already.
func moduleFolder() map[string]string {
	return map[string]string{"strategy.toml": rust, "maker.wasm": "\x00asm\x01\x00\x00\x00", "data/levels.csv": "1,2\n", "README.md": "A maker.\n"}
}

// moduleOptions are enough for a moduleFolder: its module, which is none, says nothing of itself.
func moduleOptions(dir string, trusted ...string) pack.Options {
	return pack.Options{Store: filepath.Join(dir, "store"), TrustedKeys: trusted, Describe: func(context.Context, []byte) ([]byte, error) {
		return []byte(`{"config_schema":{},"hooks":[],"sdk_version":"0","state_schema_version":1}`), nil
	}}
}

func storeEmpty(t *testing.T, store string) {
	t.Helper()
	for _, dir := range []string{"packages", "layers", "staging"} {
		entries, err := os.ReadDir(filepath.Join(store, dir))
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		for _, e := range entries {
			if e.Name() != "by-lock" {
				t.Errorf("%s/%s was left behind", dir, e.Name())
			}
		}
	}
}

func contains(err error, parts ...string) bool {
	if err == nil {
		return false
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			return false
		}
	}
	return true
}
