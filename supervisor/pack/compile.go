package pack

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/sandbox"
	"github.com/msup/msup/supervisor/descriptor"
)

// outputDir is where a build job writes.
const outputDir = "/out"

// compileTimeout bounds one compilation where Options do not: from nothing, with all crates, on a slow machine.
const compileTimeout = 15 * time.Minute

// lateError ends a job that is not done in time.
type lateError struct{ within time.Duration }

func (e *lateError) Error() string { return fmt.Sprintf("it was not done after %s", e.within) }

// compileDiskBytes bounds what a compilation writes; the crates of msup and a strategy take 60 MB.
const compileDiskBytes = 4 << 30

// compileLimits are for a compiler with a few helpers: link-time optimisation of a strategy takes 0.5 GB.
func compileLimits() sandbox.Limits {
	return sandbox.Limits{
		MemoryBytes: 4 << 30, CPUQuota: float64(runtime.NumCPU()), PIDs: 512, OpenFiles: 960, FileSizeBytes: 1 << 30, TmpBytes: 16 << 20,
		LogLineBytes: 8 << 10, LogLinesPerSecond: 2000, LogBurstLines: 20_000, LogBytesPerRun: 8 << 20,
	}
}

// hostTools is what a compiler needs of this machine: the C toolchain that links build scripts and native strategies.
func hostTools() []sandbox.Bind {
	return []sandbox.Bind{
		{Source: "/usr"}, {Source: "/bin"}, {Source: "/lib"}, {Source: "/lib64", Optional: true},
		{Source: "/etc/alternatives", Optional: true}, {Source: "/etc/ld.so.cache", Optional: true},
	}
}

// compileCrate compiles inside the sandbox, without a network: build scripts and macros are code of strangers. What it sees is
// a copy of the sources, whose digest must be the one that the result is remembered under.
func (b *builder) compileCrate(ctx context.Context, t *toolchain, c *crate, sources string, args []string, file string) ([]byte, error) {
	if b.opts.Sandbox == nil {
		return nil, fmt.Errorf("compile %s: this needs a sandbox; see `msup doctor`", b.descriptor.Strategy)
	}
	tree, err := b.stage.mkdir("sources")
	if err != nil {
		return nil, err
	}
	copied, err := c.copySources(tree)
	if err != nil {
		return nil, err
	}
	if copied != sources {
		return nil, fmt.Errorf("compile %s: %w", b.descriptor.Strategy, errChanged)
	}
	out, err := b.stage.mkdir("compile")
	if err != nil {
		return nil, err
	}
	for _, dir := range []string{"cargo", "home", "tmp", "target"} {
		if err := errors.Join(os.Mkdir(filepath.Join(out, dir), 0o700), os.Chmod(filepath.Join(out, dir), 0o777)); err != nil {
			return nil, fmt.Errorf("make a folder for the compiler: %w", err)
		}
	}
	vendored, err := b.vendor(ctx, t, c, filepath.Join(out, "cargo", "config.toml"))
	if err != nil {
		return nil, err
	}
	binds := append(hostTools(), t.binds...)
	for dir, target := range map[string]string{filepath.Join(tree, "src"): sourceDir, filepath.Join(tree, "dep"): otherDir, vendored: registryDir} {
		binds = append(binds, sandbox.Bind{Source: dir, Target: target, NoExec: true, Optional: true})
	}
	if err := b.runCargo(ctx, t, c, out, binds, args); err != nil {
		return nil, err
	}
	made := filepath.Join(out, "target", t.target, "release", file)
	artifact, err := readPlain(made, maxArtifactBytes)
	if err != nil {
		return nil, refuseFile(filepath.Join(c.dir, cargoManifest), fmt.Sprintf("compiling it left no usable %s: %s", file, err),
			fmt.Sprintf("see that no build script removes it, and that it has at most %d MiB", maxArtifactBytes>>20))
	}
	return artifact, nil
}

