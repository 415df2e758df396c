package image

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/msup/msup/sandbox"
)

// packages is what the base image holds of Debian, with what these depend on: Python's whole standard library, time
// zones, and the C++ runtime that binary wheels (numpy) expect of every Linux.
var packages = []string{"python3", "libstdc++6", "tzdata"}

// unwanted are files that no strategy needs; without them the image has half the size. Nothing of dpkg, tar or perl is
// left: a sandbox needs no tools.
var unwanted = lazily(`^(dev|proc|sys|run|tmp|boot|home|media|mnt|opt|root|srv|var)/|` +
	`^usr/share/(man|locale|info|lintian|bug|dpkg|applications|pixmaps|binfmts|doc-base|polkit-1|perl5|menu|mime|readline|gdb|gcc|python3|bash-completion)(/|$)|` +
	`^usr/lib/(dpkg|apt|systemd|valgrind|binfmt\.d|mime|python3\.\d+/(test|pydoc_data|idlelib|turtledemo|lib2to3|ensurepip)|[^/]+/gconv|[^/]+/perl-base)(/|$)|` +
	`^(lib|usr/lib)/systemd/|^usr/libexec/|^etc/python3|^usr/lib/python3\.\d+/sitecustomize\.py$|^(usr/)?sbin/|^etc/(dpkg|apt|cron|logrotate|alternatives|init|default)|/__pycache__(/|$)`)

// kept are the only programs of the image, and the only documentation: the licences that must travel with what they cover.
var (
	keptPrograms      = lazily(`^(usr/)?bin/python3(\.\d+)?$`)
	programs          = lazily(`^(usr/)?bin/.`)
	documentation     = lazily(`^usr/share/doc/.`)
	keptDocumentation = lazily(`^usr/share/doc/[^/]+/copyright$`)
)

func wanted(name string, _ int64) bool {
	switch {
	case programs().MatchString(name):
		return keptPrograms().MatchString(name)
	case documentation().MatchString(name):
		return keptDocumentation().MatchString(name)
	}
	return !unwanted().MatchString(name)
}

// debian fetches and unpacks Debian's packages. mmdebstrap checks Debian's signatures, and with --variant=extract runs no
// script of any package.
func (b *builder) debian(ctx context.Context, root folder) error {
	tool, err := exec.LookPath("mmdebstrap")
	if err != nil {
		return refuse(sandbox.ReasonImageBuildFailed, "build the base image", "install it (Debian: apt-get install mmdebstrap), bring an image of your own, or use the host's Python without an image",
			"mmdebstrap is not installed")
	}
	tarball := filepath.Join(b.stage, "debian.tar")
	temporary := filepath.Join(b.stage, "tmp")
	if err := os.Mkdir(temporary, 0o755); err != nil {
		return fmt.Errorf("make a folder for mmdebstrap: %w", err)
	}
	b.say("fetching Debian %s: %s", b.o.Suite, strings.Join(packages, ", "))
	cmd := exec.CommandContext(ctx, tool, "--variant=extract", "--architectures="+b.o.Arch, "--include="+strings.Join(packages, ","),
		"--aptopt=Acquire::Retries \"2\"", "--aptopt=Acquire::http::Timeout \"30\"", b.o.Suite, tarball, b.o.Mirror)
	cmd.Env = append(os.Environ(), "TMPDIR="+temporary, "LC_ALL=C.UTF-8", "SOURCE_DATE_EPOCH=0")
	if err := runTool(cmd); err != nil {
		return b.debianFailed(ctx, err)
	}
	f, err := os.Open(tarball)
	if err != nil {
		return fmt.Errorf("open what mmdebstrap made: %w", err)
	}
	defer f.Close()
	b.say("unpacking")
	if err := root.unpack(f, wanted); err != nil {
		return err
	}
	return os.Remove(tarball)
}

func (b *builder) debianFailed(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var tool *toolError
	if errors.As(err, &tool) && bytes.Contains(tool.output, []byte("No space left on device")) {
		return b.writeFailed(fmt.Errorf("mmdebstrap: %w", syscall.ENOSPC)) // it has cleaned up, so there is room again
	}
	return refuse(sandbox.ReasonImageBuildFailed, "build the base image", "check the network and the mirror "+b.o.Mirror+" (--mirror, MSUP_DEBIAN_MIRROR); without root, mmdebstrap needs the package uidmap",
		"mmdebstrap failed: %w", err)
}

// maxToolOutput is how much of a tool's messages is kept, maxToolQuote how much of that is shown.
const (
	maxToolOutput = 256 << 10
	maxToolQuote  = 1500
)

