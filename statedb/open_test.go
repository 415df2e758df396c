package statedb

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/msup/msup/ipc"
)

// Proves: LS-1, NN-6
func TestSecondProcessIsRefused(t *testing.T) {
	dir := t.TempDir()
	db := open(t, dir, Options{})
	out, err := child("second-open", dir).CombinedOutput()
	if err != nil {
		t.Fatalf("child: %v\n%s", err, out)
	}
	for _, want := range []string{dir, fmt.Sprintf("pid %d", os.Getpid()), "stop that msup first", "locked: true"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("the refusal does not say %q: %s", want, out)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if out, err = child("second-open", dir).CombinedOutput(); err != nil || !strings.Contains(string(out), "opened") {
		t.Errorf("after the first has closed: %s, %v", out, err)
	}
}

func childSecondOpen(dir string) error {
	db, err := Open(dir, Options{Logger: quiet()})
	if err != nil {
		fmt.Println(err, "locked:", errors.Is(err, ErrLocked))
		return nil
	}
	fmt.Println("opened")
	return db.Close()
}

// child runs this test binary again as another process.
func child(role string, args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), "STATEDB_CHILD="+role)
	return cmd
}

func TestMain(m *testing.M) {
	var err error
	switch role := os.Getenv("STATEDB_CHILD"); role {
	case "":
		os.Exit(m.Run())
	case "second-open":
		err = childSecondOpen(os.Args[1])
	case "failing":
		err = childFailing(os.Args[1])
	case "denied":
		err = childDenied(os.Args[1])
	case "writer":
		err = childWriter(os.Args[1], os.Args[2])
	default:
		err = fmt.Errorf("unknown role %q", role)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// Proves: RS-5, ST-5
func TestOtherVersionsAndForeignFilesAreRefused(t *testing.T) {
	set := func(file, pragma string) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			c, err := openConn(filepath.Join(dir, file), false)
			if err != nil {
				t.Fatal(err)
			}
			defer c.close()
			if err := c.script(pragma); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, c := range map[string]struct {
		change func(t *testing.T, dir string)
		want   error
	}{
		"newer ledger":      {set("ledger.db", "PRAGMA user_version = 2"), ErrVersion},
		"newer checkpoints": {set("checkpoints.db", "PRAGMA user_version = 2"), ErrVersion},
		"foreign database":  {set("ledger.db", "PRAGMA application_id = 5"), ErrForeign},
		"changed schema":    {set("ledger.db", "DROP INDEX intent_keys"), ErrCorrupt},
		"no database": {func(t *testing.T, dir string) {
			if err := os.WriteFile(filepath.Join(dir, "ledger.db"), []byte(strings.Repeat("not a database. ", 300)), 0o600); err != nil {
				t.Fatal(err)
			}
		}, ErrForeign},
		"ledger removed": {func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, "ledger.db")); err != nil {
				t.Fatal(err)
			}
		}, ErrRowsLost},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			db := open(t, dir, Options{})
			fill(t, openInstance(t, db, "i"), 1)
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			c.change(t, dir)
			before := snapshot(t, dir)
			_, err := Open(dir, Options{Logger: quiet()})
			var e *Error
			if !errors.Is(err, c.want) || !errors.As(err, &e) || e.Place == "" || e.Cause == "" || e.Remedy == "" {
				t.Errorf("got %v, want %v with place, cause and remedy", err, c.want)
			}
			if after := snapshot(t, dir); after != before {
				t.Errorf("the refused directory was changed")
			}
		})
	}
}

