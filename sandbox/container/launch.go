package container

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/containerd/containerd/api/types/runc/options"
	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/errdefs"
	"github.com/msup/msup/ipc"
	"github.com/msup/msup/sandbox"
	"github.com/msup/msup/sandbox/affinity"
	"github.com/msup/msup/sandbox/endpoint"
	"github.com/msup/msup/sandbox/folder"
	"golang.org/x/sys/unix"
)

// runtimeName is containerd's shim for runc.
const runtimeName = "io.containerd.runc.v2"

// The labels of msup's containers.
const (
	labelRuntimeDir = "msup.runtime-dir"
	labelAddress    = "msup.address"
)

// initThreads is what runc's init may need; the runner's own ceiling is set in the moment before its exec.
const initThreads = 32

// startTries is how often a start is begun anew because the private daemon went away under it: it was killed, or the msup whose child it
// was has ended and another takes over.
const startTries = 3

// Start starts a runner: the one that was prepared for exactly this spec, or a new one.
func (s *Sandbox) Start(ctx context.Context, spec sandbox.Spec) (sandbox.Runner, error) {
	spec, err := checked(spec)
	if err != nil {
		return nil, err
	}
	for try := 1; ; try++ {
		r, err := s.startOnce(ctx, spec)
		if err == nil || try == startTries || !errors.Is(err, errGone) || !s.engine.back(ctx) {
			return r, err
		}
		s.log.Warn("containerd went away during a start, which begins anew", "instance", spec.Address.String(), "error", err)
	}
}

func (s *Sandbox) startOnce(ctx context.Context, spec sandbox.Spec) (_ sandbox.Runner, err error) {
	s.reapLeftovers()
	if s.cfg.Prepare {
		s.starts.begin()
		defer func() {
			if err != nil {
				s.starts.end()
			}
		}()
	}
	r := s.take(spec)
	if r == nil {
		if r, err = s.createInTurn(ctx, spec); err != nil {
			return nil, err
		}
	}
	if err := r.begin(ctx); err != nil {
		return nil, err
	}
	if s.cfg.Prepare {
		s.prepareNext(r)
	}
	return r, nil
}

func checked(spec sandbox.Spec) (sandbox.Spec, error) {
	spec.Limits = spec.Limits.OrDefault()
	err := spec.Validate()
	if err == nil && strings.HasPrefix(spec.Argv[0], sandbox.ProgramPrefix) {
		err = fmt.Errorf("argv[0] %q: a container runs programs of its own files only", spec.Argv[0])
	}
	if err != nil {
		return spec, &sandbox.Error{Reason: sandbox.ReasonSpec, Op: "start " + spec.Address.String(), Err: err}
	}
	return spec, nil
}

// makers bounds how many containers are made at a time for starts that come together. It is work for processors, not for patience: with 20 at
// once on two processors the first had its container when the last had, and traded after 2.5 s instead of 1.1.
var makers = 2 * max(2, runtime.NumCPU())

// createInTurn creates a container when fewer than makers others are being made for a start.
func (s *Sandbox) createInTurn(ctx context.Context, spec sandbox.Spec) (*runner, error) {
	select {
	case s.creating <- struct{}{}:
	case <-ctx.Done():
		return nil, s.engine.failed("start "+spec.Address.String(), fmt.Errorf("wait for its turn among other starts: %w", ctx.Err()))
	}
	defer func() { <-s.creating }()
	return s.create(ctx, spec)
}

// create makes everything but the start: the container waits at its last step, the exec.
func (s *Sandbox) create(ctx context.Context, spec sandbox.Spec) (*runner, error) {
	r, err := s.createOnce(ctx, spec)
	if err != nil && s.cfg.Shim == ShimShared && ctx.Err() == nil && lostShim(err) {
		r, err = s.createOnce(ctx, spec)
	}
	return r, err
}