// runTool runs a tool that must clean up behind itself: it gets SIGTERM, as a group, and ten seconds. Its error has the
// last lines that it printed.
func runTool(cmd *exec.Cmd) error {
	out := &tail{limit: maxToolOutput}
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	// The signal comes when the thread that forked ends, not the process, and Go ends threads as it likes.
	runtime.LockOSThread()
	err := cmd.Run()
	runtime.UnlockOSThread()
	if err == nil {
		return nil
	}
	if cmd.Process != nil { // whatever of its group did not end with it
		if kill := syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL); kill != nil && !errors.Is(kill, syscall.ESRCH) {
			err = errors.Join(err, kill)
		}
	}
	return &toolError{err, out.data}
}

// toolError has everything that a failed tool printed, and shows the end of it.
type toolError struct {
	err    error
	output []byte
}

func (e *toolError) Error() string {
	var lines []string
	for line := range strings.SplitSeq(string(e.output[max(0, len(e.output)-maxToolQuote):]), "\n") {
		if text, _ := sandbox.Sanitize([]byte(strings.TrimSpace(line)), maxToolQuote); text != "" {
			lines = append(lines, text)
		}
	}
	return fmt.Sprintf("%v: %s", e.err, strings.Join(lines, " | "))
}

func (e *toolError) Unwrap() error { return e.err }

// tail keeps the last bytes.
type tail struct {
	data  []byte
	limit int
}

func (t *tail) Write(p []byte) (int, error) {
	t.data = append(t.data, p...)
	if over := len(t.data) - t.limit; over > 0 {
		t.data = t.data[over:]
	}
	return len(p), nil
}

// interpreter finds python3.N in the unpacked packages.
func (b *builder) interpreter(root folder) (program, minor string, err error) {
	found, err := fs.Glob(root.FS(), "usr/bin/python3.*")
	if err != nil || len(found) != 1 {
		return "", "", refuse(sandbox.ReasonImageBuildFailed, "build the base image", "choose another suite (--suite)", "Debian %s gave %d Python interpreters: %v", b.o.Suite, len(found), errors.Join(err))
	}
	minor = strings.TrimPrefix(path.Base(found[0]), "python")
	if tooOld(minor) {
		return "", "", refuse(sandbox.ReasonImageBuildFailed, "build the base image", "choose bookworm or a later suite (--suite)", "Debian %s has Python %s; msup needs %s or later", b.o.Suite, minor, oldestPython)
	}
	return found[0], minor, nil
}

// loaders are the dynamic loaders, by architecture.
var loaders = map[string]struct{ file, triplet string }{
	"amd64": {"lib64/ld-linux-x86-64.so.2", "x86_64-linux-gnu"},
	"arm64": {"lib/ld-linux-aarch64.so.1", "aarch64-linux-gnu"},
}

// call starts the image's interpreter on the host, by its own loader: no chroot, so no root, is needed.
func (b *builder) call(ctx context.Context, root folder, program string, args ...string) *exec.Cmd {
	l := loaders[b.o.Arch]
	var libraries []string
	for _, dir := range []string{"lib", "usr/lib"} {
		libraries = append(libraries, filepath.Join(root.dir, dir, l.triplet))
	}
	all := append([]string{"--library-path", strings.Join(libraries, ":"), filepath.Join(root.dir, program), "-P", "-s", "-S", "-B"}, args...)
	cmd := exec.CommandContext(ctx, filepath.Join(root.dir, l.file), all...)
	cmd.Dir = "/"
	cmd.Env = []string{"PYTHONHOME=" + filepath.Join(root.dir, "usr"), "PYTHONHASHSEED=0", "LC_ALL=C.UTF-8", "TZ=UTC"}
	return cmd
}

// compile makes bytecode of everything. Its place in the messages of errors is the one inside the image; unchecked-hash
// because sources in a read-only image never change, and times of files may.
func (b *builder) compile(ctx context.Context, root folder, program, minor string) error {
	b.say("compiling")
	cmd := b.call(ctx, root, program, "-m", "compileall", "-q", "-j", "1", "--invalidation-mode", "unchecked-hash", "-s", root.dir, "-p", "/",
		filepath.Join(root.dir, "usr/lib/python"+minor), filepath.Join(root.dir, "usr/lib/python3"), filepath.Join(root.dir, sitePackages(minor)))
	if err := runTool(cmd); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return b.writeFailed(fmt.Errorf("compile the image's Python files: %w", err))
	}
	return nil
}

// sitePackages is where Debian's Python looks for what Debian did not install, without a leading slash.
func sitePackages(minor string) string { return "usr/local/lib/python" + minor + "/dist-packages" }
