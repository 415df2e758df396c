package process

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"github.com/msup/msup/sandbox"
	"golang.org/x/sys/unix"
)

// Init turns this process into stage two if it was started as such, and then never returns. Every main and TestMain of
// a binary that starts runners calls it first, with the built-in programs that its specs may name.
func Init(programs ...Program) {
	builtIn = programs
	if !isStageTwo() {
		widenTable()
		return
	}
	runtime.MemProfileRate = 0 // its samples take memory from the kernel, even where the limit on address space gives none
	runtime.LockOSThread()     // credentials and Landlock are per thread; this one becomes the strategy
	status := os.NewFile(statusFD, "status")
	err := stageTwo(status)
	var failed *stepError
	if !errors.As(err, &failed) {
		failed = &stepError{op: "start", err: err}
	}
	told := report{Op: failed.op, Err: failed.err.Error(), Remedy: failed.remedy}
	var typed *sandbox.Error
	if errors.As(err, &typed) { // from a built-in program
		told = report{Reason: typed.Reason, Op: typed.Op, Err: typed.Err.Error(), Remedy: typed.Remedy}
	}
	if err := tell(status, told, -1); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(setupFailedStatus)
}

// Early is Init for an initialiser that runs before main (see sandbox/stage2): a stage two that is to go on as another program than these is
// left to Init, and so is everything in any other process.
func Early(programs ...Program) {
	if !isStageTwo() {
		return
	}
	if known := func(p Program) bool { return p.Name == os.Args[1] }; len(os.Args) == 1 || slices.ContainsFunc(programs, known) {
		Init(programs...)
	}
}

func isStageTwo() bool { return len(os.Args) > 0 && os.Args[0] == stage2Name }

// stage2Argv tells stage two which built-in program it will be, if any, before it can read its orders.
func stage2Argv(o orders) []string {
	if len(o.Argv) > 0 && strings.HasPrefix(o.Argv[0], sandbox.ProgramPrefix) {
		return []string{stage2Name, o.Argv[0]}
	}
	return []string{stage2Name}
}

const setupFailedStatus = 125

// stepError says which wall could not be built.
type stepError struct {
	op, remedy string
	err        error
}

func (e *stepError) Error() string { return e.op + ": " + e.err.Error() }
func (e *stepError) Unwrap() error { return e.err }

func step(op, remedy string, err error) error {
	if err == nil {
		return nil
	}
	return &stepError{op: op, remedy: remedy, err: err}
}

// tell sends a report, with the descriptor of refused calls unless it is -1, which this process does not keep.
func tell(status *os.File, r report, listener int) error {
	line, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode report: %w", err)
	}
	if err := send(status, append(line, '\n'), listener); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}

const (
	remedyUserNS = "allow user namespaces: on Ubuntu `sysctl kernel.apparmor_restrict_unprivileged_userns=0`, elsewhere `sysctl user.max_user_namespaces=15000`"
	remedyKernel = "use Linux 5.12 or later"
)