// vendor puts the crates of registries and repositories into a folder, as Cargo.lock pins them, and writes the settings by
// which cargo finds them there. Nothing of them is run.
func (b *builder) vendor(ctx context.Context, t *toolchain, c *crate, settings string) (string, error) {
	dir := b.stage.path("vendor")
	b.progress("fetching the crates of %s", b.descriptor.Strategy)
	args := []string{"vendor", "--locked", "--versioned-dirs", "--respect-source-config", "--manifest-path", filepath.Join(c.dir, cargoManifest), dir}
	text, err := b.cargo(ctx, t, append(args, "--offline")...)
	if err != nil && ctx.Err() == nil && !b.opts.Offline {
		if err := os.RemoveAll(dir); err != nil {
			return "", fmt.Errorf("clean up after cargo: %w", err)
		}
		text, err = b.cargo(ctx, t, args...)
	}
	if err != nil {
		return "", b.refuseCargo(ctx, c.dir, err)
	}
	// The compiler has a user id of its own.
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil // a strategy without a crate of anybody else
		case err != nil:
			return err
		case d.IsDir():
			return os.Chmod(path, 0o755)
		case d.Type().IsRegular():
			return os.Chmod(path, 0o444)
		}
		return os.Remove(path) // a link: no crate needs one, and cargo compares what it reads with checksums
	})
	if err != nil {
		return "", fmt.Errorf("open the fetched crates to the compiler: %w", err)
	}
	config := strings.ReplaceAll(string(text), dir, registryDir)
	if err := errors.Join(os.WriteFile(settings, []byte(config), 0o644), os.Chmod(settings, 0o644)); err != nil {
		return "", fmt.Errorf("write the compiler's settings: %w", err)
	}
	return dir, nil
}

// runCargo compiles, and turns what the compiler says into findings.
func (b *builder) runCargo(ctx context.Context, t *toolchain, c *crate, out string, binds []sandbox.Bind, args []string) error {
	env := []string{
		"PATH=" + t.inside + ":/usr/bin:/bin", "HOME=" + outputDir + "/home", "TMPDIR=" + outputDir + "/tmp", "LC_ALL=C", "TZ=UTC", "SOURCE_DATE_EPOCH=0",
		"RUSTC=" + t.inside + "/rustc", "CARGO_HOME=" + outputDir + "/cargo", "CARGO_TARGET_DIR=" + outputDir + "/target", "CARGO_INCREMENTAL=0",
		"CARGO_NET_OFFLINE=true", "CARGO_TERM_COLOR=never", "CARGO_TERM_PROGRESS_WHEN=never", "CARGO_BUILD_JOBS=" + strconv.Itoa(runtime.NumCPU()),
		// Only some installations have the sources of the standard library; they must not decide on the bytes.
		"RUSTFLAGS=--remap-path-prefix=" + t.sources + "=/rustc/" + line(t.version, "commit-hash: "),
	}
	if t.linker != "" {
		env = append(env, "CARGO_TARGET_WASM32_WASIP1_LINKER="+t.linker)
	}
	said := &transcript{crates: map[string]bool{}, progress: func(crate string, n int) {
		b.progress("compiling %s: crate %d, %s", b.descriptor.Strategy, n, crate)
	}}
	argv := append([]string{"/bin/sh", "-c", `exec "$0" "$@"`, t.inside + "/cargo", "build", "--release", "--frozen", "--target", t.target,
		"--manifest-path", c.place(c.dir) + "/" + cargoManifest}, args...)
	err := b.runSpec(ctx, "compile "+string(b.descriptor.Strategy), sandbox.Spec{
		Argv: argv, Env: env, Dir: outputDir, Binds: binds, Limits: compileLimits(), BuildJob: true, Log: said.line,
		Writable: []sandbox.Writable{{Target: outputDir, Source: out, Bytes: compileDiskBytes}},
	}, cmp.Or(b.opts.CompileTimeout, compileTimeout), zero)
	var late *lateError
	if errors.As(err, &late) {
		return refuseFile(filepath.Join(c.dir, cargoManifest), "it does not compile: "+late.Error(), "look for a build script or a macro that waits or loops")
	}
	var failed *JobError
	if !errors.As(err, &failed) || failed.Exit.Cause == sandbox.CauseSetupFailed {
		return err
	}
	lines := said.taken()
	const remedy = "correct it; cargo check in the folder shows it with its context"
	if found := diagnostics(lines, c.hostPath, remedy); failed.Exit.Cause == sandbox.CauseExited && len(found) > 0 {
		return found
	}
	problem := fmt.Sprintf("it does not compile: cargo %s", failed.Exit)
	if failed.Exit.Cause != sandbox.CauseExited {
		problem += ": " + failed.Exit.Detail
	}
	if tail := strings.Join(errorLines(lines), " | "); tail != "" {
		problem += ": " + tail
	}
	return refuseFile(filepath.Join(c.dir, cargoManifest), problem,
		"see that cargo build --release works in the folder without a network and without writing outside of OUT_DIR; msup build -v shows all that was printed")
}

