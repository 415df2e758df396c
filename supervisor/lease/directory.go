package lease

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/msup/msup/ipc"
)

// EnvDir overrides the directory of the host's leases.
const EnvDir = "MSUP_LEASE_DIR"

const suffix = ".lease"

// DefaultDir is where the leases of this host lie for this user: $MSUP_LEASE_DIR, else /run/msup/leases as root,
// $XDG_RUNTIME_DIR/msup/leases, or /tmp/msup-UID/leases. It does not follow TMPDIR: two shells of one user must find the same.
func DefaultDir() string {
	if dir := os.Getenv(EnvDir); dir != "" {
		return dir
	}
	if os.Geteuid() == 0 {
		return "/run/msup/leases"
	}
	if dir := os.Getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "msup", "leases")
	}
	return filepath.Join("/tmp", "msup-"+strconv.Itoa(os.Geteuid()), "leases")
}

// FileName is the name of the lock file of one instance: the hash of its address, so that any id makes a valid name.
func FileName(a ipc.Address) string {
	h := sha256.New()
	for _, part := range []string{"msup lease 1", string(a.Bot), string(a.Strategy), string(a.Instance)} {
		var n [8]byte
		binary.LittleEndian.PutUint64(n[:], uint64(len(part)))
		h.Write(n[:])
		h.Write([]byte(part))
	}
	return hex.EncodeToString(h.Sum(nil)) + suffix
}

// isLeaseName tells the names that FileName makes from all others.
func isLeaseName(name string) bool {
	if len(name) != 2*sha256.Size+len(suffix) || filepath.Ext(name) != suffix {
		return false
	}
	_, err := hex.DecodeString(name[:2*sha256.Size])
	return err == nil
}

// openDir makes the directory where it is absent and refuses one in which others could put their own files.
func openDir(dir string) (string, error) {
	if dir == "" {
		dir = DefaultDir()
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("the lease directory %s: %w", dir, err)
	}
	// What lies beside the leases, the runners' sockets, others must be able to pass to.
	if err := errors.Join(os.MkdirAll(filepath.Dir(dir), 0o711), os.MkdirAll(dir, 0o700)); err != nil {
		return "", fileError(dir, "making the lease directory", err)
	}
	// A path without links, so that nobody turns one around while leases are held.
	resolved, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return "", fileError(dir, "opening the lease directory", err)
	}
	var st unix.Stat_t
	if err := unix.Lstat(resolved, &st); err != nil {
		return "", fileError(resolved, "opening the lease directory", err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return "", foreign(resolved, "it is no directory")
	}
	if st.Uid != uint32(os.Geteuid()) || st.Mode&0o022 != 0 {
		return "", &Error{Kind: ErrForeign, Reason: ipc.ReasonLeaseUnusable, Place: resolved,
			Cause:  fmt.Sprintf("it belongs to uid %d with mode %04o; others could remove or replace leases in it", st.Uid, st.Mode&0o7777),
			Remedy: "make it your own with mode 0700, or " + remedyDir}
	}
	return resolved, nil
}

// lockFile is an open lock file.
type lockFile struct {
	fd       int
	path     string
	dev, ino uint64
}

// openLock opens a lock file without following links, and nothing that is not a plain file of this user.
func openLock(path string, flags int) (f lockFile, err error) {
	f = lockFile{path: path}
	// O_NONBLOCK: a FIFO in its place must not hold us up.
	f.fd, err = unix.Open(path, flags|unix.O_NOFOLLOW|unix.O_CLOEXEC|unix.O_NONBLOCK|unix.O_NOCTTY, 0o600)
	if err != nil {
		return f, fileError(path, "opening the lease", err)
	}
	var st unix.Stat_t
	err = unix.Fstat(f.fd, &st)
	switch {
	case err != nil:
		err = fileError(path, "looking at the lease", err)
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		err = foreign(path, "it is no plain file")
	case st.Uid != uint32(os.Geteuid()):
		err = foreign(path, fmt.Sprintf("it belongs to uid %d", st.Uid))
	case st.Nlink > 1:
		err = foreign(path, "it has a second name elsewhere")
	case st.Size > fileBytes:
		err = foreign(path, fmt.Sprintf("it has %d bytes, a lease %d", st.Size, fileBytes))
	}
	if err != nil {
		return f, errors.Join(err, unix.Close(f.fd))
	}
	f.dev, f.ino = st.Dev, st.Ino
	return f, nil
}

// lock takes the write lock of the whole file for this process; taking it again is harmless. It reports false when another process has it.
func (f lockFile) lock() (bool, error) {
	for {
		err := unix.FcntlFlock(uintptr(f.fd), unix.F_SETLK, &unix.Flock_t{Type: unix.F_WRLCK})
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EACCES):
			return false, nil
		case err != nil:
			return false, fileError(f.path, "locking the lease", err)
		default:
			return true, nil
		}
	}
}

// holder asks the kernel who has the lock: 0 = nobody else than this process, -1 = a process that has no number here.
func (f lockFile) holder() (pid int, err error) {
	l := unix.Flock_t{Type: unix.F_WRLCK}
	if err := unix.FcntlFlock(uintptr(f.fd), unix.F_GETLK, &l); err != nil {
		return 0, fileError(f.path, "asking who holds the lease", err)
	}
	switch {
	case l.Type == unix.F_UNLCK:
		return 0, nil
	case l.Pid <= 0: // of another pid namespace
		return -1, nil
	}
	return int(l.Pid), nil
}

// atPath reports whether the file is still the one that its path names.
func (f lockFile) atPath() (bool, error) {
	var st unix.Stat_t
	err := unix.Lstat(f.path, &st)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return false, nil
	}
	if err != nil {
		return false, fileError(f.path, "looking for the lease", err)
	}
	return st.Dev == f.dev && st.Ino == f.ino, nil
}

// read returns the newest record, or errNoRecord.
func (f lockFile) read() (record, error) {
	file := make([]byte, fileBytes)
	n := 0
	for n < len(file) {
		m, err := unix.Pread(f.fd, file[n:], int64(n))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return record{}, fileError(f.path, "reading the lease", err)
		}
		if m == 0 {
			break
		}
		n += m
	}
	return decodeFile(file[:n])
}

// write puts a record into the slot that is its number's turn.
func (f lockFile) write(r *record) error {
	slot, err := r.encode()
	if err != nil {
		return err
	}
	at := int64(r.Number%2) * slotBytes
	for len(slot) > 0 {
		n, err := unix.Pwrite(f.fd, slot, at)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fileError(f.path, "writing the lease", err)
		}
		slot, at = slot[n:], at+int64(n)
	}
	return nil
}

// keep makes it durable, for directories that outlive a power cut.
func (m machine) keep(f lockFile) error {
	return fileError(f.path, "making the lease durable", m.sync(f.fd))
}
