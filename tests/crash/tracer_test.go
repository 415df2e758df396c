package crash

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/msup/msup/ipc"
)

// point is a kind of moment in the life of a supervisor: just before or just after a system call with which it acts on the world.
type point string

// The calls. Every action of deliver → answer → gate → persist → mark → offer → acknowledge → status → checkpoint → prune lies between two of
// them: the gate, which touches nothing, between answer and persist. Pruning writes to the ledger as persisting does; it is what follows a
// checkpoint.
const (
	pointDeliver        point = "deliver"
	pointAnswer         point = "answer"
	pointPersist        point = "persist"
	pointPersistSync    point = "persist sync"
	pointMark           point = "mark"
	pointMarkSync       point = "mark sync"
	pointOffer          point = "offer"
	pointAcknowledge    point = "acknowledge"
	pointStatus         point = "status"
	pointCheckpoint     point = "checkpoint"
	pointCheckpointSync point = "checkpoint sync"
	pointPrune          point = "prune"
	pointOtherDisk      point = "other file" // of the state directory: the lock, shared memory, the journal of a new database
)

var points = []point{pointDeliver, pointAnswer, pointPersist, pointPersistSync, pointMark, pointMarkSync, pointOffer, pointAcknowledge, pointStatus,
	pointCheckpoint, pointCheckpointSync, pointPrune}

// disk reports whether a call at this point writes, syncs or cuts a file of the state directory.
func (p point) disk() bool {
	switch p {
	case pointDeliver, pointAnswer, pointOffer, pointAcknowledge, pointStatus, "":
		return false
	}
	return true
}

// pruneWrites is how many writes to the ledger after a checkpoint count as those of the pruning that follows it.
const pruneWrites = 30

// verdict is what becomes of a call.
type verdict struct {
	die  bool          // the supervisor, and it alone, dies of SIGKILL
	err  syscall.Errno // the call is not made and fails with this; asked before it only
	done bool          // nothing more is asked for: from here on the program runs at its own speed
}

// tracer runs a program and stops each of its threads, but not its children, at every system call.
type tracer struct {
	below  string // the state directory
	decide func(p point, before bool) verdict
	most   time.Duration

	calls     map[int]*pending // by thread
	sincePlan int              // ledger writes since the last checkpoint
	done      bool
}

// pending is a call that a thread has entered.
type pending struct {
	info  syscallInfo
	point point
	fail  syscall.Errno
}

// syscallInfo is struct ptrace_syscall_info with its largest member.
type syscallInfo struct {
	op   uint8
	_    [3]uint8
	arch uint32
	ip   uint64
	sp   uint64
	nr   uint64 // of an exit: the result
	args [6]uint64
	_    uint64
}

const (
	syscallEntry = 1
	syscallExit  = 2
)

// run runs the command to its end and gives its exit code, -1 after a signal. Its output goes to a file.
func (tr *tracer) run(c *exec.Cmd, output string) (code int, err error) {
	runtime.LockOSThread() // a tracer is a thread
	defer runtime.UnlockOSThread()
	out, err := os.Create(output)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	c.Stdout, c.Stderr = out, out
	c.SysProcAttr = &syscall.SysProcAttr{Ptrace: true, Setpgid: true}
	if err := c.Start(); err != nil {
		return 0, fmt.Errorf("starting a traced msup: %w", err)
	}
	pid := c.Process.Pid
	late := false
	overdue := time.AfterFunc(tr.most, func() { late = true; _ = unix.Kill(pid, unix.SIGKILL) }) // it is traced: nobody else has its id
	code, err = tr.loop(pid)
	if !overdue.Stop() && late {
		err = errors.Join(err, fmt.Errorf("a traced msup did not end within %s", tr.most))
	}
	return code, errors.Join(err, c.Process.Release())
}

