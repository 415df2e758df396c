package process

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/sandbox"
	"github.com/msup/msup/sandbox/endpoint"
	"github.com/msup/msup/sandbox/folder"
	"github.com/msup/msup/sandbox/refusal"
	"golang.org/x/sys/unix"
)

// Start starts a runner.
func (s *Sandbox) Start(ctx context.Context, spec sandbox.Spec) (sandbox.Runner, error) {
	return s.StartChecked(ctx, spec, func() error { return nil })
}

// StartChecked is Start with a check of what the runner will read. It runs while the process comes up, which gets its orders only when check
// has returned nil; an error of check is an error of the start. When StartChecked returns check has returned.
func (s *Sandbox) StartChecked(ctx context.Context, spec sandbox.Spec, check func() error) (sandbox.Runner, error) {
	spec.Limits = spec.Limits.OrDefault()
	if err := spec.Validate(); err != nil {
		return nil, &sandbox.Error{Reason: sandbox.ReasonSpec, Op: "start " + spec.Address.String(), Err: err}
	}
	if strings.HasPrefix(spec.Argv[0], sandbox.ProgramPrefix) {
		if _, known := builtInProgram(spec.Argv); !known {
			return nil, &sandbox.Error{Reason: sandbox.ReasonSpec, Op: "start " + spec.Address.String(),
				Err: fmt.Errorf("this binary has no program %q", spec.Argv[0]), Remedy: "hand the program to process.Init in main"}
		}
		spec.Limits.PIDs = max(spec.Limits.PIDs, stage2Threads) // threads of Go's runtime, which must not fail
	}
	checked := sync.OnceValue(check)
	go checked()    //nolint:errcheck // launch asks for it
	defer checked() //nolint:errcheck // it may have ended before it asked
	r, err := s.launch(ctx, spec, checked)
	if err != nil {
		return nil, err
	}
	return r, nil
}

// launch does the supervisor's half of a start, of a probe where nothing is to be checked. What it has made so far is undone in reverse when a
// later step fails.
func (s *Sandbox) launch(ctx context.Context, spec sandbox.Spec, checked func() error) (_ *runner, err error) {
	r := &runner{box: s, spec: spec, checked: checked, done: make(chan struct{}), uid: os.Geteuid(), pidfd: -1}
	var undo []func() error
	defer func() {
		if err == nil {
			return
		}
		var known *sandbox.Error
		if !errors.As(err, &known) {
			err = &sandbox.Error{Reason: sandbox.ReasonSetupFailed, Op: "start " + spec.Address.String(), Err: err}
		}
		for i := len(undo) - 1; i >= 0; i-- {
			err = errors.Join(err, undo[i]())
		}
	}()
	if r.id, err = newID(); err != nil {
		return nil, err
	}
	if r.record, err = s.newRecord(r.id, spec); err != nil {
		return nil, err
	}
	undo = append(undo, r.record.remove)
	if s.root {
		if r.ids, err = userIDs(s.uidFile).Claim(); err != nil {
			return nil, err
		}
		r.uid = r.ids.First
		undo = append(undo, r.ids.Release)
	}
	atFirst := spec.Limits
	atFirst.PIDs = max(atFirst.PIDs, stage2Threads)
	if r.group, err = s.cgroups.Create(groupLane(spec), r.id, atFirst); err != nil {
		return nil, err
	}
	undo = append(undo, func() error { return r.group.Remove(context.Background()) })
	if spec.NeedSocket {
		if r.endpoint, err = endpoint.Listen(filepath.Join(s.dir, r.id), r.uid); err != nil {
			return nil, err
		}
		undo = append(undo, r.endpoint.Close)
	}
	o, trees, err := s.prepare(r, checked == nil)
	defer func() {
		for _, t := range trees {
			err = errors.Join(err, t.Close())
		}
	}()
	if err != nil {
		return nil, err
	}
	undo = append(undo, r.handBack)
	if err = r.spawn(ctx, o, trees); err != nil {
		return nil, err
	}
	s.mu.Lock()
	closed := s.closed
	s.runners[r] = struct{}{}
	s.mu.Unlock()
	if spec.NeedSocket {
		go r.endpoint.Accept(r.recognise, r.refused)
	}
	go r.supervise()
	folder.Watch(spec.Writable, r.done, r.breached)
	if closed {
		return nil, errors.Join(errors.New("the sandbox is closed"), r.Kill())
	}
	return r, nil
}

