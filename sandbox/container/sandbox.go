package container

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/sandbox"
	"github.com/msup/msup/sandbox/affinity"
	"github.com/msup/msup/sandbox/cgroup"
	"golang.org/x/sys/unix"
)

// ShimMode says how many of containerd's shims stand between it and the runners.
type ShimMode uint8

// The modes.
const (
	// ShimOwn is a shim for each runner: 13 MB (2.4 anonymous) each, and nothing shared.
	ShimOwn ShimMode = iota
	// ShimShared is one shim for all runners of a lane. If somebody kills it, containerd ends all of them.
	ShimShared
)

// Config says where containers run. The zero value is right for a supervisor that runs as root on a host of its own: a
// private containerd, and the host's interpreter instead of an image.
type Config struct {
	Daemon DaemonConfig // ignored when Engine is set
	// Engine is an open daemon, which stays the caller's to close; nil opens one by Daemon.
	Engine *Daemon
	// Image is the reference that Daemon.Import returned. "" shows the host's files by Spec.Binds in an empty root.
	Image string
	// RuntimeDir holds the records, sockets and roots of the runners. Keep it short: a socket path may have 107 bytes. Every
	// folder above must be passable for everybody (o+x). "" means /run/msup/runners.
	RuntimeDir string
	// CgroupParent is the name of the top control group; "" means "msup".
	CgroupParent string
	// ReserveFrom is from how many processors on some are left to the low-latency lane; 0 means affinity.Enough.
	ReserveFrom int
	Shim        ShimMode
	// Prepare keeps, for every running instance, a container made for its next start: a restart then takes 25 ms instead
	// of 120. They are made one after the other, while no start is under way. One costs 10 MB. It ends with a runner that
	// leaves in order, and Linger after one that was killed and is not started again; 0 means a minute.
	Prepare bool
	Linger  time.Duration
	// UIDLockFile is the one file on the host in which supervisors lock the user ids they give out; "" means
	// /run/msup/uidranges.lock.
	UIDLockFile string
	// Supervisor is whose runners these are, for the records that people and Reap's report read; 0 means this process.
	Supervisor int
	Logger     *slog.Logger // nil discards
}

// Sandbox starts runners at level L3.
type Sandbox struct {
	cfg      Config
	name     string // of this supervisor, for shared shims
	engine   *Daemon
	ownsIt   bool
	image    *imageRoot // nil shows the host's files
	log      *slog.Logger
	cgroups  *cgroup.Manager
	points   []string // every mounted cgroup hierarchy
	parents  *parents
	walls    []sandbox.Wall
	leftover atomic.Bool // some clean-up failed, Reap has work
	starts   calm
	creating chan struct{} // holds one for each container that is made for a start
	making   chan struct{} // holds one while a successor is made

	computeCPUs *unix.CPUSet // those of the compute lane; nil: all

	mu      sync.Mutex
	runners map[*runner]struct{}
	ready   map[string]*runner // by address: made, not started
	shims   map[ipc.Lane]*shimGroup
	closed  bool
	busy    sync.WaitGroup // background work of pool and reaping
}

var _ sandbox.Sandbox = (*Sandbox)(nil)

// maxSocketPath is sun_path without its closing zero byte.
const maxSocketPath = 107

