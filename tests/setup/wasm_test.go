package setup

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const scripts = "../../scripts"

// crate writes the smallest strategy-like crate: a library that C could call.
func crate(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	err := errors.Join(os.Mkdir(filepath.Join(dir, "src"), 0o755),
		os.WriteFile(filepath.Join(dir, "Cargo.toml"), []byte("[package]\nname = \"tiny\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[lib]\ncrate-type = [\"cdylib\"]\n"), 0o600),
		os.WriteFile(filepath.Join(dir, "src", "lib.rs"), []byte("#[no_mangle]\npub extern \"C\" fn msup_abi() -> i32 { std::env::args().count() as i32 }\n"), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func script(t *testing.T, env []string, name string, args ...string) (string, error) {
	t.Helper()
	path, err := filepath.Abs(filepath.Join(scripts, name))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Dir = t.TempDir()
	cmd.Env = env
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// exports lists the names that a Wasm module exports.
func exports(t *testing.T, module []byte) []string {
	t.Helper()
	if !bytes.HasPrefix(module, []byte("\x00asm\x01\x00\x00\x00")) {
		t.Fatalf("no Wasm module: %q", module[:min(8, len(module))])
	}
	number := func(b []byte) (int, []byte) {
		v, n := binary.Uvarint(b)
		if n <= 0 {
			t.Fatal("the module is cut off")
		}
		return int(v), b[n:] //nolint:gosec // a test's own module
	}
	var names []string
	for rest := module[8:]; len(rest) > 0; {
		id := rest[0]
		size, body := number(rest[1:])
		rest = body[size:]
		const exportSection = 7
		if id != exportSection {
			continue
		}
		count, body := number(body[:size])
		for range count {
			var length int
			length, body = number(body)
			names = append(names, string(body[:length]))
			_, body = number(body[length+1:])
		}
	}
	return names
}

// Whatever compiler is chosen, its module has a memory and the functions of the source.
//
// Proves: NN-1
func TestWasmCargoBuildsAModule(t *testing.T) {
	dir := crate(t)
	if out, err := script(t, os.Environ(), "wasm-cargo", "--manifest-path", filepath.Join(dir, "Cargo.toml")); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	module, err := os.ReadFile(filepath.Join(dir, "target/wasm/wasm32-wasip1/release/tiny.wasm"))
	if err != nil {
		t.Fatal(err)
	}
	if names := exports(t, module); !slices.Contains(names, "memory") || !slices.Contains(names, "msup_abi") {
		t.Errorf("it exports %q", names)
	}
}

// Where no compiler has the target, the script says what to do, and builds nothing for another one.
func TestWasmCargoWithoutCompiler(t *testing.T) {
	empty := t.TempDir()
	for name, c := range map[string]struct {
		env  []string
		says string
	}{
		"none at all":    {[]string{"PATH=/usr/bin:/bin", "HOME=" + empty}, "rustup target add wasm32-wasip1"},
		"named, not one": {append(os.Environ(), "MSUP_WASM_RUST="+empty), "MSUP_WASM_RUST names " + empty},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := os.Stat("/usr/bin/rustc"); err == nil && name == "none at all" {
				c.env[0] = "PATH=" + withoutRust(t)
			}
			out, err := script(t, c.env, "wasm-cargo", "--manifest-path", filepath.Join(crate(t), "Cargo.toml"))
			if err == nil || !strings.Contains(out, c.says) || !strings.Contains(out, "what to do:") {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
}

// withoutRust is a folder with the few programs that the script needs, for machines whose own Rust lies in /usr/bin.
func withoutRust(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"sh", "find", "dirname"} {
		path, err := exec.LookPath(name)
		if err == nil {
			err = os.Symlink(path, filepath.Join(dir, name))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// debian runs the package part of set-up as somebody, with tables of the test's own.
func debian(t *testing.T, tables string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "bash", "-c", "set -Eeuo pipefail\n. setup.d/say.sh\n. setup.d/debian.sh\nid() { echo 1000; }\n"+tables+"\nsetup_debian")
	cmd.Dir = scripts
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// Without root nothing is installed: what msup cannot do without ends set-up, containers it can do without; both times
// the command to type is printed.
func TestSetupWithoutRootSaysWhatToInstall(t *testing.T) {
	const there = "debian_needs() { :; }; debian_wants() { :; }; "
	for name, c := range map[string]struct {
		tables string
		fails  bool
		says   []string
	}{
		"all there":     {there, false, []string{"system packages: all there"}},
		"no containers": {there + "debian_wants() { echo 'containerd|false|runs containers'; }", false, []string{"going on without: containerd (runs containers)", "containerd"}},
		"no compiler":   {there + "debian_needs() { echo 'gcc|false|compiles'; }", true, []string{"missing: gcc (compiles)", "what to do: ", "gcc"}},
	} {
		out, err := debian(t, c.tables)
		if (err != nil) != c.fails {
			t.Errorf("%s: %v: %s", name, err, out)
		}
		for _, want := range c.says {
			if !strings.Contains(out, want) {
				t.Errorf("%s: %q is missing in %s", name, want, out)
			}
		}
	}
}
