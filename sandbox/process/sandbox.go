package process

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/msup/msup/sandbox"
	"github.com/msup/msup/sandbox/affinity"
	"github.com/msup/msup/sandbox/cgroup"
	"golang.org/x/sys/unix"
)

// Config says where a process sandbox keeps what. The zero value is right for a supervisor on a host of its own.
type Config struct {
	// RuntimeDir holds the records and sockets of the runners. Keep it short: a socket path may have 107 bytes.
	// "" means /run/msup as root, else $XDG_RUNTIME_DIR/msup or /tmp/msup-UID.
	RuntimeDir string
	// CgroupParent is the name of the top control group; "" means "msup".
	CgroupParent string
	// UIDLockFile is the one file on the host in which supervisors lock the user ids they give out; "" means
	// /run/msup/uids.lock. It is used under root only.
	UIDLockFile string
	// Supervisor is whose runners these are, for the records that people and Reap's report read; 0 means this process.
	Supervisor int
	// StartTimeout bounds what takes 20 ms on an idle machine, whatever the context of a start says; 0 means 30 s.
	StartTimeout time.Duration
	// ReserveFrom is from how many processors on some are left to the low-latency lane; 0 means affinity.Enough.
	ReserveFrom int
	Logger      *slog.Logger // nil discards
}

// Sandbox starts runners at level L1.
type Sandbox struct {
	dir      string
	uidFile  string
	patience time.Duration // Config.StartTimeout
	owner    int           // the supervisor's process
	root     bool
	log      *slog.Logger
	cgroups  *cgroup.Manager
	walls    []sandbox.Wall

	computeCPUs *unix.CPUSet // those of the compute lane; nil: all

	mu      sync.Mutex
	runners map[*runner]struct{}
	closed  bool
}

var _ sandbox.Sandbox = (*Sandbox)(nil)

// maxSocketPath is sun_path without its closing zero byte.
const maxSocketPath = 107

// New prepares the sandbox and starts one process through all the walls to learn which of them stand. It returns an
// *sandbox.Error when no runner could be started on this host.
func New(cfg Config) (*Sandbox, error) {
	s := &Sandbox{dir: cfg.RuntimeDir, uidFile: cfg.UIDLockFile, patience: cmp.Or(cfg.StartTimeout, startTimeout),
		root: os.Geteuid() == 0, log: cfg.Logger, runners: map[*runner]struct{}{}}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.dir == "" {
		s.dir = DefaultRuntimeDir()
	}
	if s.owner = cfg.Supervisor; s.owner == 0 {
		s.owner = os.Getpid()
	}
	if s.uidFile == "" {
		s.uidFile = "/run/msup/uids.lock"
	}
	// 1 + 13 + 2 bytes: a slash, an id, and the socket's name.
	if n := len(s.dir) + 16; n > maxSocketPath {
		return nil, &sandbox.Error{Reason: sandbox.ReasonSocketTooLong, Op: "use runtime directory " + s.dir,
			Err:    fmt.Errorf("its sockets would have paths of %d bytes, the kernel takes %d", n, maxSocketPath),
			Remedy: "choose a runtime directory with a shorter path"}
	}
	// Runners, also those of containers, have user ids of their own and pass through here to their sockets.
	if err := os.MkdirAll(s.dir, 0o711); err != nil {
		return nil, &sandbox.Error{Reason: sandbox.ReasonSetupFailed, Op: "make the runtime directory", Err: err,
			Remedy: "choose a writable runtime directory"}
	}
	var err error
	if s.cgroups, err = cgroup.New(cgroup.Config{Parent: cfg.CgroupParent, Shallow: true}); err != nil {
		return nil, &sandbox.Error{Reason: sandbox.ReasonSetupFailed, Op: "look for control groups", Err: err}
	}
	if s.computeCPUs, err = affinity.ForCompute(cfg.ReserveFrom); err != nil {
		return nil, &sandbox.Error{Reason: sandbox.ReasonSetupFailed, Op: "share out the processors", Err: err}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	found, err := s.probe(ctx)
	if err != nil {
		return nil, err
	}
	s.walls = append(s.ownWalls(found), s.cgroups.Walls()...)
	return s, nil
}

// DefaultRuntimeDir is where a supervisor without a setting of its own keeps records and sockets.
func DefaultRuntimeDir() string {
	if os.Geteuid() == 0 {
		return "/run/msup"
	}
	if dir := os.Getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "msup")
	}
	return fmt.Sprintf("/tmp/msup-%d", os.Geteuid())
}

