package lease

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/msup/msup/ipc"
)

// Identity is what makes a process unique on a host, over reused pids and reboots.
type Identity struct {
	PID   int
	Start uint64 // ticks since boot
	Boot  string // boot id
}

// machine is what the package asks the host; tests replace parts of it.
type machine struct {
	boottime func() ipc.Nanos
	wall     func() time.Time
	sync     func(fd int) error
	boot     string
}

func thisMachine() (machine, error) {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return machine{}, fmt.Errorf("reading the boot id: %w", err)
	}
	return machine{boottime: boottime, wall: time.Now, sync: unix.Fdatasync, boot: strings.TrimSpace(string(boot))}, nil
}

// boottime counts from the boot, suspensions included, and nobody can set it.
func boottime() ipc.Nanos {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
		panic(err) // a constant clock and a valid pointer: the kernel has had it since 2.6.39
	}
	return ipc.Nanos(t.Nano())
}

// Self identifies this process.
func Self() (Identity, error) {
	m, err := thisMachine()
	if err != nil {
		return Identity{}, err
	}
	return m.self()
}

func (m machine) self() (Identity, error) {
	start, _, err := processStat(os.Getpid())
	if err != nil {
		return Identity{}, err
	}
	return Identity{PID: os.Getpid(), Start: start, Boot: m.boot}, nil
}

// errGone: no such process.
var errGone = errors.New("no such process")

// processStat reads when a process started and whether it has ended already (a zombie waits for its parent only).
func processStat(pid int) (start uint64, ended bool, err error) {
	path := "/proc/" + strconv.Itoa(pid) + "/stat"
	stat, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) {
		return 0, true, fmt.Errorf("%s: %w", path, errGone)
	}
	if err != nil {
		return 0, false, fmt.Errorf("reading the start time of process %d: %w", pid, err)
	}
	// The command in parentheses may hold spaces and parentheses; fields are counted from behind it. State is field 3, start time 22.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 20 {
		return 0, false, fmt.Errorf("%s has %d fields behind the command; 20 are needed", path, len(fields))
	}
	start, err = strconv.ParseUint(fields[19], 10, 64)
	if err != nil {
		return 0, false, fmt.Errorf("the start time in %s: %w", path, err)
	}
	return start, fields[0] == "Z" || fields[0] == "X", nil
}

// command names what a process runs, as well as it can be known.
func command(pid int) string {
	comm, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/comm")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(comm))
}

// life is what can be said about a recorded process.
type life uint8

const (
	alive   life = iota
	dead         // ended, or the pid is another's by now, or it was of an earlier boot
	unknown      // /proc does not tell
)

func (m machine) lifeOf(id Identity) life {
	if id.Boot != m.boot {
		return dead
	}
	start, ended, err := processStat(id.PID)
	switch {
	case errors.Is(err, errGone):
		return dead
	case err != nil:
		return unknown
	case ended || start != id.Start:
		return dead
	}
	return alive
}

// killWait is how long a killed process may take to go; one in the middle of a disk write takes longer than any other.
const killWait = 20 * time.Second

// kill ends the identified process, never another, and waits until it has gone. The pidfd is opened first: when the start time fits
// after that, the descriptor can only mean the recorded process, or one that is dead already.
func (m machine) kill(id Identity) error {
	if id.Boot != m.boot || id.PID <= 1 || id.PID == os.Getpid() {
		return fmt.Errorf("process %d of boot %s is not to be killed from process %d of boot %s", id.PID, id.Boot, os.Getpid(), m.boot)
	}
	fd, err := unix.PidfdOpen(id.PID, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("opening process %d: %w", id.PID, err)
	}
	defer unix.Close(fd)
	switch start, _, err := processStat(id.PID); {
	case errors.Is(err, errGone):
		return nil
	case err != nil:
		return err
	case start != id.Start:
		return fmt.Errorf("pid %d started at tick %d, the owner at tick %d: the number is another process's now", id.PID, start, id.Start)
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("killing process %d: %w", id.PID, err)
	}
	deadline := time.Now().Add(killWait)
	for {
		left := time.Until(deadline)
		if left <= 0 {
			return fmt.Errorf("process %d was killed and has not gone for %s: it waits in the kernel, for a disk perhaps", id.PID, killWait)
		}
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(left.Milliseconds())+1)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("waiting for the end of process %d: %w", id.PID, err)
		}
		if n > 0 {
			return nil
		}
	}
}