// stageTwo builds the walls from the inside and becomes the program. It returns only on failure.
func stageTwo(status *os.File) error {
	control := os.NewFile(controlFD, "control")
	o, err := readOrders(control) // blocks until the supervisor has put this process into its control group
	if err != nil {
		return err
	}
	for fd := controlFD; fd < firstMountFD+len(o.Mounts); fd++ {
		unix.CloseOnExec(fd)
	}
	if err := closeInherited(firstMountFD + len(o.Mounts)); err != nil {
		return err
	}
	// Only now, in its own control group: the namespace hides the path up to there.
	if err := unix.Unshare(unix.CLONE_NEWCGROUP); err != nil {
		return step("make a cgroup namespace", remedyUserNS, err)
	}
	if err := unix.Sethostname([]byte(o.Hostname)); err != nil {
		return step("set the host name", "", err)
	}
	procMissing, err := buildRoot(o)
	if err != nil {
		return err
	}
	if err := os.Chdir(o.Dir); err != nil {
		return step("enter working directory "+o.Dir, "name a folder that is bound inside", err)
	}
	program, inProcess := builtInProgram(o.Argv)
	if !o.Probe && !inProcess {
		if err := openProgram(o.Argv[0]); err != nil {
			return err
		}
	}
	if err := setRlimits(o); err != nil {
		return err
	}
	abi, err := applyLandlock(o)
	if err != nil {
		return err
	}
	if err := dropPrivileges(); err != nil {
		return err
	}
	if inProcess {
		if err := dropOnEveryThread(); err != nil {
			return err
		}
	}
	if err := dieWithSupervisor(); err != nil {
		return err
	}
	if inProcess {
		if err := control.Close(); err != nil { // an exec would
			return step("close the control pipe", "", err)
		}
		return become(program, o, status, report{OK: true, Landlock: abi, Proc: procMissing})
	}
	argv, envv, err := vectors(o)
	if err != nil {
		return err
	}
	last, err := lastRlimits(o)
	if err != nil {
		return err
	}
	ready := report{OK: true, Landlock: abi, Proc: procMissing}
	listener := -1
	if o.BuildJob { // compilers try a lot, and nobody's ladder waits for it
		_, err = loadSeccomp(jobGroups, retRefuse, 0)
	} else {
		listener, ready.Uncounted, err = loadCounting(syscallGroups)
	}
	if err != nil {
		return err
	}
	if err := tell(status, ready, listener); err != nil {
		return err
	}
	if o.Probe {
		os.Exit(0)
	}
	return execute(o, last, argv, envv)
}

// closeInherited closes every descriptor from first that an exec would not: those that the supervisor itself got from whoever started it
// (a shell's `9<file`, a service manager), which hostile strategies found open. Go opens none of its own without close-on-exec.
func closeInherited(first int) error {
	const op = "close what the supervisor inherited"
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return step(op, "", err)
	}
	for _, e := range entries {
		fd, err := strconv.Atoi(e.Name())
		if err != nil || fd < first {
			continue
		}
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		if err != nil || flags&unix.FD_CLOEXEC != 0 {
			continue // the folder's own is closed by now
		}
		if err := unix.Close(fd); err != nil {
			return step(op, "", err)
		}
	}
	return nil
}

func vectors(o orders) (argv, envv []*byte, err error) {
	if o.Probe {
		return nil, nil, nil
	}
	if argv, err = syscall.SlicePtrFromStrings(o.Argv); err != nil {
		return nil, nil, step("pass the arguments", "", err)
	}
	envv, err = syscall.SlicePtrFromStrings(o.Env)
	return argv, envv, step("pass the environment", "", err)
}

// openProgram opens the program at the one number that execveat may use.
func openProgram(path string) error {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return step("open program "+path, "bind it into the sandbox", err)
	}
	if err := unix.Dup3(fd, execFD, unix.O_CLOEXEC); err != nil {
		return step("open program "+path, "raise the hard limit on open files above 1000 (ulimit -Hn)", err)
	}
	return step("open program", "", unix.Close(fd))
}

func setRlimits(o orders) error {
	return limit([]rlimit{
		{"file size", unix.RLIMIT_FSIZE, o.FileSizeBytes},
		{"core size", unix.RLIMIT_CORE, 0},
		{"locked memory", unix.RLIMIT_MEMLOCK, 0},
		{"queued signals", unix.RLIMIT_SIGPENDING, sandbox.QueuedSignals},
		{"message queues", unix.RLIMIT_MSGQUEUE, 0},
		{"real-time priority", unix.RLIMIT_RTPRIO, 0},
		{"nice", unix.RLIMIT_NICE, 0},
	})
}

// openFiles is the limit that has to wait until the descriptor of refused calls has been handed over: while it is on its way it counts for its
// user, whose other runners may have as many on the way as their own limit allows, and one above the sender's limit is refused.
func openFiles(o orders) rlimit { return rlimit{"open files", unix.RLIMIT_NOFILE, o.OpenFiles} }