func (tr *tracer) loop(pid int) (code int, err error) {
	tr.calls = map[int]*pending{}
	tr.sincePlan = pruneWrites
	seen := map[int]bool{}
	for {
		var status unix.WaitStatus
		// Its process group alone: this thread may have started other worlds' programs before it became a tracer, and waiting for any child
		// took the exit status of one that had ended well away from its world (seed 51).
		tid, err := unix.Wait4(-pid, &status, unix.WALL|unix.WNOTHREAD, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return 0, fmt.Errorf("waiting for a traced msup: %w", err)
		}
		if status.Exited() || status.Signaled() {
			if tid != pid {
				delete(seen, tid) // the kernel may give its number to a new thread
				delete(tr.calls, tid)
				continue
			}
			if status.Signaled() {
				return -1, nil
			}
			return status.ExitStatus(), nil
		}
		deliver := 0
		switch signal := status.StopSignal(); {
		case !seen[tid]: // the stop after exec, or of a new thread
			if seen[tid] = true; tid == pid {
				const options = unix.PTRACE_O_TRACECLONE | unix.PTRACE_O_TRACESYSGOOD | unix.PTRACE_O_EXITKILL
				if err := unix.PtraceSetOptions(pid, options); err != nil {
					return 0, errors.Join(fmt.Errorf("tracing: %w", err), unix.Kill(pid, unix.SIGKILL))
				}
			}
		case signal == unix.SIGTRAP|0x80:
			if err := tr.stopped(pid, tid); err != nil {
				return 0, errors.Join(err, unix.Kill(pid, unix.SIGKILL))
			}
		case signal != unix.SIGTRAP: // a SIGTRAP is the event of a new thread
			deliver = int(signal)
		}
		request := unix.PTRACE_SYSCALL
		if tr.done && tr.calls[tid] == nil { // one whose call was skipped has its result to come
			request = unix.PTRACE_DETACH
		}
		// ESRCH: it was killed meanwhile, and the next wait says so.
		if err := ptrace(request, tid, deliver); err != nil && !errors.Is(err, unix.ESRCH) {
			return 0, errors.Join(fmt.Errorf("going on: %w", err), unix.Kill(pid, unix.SIGKILL))
		}
	}
}

// ptrace lets a thread go on, with a signal.
func ptrace(request, tid, signal int) error {
	if _, _, errno := unix.RawSyscall6(unix.SYS_PTRACE, uintptr(request), uintptr(tid), 0, uintptr(signal), 0, 0); errno != 0 {
		return errno
	}
	return nil
}

// stopped handles a thread that stands before or after a call.
func (tr *tracer) stopped(pid, tid int) error {
	var info syscallInfo
	_, _, errno := unix.RawSyscall6(unix.SYS_PTRACE, unix.PTRACE_GET_SYSCALL_INFO, uintptr(tid), unsafe.Sizeof(info), uintptr(unsafe.Pointer(&info)), 0, 0)
	if errno == unix.ESRCH {
		return nil // it was killed meanwhile
	}
	if errno != 0 {
		return fmt.Errorf("asking for a system call: %w", errno)
	}
	switch info.op {
	case syscallEntry:
		at := &pending{info: info, point: tr.classify(pid, &info)}
		tr.calls[tid] = at
		if at.point == "" || at.reads() {
			return nil
		}
		v := tr.decide(at.point, true)
		tr.done = tr.done || v.done
		if v.die {
			return unix.Kill(pid, unix.SIGKILL) // a call that is entered with a fatal signal is not made
		}
		if at.fail = v.err; v.err != 0 {
			return skipCall(tid)
		}
	case syscallExit:
		at := tr.calls[tid]
		delete(tr.calls, tid)
		if at == nil {
			return nil
		}
		if at.fail != 0 {
			return setResult(tid, at.fail)
		}
		if at.reads() {
			at.point = readPoint(typesIn(pid, at.info.args[1], int64(info.nr)))
		}
		if at.point != "" && tr.decide(at.point, false).die {
			return unix.Kill(pid, unix.SIGKILL)
		}
	}
	return nil
}

func (at *pending) reads() bool {
	return at.info.nr == unix.SYS_READ || at.info.nr == unix.SYS_RECVFROM
}