// transcript keeps what a compiler printed: the beginning, which has the first errors, and the end.
type transcript struct {
	mu       sync.Mutex
	lines    []string
	bytes    int
	crates   map[string]bool
	progress func(crate string, n int)
}

const maxTranscriptBytes = 1 << 20

func (t *transcript) line(l sandbox.LogLine) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if name, ok := strings.CutPrefix(strings.TrimSpace(l.Text), "Compiling "); ok && l.Stream == sandbox.Stderr {
		name, _, _ = strings.Cut(name, " ")
		t.crates[name] = true
		t.progress(name, len(t.crates))
		return
	}
	if t.bytes += len(l.Text); t.bytes < maxTranscriptBytes {
		t.lines = append(t.lines, l.Text)
	}
}

func (t *transcript) taken() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.lines
}

var (
	reError = regexp.MustCompile(`^error(\[E[0-9]{4}\])?: (.+)$`)
	rePlace = regexp.MustCompile(`^\s*--> (.+):([0-9]+):([0-9]+)$`)
)

// diagnostics are the errors of rustc, or of cargo about a manifest, that name a place.
func diagnostics(lines []string, hostPath func(string) string, remedy string) descriptor.Findings {
	var found descriptor.Findings
	message := ""
	for _, l := range lines {
		if m := reError.FindStringSubmatch(l); m != nil {
			message = "error" + m[1] + ": " + m[2]
			continue
		}
		m := rePlace.FindStringSubmatch(l)
		if m == nil || message == "" || len(found) >= maxFindings {
			continue
		}
		row, rerr := strconv.Atoi(m[2])
		column, cerr := strconv.Atoi(m[3])
		if rerr != nil || cerr != nil {
			continue
		}
		text, _ := sandbox.Sanitize([]byte(message), 1000)
		found = append(found, descriptor.Finding{Code: descriptor.CodePackage, File: hostPath(m[1]), Line: row, Column: column, Problem: text, Remedy: remedy})
		message = ""
	}
	return found
}

// errorLines are the lines of a transcript that say what went wrong: the first error with what follows, or what a build
// script said; else its end.
func errorLines(lines []string) []string {
	const most = 6
	from := max(0, len(lines)-most)
	if i := slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(l, "error") }); i >= 0 {
		from = i
		if said := slices.Index(lines[i:], "  --- stderr"); said >= 0 {
			return append([]string{strings.TrimSpace(lines[i])}, trimmed(lines[i+said+1:min(len(lines), i+said+1+most)])...)
		}
	}
	return trimmed(lines[from:min(len(lines), from+most)])
}

func trimmed(lines []string) []string {
	var out []string
	for _, l := range lines {
		if l = strings.TrimSpace(l); l != "" {
			out = append(out, l)
		}
	}
	return out
}

// runSpec runs one job inside the sandbox to its end. Whatever it printed last is in the error.
func (b *builder) runSpec(ctx context.Context, what string, spec sandbox.Spec, within time.Duration, okCode func(int) bool) error {
	ctx, cancel := context.WithTimeoutCause(ctx, within, &lateError{within})
	defer cancel()
	spec.Address = ipc.Address{Bot: "msup", Strategy: b.descriptor.Strategy, Instance: "build"}
	spec.Lane = ipc.LaneCompute
	also := spec.Log
	spec.Log = func(l sandbox.LogLine) {
		b.log.Debug("build", "strategy", string(b.descriptor.Strategy), "job", what, "stream", l.Stream.String(), "line", l.Text)
		if also != nil {
			also(l)
		}
	}
	runner, err := b.opts.Sandbox.Start(ctx, spec)
	if err != nil {
		return fmt.Errorf("%s: start the sandbox: %w", what, err)
	}
	select {
	case <-runner.Done():
	case <-ctx.Done():
		return errors.Join(fmt.Errorf("%s: %w", what, context.Cause(ctx)), runner.Kill())
	}
	e := runner.Exit()
	if e.Cause == sandbox.CauseExited && okCode(e.Code) {
		return nil
	}
	return &JobError{Job: what, Exit: e, Output: strings.TrimSpace(e.Stderr)}
}
