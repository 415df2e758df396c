package statedb

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const lockFile = "lock"

// acquireLock takes the state directory for this process. The lock dies with the process, so no leftover needs clearing.
func acquireLock(dir string) (*os.File, error) {
	path := filepath.Join(dir, lockFile)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, diskError(path, "opening the lock", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		defer f.Close()
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, diskError(path, "locking", err)
		}
		return nil, &Error{Kind: ErrLocked, Place: dir, Cause: "held by " + holder(f),
			Remedy: "stop that msup first, or name another directory with --state"}
	}
	if err := f.Truncate(0); err != nil {
		return nil, both(diskError(path, "writing the lock", err), f.Close())
	}
	if _, err := f.WriteAt(fmt.Appendf(nil, "%d\n", os.Getpid()), 0); err != nil {
		return nil, both(diskError(path, "writing the lock", err), f.Close())
	}
	return f, nil
}

// holder names the process in the lock file as well as it can be known.
func holder(f *os.File) string {
	b := make([]byte, 32)
	n, _ := f.ReadAt(b, 0) // io.EOF is the rule here; without a pid the answer says so
	pid := strings.TrimSpace(string(b[:n]))
	if _, err := strconv.ParseUint(pid, 10, 32); err != nil {
		return "a process that has not written its pid yet"
	}
	comm, err := os.ReadFile("/proc/" + pid + "/comm")
	if err != nil {
		return "pid " + pid
	}
	return fmt.Sprintf("pid %s (%s)", pid, strings.TrimSpace(string(comm)))
}

// InUse reports whether a process holds the state directory. Where that cannot be found out it says true: nobody is to clear it away.
func InUse(dir string) bool {
	f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) {
		return false
	}
	if err != nil {
		return true
	}
	defer f.Close() // gives the lock back
	return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil
}