// classify names what a call is about to do. Of reads it says only that the bytes are to be looked at.
func (tr *tracer) classify(pid int, info *syscallInfo) point {
	switch info.nr {
	case unix.SYS_READ, unix.SYS_RECVFROM, unix.SYS_WRITE, unix.SYS_SENDTO, unix.SYS_PWRITE64, unix.SYS_FSYNC, unix.SYS_FDATASYNC, unix.SYS_FTRUNCATE:
	default:
		return ""
	}
	file, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", pid, int32(info.args[0])))
	if err != nil {
		return "" // not an open descriptor: the call will fail by itself
	}
	reads := info.nr == unix.SYS_READ || info.nr == unix.SYS_RECVFROM
	if strings.HasPrefix(file, "socket:") {
		if reads {
			return pointAnswer
		}
		return writePoint(typesIn(pid, info.args[1], int64(info.args[2])))
	}
	if reads || !strings.HasPrefix(file, tr.below+"/") {
		return ""
	}
	sync := info.nr == unix.SYS_FSYNC || info.nr == unix.SYS_FDATASYNC
	switch name := filepath.Base(file); {
	case name == "mark" && sync:
		return pointMarkSync
	case name == "mark":
		return pointMark
	case name == "checkpoints.db" || name == "checkpoints.db-wal":
		if !sync {
			return pointCheckpoint
		}
		tr.sincePlan = 0
		return pointCheckpointSync
	case name == "ledger.db" || name == "ledger.db-wal":
		if sync {
			return pointPersistSync
		}
		if tr.sincePlan++; tr.sincePlan <= pruneWrites {
			return pointPrune
		}
		return pointPersist
	}
	return pointOtherDisk
}

// typesIn are the types of the messages that begin in bytes of the program's memory.
func typesIn(pid int, address uint64, length int64) map[ipc.MessageType]bool {
	const most = 64 << 10
	if length <= 4 {
		return nil
	}
	b := make([]byte, min(length, most))
	n, err := unix.ProcessVMReadv(pid, []unix.Iovec{{Base: &b[0], Len: uint64(len(b))}}, []unix.RemoteIovec{{Base: uintptr(address), Len: len(b)}}, 0)
	if err != nil {
		return nil // the call itself will fail
	}
	found := map[ipc.MessageType]bool{}
	for b = b[:n]; len(b) > 4; {
		size := int64(binary.BigEndian.Uint32(b))
		if kind, err := ipc.PeekType(b[4:]); err == nil { // err: the middle of a frame
			found[kind] = true
		}
		b = b[min(int64(len(b)), 4+size):]
	}
	return found
}

func writePoint(types map[ipc.MessageType]bool) point {
	switch {
	case types[ipc.TypeDeliver] || types[ipc.TypeBatch]:
		return pointDeliver
	case types[ipc.TypeOffer]:
		return pointOffer
	case types[ipc.TypeAck]:
		return pointAcknowledge
	}
	return ""
}

func readPoint(types map[ipc.MessageType]bool) point {
	switch {
	case types[ipc.TypeAnswer] || types[ipc.TypeBatchAnswer]:
		return pointAnswer
	case types[ipc.TypeStatus]:
		return pointStatus
	}
	return ""
}

// traced runs msup in this world under a tracer; the output of an unexpected end is in the error of unless.
func (w *world) traced(decide func(p point, before bool) verdict, args ...string) (code int, err error) {
	tr := &tracer{below: w.state, decide: decide, most: patience}
	return tr.run(w.command(args...), w.tracedOutput())
}

func (w *world) tracedOutput() string { return filepath.Join(w.dir, "traced.log") }

// said is what the last traced run printed.
func (w *world) said() string {
	f, err := os.Open(w.tracedOutput())
	if err != nil {
		return err.Error()
	}
	defer func() { _ = f.Close() }() // read-only
	text, err := io.ReadAll(io.LimitReader(f, 1<<20))
	if err != nil {
		return err.Error()
	}
	return tail(string(text))
}