// spawn starts stage two, moves it into its group, gives it its orders and waits until it has become the program.
func (r *runner) spawn(ctx context.Context, o orders, trees []*os.File) (err error) {
	var opened []*os.File
	defer func() {
		for _, f := range opened {
			err = errors.Join(err, f.Close())
		}
	}()
	pipe := func() (rd, wr *os.File) {
		if err != nil {
			return nil, nil
		}
		if rd, wr, err = os.Pipe(); err == nil {
			opened = append(opened, rd, wr)
		}
		return rd, wr
	}
	keep := func(f *os.File) *os.File { // its owner closes it from now on
		for i, o := range opened {
			if o == f {
				opened = append(opened[:i], opened[i+1:]...)
				break
			}
		}
		return f
	}
	controlR, controlW := pipe()
	outR, outW := pipe()
	errR, errW := pipe()
	if err != nil {
		return fmt.Errorf("make pipes: %w", err)
	}
	statusR, statusW, err := statusPair()
	if err != nil {
		return err
	}
	opened = append(opened, statusR, statusW)
	null, err := os.Open(os.DevNull)
	if err != nil {
		return fmt.Errorf("open the null device: %w", err)
	}
	opened = append(opened, null)
	attr := &os.ProcAttr{
		Dir: "/",
		// Stage two lives for some ms: it needs no garbage collector, and few threads.
		// Go would also look for a CPU quota and keep the host's cgroup files open, which a built-in program may not have.
		// A test binary with the race detector would sleep a second at every end.
		Env:   []string{"GOGC=off", "GOMAXPROCS=2", "GOTRACEBACK=single", "GODEBUG=containermaxprocs=0", "GORACE=atexit_sleep_ms=0"},
		Files: append([]*os.File{null, outW, errW, controlR, statusW}, trees...),
		Sys:   r.namespaces(),
	}
	attr.Sys.PidFD = &r.pidfd
	if r.inside, err = r.start(stage2Argv(o), attr); err != nil {
		return &sandbox.Error{Reason: sandbox.ReasonSetupFailed, Op: "start a process in new namespaces", Err: err, Remedy: remedyUserNS}
	}
	r.logs = sandbox.NewLogLimiter(r.spec.Limits, r.spec.Log)
	r.pump(sandbox.Stdout, keep(outR))
	r.pump(sandbox.Stderr, keep(errR))
	for _, f := range []*os.File{controlR, statusW, outW, errW} {
		if cerr := keep(f).Close(); cerr != nil {
			err = errors.Join(err, cerr)
		}
	}
	if err == nil {
		err = r.settle(ctx, o, controlW, statusR)
	}
	if err != nil {
		err = errors.Join(err, r.abandon())
	}
	return err
}

// stage2Threads is what stage two may need; the real ceiling is set when it has become the program.
const stage2Threads = 16

// startTimeout is Config.StartTimeout where that is 0.
const startTimeout = 30 * time.Second

// start starts stage two, and reports whether it began inside its group. Where that cannot be (a kernel before 5.7, a host filter without
// clone3), it is moved there later.
func (r *runner) start(argv []string, attr *os.ProcAttr) (inside bool, err error) {
	dir, err := r.group.Whole()
	if err != nil {
		return false, err
	}
	if dir != nil {
		defer func() { err = errors.Join(err, dir.Close()) }()
		attr.Sys.UseCgroupFD, attr.Sys.CgroupFD = true, int(dir.Fd())
		if r.proc, err = startProcess(argv, attr, r.box.queueFor(r.spec)); err == nil {
			return true, nil
		}
		attr.Sys.UseCgroupFD, attr.Sys.CgroupFD = false, 0
	}
	r.proc, err = startProcess(argv, attr, r.box.queueFor(r.spec))
	return false, err
}

const remedyStandstill = "start it again; where that does not help, what its threads wait for tells more: a busy or failing disk, memory, or a defect of msup, then please report this line"