// createOnce removes what was made when a later step fails.
func (s *Sandbox) createOnce(ctx context.Context, spec sandbox.Spec) (_ *runner, err error) {
	op := "start " + spec.Address.String()
	r := &runner{box: s, spec: spec, done: make(chan struct{}), gone: make(chan struct{})}
	r.logs.Store(sandbox.NewLogLimiter(spec.Limits, spec.Log))
	defer func() {
		if err == nil {
			return
		}
		err = s.engine.failed(op, err)
		if r.record != nil {
			err = errors.Join(err, r.remove(context.WithoutCancel(ctx)))
		}
	}()
	if err := s.admit(nil); err != nil {
		return nil, err
	}
	if r.id, err = newID(); err != nil {
		return nil, err
	}
	data := recordData{ID: r.id, Address: spec.Address.String(), CgroupParent: s.cgroups.Parent(), Supervisor: s.cfg.Supervisor}
	if r.record, err = newRecord(s.cfg.RuntimeDir, data); err != nil {
		return nil, err
	}
	if r.ids, err = userIDs(s.cfg.UIDLockFile).Claim(); err != nil {
		return nil, err
	}
	atFirst := spec.Limits
	atFirst.PIDs = max(atFirst.PIDs, initThreads)
	if r.group, err = s.cgroups.Create(spec.Lane, r.id, atFirst); err != nil {
		return nil, err
	}
	path, err := cgroupsPath(r.group, s.points, s.cgroups.Parent(), spec.Lane, r.id)
	if err != nil {
		return nil, err
	}
	private, err := r.folders()
	if err != nil {
		return nil, err
	}
	all, err := places(spec, r.socketDir())
	if err != nil {
		return nil, err
	}
	root, mounts, err := s.image.root(s.workDir(r.id), all)
	if err != nil {
		return nil, err
	}
	if err := r.handOver(); err != nil {
		return nil, err
	}
	if r.latch, err = newLatch(private, r.beforeExec); err != nil {
		return nil, err
	}
	if r.fds, err = newFIFOs(private); err != nil {
		return nil, err
	}
	if err := r.make(ctx, root, mounts, all, path); err != nil {
		return nil, r.startFailure(err)
	}
	if err := s.admit(r); err != nil {
		r.killed.Store(true)
		return nil, err
	}
	if spec.NeedSocket {
		go r.endpoint.Accept(r.recognise, r.refused)
	}
	go r.supervise()
	return r, nil
}

// admit refuses what a closed sandbox is asked for, and takes a made runner into the books.
func (s *Sandbox) admit(r *runner) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return &sandbox.Error{Reason: sandbox.ReasonSetupFailed, Op: "start a runner", Err: errors.New("the sandbox is closed")}
	}
	if r != nil {
		s.runners[r] = struct{}{}
	}
	return nil
}

// folders makes the runner's own folder, the closed one in it, and the socket's. It returns the closed one.
func (r *runner) folders() (string, error) {
	work := r.box.workDir(r.id)
	private := filepath.Join(work, "private")
	err := os.Mkdir(work, 0o711)
	if err == nil {
		err = os.Chmod(work, 0o711) // whatever the umask is: the root in it is entered as a foreign user id
	}
	if err == nil {
		err = os.Mkdir(private, 0o700)
	}
	if err != nil {
		return "", fmt.Errorf("make the runner's folder: %w", err)
	}
	if r.spec.NeedSocket {
		if r.endpoint, err = endpoint.Listen(filepath.Join(r.box.cfg.RuntimeDir, r.id), r.uid()); err != nil {
			return "", err
		}
	}
	return private, nil
}

// make asks containerd for container and task, and takes hold of the task's process.
func (r *runner) make(ctx context.Context, root string, mounts []mount.Mount, all []place, cgroupsPath string) error {
	ctx, cancel := r.box.engine.bound(ctx)
	defer cancel()
	c := r.box.engine.client
	opts := &options.Options{BinaryName: r.box.engine.cfg.RuncBinary, NoNewKeyring: true}
	if k := r.box.engine.keeper; k != nil {
		opts.BinaryName, opts.Root = k.cfg.RuncBinary, k.runcRoot()
	}
	r.shim = r.box.joinShim(r.spec.Lane)
	defer func() { r.box.joined(r.spec.Lane, r.inShim) }()
	var err error
	r.asked = true
	r.container, err = c.NewContainer(ctx, r.id,
		client.WithSpec(r.specification(root, all, cgroupsPath)), client.WithRuntime(runtimeName, opts),
		client.WithContainerLabels(map[string]string{labelRuntimeDir: r.box.cfg.RuntimeDir, labelAddress: labelText(r.spec.Address.String())}))
	if err != nil {
		return fmt.Errorf("make container %s: %w", r.id, err)
	}
	task, err := r.container.NewTask(ctx, r.fds.creator, client.WithRootFS(mounts))
	if err != nil {
		return fmt.Errorf("make task %s: %w", r.id, err)
	}
	r.task, r.pid, r.inShim = task, int(task.Pid()), true
	r.latch.leader.Store(int32(r.pid))
	r.shimAt = r.findShimSocket()
	if err := r.hold(); err != nil {
		return err
	}
	if err := r.narrowProc(); err != nil {
		return err
	}
	// On a hybrid host runc leaves out the unified hierarchy, whose cgroup.kill and counters serve us. And a process that
	// is in this group cannot be a foreign one that was given the number of a dead init.
	return r.group.Add(r.pid)
}

