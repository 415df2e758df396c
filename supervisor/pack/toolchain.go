package pack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/msup/msup/sandbox"
)

// RustSearch says where a compiler for Rust strategies is looked for (NN-1). The zero value finds none.
type RustSearch struct {
	// Named is the folder of a toolchain, whose bin holds cargo and rustc, that compiles to Wasm instead of all others; "" = none.
	Named string
	// Path is a list of folders like $PATH.
	Path string
	// Toolchains is the folder in which the set-up of msup keeps Rust where the machine has none (rust-*); "" = none.
	Toolchains string
}

// wasmTarget is what strategies with runtime "rust_wasm" are compiled for.
const wasmTarget = "wasm32-wasip1"

// toolchainDir is where a relocatable toolchain is seen inside a build job, so that no path of this machine gets into a binary.
const toolchainDir = "/rust"

// toolchain is a compiler that was found, and how a build job sees it.
type toolchain struct {
	bin      string // folder of cargo and rustc on the host
	inside   string // the same inside a job
	binds    []sandbox.Bind
	linker   string // inside, for Wasm; "" = the compiler's own
	version  string // all that rustc -vV says
	target   string
	sources  string // inside: where paths of the standard library may begin that a component more or less decides on
	identity string // of everything on this machine that decides on the bytes that come out
}

// noToolchain says why nothing can be compiled; remedy says what to do.
type noToolchain struct{ problem, remedy string }

func (e *noToolchain) Error() string { return e.problem + "; " + e.remedy }

// find returns the first compiler that has the target; target "" is the machine's own.
func (s RustSearch) find(ctx context.Context, target string) (*toolchain, error) {
	if s.Named != "" && target == wasmTarget {
		t, err := inspectRust(ctx, filepath.Join(s.Named, "bin"), target, s.Path)
		if err != nil {
			return nil, &noToolchain{fmt.Sprintf("MSUP_WASM_RUST names %s, which is no Rust that compiles for %s: %s", s.Named, target, firstLine(err.Error())),
				"unset it, or name a folder whose bin holds cargo and rustc with that target"}
		}
		return t, nil
	}
	var bins []string
	for _, dir := range filepath.SplitList(s.Path) {
		if isProgram(filepath.Join(dir, "rustc")) {
			bins = append(bins, dir)
			break
		}
	}
	if s.Toolchains != "" {
		kept, err := filepath.Glob(filepath.Join(s.Toolchains, "rust-*", "bin"))
		if err != nil {
			return nil, fmt.Errorf("look for a Rust toolchain in %s: %w", s.Toolchains, err)
		}
		bins = append(bins, kept...)
	}
	var found []string
	for _, bin := range bins {
		t, err := inspectRust(ctx, bin, target, s.Path)
		if err == nil {
			return t, nil
		}
		if ctx.Err() != nil {
			return nil, err
		}
		found = append(found, filepath.Join(bin, "rustc")+": "+firstLine(err.Error()))
	}
	if len(found) == 0 {
		return nil, &noToolchain{"there is no Rust on this machine to compile it with",
			"install Rust 1.85 or newer (https://rustup.rs, then rustup target add " + wasmTarget + "), or put the compiled artifact into the folder without Cargo.toml"}
	}
	return nil, &noToolchain{fmt.Sprintf("no Rust on this machine compiles for %s: %s", orHost(target), strings.Join(found, "; ")),
		"rustup target add " + orHost(target) + "; without rustup, name another toolchain's folder in MSUP_WASM_RUST"}
}

func orHost(target string) string {
	if target == "" {
		return "this machine"
	}
	return target
}

func isProgram(file string) bool {
	info, err := os.Stat(file)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}