// Proves: RS-5
func TestOpenExistingCreatesNothing(t *testing.T) {
	parent := t.TempDir()
	path := func(name string) string { return filepath.Join(parent, name) }
	for _, err := range []error{
		os.Mkdir(path("empty"), 0o700), os.WriteFile(path("file"), nil, 0o600), os.Mkdir(path("begun"), 0o700),
		os.WriteFile(filepath.Join(path("begun"), "ledger.db"), nil, 0o600), os.Mkdir(path("lost"), 0o700),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	good := open(t, path("good"), Options{})
	fill(t, openInstance(t, good, "i"), 3)
	if err := good.Close(); err != nil {
		t.Fatal(err)
	}
	mark, err := os.ReadFile(filepath.Join(path("good"), "mark"))
	if err == nil {
		err = os.WriteFile(filepath.Join(path("lost"), "mark"), mark, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		want  error
		cause string
	}{
		"absent":     {ErrNoLedger, "there is no such directory"},
		"absent/sub": {ErrNoLedger, "there is no such directory"},
		"empty":      {ErrNoLedger, "the directory holds no ledger.db"},
		"file":       {ErrNoLedger, "it is a file, not a directory"},
		"begun":      {ErrNoLedger, "nothing was ever recorded"},
		"lost":       {ErrRowsLost, "the high-water mark remembers 1 instances"},
	} {
		db, err := OpenExisting(path(name), Options{Logger: quiet()})
		var e *Error
		if !errors.Is(err, c.want) || !errors.As(err, &e) || !contains(err, path(name)) || !contains(err, c.cause) || e.Remedy == "" {
			t.Errorf("%s: %v, %v; want %v: %s, with place and remedy", name, db, err, c.want, c.cause)
		}
		if r, err := Verify(path(name)); err == nil && (r.OK() != (name == "begun")) || err != nil && !errors.Is(err, c.want) {
			t.Errorf("verify %s: %+v, %v", name, r, err)
		}
	}
	if _, err := OpenExisting(path("absent"), Options{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(path("absent")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the directory was created: %v", err)
	}
	if entries, err := os.ReadDir(path("empty")); err != nil || len(entries) != 0 {
		t.Errorf("the empty directory holds %v, %v", entries, err)
	}
	if info, err := os.Stat(filepath.Join(path("begun"), "ledger.db")); err != nil || info.Size() != 0 {
		t.Errorf("the empty ledger was filled: %v, %v", info, err)
	}
	db, err := OpenExisting(path("good"), Options{Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	if got := openInstance(t, db, "i").LastInput(); got != 3 {
		t.Errorf("last input %d", got)
	}
	if _, err := OpenExisting(path("good"), Options{Logger: quiet()}); !errors.Is(err, ErrLocked) {
		t.Errorf("a second one: %v", err)
	}
	if err := db.Close(); err != nil {
		t.Error(err)
	}
}

// snapshot gives the bytes of the files that must stay as they are.
func snapshot(t testing.TB, dir string) string {
	t.Helper()
	var b strings.Builder
	for _, name := range []string{"ledger.db", "ledger.db-wal", "checkpoints.db", "mark"} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "%s %x\n", name, data)
	}
	return b.String()
}

// mount puts a small file system at a fresh directory; not as root the test has to fail, for nothing else has a disk that is full.
func mount(t testing.TB, options string) string {
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

// Proves: RS-5
func TestReadOnlyDirectoryIsRefused(t *testing.T) {
	dir := mount(t, "size=4m")
	db := open(t, dir, Options{})
	fill(t, openInstance(t, db, "i"), 1)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("none", dir, "tmpfs", syscall.MS_REMOUNT|syscall.MS_RDONLY, "size=4m"); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, Options{Logger: quiet()}); !errors.Is(err, ErrReadOnly) || !strings.Contains(err.Error(), dir) {
		t.Errorf("got %v", err)
	}
	if _, err := Open(filepath.Join(dir, "new"), Options{Logger: quiet()}); !errors.Is(err, ErrReadOnly) {
		t.Errorf("a new directory: %v", err)
	}
}

// Proves: RS-5
func TestFullDirectoryIsRefusedAtOpen(t *testing.T) {
	dir := mount(t, "size=64k")
	if err := os.WriteFile(filepath.Join(dir, "ballast"), make([]byte, 60<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(filepath.Join(dir, "state"), Options{Logger: quiet()}); !errors.Is(err, ErrDiskFull) {
		t.Errorf("got %v", err)
	}
}

// Proves: NN-3, RS-5
func TestDiskFullFailsClosedAndHeals(t *testing.T) {
	dir := mount(t, "size=3m")
	ballast := filepath.Join(dir, "ballast")
	db := open(t, filepath.Join(dir, "state"), Options{})
	in := openInstance(t, db, "i")
	if err := os.WriteFile(ballast, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	var durable []ipc.InputNo
	for round := range 3 {
		var failed error
		for failed == nil {
			next := in.LastInput() + 1
			b := inputBatch(next, next)
			b.Inputs = make([]byte, 16<<10)
			if _, failed = persist(in, b); failed == nil {
				durable = append(durable, next)
			}
			if len(durable) > 10_000 {
				t.Fatal("the disk is never full")
			}
		}
		if !errors.Is(failed, ErrDiskFull) {
			t.Fatalf("round %d: %v", round, failed)
		}
		next := in.LastInput() + 1
		if _, err := persist(in, inputBatch(next, next)); !errors.Is(err, ErrVoided) {
			t.Errorf("round %d: after the failure %v", round, err)
		}
		if round == 2 {
			break
		}
		// Space comes back: the log may be emptied into the database, and Reset finds that writes work.
		if err := os.Truncate(ballast, int64(1-round)*(512<<10)); err != nil {
			t.Fatal(err)
		}
		if _, last, err := in.Reset(); err != nil || last != durable[len(durable)-1] {
			t.Fatalf("round %d: reset: input %d, %v; want %d", round, last, err, durable[len(durable)-1])
		}
		next = in.LastInput() + 1
		mustPersist(t, in, inputBatch(next, next))
		durable = append(durable, next)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	if _, _, err := in.Reset(); err != nil && !errors.Is(err, ErrDiskFull) {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil && !errors.Is(err, ErrDiskFull) {
		t.Fatal(err)
	}
	r := mustVerify(t, db.dir)
	if len(r.Instances) != 1 || r.Instances[0].LastInput != durable[len(durable)-1] {
		t.Errorf("the ledger ends at input %+v, want %d", r.Instances, durable[len(durable)-1])
	}
}
