package privilege

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"strconv"
	"syscall"
)

// Account is the system user that a supervisor becomes where the host has it.
const Account = "msup"

// DefaultID is the user and group id that a supervisor becomes where nobody says otherwise: above the ids of runners (0x70000000 to
// 0x7ffeffff), below 2^31, and nobody else's. Unlike "nobody" no other service has it, so that a compromised one of those reaches nothing here.
const DefaultID = 0x7fff_0000

// User is whom the supervisor becomes.
type User struct {
	Name     string // "" where the id has none
	UID, GID int
}

// String names the user for messages.
func (u User) String() string {
	if u.Name == "" {
		return strconv.Itoa(u.UID)
	}
	return fmt.Sprintf("%s (%d)", u.Name, u.UID)
}

// Choose finds the user: the named one (a name or an id), else the owner of the state directory where that exists and is not root's, else the
// account msup, else DefaultID. state is "" for a fresh one.
func Choose(named, state string) (User, error) {
	if named != "" {
		return find(named)
	}
	if state != "" {
		info, err := os.Stat(state)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return User{}, fmt.Errorf("find the owner of %s: %w", state, err)
		default:
			if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Uid != 0 {
				u := User{UID: int(st.Uid), GID: int(st.Gid)}
				if known, err := user.LookupId(strconv.Itoa(u.UID)); err == nil {
					u.Name = known.Username
				}
				if u.GID == 0 { // root's group reaches what the group of nobody else does
					return User{}, fmt.Errorf("%s belongs to user %s and to root's group: give it to the user's own group, or name a user with --user", state, u)
				}
				return u, nil
			}
		}
	}
	if u, err := find(Account); err == nil {
		return u, nil
	}
	return User{UID: DefaultID, GID: DefaultID}, nil
}

// find looks a name or an id up. An id need not have a name; its group has the same number then.
func find(named string) (User, error) {
	found, err := user.Lookup(named)
	if err != nil {
		id, numErr := strconv.ParseUint(named, 10, 31)
		if numErr != nil {
			return User{}, fmt.Errorf("find user %q: %w; name one of this host, or an id", named, err)
		}
		if found, err = user.LookupId(named); err != nil {
			return notRoot(User{UID: int(id), GID: int(id)})
		}
	}
	uid, err := strconv.Atoi(found.Uid)
	if err != nil {
		return User{}, fmt.Errorf("find user %q: id %q: %w", named, found.Uid, err)
	}
	gid, err := strconv.Atoi(found.Gid)
	if err != nil {
		return User{}, fmt.Errorf("find user %q: group %q: %w", named, found.Gid, err)
	}
	return notRoot(User{Name: found.Username, UID: uid, GID: gid})
}

func notRoot(u User) (User, error) {
	if u.UID == 0 || u.GID == 0 {
		return User{}, fmt.Errorf("user %s has root's id or group: name another, or keep root with --privileges keep", u)
	}
	return u, nil
}