// settle brings a started stage two to the point where it is the program.
func (r *runner) settle(ctx context.Context, o orders, control, status *os.File) (err error) {
	if err := r.record.setProcess(r.proc.Pid); err != nil {
		return err
	}
	if !r.inside {
		if err := r.group.Add(r.proc.Pid); err != nil {
			return err
		}
	}
	if r.checked != nil {
		if err := r.checked(); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, r.box.patience)
	defer cancel()
	stop := context.AfterFunc(ctx, func() {
		now := time.Now()
		_ = errors.Join(status.SetReadDeadline(now), control.SetWriteDeadline(now)) // fails only once they are closed
	})
	defer stop()
	// Where its memory is too small for a start it may be gone already; why is found out below.
	if err := writeOrders(control, o); err != nil && !errors.Is(err, unix.EPIPE) {
		return errors.Join(err, ctx.Err())
	}
	told := &statusReader{file: status, listener: -1}
	defer func() { err = errors.Join(err, told.close()) }()
	scan := bufio.NewScanner(io.LimitReader(told, 64<<10))
	var last report
	for scan.Scan() {
		if err := json.Unmarshal(scan.Bytes(), &last); err != nil {
			return fmt.Errorf("decode stage two's report: %w", err)
		}
	}
	switch {
	case scan.Err() != nil && errors.Is(ctx.Err(), context.DeadlineExceeded):
		done := "it had not reported"
		if last.OK {
			done = "its walls stood, it had not become the program"
		}
		return &sandbox.Error{Reason: sandbox.ReasonSetupFailed, Op: "wait for stage two", Remedy: remedyStandstill,
			Err: fmt.Errorf("%w; %s; %s", ctx.Err(), done, standstill(r.proc.Pid))}
	case scan.Err() != nil:
		return errors.Join(fmt.Errorf("wait for stage two: %w", scan.Err()), ctx.Err())
	case last.OK && last.Err == "":
		r.report = last
		if fd := told.take(); fd >= 0 {
			if r.refusals, err = refusal.Listen(fd); err != nil {
				return err
			}
		}
		return r.group.SetPIDs(r.spec.Limits.PIDs)
	case last.Err != "":
		if last.Reason == "" {
			last.Reason = sandbox.ReasonSetupFailed
		}
		return &sandbox.Error{Reason: last.Reason, Op: last.Op, Err: errors.New(last.Err), Remedy: last.Remedy}
	}
	usage, err := r.group.Usage()
	if usage.OOMKills > 0 {
		return &sandbox.Error{Reason: sandbox.ReasonSetupOOM, Op: "build the sandbox", Remedy: "raise the memory limit",
			Err: fmt.Errorf("the kernel killed stage two: it needs more than %d bytes", r.spec.Limits.MemoryBytes)}
	}
	return &sandbox.Error{Reason: sandbox.ReasonSetupFailed, Op: "build the sandbox",
		Err: errors.Join(fmt.Errorf("stage two ended without a report, it may be %w", sandbox.ErrLost), err), Remedy: "see whether main calls process.Init first"}
}

// abandon ends a stage two that failed and adds to the error what it printed.
func (r *runner) abandon() error {
	errs := []error{r.signalKill()}
	ctx, cancel := context.WithTimeout(context.Background(), killTimeout)
	defer cancel()
	errs = append(errs, r.group.Kill(ctx))
	_, err := r.proc.Wait()
	errs = append(errs, err, unix.Close(r.pidfd), r.refusals.Close())
	r.drain()
	if tail := r.logs.StderrTail(); tail != "" {
		errs = append(errs, errors.New("it printed: "+tail))
	}
	return errors.Join(errs...)
}

// namespaces are made by the kernel when the process is cloned. The one user id inside is innerID; the ambient
// capabilities carry over the exec of stage two, which is not uid 0 of its user namespace, and end with it.
func (r *runner) namespaces() *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS,
		AmbientCaps: []uintptr{unix.CAP_SYS_ADMIN, unix.CAP_SETPCAP, unix.CAP_SYS_CHROOT, unix.CAP_DAC_OVERRIDE},
		UidMappings: []syscall.SysProcIDMap{{ContainerID: innerID, HostID: r.uid, Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: innerID, HostID: r.gid(), Size: 1}},
		Setsid:      true,
	}
	if r.box.root {
		attr.GidMappingsEnableSetgroups = true
		attr.Credential = &syscall.Credential{Uid: innerID, Gid: innerID, Groups: []uint32{}}
	}
	return attr
}

