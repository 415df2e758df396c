package container

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A process is identified by its number, start time and boot, and held by a pidfd; never by its number alone.

func bootID() (string, error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("read the boot id: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}

// statFields are the fields of /proc/PID/stat from the third, the state, on. The second, the command, may hold spaces and
// brackets.
func statFields(pid int) ([]string, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil, fmt.Errorf("read process %d: %w", pid, err)
	}
	fields := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	if len(fields) < 50 {
		return nil, fmt.Errorf("read process %d: unexpected %q", pid, b)
	}
	return fields, nil
}

// startTicks is field 22.
func startTicks(pid int) (uint64, error) {
	fields, err := statFields(pid)
	if err != nil {
		return 0, err
	}
	ticks, err := strconv.ParseUint(fields[22-3], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("read the start time of process %d: %w", pid, err)
	}
	return ticks, nil
}

// zombieStatus is field 52 of a process that has ended and that nobody has waited for yet.
func zombieStatus(pid int) (syscall.WaitStatus, bool) {
	fields, err := statFields(pid)
	if err != nil || fields[0] != "Z" {
		return 0, false
	}
	status, err := strconv.ParseUint(fields[52-3], 10, 32)
	return syscall.WaitStatus(status), err == nil
}

// waitPidfd waits until the process behind a pidfd has ended.
func waitPidfd(fd int, timeout time.Duration) error {
	for deadline := time.Now().Add(timeout); ; {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 20)
		switch {
		case n > 0:
			return nil
		case err != nil && !errors.Is(err, unix.EINTR):
			return fmt.Errorf("wait for a killed process: %w", err)
		case time.Now().After(deadline):
			return fmt.Errorf("a killed process did not end within %s; it may hang in the kernel", timeout)
		}
	}
}

// newID names a runner, its container, its control group and its folders.
func newID() (string, error) {
	var b [6]byte
	if _, err := io.ReadFull(rand.Reader, b[:]); err != nil {
		return "", fmt.Errorf("make a runner id: %w", err)
	}
	return "c" + hex.EncodeToString(b[:]), nil
}
