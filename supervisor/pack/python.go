package pack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/msup/msup/sandbox"
	"github.com/msup/msup/supervisor/descriptor"
)

// Python is the interpreter that runs Python strategies, as the sandbox needs it. It must have pip and the SDK.
type Python struct {
	Interpreter string   // absolute path, on the host and inside alike
	Args        []string // that every call starts with, for example -P -s
	Version     string   // "3.11.7"
	SDK         string   // version of the SDK inside; when it changes, interfaces are derived again
	Binds       []sandbox.Bind
	Env         []string
}

func (p *Python) argv(args ...string) []string {
	return append(append([]string{p.Interpreter}, p.Args...), args...)
}

// minor is the version that bytecode and binary wheels depend on: "3.11".
func (p *Python) minor() string {
	parts := strings.SplitN(p.Version, ".", 3)
	if len(parts) < 2 {
		return p.Version
	}
	return parts[0] + "." + parts[1]
}

// Inside a build job.
const (
	jobDir   = "/job" // writable
	wheelDir = "/wheels"
)

// jobTimeout bounds every job; unpacking and compiling numpy takes a few seconds.
const jobTimeout = 5 * time.Minute

// job is one run of the interpreter inside the sandbox.
type job struct {
	what   string // for messages: "install the dependencies"
	args   []string
	binds  []sandbox.Bind
	env    []string
	host   string // folder of the host that is writable at jobDir
	disk   int64  // bytes that it may hold
	limits sandbox.Limits
	within time.Duration // 0 = jobTimeout
	okCode func(int) bool
}

// run starts the job and waits for its end. Whatever it printed is in the error.
func (b *builder) run(ctx context.Context, j job) error {
	if b.opts.Sandbox == nil || b.opts.Python == nil {
		return fmt.Errorf("%s: this needs a sandbox and a Python interpreter; see `msup doctor`", j.what)
	}
	if j.within == 0 {
		j.within = jobTimeout
	}
	py := b.opts.Python
	return b.runSpec(ctx, j.what, sandbox.Spec{
		Argv:     py.argv(j.args...),
		Env:      append(append([]string(nil), py.Env...), j.env...),
		Binds:    append(append([]sandbox.Bind(nil), py.Binds...), j.binds...),
		Writable: []sandbox.Writable{{Target: jobDir, Source: j.host, Bytes: j.disk}},
		Limits:   j.limits,
	}, j.within, j.okCode)
}

// JobError says that a job inside the sandbox failed.
type JobError struct {
	Job    string
	Exit   sandbox.Exit
	Output string // the last lines on stderr, safe to print
}

// Error returns what failed, how, and the end of the output.
func (e *JobError) Error() string {
	s := fmt.Sprintf("%s: the job %s", e.Job, e.Exit)
	if e.Exit.Detail != "" {
		s += ": " + e.Exit.Detail
	}
	if e.Output != "" {
		s += "\n" + e.Output
	}
	return s
}

func zero(code int) bool { return code == 0 }

// jobLimits are those of trusted-size work: pip unpacks wheels of hundreds of MiB.
func jobLimits() sandbox.Limits {
	return sandbox.Limits{
		MemoryBytes: 2 << 30, CPUQuota: 2, PIDs: 64, OpenFiles: 512, FileSizeBytes: 1 << 30, TmpBytes: 64 << 20, TmpInodes: 4096,
		LogLinesPerSecond: 1000, LogBurstLines: 2000, LogBytesPerRun: 4 << 20,
	}
}

