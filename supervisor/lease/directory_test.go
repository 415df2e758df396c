package lease

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/msup/msup/ipc"
)

var address = addressOf("k")

// mount puts a small file system at a fresh directory; not as root the test has to fail, for nothing else has a disk that is full.
func mount(t *testing.T, options string) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("none", dir, "tmpfs", 0, options); err != nil {
		t.Fatalf("mount a small tmpfs (needs root): %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
		}
	})
	return dir
}

func remount(t *testing.T, dir, options string, flags uintptr) {
	t.Helper()
	if err := syscall.Mount("none", dir, "tmpfs", syscall.MS_REMOUNT|flags, options); err != nil {
		t.Fatal(err)
	}
}

func open(t *testing.T, opt Options) *Keeper {
	t.Helper()
	if opt.Logger == nil {
		opt.Logger = quiet()
	}
	if opt.Nonce == (ipc.Nonce{}) {
		opt.Nonce = newNonce()
	}
	k, err := Open(opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := k.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return k
}

func take(t *testing.T, k *Keeper) *Lease {
	t.Helper()
	l, err := k.Acquire(context.Background(), address)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// Proves: LS-1
func TestTheDirectoryIsTheHosts(t *testing.T) {
	t.Setenv(EnvDir, "")
	t.Setenv("XDG_RUNTIME_DIR", "/run/user/7")
	t.Setenv("TMPDIR", "/elsewhere") // of one shell only
	want := "/run/msup/leases"
	if os.Geteuid() != 0 {
		want = "/run/user/7/msup/leases"
	}
	if got := DefaultDir(); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	t.Setenv(EnvDir, "/named")
	if got := DefaultDir(); got != "/named" {
		t.Errorf("%s", got)
	}
}

// Proves: LS-1, BC-N
func TestADirectoryThatCannotBeUsedIsRefused(t *testing.T) {
	readOnly := mount(t, "size=1m")
	remount(t, readOnly, "size=1m", syscall.MS_RDONLY)
	base := t.TempDir()
	file, loose := filepath.Join(base, "file"), filepath.Join(base, "loose")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(loose, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(loose, 0o777); err != nil {
		t.Fatal(err)
	}
	for dir, want := range map[string]error{filepath.Join(readOnly, "leases"): ErrUnwritable, filepath.Join(file, "leases"): ErrForeign, file: ErrForeign,
		loose: ErrForeign} {
		_, err := Open(Options{Dir: dir, Logger: quiet()})
		var e *Error
		if !errors.As(err, &e) || !errors.Is(err, want) || e.Reason != ipc.ReasonLeaseUnusable || e.Remedy == "" || !strings.Contains(err.Error(), dir) {
			t.Errorf("%s: %v", dir, err)
		}
	}
	if _, err := Open(Options{Dir: base, TTL: time.Millisecond}); err == nil {
		t.Error("a ttl of 1 ms is accepted")
	}
	// Only the file cannot be made.
	there := mount(t, "size=1m,mode=700")
	k := open(t, Options{Dir: there})
	remount(t, there, "size=1m", syscall.MS_RDONLY)
	if _, err := k.Acquire(context.Background(), address); !errors.Is(err, ErrUnwritable) || !strings.Contains(err.Error(), there) {
		t.Errorf("%v", err)
	}
}

// Proves: LS-1, BC-N
func TestAFullDiskRefusesTheStartAndNotTheHeartbeat(t *testing.T) {
	dir := mount(t, "size=64k,mode=700")
	full := func() {
		if err := os.WriteFile(filepath.Join(dir, "ballast"), make([]byte, 1<<20), 0o600); !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("the disk is not full: %v", err)
		}
	}
	full()
	k := open(t, Options{Dir: dir, TTL: shortTTL})
	_, err := k.Acquire(context.Background(), address)
	var e *Error
	if !errors.As(err, &e) || !errors.Is(err, ErrDiskFull) || e.Reason != ipc.ReasonLeaseUnusable || !strings.Contains(e.Remedy, "free space") {
		t.Errorf("%v", err)
	}
	if err := os.Remove(filepath.Join(dir, "ballast")); err != nil {
		t.Fatal(err)
	}
	l := take(t, k) // what the failed attempt left behind is no obstacle
	full()
	time.Sleep(2 * shortTTL)
	if l.Err() != nil {
		t.Errorf("a heartbeat needs space: %v", l.Err())
	}
	if err := l.Raise(1); err != nil {
		t.Errorf("an epoch needs space: %v", err)
	}
}

// Whatever lies in the place of a lock file, it is not followed, not opened for long, not overwritten.
//
// Proves: LS-1, BC-N
func TestForeignFilesAreRefusedAndLeftAlone(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "precious")
	if err := os.WriteFile(outside, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, put := range map[string]func(path string) error{
		"symlink":          func(path string) error { return os.Symlink(outside, path) },
		"dangling symlink": func(path string) error { return os.Symlink(outside+"2", path) },
		"hard link":        func(path string) error { return os.Link(outside, path) },
		"folder":           func(path string) error { return os.Mkdir(path, 0o700) },
		"fifo":             func(path string) error { return syscall.Mkfifo(path, 0o600) },
		"socket":           func(path string) error { return syscall.Mknod(path, syscall.S_IFSOCK|0o600, 0) },
		"device":           func(path string) error { return syscall.Mknod(path, syscall.S_IFCHR|0o600, 0x103) },
		"large file":       func(path string) error { return os.WriteFile(path, make([]byte, fileBytes+1), 0o600) },
		"another's": func(path string) error {
			return errors.Join(os.WriteFile(path, nil, 0o600), os.Chown(path, 65534, 65534))
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.Chmod(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, FileName(address))
			if err := put(path); err != nil {
				t.Fatal(err)
			}
			k := open(t, Options{Dir: dir})
			_, err := k.Acquire(context.Background(), address)
			var e *Error
			if !errors.As(err, &e) || !errors.Is(err, ErrForeign) || e.Reason != ipc.ReasonLeaseUnusable || !strings.Contains(err.Error(), path) {
				t.Errorf("%v", err)
			}
			if s, err := Show(dir, address); err != nil || s.State != Foreign || s.Problem == "" {
				t.Errorf("show: %+v %v", s, err)
			}
			if err := os.Remove(path); err != nil {
				t.Fatalf("it is gone: %v", err)
			}
		})
	}
	if body, err := os.ReadFile(outside); err != nil || string(body) != "precious" {
		t.Errorf("the file outside holds %q, %v", body, err)
	}
	if _, err := os.Lstat(outside + "2"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a link was followed and made a file: %v", err)
	}
}

// Proves: LS-1
func TestAnotherInstancesRecordIsNotOverwritten(t *testing.T) {
	dir := t.TempDir()
	k := open(t, Options{Dir: dir})
	l := take(t, k)
	if err := errors.Join(l.Raise(5), l.Release()); err != nil {
		t.Fatal(err)
	}
	other := addressOf("other")
	if err := os.Rename(filepath.Join(dir, FileName(address)), filepath.Join(dir, FileName(other))); err != nil {
		t.Fatal(err)
	}
	if _, err := k.Acquire(context.Background(), other); !errors.Is(err, ErrForeign) || !strings.Contains(err.Error(), address.String()) {
		t.Errorf("%v", err)
	}
	if s, err := Show(dir, other); err != nil || s.State != Foreign {
		t.Errorf("%+v %v", s, err)
	}
}
