package privilege

import (
	"errors"
	"fmt"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/psx"
)

// Drop makes this process, with all its threads, one of the user, for good. After an error the process is half of each and must end.
func Drop(u User) error {
	if u.UID <= 0 || u.GID <= 0 {
		return fmt.Errorf("give up root: %d and %d are no ids of an unprivileged user", u.UID, u.GID)
	}
	for c := uintptr(0); ; c++ { // no exec may bring back what is not in the bounding set; an unknown capability ends the list
		err := everyThread(unix.PR_CAPBSET_DROP, c)
		if errors.Is(err, unix.EINVAL) {
			break
		}
		if err != nil {
			return fmt.Errorf("give up root: empty the bounding set: %w", err)
		}
	}
	steps := []struct {
		what string
		do   func() error
	}{
		{"clear the ambient capabilities", func() error { return everyThread(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL) }},
		{"leave all groups", func() error { return syscall.Setgroups(nil) }},
		{"change the group", func() error { return syscall.Setresgid(u.GID, u.GID, u.GID) }},
		{"change the user", func() error { return syscall.Setresuid(u.UID, u.UID, u.UID) }}, // the kernel clears the capabilities with it
		{"set no_new_privs", func() error { return everyThread(unix.PR_SET_NO_NEW_PRIVS, 1) }},
		{"close the process to others", func() error { return unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0) }},
		{"look whether it worked", func() error { return verify(u) }},
	}
	for _, s := range steps {
		if err := s.do(); err != nil {
			return fmt.Errorf("give up root: %s: %w", s.what, err)
		}
	}
	return nil
}

// everyThread calls prctl on every thread of the process.
func everyThread(op, arg uintptr) error {
	if _, _, errno := psx.Syscall6(unix.SYS_PRCTL, op, arg, 0, 0, 0, 0); errno != 0 {
		return errno
	}
	return nil
}

// verify reads back from the kernel what every thread is.
func verify(u User) error {
	all, err := Threads(0)
	if err != nil {
		return err
	}
	for _, s := range all {
		if err := s.Unprivileged(u); err != nil {
			return err
		}
	}
	return nil
}

// Unprivileged says in what a thread is more than the user; nil when in nothing.
func (s Status) Unprivileged(u User) error {
	uids, gids := fmt.Sprint([4]int{u.UID, u.UID, u.UID, u.UID}), fmt.Sprint([4]int{u.GID, u.GID, u.GID, u.GID})
	switch {
	case fmt.Sprint(s.UIDs) != uids:
		return fmt.Errorf("thread %d has user ids %v", s.Thread, s.UIDs)
	case fmt.Sprint(s.GIDs) != gids:
		return fmt.Errorf("thread %d has group ids %v", s.Thread, s.GIDs)
	case s.Groups != "":
		return fmt.Errorf("thread %d is in groups %s", s.Thread, s.Groups)
	case strings.Trim(s.Permitted+s.Effective+s.Ambient+s.Inheritable, "0") != "":
		return fmt.Errorf("thread %d has capabilities: permitted %s, effective %s, ambient %s, inheritable %s", s.Thread, s.Permitted, s.Effective, s.Ambient, s.Inheritable)
	case !s.NoNewPrivs:
		return fmt.Errorf("thread %d lacks no_new_privs", s.Thread)
	}
	return nil
}