// Open finds or starts containerd and prepares the sandbox (SB-L3). It returns an *sandbox.Error that says what is
// missing on this host and what to do, and then leaves nothing behind.
func Open(ctx context.Context, cfg Config) (_ *Sandbox, err error) {
	s := &Sandbox{cfg: cfg, log: cfg.Logger, engine: cfg.Engine, runners: map[*runner]struct{}{}, ready: map[string]*runner{}, shims: map[ipc.Lane]*shimGroup{},
		starts: calm{quiet: quiet, unrest: unrest}, creating: make(chan struct{}, makers), making: make(chan struct{}, 1)}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.cfg.RuntimeDir == "" {
		s.cfg.RuntimeDir = "/run/msup/runners"
	}
	if s.cfg.UIDLockFile == "" {
		s.cfg.UIDLockFile = "/run/msup/uidranges.lock"
	}
	if s.cfg.Supervisor == 0 {
		s.cfg.Supervisor = os.Getpid()
	}
	if s.cfg.Daemon.Logger == nil {
		s.cfg.Daemon.Logger = cfg.Logger
	}
	if s.name, err = newID(); err != nil {
		return nil, err
	}
	if err := s.checkHost(ctx); err != nil {
		return nil, err
	}
	if s.cgroups, err = cgroup.New(cgroup.Config{Parent: cfg.CgroupParent}); err != nil {
		return nil, &sandbox.Error{Reason: sandbox.ReasonSetupFailed, Op: "look for control groups", Err: err}
	}
	if s.computeCPUs, err = affinity.ForCompute(cfg.ReserveFrom); err != nil {
		return nil, &sandbox.Error{Reason: sandbox.ReasonSetupFailed, Op: "share out the processors", Err: err}
	}
	if s.points, err = hostHierarchies(); err != nil {
		return nil, err
	}
	if s.parents, err = holdParents(s.cfg.RuntimeDir); err != nil {
		return nil, &sandbox.Error{Reason: sandbox.ReasonSetupFailed, Op: "prepare containers", Err: err, Remedy: "choose a writable runtime directory"}
	}
	defer func() {
		if err != nil && s.ownsIt {
			err = errors.Join(err, s.engine.Close())
		}
		if err != nil {
			err = errors.Join(err, s.parents.drop(s.points, s.cgroups.Parent()))
		}
	}()
	if s.engine == nil {
		if s.engine, err = OpenDaemon(ctx, s.cfg.Daemon); err != nil {
			return nil, err
		}
		s.ownsIt = true
	}
	if s.cfg.Image != "" {
		err = s.engine.again(ctx, func() (err error) {
			s.image, err = s.engine.openImage(ctx, s.cfg.Image, Snapshotter)
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	s.walls = append(s.ownWalls(), s.cgroups.Walls()...)
	return s, nil
}

// checkHost refuses a host on which no runner can be started, before anything is made.
func (s *Sandbox) checkHost(ctx context.Context) error {
	fail := func(reason sandbox.ReasonCode, op string, err error, remedy string) error {
		return &sandbox.Error{Reason: reason, Op: op, Err: err, Remedy: remedy}
	}
	if os.Geteuid() != 0 {
		return fail(sandbox.ReasonSetupFailed, "prepare containers", errors.New("only root may"), "run msup as root, or let isolation choose the process sandbox")
	}
	if seccompArch() == "" {
		return fail(sandbox.ReasonSetupFailed, "prepare containers", fmt.Errorf("there is no list of system calls for %s", machine()), "use amd64 or arm64")
	}
	if err := tryUserNamespace(ctx); err != nil {
		return err
	}
	// 1 + 13 + 2 bytes: a slash, an id, and the socket's name; the announcements' socket is one folder deeper.
	dir := s.cfg.RuntimeDir
	if n := len(dir) + 1 + 13 + len(".d/private/n"); n > maxSocketPath {
		return fail(sandbox.ReasonSocketTooLong, "use runtime directory "+dir, fmt.Errorf("its sockets would have paths of %d bytes, the kernel takes %d", n, maxSocketPath),
			"choose a runtime directory with a shorter path")
	}
	err := os.MkdirAll(dir, 0o711)
	if err == nil {
		err = os.Chmod(dir, 0o711) // whatever the umask is; what lies in it is closed by itself
	}
	if err != nil {
		return fail(sandbox.ReasonSetupFailed, "make the runtime directory", err, "choose a writable runtime directory")
	}
	return passable(dir)
}

// Name returns "container".
func (s *Sandbox) Name() string { return "container" }

// Level returns L3.
func (s *Sandbox) Level() sandbox.Level { return sandbox.L3 }

// Engine is the daemon in use, for example to import an image.
func (s *Sandbox) Engine() *Daemon { return s.engine }

// ImageDigest tells which image the runners see; "" means the host's files.
func (s *Sandbox) ImageDigest() string {
	if s.image == nil {
		return ""
	}
	return s.image.digest
}

// Walls tells which walls stand for every runner.
func (s *Sandbox) Walls() []sandbox.Wall { return append([]sandbox.Wall(nil), s.walls...) }

func (s *Sandbox) ownWalls() []sandbox.Wall {
	stands := func(name, detail string) sandbox.Wall {
		return sandbox.Wall{Name: name, Standing: true, Detail: detail}
	}
	root := "empty root, read-only binds of the host's files, pivot_root by runc"
	if s.image != nil {
		root = "read-only view of image " + s.image.digest
	}
	walls := []sandbox.Wall{
		stands(sandbox.WallUserNamespace, "user ids 0 to 65535 inside are ids of the runner's own outside"),
		stands(sandbox.WallNamespaces, "user, pid, mount, net, ipc, uts and cgroup namespaces"),
		stands(sandbox.WallRoot, root),
		stands(sandbox.WallCapabilities, "no capability, empty bounding set, no_new_privs"),
		stands(sandbox.WallSeccomp, fmt.Sprintf("%d system calls allowed, the rest refused; exec passes once", allowedCount(seccompArch()))),
		stands(sandbox.WallRefusals, "every refused call that no honest program asks for is counted"),
		stands(sandbox.WallRlimits, "open files, file size, queued signals, no core, no locked memory"),
		stands(sandbox.WallUserID, "a range of user ids of its own for every runner"),
		stands(sandbox.WallProc, "/proc shows the runner only"),
	}
	return walls
}

// Close kills every runner, waits for them, and stops the daemon if Open started it.
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
	s.busy.Wait()
	// What was being made while this began is killed by its maker, who sees closed. A containerd that died may have lost tasks.
	if s.leftover.Load() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*s.engine.cfg.CallTimeout)
		_, err := s.Reap(ctx)
		cancel()
		errs = append(errs, err)
	}
	errs = append(errs, s.engine.endIdleShims())
	errs = append(errs, s.cgroups.Close(), s.parents.drop(s.points, s.cgroups.Parent()))
	if s.ownsIt {
		errs = append(errs, s.engine.Close())
	}
	return errors.Join(errs...)
}

// forget removes a runner that has ended.
func (s *Sandbox) forget(r *runner) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.runners, r)
	if key := r.spec.Address.String(); s.ready[key] == r {
		delete(s.ready, key)
	}
}

// workDir is where a runner has what is not its socket: roots, and closed to it, FIFOs and announcements.
func (s *Sandbox) workDir(id string) string { return filepath.Join(s.cfg.RuntimeDir, id+".d") }

// killTimeout bounds how long the kernel may take to end killed processes before that is an error.
const killTimeout = 10 * time.Second