// inspectRust asks the compiler in a folder what it is and whether it has the target.
func inspectRust(ctx context.Context, bin, target, path string) (*toolchain, error) {
	t := &toolchain{bin: bin, target: target}
	var err error
	if t.version, err = ask(ctx, path, filepath.Join(bin, "rustc"), "-vV"); err != nil {
		return nil, err
	}
	if t.target == "" {
		t.target = line(t.version, "host: ")
	}
	out, err := ask(ctx, path, filepath.Join(bin, "rustc"), "--print", "sysroot", "--print", "target-libdir", "--target", t.target)
	if err != nil {
		return nil, err
	}
	sysroot, libdir, _ := strings.Cut(strings.TrimSpace(out), "\n")
	if std, err := filepath.Glob(filepath.Join(libdir, "libstd-*.rlib")); err != nil || len(std) == 0 {
		return nil, errors.Join(fmt.Errorf("it lacks the target %s", t.target), err)
	}
	if err := t.place(sysroot); err != nil {
		return nil, err
	}
	// The C compiler links build scripts, and native strategies. Where it is missing, rustc says so.
	linker, err := ask(ctx, path, "cc", "--version")
	if err != nil {
		linker = ""
	}
	t.identity = t.version + "\n" + firstLine(linker)
	return t, nil
}

// place decides how a job sees the toolchain.
func (t *toolchain) place(sysroot string) error {
	script, err := isScript(filepath.Join(t.bin, "rustc"))
	if err != nil {
		return err
	}
	switch {
	case script: // wrappers with absolute paths: it works in its own place only
		home := filepath.Dir(t.bin)
		t.inside, t.binds = t.bin, []sandbox.Bind{{Source: home, Target: home}}
		t.sources = filepath.Join(home, "usr", "src")
		if lld := filepath.Join(t.bin, "rust-lld"); isProgram(lld) {
			t.linker = lld
		}
	case sysroot == "/usr":
		t.bin, t.inside, t.sources = "/usr/bin", "/usr/bin", "/usr/lib/rustlib/src/rust"
	default: // rustup's proxies stay outside
		t.bin, t.inside, t.sources = filepath.Join(sysroot, "bin"), toolchainDir+"/bin", toolchainDir+"/lib/rustlib/src/rust"
		t.binds = []sandbox.Bind{{Source: sysroot, Target: toolchainDir}}
	}
	for _, name := range []string{"cargo", "rustc"} {
		if !isProgram(filepath.Join(t.bin, name)) {
			return fmt.Errorf("there is no %s in %s", name, t.bin)
		}
	}
	return nil
}

func isScript(file string) (bool, error) {
	f, err := os.Open(file)
	if err != nil {
		return false, fmt.Errorf("look at the compiler: %w", err)
	}
	defer f.Close()
	head := make([]byte, 2)
	if _, err := f.Read(head); err != nil {
		return false, fmt.Errorf("look at the compiler %s: %w", file, err)
	}
	return string(head) == "#!", nil
}

// ask runs a program of the machine outside of any project: a toolchain file of somebody's strategy must not decide.
func ask(ctx context.Context, path, program string, args ...string) (string, error) {
	if !filepath.IsAbs(program) {
		i := slices.IndexFunc(filepath.SplitList(path), func(dir string) bool { return isProgram(filepath.Join(dir, program)) })
		if i < 0 {
			return "", fmt.Errorf("there is no %s", program)
		}
		program = filepath.Join(filepath.SplitList(path)[i], program)
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = "/"
	out, errs := &capped{limit: 64 << 10}, &capped{limit: 4 << 10}
	cmd.Stdout, cmd.Stderr = out, errs
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Run(); err != nil {
		text, _ := sandbox.Sanitize([]byte(firstLine(errs.String())), 500)
		return "", fmt.Errorf("%w: %s", err, text)
	}
	return out.String(), nil
}

func firstLine(text string) string {
	first, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	return first
}

// line returns what follows a prefix in the line that begins with it.
func line(text, prefix string) string {
	for l := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(l, prefix); ok {
			return strings.TrimSpace(rest)
		}
	}
	return ""
}