// download fetches the wheels of a lock outside of the sandbox, which has no network. pip runs no code of a wheel, and
// checks every hash.
func (b *builder) download(ctx context.Context, lock lockFile) (string, error) {
	final := filepath.Join(b.store.wheels(), lock.digest)
	if _, err := os.Stat(final); err == nil {
		return final, nil
	}
	if b.opts.Offline {
		return "", fmt.Errorf("the wheels of %s are not in the cache, and downloads are switched off; build once with a network", b.descriptor.Python.Lock)
	}
	dir, err := b.stage.mkdir("wheels")
	if err != nil {
		return "", err
	}
	file := b.stage.path("requirements.lock")
	if err := os.WriteFile(file, lock.text, 0o600); err != nil {
		return "", fmt.Errorf("write the checked lock: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, jobTimeout)
	defer cancel()
	b.log.Info("downloading dependencies", "strategy", string(b.descriptor.Strategy), "requirements", lock.count)
	cmd := exec.CommandContext(ctx, b.opts.Python.Interpreter, "-I", "-m", "pip", "download", "--only-binary=:all:", "--require-hashes", "--no-deps",
		"--no-input", "--disable-pip-version-check", "--progress-bar=off", "--quiet", "--dest", dir, "--requirement", file)
	cmd.Dir = b.stage.dir
	out := &capped{limit: 64 << 10}
	cmd.Stdout, cmd.Stderr = out, out
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Run(); err != nil {
		text, _ := sandbox.Sanitize(lastBytes(out.Bytes(), 2048), 4096)
		return "", fmt.Errorf("download the wheels of %s: %w: %s; check the network, and that every requirement has a wheel for Python %s on %s",
			b.descriptor.Python.Lock, err, text, b.opts.Python.Version, platform())
	}
	if err := publish(dir, final); err != nil {
		return "", err
	}
	return final, nil
}

// capped keeps the first limit bytes.
type capped struct {
	bytes.Buffer
	limit int
}

func (c *capped) Write(p []byte) (int, error) {
	if room := c.limit - c.Len(); room > 0 {
		c.Buffer.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}

func lastBytes(b []byte, n int) []byte { return b[max(0, len(b)-n):] }

// install unpacks the wheels inside the sandbox, offline. It returns the folder with the files.
func (b *builder) install(ctx context.Context, lock lockFile, wheels string) (string, error) {
	job1, err := b.stage.mkdir("layer-job")
	if err != nil {
		return "", err
	}
	lockDir, err := b.stage.mkdir("lock")
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(lockDir, "requirements.lock"), lock.text, 0o644); err != nil {
		return "", fmt.Errorf("write the checked lock: %w", err)
	}
	// TMPDIR on the same filesystem: pip unpacks into it and renames, and /tmp is small.
	env := []string{"TMPDIR=" + jobDir, "PIP_CONFIG_FILE=/dev/null"}
	binds := []sandbox.Bind{{Source: wheels, Target: wheelDir, NoExec: true}, {Source: lockDir, Target: "/lock", NoExec: true}}
	err = b.run(ctx, job{
		what: "install the dependencies", host: job1, disk: layerLimits.totalBytes, binds: binds, env: env, limits: jobLimits(), okCode: zero,
		args: []string{"-m", "pip", "install", "--no-index", "--find-links", wheelDir, "--no-deps", "--require-hashes", "--only-binary=:all:", "--no-compile",
			"--no-cache-dir", "--no-input", "--disable-pip-version-check", "--no-warn-script-location", "--root-user-action=ignore", "--progress-bar=off", "--quiet",
			"--target", jobDir + "/layer", "--requirement", "/lock/requirements.lock"},
	})
	if err != nil {
		return "", err
	}
	return filepath.Join(job1, "layer"), nil
}

// compile makes the bytecode of the sources in dir, which runners see at target, inside the sandbox. The sources are shown
// read-only: the job writes into a folder of its own, from which only what belongs to a source is copied to where
// Python looks for it. A file that is not valid for this Python has no bytecode; packages carry code for others.
func (b *builder) compile(ctx context.Context, dir, target string, l limits) ([]File, error) {
	host, err := b.stage.mkdir("compile" + strings.ReplaceAll(target, "/", "-"))
	if err != nil {
		return nil, err
	}
	err = b.run(ctx, job{
		what: "compile " + target, host: host, disk: l.totalBytes, limits: jobLimits(), okCode: func(code int) bool { return code == 0 || code == 1 },
		binds: []sandbox.Bind{{Source: dir, Target: target}},
		args:  []string{"-X", "pycache_prefix=" + jobDir, "-m", "compileall", "-q", "-j", "1", "--invalidation-mode", "unchecked-hash", target},
	})
	if err != nil {
		return nil, err
	}
	out := filepath.Join(host, filepath.FromSlash(target))
	if _, err := os.Lstat(out); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	root, err := os.OpenRoot(out)
	if err != nil {
		return nil, fmt.Errorf("open the bytecode: %w", err)
	}
	defer root.Close()
	found, err := scan(root, "bytecode of "+target, l, func(string, bool) bool { return false })
	if err != nil {
		return nil, fmt.Errorf("the compile job left what it may not: %w", err)
	}
	var nodes []node
	for _, n := range found {
		folder, name := path.Split(n.path)
		module, _, ok := strings.Cut(name, ".cpython-")
		if info, err := os.Lstat(filepath.Join(dir, folder, module+".py")); !ok || err != nil || !info.Mode().IsRegular() || path.Ext(name) != ".pyc" {
			continue
		}
		n.as = folder + "__pycache__/" + name
		nodes = append(nodes, n)
	}
	files, _, err := archive(root, nodes, dir, io.Discard)
	return files, err
}

// describeScript writes the description to a file: a log line would be cut and escaped.
const describeScript = `
import runpy, sys
with open("` + jobDir + `/interface.json", "w", encoding="utf-8") as out:
    sys.stdout = out
    sys.argv = ["msup.schema", *sys.argv[1:]]
    try:
        runpy.run_module("msup.schema", run_name="__main__", alter_sys=True)
    finally:
        sys.stdout = sys.__stdout__
`

// describe asks the strategy's code for its interface, inside the sandbox.
func (b *builder) describe(ctx context.Context, code, layer string) (Interface, error) {
	host, err := b.stage.mkdir("interface-job")
	if err != nil {
		return Interface{}, err
	}
	binds := []sandbox.Bind{{Source: code, Target: StrategyDir}}
	env := []string{"MSUP_STRATEGY_DIR=" + StrategyDir}
	if layer != "" {
		binds = append(binds, sandbox.Bind{Source: layer, Target: LayerDir})
		env = append(env, "MSUP_LAYER="+LayerDir)
	}
	if part := b.descriptor.Compute.Entry; part != "" {
		env = append(env, "MSUP_COMPUTE_ENTRY="+part)
	}
	limits := SandboxLimits(b.descriptor.Resources)
	limits.FileSizeBytes = maxInterfaceBytes
	err = b.run(ctx, job{
		what: "derive the config schema of " + b.descriptor.Entry, host: host, disk: 4 * maxInterfaceBytes, binds: binds, env: env, limits: limits, within: b.descriptor.Resources.DeadlineInit, okCode: zero,
		args: []string{"-c", describeScript, b.descriptor.Entry, StrategyDir},
	})
	var je *JobError
	if errors.As(err, &je) && je.Exit.Cause != sandbox.CauseSetupFailed {
		return Interface{}, b.refuseCode("strategy.entry", fmt.Sprintf("the strategy's code could not say what it is: %s", oneLine(je)), "import it with plain Python to see the whole traceback, then correct it")
	}
	if err != nil {
		return Interface{}, err
	}
	data, err := readPlain(filepath.Join(host, "interface.json"), maxInterfaceBytes)
	if err != nil {
		return Interface{}, b.refuseCode("strategy.entry", "the strategy's code did not leave a description: "+err.Error(), "remove what it does to its output while it is imported")
	}
	i, err := parseInterface(data)
	if fs, ok := descriptor.AsFindings(err); ok {
		return Interface{}, fs
	}
	if err != nil {
		return Interface{}, b.refuseCode("strategy.entry", "the description of the strategy's code is not usable: "+err.Error(), "remove what it does to its output while it is imported")
	}
	return i, nil
}

func oneLine(e *JobError) string {
	lines := strings.Split(strings.TrimSpace(e.Output), "\n")
	last := strings.TrimSpace(lines[len(lines)-1])
	if last == "" {
		last = e.Exit.Detail
	}
	return fmt.Sprintf("it %s: %s", e.Exit, last)
}

func (b *builder) refuseCode(key, problem, remedy string) error {
	line, column := descriptor.Locate(b.source, key)
	return descriptor.Findings{{Code: descriptor.CodePackage, File: b.descriptor.File, Line: line, Column: column, Key: key, Problem: problem, Remedy: remedy}}
}

// readPlain reads a file that untrusted code wrote: never through a link, never a device, never more than most bytes.
func readPlain(file string, most int64) ([]byte, error) {
	f, err := os.OpenFile(file, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open it: %w", errors.Unwrap(err))
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("look at it: %w", errors.Unwrap(err))
	}
	if !info.Mode().IsRegular() || info.Size() > most {
		return nil, fmt.Errorf("it is no regular file of at most %d bytes", most)
	}
	data, err := io.ReadAll(io.LimitReader(f, most+1))
	if err != nil {
		return nil, fmt.Errorf("read it: %w", err)
	}
	return data, nil
}