// innerID is the user and group id that a strategy sees.
const innerID = 1000

func (r *runner) gid() int {
	if r.box.root {
		return r.uid
	}
	return os.Getegid()
}

// startProcess forks on an operating-system thread that never ends: the kernel sends PDEATHSIG when the *thread* that
// forked ends, not the process.
func startProcess(argv []string, attr *os.ProcAttr, queue chan<- func()) (*os.Process, error) {
	var p *os.Process
	var err error
	done := make(chan struct{})
	queue <- func() {
		defer close(done)
		p, err = os.StartProcess("/proc/self/exe", argv, attr)
	}
	<-done
	return p, err
}

// widenTable holds one descriptor of execFD or above, for ever. A child's table of descriptors is as large as the highest of its parent's, and so
// stage two need not enlarge its own for execFD: with more than one thread the kernel does that after a grace period of RCU, 11 ms of a start
// that takes 17. Where the limit does not allow it, stage two says what to do.
func widenTable() {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return
	}
	_, _ = unix.FcntlInt(null.Fd(), unix.F_DUPFD_CLOEXEC, execFD)
	_ = null.Close()
}

// spawners are the threads that fork: one for the low-latency lane, and one for the compute lane on each set of processors. What a thread forks
// has its processors and its nice value.
var spawners struct {
	sync.Mutex
	ll      chan func()
	compute map[unix.CPUSet]chan func()
}

// niceCompute is added to the nice value of this process. It gives a start in the compute lane a tenth of the weight of an event that comes
// meanwhile: until a runner is in its control group, it and its start have the weight of the supervisor (LN-1). Where there are no groups it keeps
// that.
const niceCompute = 10

// queueFor is the thread that forks a runner.
func (s *Sandbox) queueFor(spec sandbox.Spec) chan<- func() {
	spawners.Lock()
	defer spawners.Unlock()
	if groupLane(spec) != ipc.LaneCompute {
		if spawners.ll == nil {
			spawners.ll = spawner(func() {})
		}
		return spawners.ll
	}
	var set unix.CPUSet // none: all
	if s.computeCPUs != nil {
		set = *s.computeCPUs
	}
	queue := spawners.compute[set]
	if queue == nil {
		queue = spawner(func() { s.standBack(set) })
		if spawners.compute == nil {
			spawners.compute = map[unix.CPUSet]chan func(){}
		}
		spawners.compute[set] = queue
	}
	return queue
}

// standBack makes the calling thread, for good, one of the compute lane. What cannot be had is told: the weights of control groups remain.
func (s *Sandbox) standBack(set unix.CPUSet) {
	if set.Count() > 0 {
		if err := unix.SchedSetaffinity(0, &set); err != nil {
			s.log.Warn("the compute lane cannot be kept to its own processors", "err", err)
		}
	}
	raw, err := unix.Getpriority(unix.PRIO_PROCESS, unix.Gettid())
	if err == nil {
		const zero, most = 20, 19 // the system call counts down from 40, so that nothing is negative
		err = unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), min(most, zero-raw+niceCompute))
	}
	if err != nil {
		s.log.Warn("starts in the compute lane cannot be made to stand back", "err", err)
	}
}

func spawner(prepare func()) chan func() {
	queue := make(chan func())
	go func() {
		runtime.LockOSThread()
		prepare()
		for f := range queue {
			f()
		}
	}()
	return queue
}

// groupLane is the lane whose weight a process gets. Somebody waits for a one-shot job, such as a compiler: with the compute lane's weight a
// busy host would leave it a hundredth of a processor (a build of 20 s took more than seven minutes). Its CPU quota stands.
func groupLane(spec sandbox.Spec) ipc.Lane {
	if !spec.NeedSocket {
		return ipc.LaneLL
	}
	return spec.Lane
}
