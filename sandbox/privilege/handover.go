package privilege

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// HandOver gives a folder, and of what is in it the named entries with all below them, to the user. Entries that are not there are left out.
// What belongs to a third user, has a second name, or lies on another file system is refused: it is not msup's.
func HandOver(u User, dir string, names []string) error {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("hand %s over to user %s: %w", dir, u, err)
	}
	h := handing{user: u}
	var st unix.Stat_t
	if err = unix.Fstat(fd, &st); err == nil {
		h.device = st.Dev
	}
	for _, name := range names {
		if err == nil {
			err = h.entry(fd, dir, name)
		}
	}
	if err == nil {
		err = h.give(fd, &st, dir)
	}
	if err = errors.Join(err, unix.Close(fd)); err != nil {
		return fmt.Errorf("hand %s over to user %s: %w", dir, u, err)
	}
	return nil
}

type handing struct {
	user   User
	device uint64
}

// entry hands over what one name in an open folder means, and what lies below it first.
func (h handing) entry(parent int, place, name string) (err error) {
	path := filepath.Join(place, name)
	fd, err := unix.Openat(parent, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	defer func() { err = errors.Join(err, unix.Close(fd)) }()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if st.Dev != h.device {
		return fmt.Errorf("%s lies on another file system; move it away, or into the folder itself", path)
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		if err := h.below(fd, path); err != nil {
			return err
		}
	}
	return h.give(fd, &st, path)
}

// below hands over everything in a folder that is open as a path.
func (h handing) below(folder int, path string) error {
	fd, err := unix.Openat(folder, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	f := os.NewFile(uintptr(fd), path)
	names, err := f.Readdirnames(-1)
	for _, name := range names {
		if err == nil {
			err = h.entry(int(f.Fd()), path, name)
		}
	}
	return errors.Join(err, f.Close())
}

// give changes the owner of what is open, where it is root's; it may be the user's already.
func (h handing) give(fd int, st *unix.Stat_t, path string) error {
	switch {
	case int(st.Uid) == h.user.UID && int(st.Gid) == h.user.GID:
		return nil
	case st.Uid != 0 && int(st.Uid) != h.user.UID:
		return fmt.Errorf("%s belongs to user %d, neither to root nor to user %s: give it to one of them (chown), or run as its owner with --user", path, st.Uid, h.user)
	case st.Mode&unix.S_IFMT != unix.S_IFDIR && st.Nlink > 1:
		return fmt.Errorf("%s has a second name elsewhere; copy it, so that it is one file of its own", path)
	}
	if err := unix.Fchownat(fd, "", h.user.UID, h.user.GID, unix.AT_EMPTY_PATH); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}