// labelText bounds what becomes a label: containerd takes 4096 bytes of key and value.
func labelText(s string) string { return printable(s) }

// beforeExec runs while the kernel holds runc's init in its exec: from here on the strategy's own ceilings hold.
func (r *runner) beforeExec(pid int) error {
	l := r.spec.Limits
	set := func(resource int, value uint64) error {
		return unix.Prlimit(pid, resource, &unix.Rlimit{Cur: value, Max: value}, nil)
	}
	errs := []error{set(unix.RLIMIT_NOFILE, l.OpenFiles), r.group.SetPIDs(l.PIDs)}
	if r.spec.Lane == ipc.LaneCompute {
		errs = append(errs, affinity.Confine(pid, r.box.computeCPUs))
	}
	// Where no control group limits them, the older walls stand in.
	if !r.box.cgroups.HasMemory() {
		errs = append(errs, set(unix.RLIMIT_AS, uint64(l.MemoryBytes)))
	}
	if !r.box.cgroups.HasPIDs() {
		errs = append(errs, set(unix.RLIMIT_NPROC, uint64(l.PIDs)))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("set the runner's limits: %w", err)
	}
	return nil
}

// passes follows what the latch decided: the exec that it let through turns runc's init into the strategy.
func (r *runner) passes(ctx context.Context) error {
	passed, err := r.latch.hasPassed()
	if passed {
		err = r.becomes(ctx)
	}
	return err
}

// begin lets a made container become the strategy.
func (r *runner) begin(ctx context.Context) error {
	ctx, cancel := r.box.engine.bound(ctx)
	defer cancel()
	r.pump()
	err := r.task.Start(ctx)
	if errdefs.IsNotFound(err) { // it was made, and containerd has lost it: its shim was killed
		err = fmt.Errorf("%w; it was %w", err, sandbox.ErrLost)
	}
	if err == nil {
		select {
		case <-r.latch.ready:
			err = r.passes(ctx)
		case <-r.gone:
			select { // a short life: it was let through, and has ended since
			case <-r.latch.ready:
				err = r.passes(ctx)
			default:
				err = errors.New("its process ended before it became the strategy")
			}
		case <-ctx.Done():
			err = fmt.Errorf("wait for the container to become the strategy: %w", ctx.Err())
		}
		if err == nil {
			folder.Watch(r.spec.Writable, r.done, r.breached)
			return nil
		}
	}
	err = r.startFailure(fmt.Errorf("start task %s: %w", r.id, err))
	err = r.box.engine.failed("start "+r.spec.Address.String(), err)
	err = errors.Join(err, r.Kill())
	if e := r.Exit(); e.Cause == sandbox.CauseSignaled || e.Cause == sandbox.CauseSetupFailed {
		err = fmt.Errorf("%w; it was %w", err, sandbox.ErrLost)
	}
	return err
}

// becomes waits, for some 100 us, until the exec has succeeded. When it fails, runc's init prints why and exits with 1 (1.1.5) or
// 255 (1.4.3); a program that was faster than this look is told from that by what it printed.
func (r *runner) becomes(ctx context.Context) error {
	for {
		success, ended := r.latch.became()
		if success {
			return nil
		}
		patience := 100 * time.Microsecond
		if ended {
			patience = headlessTimeout
		}
		select {
		case <-r.gone:
			<-r.done
			tail := r.logs.Load().StderrTail()
			if e := r.Exit(); e.Cause == sandbox.CauseExited && (e.Code == 1 || e.Code == 255) && strings.HasPrefix(tail, "exec "+r.spec.Argv[0]+":") {
				return fmt.Errorf("exec of the program failed: %s", strings.TrimSpace(tail))
			}
			return nil
		case <-ctx.Done():
			return fmt.Errorf("wait for the exec of the program: %w", ctx.Err())
		case <-time.After(patience):
			if ended {
				return nil // other threads go on without the first: a program, if a strange one
			}
		}
	}
}

// headlessTimeout is the time in which a process of which one thread has ended ends as a whole, if it does.
const headlessTimeout = 200 * time.Millisecond