// Name returns "process".
func (s *Sandbox) Name() string { return "process" }

// Level returns L1.
func (s *Sandbox) Level() sandbox.Level { return sandbox.L1 }

// Walls tells which walls stood when New tried them.
func (s *Sandbox) Walls() []sandbox.Wall { return append([]sandbox.Wall(nil), s.walls...) }

// Close kills every runner and waits for them.
func (s *Sandbox) Close() error {
	s.mu.Lock()
	s.closed = true
	var alive []*runner
	for r := range s.runners {
		alive = append(alive, r)
	}
	s.mu.Unlock()
	errs := make([]error, len(alive))
	var wg sync.WaitGroup
	for i, r := range alive {
		wg.Go(func() { errs[i] = r.Kill() })
	}
	wg.Wait()
	return errors.Join(append(errs, s.cgroups.Close())...)
}

func (s *Sandbox) ownWalls(found report) []sandbox.Wall {
	stands := func(name, detail string) sandbox.Wall {
		return sandbox.Wall{Name: name, Standing: true, Detail: detail}
	}
	walls := []sandbox.Wall{
		stands(sandbox.WallNamespaces, "user, pid, mount, net, ipc, uts and cgroup namespaces"),
		stands(sandbox.WallRoot, "empty tmpfs root, read-only binds, pivot_root"),
		stands(sandbox.WallCapabilities, "no capability, empty bounding set, no_new_privs"),
		stands(sandbox.WallSeccomp, fmt.Sprintf("%d system calls allowed, the rest refused", allowedCount())),
		stands(sandbox.WallRlimits, "open files, file size, queued signals, no core, no locked memory"),
	}
	if s.root {
		walls = append(walls, stands(sandbox.WallUserID, "a user id of its own for every runner"))
	} else {
		walls = append(walls, sandbox.Wall{Name: sandbox.WallUserID, Detail: "runners have the supervisor's user id and groups",
			Remedy: "run msup as root"})
	}
	if found.Landlock > 0 {
		walls = append(walls, stands(sandbox.WallLandlock, fmt.Sprintf("version %d", found.Landlock)))
	} else {
		walls = append(walls, sandbox.Wall{Name: sandbox.WallLandlock, Detail: "the kernel has no Landlock, or it is not enabled",
			Remedy: "use a kernel with CONFIG_SECURITY_LANDLOCK and landlock in its lsm= list"})
	}
	if found.Uncounted == "" {
		walls = append(walls, stands(sandbox.WallRefusals, "every refused call that no honest program asks for is counted"))
	} else {
		walls = append(walls, sandbox.Wall{Name: sandbox.WallRefusals, Detail: "refused calls are refused, but not counted: " + found.Uncounted,
			Remedy: "use Linux 5.7 or later, and do not start msup behind a seccomp filter that has a listener of its own"})
	}
	if found.Proc == "" {
		walls = append(walls, stands(sandbox.WallProc, "/proc shows the runner only"))
	} else {
		// No /proc at all shows even less, so the wall stands.
		walls = append(walls, stands(sandbox.WallProc, "no /proc inside: "+found.Proc))
	}
	return walls
}

func newID() (string, error) {
	var b [6]byte
	if _, err := io.ReadFull(rand.Reader, b[:]); err != nil {
		return "", fmt.Errorf("make a runner id: %w", err)
	}
	return "r" + hex.EncodeToString(b[:]), nil
}
