package privilege

import (
	"errors"
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

// Try calls f on a thread that has the user's rights where files are concerned, and only there: what f opens, makes or is refused is what the
// user could open, make, or would be refused. The thread ends with the call.
func Try(u User, f func() error) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread is not given back
		result <- tryHere(u, f)
	}()
	return <-result
}

func tryHere(u User, f func() error) error {
	if _, _, errno := unix.RawSyscall(unix.SYS_SETGROUPS, 0, 0, 0); errno != 0 {
		return fmt.Errorf("become user %s for files: leave all groups: %w", u, errno)
	}
	// These two do not fail; they tell what was in force before.
	for range 2 {
		gid, err := unix.SetfsgidRetGid(u.GID)
		uid, uidErr := unix.SetfsuidRetUid(u.UID)
		if err = errors.Join(err, uidErr); err != nil {
			return fmt.Errorf("become user %s for files: %w", u, err)
		}
		if gid == u.GID && uid == u.UID {
			return f()
		}
	}
	return fmt.Errorf("become user %s for files: this host, or its user namespace, does not have it", u)
}