// lastRlimits are the limits under which stage two itself may not live: open files, and what stands in for missing control groups. With control
// groups there are none of these, because both break numpy and threads. A Go runtime reserves more address space than a strategy gets, and
// dies when it cannot start a thread or get memory.
func lastRlimits(o orders) ([]rlimit, error) {
	last := []rlimit{openFiles(o)}
	if o.Processes > 0 {
		last = append(last, rlimit{"processes", unix.RLIMIT_NPROC, o.Processes})
	}
	if o.AddressSpace > 0 {
		last = append(last, rlimit{"address space", unix.RLIMIT_AS, o.AddressSpace})
	}
	return last, lower(last)
}

// execute sets the last limits and becomes the program.
func execute(o orders, last []rlimit, argv, envv []*byte) error {
	done, errno := plunge(last, argv, envv)
	if done < len(last) {
		return step("limit "+last[done].what, "", errno)
	}
	return step("execute "+o.Argv[0], "the program must be an ELF file for this machine, world-executable and below a bind that allows exec; its loader and libraries must be bound too", errno)
}

// plunge takes no memory from the first limit to the exec. It returns only when one of them has failed: how many limits it has set, and why it
// stands still.
func plunge(last []rlimit, argv, envv []*byte) (done int, errno unix.Errno) {
	for i := range last {
		both := unix.Rlimit{Cur: last[i].max, Max: last[i].max}
		if _, _, errno := unix.RawSyscall6(unix.SYS_PRLIMIT64, 0, uintptr(last[i].res), uintptr(unsafe.Pointer(&both)), 0, 0, 0); errno != 0 {
			return i, errno
		}
	}
	empty := [1]byte{}
	_, _, errno = unix.RawSyscall6(unix.SYS_EXECVEAT, execFD, uintptr(unsafe.Pointer(&empty[0])),
		uintptr(unsafe.Pointer(&argv[0])), uintptr(unsafe.Pointer(&envv[0])), unix.AT_EMPTY_PATH, 0)
	return len(last), errno
}

type rlimit struct {
	what string
	res  int
	max  uint64
}

func limit(limits []rlimit) error {
	if err := lower(limits); err != nil {
		return err
	}
	for _, l := range limits {
		if err := unix.Prlimit(0, l.res, &unix.Rlimit{Cur: l.max, Max: l.max}, nil); err != nil {
			return step("limit "+l.what, "", err)
		}
	}
	return nil
}

// lower makes of each limit one that can be set: above a lower hard limit of the host nothing may be raised, and need not be.
func lower(limits []rlimit) error {
	for i, l := range limits {
		var now unix.Rlimit
		if err := unix.Prlimit(0, l.res, nil, &now); err != nil { // a built-in program may call no other
			return step("read the limit on "+l.what, "", err)
		}
		limits[i].max = min(l.max, now.Max)
	}
	return nil
}

// dropPrivileges gives up every capability, for ever, on this thread: the only one that survives execveat.
func dropPrivileges() error {
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return step("clear the ambient capabilities", "", err)
	}
	for c := uintptr(0); c < 64; c++ {
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); errors.Is(err, unix.EINVAL) {
			break // above the last capability of this kernel
		} else if err != nil {
			return step("empty the capability bounding set", "", err)
		}
	}
	const bits = 1<<0 | 1<<1 | 1<<2 | 1<<3 | 1<<5 | 1<<6 | 1<<7 // noroot, no-suid-fixup (locked), keep-caps locked off, no-ambient (locked)
	if err := unix.Prctl(unix.PR_SET_SECUREBITS, bits, 0, 0, 0); err != nil {
		return step("lock the secure bits", "", err)
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return step("set no_new_privs", "", err)
	}
	var none [2]unix.CapUserData
	err := unix.Capset(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &none[0])
	return step("drop all capabilities", "", err)
}

// dieWithSupervisor asks the kernel for SIGKILL when the supervisor's thread that started us ends. Credentials must not
// change after it, since that would clear it. The supervisor may have died just before: then its end of the control
// pipe is gone.
func dieWithSupervisor() error {
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return step("tie the life to the supervisor's", "", err)
	}
	gone, err := hungUp(controlFD)
	if gone {
		err = errors.New("the supervisor is gone")
	}
	return step("tie the life to the supervisor's", "", err)
}