// remove takes away everything of a runner whose process has ended or never was. What could not be removed stays on
// record for Reap.
func (r *runner) remove(ctx context.Context) error {
	var errs []error
	if r.group != nil {
		kill, cancel := context.WithTimeout(ctx, killTimeout)
		errs = append(errs, r.group.Kill(kill))
		cancel()
	}
	if err := r.discard(ctx); err != nil {
		errs = append(errs, fmt.Errorf("remove container %s: %w", r.id, err))
	}
	errs = append(errs, dropShimSocket(r.shimAt))
	if r.group != nil {
		errs = append(errs, r.group.Remove(ctx), dropGroups(r.box.points, r.box.cgroups.Parent(), r.id))
	}
	if r.fds != nil {
		errs = append(errs, r.drain())
	}
	if r.latch != nil {
		errs = append(errs, r.latch.close())
	}
	if r.endpoint != nil {
		errs = append(errs, r.endpoint.Close())
	}
	errs = append(errs, r.letGo(), removeWorkDir(r.box.workDir(r.id)))
	if r.ids != nil {
		errs = append(errs, folder.HandBack(r.spec.Writable), r.ids.Release())
	}
	if err := errors.Join(errs...); err != nil {
		r.box.leftover.Store(true)
		return errors.Join(err, r.record.file.Close()) // unlocked: Reap takes it from here
	}
	return r.record.remove()
}

// letGo closes the pidfd.
func (r *runner) letGo() error {
	r.pidfdMu.Lock()
	defer r.pidfdMu.Unlock()
	if r.pidfd == nil {
		return nil
	}
	err := r.pidfd.Close()
	r.pidfd = nil
	return err
}

// discard deletes task and container in containerd.
func (r *runner) discard(ctx context.Context) error {
	if r.container == nil {
		if !r.asked {
			return nil
		}
		return r.box.reapContainer(ctx, r.id) // the answer was lost; the container may be there
	}
	if r.inShim {
		r.box.leaveShim(r.spec.Lane)
	}
	return r.box.engine.discard(ctx, r.container)
}

// discard deletes a container with its task, whatever state they are in. A containerd that was killed is given the time
// to come back, and one whose shared shim was just ending, with its last other task, the time to notice.
func (d *Daemon) discard(ctx context.Context, c client.Container) error {
	ctx, cancel := d.bound(ctx)
	defer cancel()
	for {
		err := d.discardOnce(ctx, c)
		if err == nil || ctx.Err() != nil || !errdefs.IsUnavailable(err) && !lostShim(err) {
			return err
		}
		sleep(ctx, 50*time.Millisecond)
	}
}

func (d *Daemon) discardOnce(ctx context.Context, c client.Container) error {
	task, err := c.Task(ctx, nil)
	if err == nil {
		_, err = task.Delete(ctx, killTask)
	}
	lost := errdefs.IsNotFound(err)
	if err != nil && !lost {
		return err
	}
	if err := c.Delete(ctx); err != nil && !errdefs.IsNotFound(err) {
		return err
	}
	if err := d.dropStray(ctx, c.ID()); err != nil || !lost {
		return err
	}
	return d.endIdleShims() // its shim may have outlived what containerd knew of it
}

// noticeTime is for a shim to notice the end of a task whose processes were killed, which takes about a ms.
const noticeTime = 20 * time.Millisecond

// killTask ends a task and waits until its shim has noticed. Its control group was killed before, and where that held nothing the task has ended
// by itself or is ended here: by runc, which the shim starts for it, and which takes 10 ms of processor for each.
func killTask(ctx context.Context, p client.Process) error {
	ended, err := p.Wait(ctx)
	if err != nil {
		return err
	}
	select {
	case status := <-ended:
		if status.Error() == nil {
			return nil
		}
	case <-time.After(noticeTime):
	}
	if err := p.Kill(ctx, syscall.SIGKILL, client.WithKillAll); err != nil && !errdefs.IsNotFound(err) && !errdefs.IsFailedPrecondition(err) {
		return err
	}
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// removeWorkDir removes the folder. Nothing is mounted in it: roots are mounted in containerd's own state folder.
func removeWorkDir(dir string) error {
	if err := os.RemoveAll(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove %s: %w", dir, err)
	}
	return nil
}

// sameSpec tells whether a prepared runner will do. What is logged where is not part of it.
func sameSpec(a, b sandbox.Spec) bool {
	a.Log, b.Log = nil, nil
	return reflect.DeepEqual(a, b)
}
