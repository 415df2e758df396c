package hostile

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/sandbox"
	"github.com/msup/msup/sandbox/container"
	"github.com/msup/msup/sandbox/process"
	"github.com/msup/msup/sandbox/python"
	"github.com/msup/msup/sandbox/sandboxtest"
)

// level is where an attack is made.
type level string

const (
	levelRoot      level = "L1"
	levelNobody    level = "L1-nobody" // the supervisor itself has no privileges
	levelContainer level = "L3"
)

// limits are those of every hostile runner unless an attack changes them.
var limits = sandbox.Limits{MemoryBytes: 256 << 20, PIDs: 32, OpenFiles: 64, TmpBytes: 4 << 20, TmpInodes: 64, CPUQuota: 1}

// host is one sandbox with what all its runners share, and the decoys that they are after.
type host struct {
	level   level
	box     sandbox.Sandbox
	runtime python.Runtime
	files   files
	decoys  decoys
}

// files is what runners see of this repository, readable for everybody wherever the repository is.
type files struct{ code, sdk string }

// filesEnv tells the test binary that runs as nobody where they are.
const filesEnv = "MSUP_HOSTILE_FILES"

// systemPython is an interpreter that every user can reach; the SDK is laid beside it.
const systemPython = "/usr/bin/python3"

func prepareFiles(t *testing.T) files {
	t.Helper()
	dir := os.Getenv(filesEnv)
	if dir != "" {
		return files{filepath.Join(dir, "strategy"), filepath.Join(dir, "sdk")}
	}
	dir = tempDir(t, 0o755)
	f := files{filepath.Join(dir, "strategy"), filepath.Join(dir, "sdk")}
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	interpreter := os.Getenv("MSUP_PYTHON")
	if interpreter == "" {
		interpreter = filepath.Join(root, ".venv", "bin", "python3")
	}
	where, err := exec.CommandContext(t.Context(), interpreter, "-c", "import msgspec, os, typing_extensions as t; print(os.path.dirname(msgspec.__file__)); print(t.__file__)").Output()
	if err != nil {
		t.Fatalf("%s has no SDK (make setup makes .venv; MSUP_PYTHON names another interpreter): %v", interpreter, err)
	}
	lines := strings.Fields(string(where))
	err = errors.Join(
		sandboxtest.CopySources(f.code, "python"),
		sandboxtest.CopySources(filepath.Join(f.sdk, "msup"), filepath.Join(root, "pysdk", "msup")),
		sandboxtest.CopySources(filepath.Join(f.sdk, "msgspec"), lines[0]))
	if err != nil {
		t.Fatal(err)
	}
	one, err := os.ReadFile(lines[1])
	if err == nil {
		err = os.WriteFile(filepath.Join(f.sdk, "typing_extensions.py"), one, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	// As in an image: compiled, so that no runner spends its start on it. And readable for nobody.
	for _, argv := range [][]string{{systemPython, "-m", "compileall", "-q", f.sdk, f.code}, {"chmod", "-R", "a+rX", dir}} {
		if out, err := exec.CommandContext(t.Context(), argv[0], argv[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", argv, err, out)
		}
	}
	t.Setenv(filesEnv, dir)
	return f
}

// tempDir is short, because sockets lie in it, and passable for whoever needs it. It has to be empty in the end but for what the test
// itself removes.
func tempDir(t *testing.T, mode os.FileMode) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "hs")
	if err == nil {
		err = os.Chmod(dir, mode)
	}
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

// newHost opens the sandbox of a level. When the test ends it must have left nothing.
func newHost(t *testing.T, l level) *host {
	t.Helper()
	h := &host{level: l, files: prepareFiles(t)}
	var err error
	if h.runtime, err = python.Discover(t.Context(), systemPython); err != nil {
		t.Fatal(err)
	}
	dir := tempDir(t, 0o711)
	parent := fmt.Sprintf("msup-hostile-%d-%s", os.Getpid(), strings.ToLower(string(l)))
	runtimeDir := filepath.Join(dir, "r")
	warm, err := net.Listen("tcp", "127.0.0.1:0") // the runtime's own poller has descriptors, from its first use on
	if err == nil {
		err = warm.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	before := hostState(t, dir)
	if l == levelContainer {
		// Its own containerd: nothing of it is on the host afterwards.
		h.box, err = container.Open(t.Context(), container.Config{RuntimeDir: runtimeDir, CgroupParent: parent,
			Daemon: container.DaemonConfig{RuntimeDir: filepath.Join(dir, "c"), StateDir: filepath.Join(dir, "s")}})
	} else {
		h.box, err = process.New(process.Config{RuntimeDir: runtimeDir, CgroupParent: parent})
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range sandbox.Missing(h.box.Walls()) {
		t.Logf("wall missing at %s: %s: %s", l, w.Name, w.Detail)
	}
	t.Cleanup(func() {
		if err := h.box.Close(); err != nil {
			t.Error(err)
		}
		for _, pattern := range []string{filepath.Join(runtimeDir, "*"), "/sys/fs/cgroup/*/" + parent, "/sys/fs/cgroup/" + parent} {
			if left, err := filepath.Glob(pattern); err != nil || len(left) > 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
		}
		if after := hostState(t, dir); after != before {
			t.Errorf("left behind on the host: before %+v, after %+v", before, after)
		}
	})
	h.decoys = newDecoys(t)
	// What the supervisor got from whoever started it: descriptors that an exec does not close.
	inherited, err := syscall.Open(h.decoys.secret, syscall.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Close(inherited); err != nil {
			t.Error(err)
		}
	})
	return h
}

// state is what a level must leave as it found it.
type state struct {
	mounts, children int
	fds              string
}

// hostState counts the mounts below a folder (others mount meanwhile), and this process's descriptors and children.
func hostState(t *testing.T, below string) state {
	t.Helper()
	runtime.GC() // closes what only a finalizer holds, so that a leak shows and a late close does not
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	fds := ""
	for _, e := range entries {
		if target, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil { // not the folder's own
			fds += e.Name() + "=" + target + " "
		}
	}
	tasks, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, f := range tasks {
		if b, err := os.ReadFile(f); err == nil { // a thread may end meanwhile
			n += len(strings.Fields(string(b)))
		}
	}
	return state{strings.Count(string(mounts), below), n, fds}
}

// decoys are real things on the host, so that a refusal is a wall's and not an absence.
type decoys struct {
	secret   string // a file that everybody may read
	text     string
	abstract string // a listening abstract socket
	port     int    // a listening TCP port
	pid      int    // a process of the same user as the supervisor
}

func newDecoys(t *testing.T) decoys {
	t.Helper()
	d := decoys{text: "the host's own", abstract: fmt.Sprintf("msup-hostile-%d", os.Getpid())}
	d.secret = filepath.Join(tempDir(t, 0o755), "secret")
	if err := os.WriteFile(d.secret, []byte(d.text), 0o666); err != nil {
		t.Fatal(err)
	}
	listen := func(network, address string) net.Listener {
		l, err := net.Listen(network, address)
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			c, err := l.Accept()
			if err == nil {
				t.Errorf("escape: somebody reached the host's %s socket %s", network, address)
				err = c.Close()
			}
			if err != nil && !errors.Is(err, net.ErrClosed) {
				t.Error(err)
			}
		}()
		t.Cleanup(func() {
			if err := l.Close(); err != nil {
				t.Error(err)
			}
		})
		return l
	}
	listen("unix", "@"+d.abstract)
	d.port = listen("tcp", "127.0.0.1:0").Addr().(*net.TCPAddr).Port //nolint:forcetypeassert // of a TCP listener
	sleeper := exec.Command("sleep", "1000000")
	sleeper.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := sleeper.Start(); err != nil {
		t.Fatal(err)
	}
	d.pid = sleeper.Process.Pid
	t.Cleanup(func() {
		if err := sleeper.Process.Signal(syscall.Signal(0)); err != nil {
			t.Errorf("escape: the decoy process is gone: %v", err)
		}
		if err := sleeper.Process.Kill(); err != nil {
			t.Error(err)
		}
		_ = sleeper.Wait() // killed just now
		if got, err := os.ReadFile(d.secret); err != nil || string(got) != d.text {
			t.Errorf("escape: the decoy file holds %q, %v", got, err)
		}
	})
	return d
}

// spec is what starts one hostile strategy.
func (h *host) spec(a ipc.Address, entry string, l sandbox.Limits, log func(sandbox.LogLine)) sandbox.Spec {
	env := append(slices.Clone(h.runtime.Env), "MSUP_ENTRY="+entry, "MSUP_PACKAGE_HASH="+strings.Repeat("0", 64), "PYTHONPATH=/sdk",
		"HOSTILE_SECRET="+h.decoys.secret, "HOSTILE_ABSTRACT="+h.decoys.abstract, fmt.Sprintf("HOSTILE_PORT=%d", h.decoys.port),
		fmt.Sprintf("HOSTILE_PID=%d", h.decoys.pid), fmt.Sprintf("HOSTILE_SUPERVISOR=%d", os.Getpid()))
	return sandbox.Spec{Address: a, Lane: ipc.LaneLL, Argv: h.runtime.Argv(python.Runner()...), Env: env,
		Binds: append(slices.Clone(h.runtime.Binds), sandbox.Bind{Source: h.files.code, Target: "/strategy", NoExec: true},
			sandbox.Bind{Source: h.files.sdk, Target: "/sdk"}),
		Dir: "/strategy", Limits: l, NeedSocket: true, Log: log}
}
