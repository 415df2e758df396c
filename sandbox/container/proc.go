package container

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"

	"github.com/msup/msup/sandbox"
	"golang.org/x/sys/unix"
)

// A runner's /proc shows processes and nothing else (subset=pid). With it alone runc 1.3 and later make no container: their init reads
// /proc/sys/kernel/cap_last_cap to drop its capabilities, behind the last point at which the specification can hide anything. So a whole /proc
// lies over the narrow one while runc's init prepares itself, and the supervisor takes it away when that waits for its start: nothing of the
// strategy has run by then. It is done for every runc: a containerd of somebody else's may start another one than the supervisor would find.

// narrowProc takes the whole /proc away and sees that the narrow one is left.
func (r *runner) narrowProc() error {
	err := r.insideMounts(func() error {
		if err := unix.Unmount("/proc", unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
			return fmt.Errorf("take the whole one away: %w", err)
		}
		var st unix.Statfs_t
		if err := unix.Statfs("/proc", &st); err != nil {
			return fmt.Errorf("look at what is left: %w", err)
		}
		if st.Type != unix.PROC_SUPER_MAGIC {
			return fmt.Errorf("what is left is no file system of processes but one of type %#x", st.Type)
		}
		if _, err := os.Lstat("/proc/sys"); !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("what is left shows the host's /proc/sys (%w)", cmp.Or(err, fs.ErrExist))
		}
		return nil
	})
	if errors.Is(err, unix.EPERM) {
		return &sandbox.Error{Reason: sandbox.ReasonSetupFailed, Op: "narrow /proc", Err: err,
			Remedy: "run msup with all of root's capabilities (here: CAP_SYS_ADMIN, CAP_SYS_CHROOT, CAP_SYS_PTRACE), or let isolation choose the process sandbox"}
	}
	if err != nil {
		return fmt.Errorf("narrow /proc: %w", err)
	}
	return nil
}

// insideMounts does something in the runner's mount namespace, on a thread of its own that ends with it.
func (r *runner) insideMounts(do func() error) error {
	return onEndingThread(func() error {
		// All threads of a program share root and working directory, and one that shares them may not change its mounts.
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			return fmt.Errorf("part from the other threads: %w", err)
		}
		if err := r.enterMounts(); err != nil {
			return fmt.Errorf("enter the runner's mounts: %w", err)
		}
		// The process may have ended before it was held, and its number be another's by then, whose mounts are the host's. No other process sees
		// a /tmp of this user id, which is the runner's alone.
		var st unix.Stat_t
		if err := unix.Lstat("/tmp", &st); err != nil || int(st.Uid) != r.uid() {
			return fmt.Errorf("process %d does not have the runner's mounts: %w", r.pid, cmp.Or(err, error(unix.ESRCH)))
		}
		return do()
	})
}

// enterMounts moves the calling thread.
func (r *runner) enterMounts() error {
	r.pidfdMu.Lock()
	defer r.pidfdMu.Unlock()
	if r.pidfd == nil {
		return unix.ESRCH
	}
	raw, err := r.pidfd.SyscallConn()
	if err != nil {
		return err
	}
	var entered error
	if err := raw.Control(func(fd uintptr) { entered = unix.Setns(int(fd), unix.CLONE_NEWNS) }); err != nil {
		return err
	}
	return entered
}

// onEndingThread does something on a thread that ends afterwards and takes along what was changed about it. The program's first thread never
// ends, and /proc/self shows its mounts: when the scheduler comes up with that one, it is held until another has done it.
func onEndingThread(do func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			done <- onEndingThread(do)
			runtime.UnlockOSThread()
			return
		}
		done <- do() // never unlocked
	}()
	return <-done
}
