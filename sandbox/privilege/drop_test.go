package privilege

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// needRoot fails where a test cannot show anything: nothing can be given up by who has nothing.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("run these tests as root")
	}
}

// Proves: SB-2, SB-6
func TestDropLeavesNothingOnAnyThread(t *testing.T) {
	needRoot(t)
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("of root"), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), dropEnv+"="+secret)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, stderr.String())
	}
	var l left
	if err := json.Unmarshal(out, &l); err != nil {
		t.Fatal(err)
	}
	if len(l.Threads) < 2 {
		t.Errorf("only %d threads were looked at", len(l.Threads))
	}
	for _, s := range l.Threads {
		if err := s.Unprivileged(User{UID: DefaultID, GID: DefaultID}); err != nil || strings.Trim(s.Bounding, "0") != "" {
			t.Errorf("%v; bounding set %s", err, s.Bounding)
		}
	}
	if l.Back != unix.EPERM.Error() || !strings.Contains(l.Read, "permission denied") || l.Opened != "of root" {
		t.Errorf("%+v", l)
	}
}

// Proves: SB-2
func TestRootIsNoUserToBecome(t *testing.T) {
	if err := Drop(User{}); err == nil {
		t.Error("root was become")
	}
	for _, named := range []string{"root", "0", "no such user", "-1", "4294967295"} {
		if u, err := Choose(named, ""); err == nil {
			t.Errorf("%q is user %s", named, u)
		}
	}
	if u, err := Choose("12345", ""); err != nil || u.UID != 12345 || u.GID != 12345 {
		t.Errorf("%+v %v", u, err)
	}
}

// Proves: SB-2
func TestTheOwnerOfTheStateIsTheUser(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	if u, err := Choose("", dir); err != nil || u.UID == 0 {
		t.Errorf("of root's folder: %+v %v", u, err)
	}
	if u, err := Choose("", filepath.Join(dir, "none")); err != nil || u.UID == 0 {
		t.Errorf("of no folder: %+v %v", u, err)
	}
	if err := os.Chown(dir, 4711, 4712); err != nil {
		t.Fatal(err)
	}
	if u, err := Choose("", dir); err != nil || u.UID != 4711 || u.GID != 4712 {
		t.Errorf("%+v %v", u, err)
	}
	if err := os.Chown(dir, 4711, 0); err != nil {
		t.Fatal(err)
	}
	if u, err := Choose("", dir); err == nil {
		t.Errorf("root's group was become: %+v", u)
	}
}

// Try asks the kernel, and changes nothing for other threads.
//
// Proves: SB-2
func TestTryIsTheUser(t *testing.T) {
	needRoot(t)
	u := User{UID: DefaultID, GID: DefaultID}
	dir := t.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o711); err != nil { // it lies in a folder of the test's that is closed
		t.Fatal(err)
	}
	closed := filepath.Join(dir, "closed")
	if err := os.WriteFile(closed, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for range 50 {
		err := Try(u, func() error { _, err := os.Open(closed); return err })
		if !errors.Is(err, fs.ErrPermission) {
			t.Fatalf("root's file: %v", err)
		}
		if f, err := os.Open(closed); err != nil {
			t.Fatalf("root itself is refused: %v", err)
		} else if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	open := filepath.Join(dir, "open")
	if err := errors.Join(os.Mkdir(open, 0o777), os.Chmod(open, 0o777)); err != nil {
		t.Fatal(err)
	}
	made := filepath.Join(open, "made")
	if err := Try(u, func() error { return os.Mkdir(made, 0o700) }); err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Stat(made, &st); err != nil || st.Uid != DefaultID || st.Gid != DefaultID {
		t.Errorf("%v, owner %d:%d", err, st.Uid, st.Gid)
	}
}

// owner is who has a file, the link itself where it is one.
func owner(t *testing.T, path string) int {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		t.Fatal(err)
	}
	return int(st.Uid)
}

// Whoever had a state directory before may have prepared it: root's change of owners must not leave it.
//
// Proves: SB-2, SB-6
func TestHandOverStaysInside(t *testing.T) {
	needRoot(t)
	u := User{UID: DefaultID, GID: DefaultID}
	base := t.TempDir()
	outside := filepath.Join(base, "outside")
	dir := filepath.Join(base, "state")
	deep := filepath.Join(dir, "evidence", "deep")
	if err := errors.Join(os.WriteFile(outside, nil, 0o600), os.MkdirAll(deep, 0o700), os.WriteFile(filepath.Join(deep, "file"), nil, 0o600),
		os.WriteFile(filepath.Join(dir, "foreign"), nil, 0o600), os.Symlink(outside, filepath.Join(deep, "link")), os.Symlink(base, filepath.Join(dir, "logs"))); err != nil {
		t.Fatal(err)
	}
	names := []string{"evidence", "logs", "absent"}
	for range 2 { // the second time there is nothing to do
		if err := HandOver(u, dir, names); err != nil {
			t.Fatal(err)
		}
	}
	for path, want := range map[string]int{dir: u.UID, filepath.Join(dir, "evidence"): u.UID, deep: u.UID, filepath.Join(deep, "file"): u.UID,
		filepath.Join(deep, "link"): u.UID, filepath.Join(dir, "logs"): u.UID, filepath.Join(dir, "foreign"): 0, outside: 0, base: 0} {
		if got := owner(t, path); got != want {
			t.Errorf("%s belongs to user %d, not %d", path, got, want)
		}
	}
	traps := map[string]func(path string) error{
		"second name": func(path string) error { return os.Link(outside, path) },
		"another's": func(path string) error {
			return errors.Join(os.WriteFile(path, nil, 0o600), os.Chown(path, 4711, 4711))
		},
		"mount": func(path string) error {
			return errors.Join(os.Mkdir(path, 0o700), unix.Mount("none", path, "tmpfs", 0, "size=4k"))
		},
	}
	for name, set := range traps {
		trap := filepath.Join(deep, "trap")
		if err := set(trap); err != nil {
			t.Fatal(err)
		}
		err := HandOver(u, dir, names)
		if name == "mount" {
			if err := unix.Unmount(trap, 0); err != nil {
				t.Error(err)
			}
		}
		if err == nil || !strings.Contains(err.Error(), trap) {
			t.Errorf("%s: %v", name, err)
		}
		if got := owner(t, outside); got != 0 {
			t.Errorf("%s: the file outside belongs to user %d", name, got)
		}
		if err := os.RemoveAll(trap); err != nil {
			t.Fatal(err)
		}
	}
}
