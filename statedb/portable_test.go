package statedb

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/msup/msup/ipc"
)

// lived fills a directory with all that a directory can hold: two instances, one of them pruned with an open intent below its anchor,
// statuses, epochs, both slots. It gives the report of the closed directory.
func lived(t testing.TB, dir string) *Report {
	t.Helper()
	db := open(t, dir, Options{Durability: Process})
	for _, name := range []string{"a", "b"} {
		in := openInstance(t, db, name)
		for range 2 {
			if _, err := in.NextEpoch(LeaseRow{PID: 7, StartTime: 8, BootID: "boot", Nonce: ipc.Nonce{9}}); err != nil {
				t.Fatal(err)
			}
		}
		b := inputBatch(1, 2)
		b.Intents = []IntentRow{intentRow(1), intentRow(2), intentRow(3)}
		b.Statuses = []StatusRow{{Key: nthKey(1), Status: ipc.StatusStaged, CoreTS: -4, Reason: "kept \xff\x00"},
			{Key: nthKey(2), Status: ipc.StatusStaged}, {Key: nthKey(2), Status: ipc.StatusApproved}, {Key: nthKey(2), Status: ipc.StatusCommitted, Reason: "done"}}
		mustPersist(t, in, b)
		for n := range 3 {
			fill(t, in, 2)
			h, err := in.Flush()
			if err != nil {
				t.Fatal(err)
			}
			err = in.SaveCheckpoint(Checkpoint{State: fmt.Appendf(nil, "state %d", n), StateSchemaVersion: 3, InputNo: in.LastInput(), Step: ipc.Step(n),
				Core: []byte("{}"), Head: h, Cursors: []ipc.Cursor{{Source: "i", Epoch: 1, Seq: uint64(n)}}})
			if err != nil {
				t.Fatal(err)
			}
		}
		if name == "a" {
			if n, err := in.Prune(); err != nil || n == 0 {
				t.Fatalf("prune: %d, %v", n, err)
			}
		}
		fill(t, in, 3)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	return mustVerify(t, dir)
}

func export(t testing.TB, dir string) []byte {
	t.Helper()
	v, err := OpenView(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	var b bytes.Buffer
	info, err := v.Export(&b)
	if err != nil || len(info.LeftOut) > 0 || int64(bytes.Count(b.Bytes(), []byte("\n"))) != info.Lines+1 {
		t.Fatalf("export: %+v, %v", info, err)
	}
	return b.Bytes()
}

// equalReports compares what two directories hold.
func equalReports(t testing.TB, got, want *Report) {
	t.Helper()
	if len(got.Instances) != len(want.Instances) {
		t.Fatalf("%d instances, want %d", len(got.Instances), len(want.Instances))
	}
	for i := range want.Instances {
		if g, w := fmt.Sprintf("%+v", got.Instances[i]), fmt.Sprintf("%+v", want.Instances[i]); g != w {
			t.Errorf("got  %s\nwant %s", g, w)
		}
	}
}

// What was exported and imported is the same, to the byte of a second export, and goes on like the original.
//
// Proves: ST-4, NN-3, NN-7
func TestExportAndImport(t *testing.T) {
	from, to := t.TempDir(), filepath.Join(t.TempDir(), "new", "state")
	want := lived(t, from)
	file := export(t, from)
	got, err := Import(bytes.NewReader(file), to)
	if err != nil {
		t.Fatal(err)
	}
	equalReports(t, got, want)
	if again := export(t, to); !bytes.Equal(again, file) {
		t.Error("the import exports otherwise")
	}
	db := open(t, to, Options{})
	for _, name := range []string{"a", "b"} {
		in := openInstance(t, db, name)
		if in.Created() || in.Epoch() != 2 {
			t.Errorf("%s: created %v, epoch %d", name, in.Created(), in.Epoch())
		}
		open, err := in.OpenIntents()
		if err != nil || len(open) != 1 || open[0].Key != nthKey(1) {
			t.Errorf("%s: open intents %v, %v", name, open, err)
		}
		fill(t, in, 2)
	}
	if entries, err := os.ReadDir(filepath.Dir(to)); err != nil || len(entries) != 1 {
		t.Errorf("beside the import: %v, %v", entries, err)
	}
}

// Proves: ST-4, ST-5
func TestImportRefuses(t *testing.T) {
	from := t.TempDir()
	lived(t, from)
	file := export(t, from)
	lines := bytes.SplitAfter(file, []byte("\n"))
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "notes.txt"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	replaced := func(old, new string) []byte { return bytes.Replace(file, []byte(old), []byte(new), 1) }
	for name, c := range map[string]struct {
		file []byte
		to   string
		want error
		says string
	}{
		"a place that holds something": {file, full, ErrNotEmpty, "it holds notes.txt"},
		"a file's place":               {file, filepath.Join(full, "notes.txt"), ErrNotEmpty, "it is a file"},
		"another version":              {replaced(`"version":1`, `"version":2`), "", ErrVersion, "file version 2"},
		"another schema":               {replaced(`"ledger_schema":1`, `"ledger_schema":9`), "", ErrVersion, "schemas 9"},
		"no export":                    {[]byte("{\"a\":1}\n"), "", ErrCorrupt, "line 1"},
		"another first line":           {lines[1], "", ErrForeign, "msup_state"},
		"nothing":                      {nil, "", ErrCorrupt, "line 1"},
		"cut off within a line":        {file[:len(file)/2], "", ErrCorrupt, "cut off"},
		"cut off behind a line":        {bytes.Join(lines[:len(lines)-3], nil), "", ErrCorrupt, "cut off"},
		"a line left out":              {bytes.Join(append(lines[:5:5], lines[6:]...), nil), "", ErrCorrupt, "line"},
		"another number of a step":     {replaced(`"step":3`, `"step":4`), "", ErrCorrupt, "line"},
		"something behind":             {append(bytes.Clone(file), "x\n"...), "", ErrCorrupt, "follows the last line"},
		"an endless line":              {bytes.Repeat([]byte("["), maxPortableLine+2), "", ErrCorrupt, "longer than"},
	} {
		t.Run(name, func(t *testing.T) {
			parent := t.TempDir()
			to := c.to
			if to == "" {
				to = filepath.Join(parent, "state")
			}
			_, err := Import(bytes.NewReader(c.file), to)
			var e *Error
			if !errors.Is(err, c.want) || !errors.As(err, &e) || e.Remedy == "" || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want %v saying %q", err, c.want, c.says)
			}
			if entries, err := os.ReadDir(parent); err != nil || len(entries) != 0 {
				t.Errorf("left behind: %v, %v", entries, err)
			}
		})
	}
}

// Proves: ST-4
func TestDamagedExportIsRefused(t *testing.T) {
	from := t.TempDir()
	lived(t, from)
	file := export(t, from)
	rng := rand.New(rand.NewPCG(seedOf(t), 3))
	for n := range trialsOf(t, 60) {
		bad := bytes.Clone(file)
		at := rng.IntN(len(bad) - 8)
		for i := range 8 {
			bad[at+i] ^= byte(1 + rng.IntN(255))
		}
		to := filepath.Join(t.TempDir(), "state")
		if _, err := Import(bytes.NewReader(bad), to); err == nil {
			t.Errorf("trial %d: 8 bytes at %d were changed, and it was imported", n, at)
		} else if _, err := os.Stat(to); err == nil {
			t.Errorf("trial %d: refused, and there it is", n)
		}
	}
}

// Proves: ST-4, NN-3
func TestExportOfDamageIsRefusedAndABrokenSlotIsLeftOut(t *testing.T) {
	dir := t.TempDir()
	lived(t, dir)
	break1 := func(file, sql string) {
		t.Helper()
		c, err := openConn(filepath.Join(dir, file), false)
		if err != nil {
			t.Fatal(err)
		}
		if err := both(c.script(sql), c.close()); err != nil {
			t.Fatal(err)
		}
	}
	break1("checkpoints.db", "UPDATE slots SET body = zeroblob(200) WHERE rowid = (SELECT min(rowid) FROM slots)")
	v, err := OpenView(dir)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	info, err := v.Export(&b)
	if err != nil || len(info.LeftOut) != 1 {
		t.Errorf("with a broken slot: %+v, %v", info, err)
	}
	to := filepath.Join(t.TempDir(), "state")
	if r, err := Import(bytes.NewReader(b.Bytes()), to); err != nil || len(r.Instances[0].Checkpoints)+len(r.Instances[1].Checkpoints) != 3 {
		t.Errorf("imported %+v, %v", r, err)
	}
	break1("ledger.db", "UPDATE rows SET payload = zeroblob(40) WHERE id = (SELECT max(id) FROM rows)")
	if _, err := v.Export(&b); !errors.Is(err, ErrChain) {
		t.Errorf("with a broken row: %v", err)
	}
	if err := v.Close(); err != nil {
		t.Error(err)
	}
	if _, err := Backup(dir, filepath.Join(t.TempDir(), "copy")); err == nil {
		t.Error("a damaged directory was backed up as if it were whole")
	}
}

// A copy that is taken while others write holds all that was reported before it began, and verifies.
//
// Proves: ST-3, ST-4, NN-3
func TestBackupBesideARunningSupervisor(t *testing.T) {
	dir := t.TempDir()
	db := open(t, dir, Options{Durability: Process, WALTarget: 64 << 10})
	stop := make(chan struct{})
	done := make(chan error, 2)
	var reported [2]atomic.Uint64
	for i := range 2 {
		in := openInstance(t, db, fmt.Sprint("i", i))
		if _, err := in.NextEpoch(LeaseRow{}); err != nil {
			t.Fatal(err)
		}
		go func() { done <- writeUntil(in, stop, &reported[i]) }()
	}
	for n := range 12 {
		var least [2]uint64
		for i := range least {
			least[i] = reported[i].Load()
		}
		to := filepath.Join(t.TempDir(), "copy")
		r, err := Backup(dir, to)
		if err != nil {
			t.Fatalf("backup %d: %v", n, err)
		}
		for i, in := range r.Instances {
			if uint64(in.LastInput) < least[i] || in.Mark != in.Head {
				t.Errorf("backup %d: input %d, %d was reported; mark %v, head %v", n, in.LastInput, least[i], in.Mark, in.Head)
			}
		}
		if n%4 == 0 { // it starts
			copied := open(t, to, Options{})
			fill(t, openInstance(t, copied, "i0"), 1)
		}
		v, err := OpenView(dir) // beside the writers too
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range v.Addresses() {
			if r, err := v.OpenInstance(a); err != nil {
				t.Errorf("view %d: %v", n, err)
			} else if _, problems := r.Checkpoints(); len(problems) > 0 {
				t.Errorf("view %d: %v", n, problems)
			}
		}
		if err := v.Close(); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func writeUntil(in *Instance, stop chan struct{}, reported *atomic.Uint64) error {
	for n := ipc.InputNo(1); ; n++ {
		select {
		case <-stop:
			return nil
		default:
		}
		b := inputBatch(n, n)
		if n%3 == 0 {
			b.Intents = []IntentRow{intentRow(int(n))}
			b.Statuses = []StatusRow{{Key: nthKey(int(n)), Status: ipc.StatusStaged}, {Key: nthKey(int(n)), Status: ipc.StatusApproved}, {Key: nthKey(int(n)), Status: ipc.StatusCommitted}}
		}
		h, err := persist(in, b)
		if err != nil {
			return err
		}
		reported.Store(uint64(n))
		if n%20 == 0 {
			if err := in.SaveCheckpoint(Checkpoint{State: make([]byte, 5000), InputNo: n, Head: h}); err != nil {
				return err
			}
		}
		if n%60 == 0 {
			if _, err := in.Prune(); err != nil {
				return err
			}
		}
	}
}

// A backup on a read-only mount can be looked at, exported and copied.
//
// Proves: ST-4, RS-5
func TestReadOnlyDirectoryCanBeLookedAt(t *testing.T) {
	for _, withLogs := range []bool{false, true} {
		lookAtReadOnly(t, withLogs)
	}
}

func lookAtReadOnly(t *testing.T, withLogs bool) {
	dir := mount(t, "size=8m")
	want := lived(t, dir)
	file := export(t, dir)
	if !withLogs {
		if err := sweep(dir); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mount("none", dir, "tmpfs", syscall.MS_REMOUNT|syscall.MS_RDONLY, "size=8m"); err != nil {
		t.Fatal(err)
	}
	equalReports(t, mustVerify(t, dir), want)
	if again := export(t, dir); !bytes.Equal(again, file) {
		t.Error("it exports otherwise")
	}
	got, err := Backup(dir, filepath.Join(t.TempDir(), "copy"))
	if err != nil {
		t.Fatal(err)
	}
	equalReports(t, got, want)
	if _, err := Import(bytes.NewReader(file), filepath.Join(dir, "new")); !errors.Is(err, ErrReadOnly) {
		t.Errorf("import there: %v", err)
	}
}

// Proves: RS-5
func TestImportAndBackupOnAFullDiskLeaveNothing(t *testing.T) {
	from := t.TempDir()
	lived(t, from)
	file := export(t, from)
	dir := mount(t, "size=128k")
	for name, f := range map[string]func(string) (*Report, error){
		"import": func(to string) (*Report, error) { return Import(bytes.NewReader(file), to) },
		"backup": func(to string) (*Report, error) { return Backup(from, to) },
	} {
		if _, err := f(filepath.Join(dir, "state")); !errors.Is(err, ErrDiskFull) {
			t.Errorf("%s: %v", name, err)
		}
		if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
			t.Errorf("%s: left %v, %v", name, entries, err)
		}
	}
}

// Proves: RS-5, ST-5
func TestFreshLedgerIsNotPutAmongForeignFiles(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "thesis.txt"), []byte("years of work"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Open(dir, Options{Logger: quiet()})
	if !errors.Is(err, ErrForeign) || !contains(err, "thesis.txt") || !contains(err, "--state") {
		t.Errorf("got %v", err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("there is %v, %v", entries, err)
	}
	own := t.TempDir()
	for _, name := range []string{"logs", "i", "evidence", "lost+found"} {
		if err := os.Mkdir(filepath.Join(own, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	db := open(t, own, Options{})
	fill(t, openInstance(t, db, "i"), 1)
}

// Proves: RS-5
func TestDirectoryWithoutPermissionIsRefused(t *testing.T) {
	base, err := os.MkdirTemp("/tmp", "statedb-perm-") // t.TempDir's parents are closed to others
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(base)
	dir := filepath.Join(base, "state")
	lived(t, dir)
	before := snapshot(t, dir)
	if err := os.Chmod(base, 0o755); err != nil {
		t.Fatal(err)
	}
	self, err := os.ReadFile(os.Args[0])
	if err == nil {
		err = os.WriteFile(filepath.Join(base, "self"), self, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, mode := range []os.FileMode{0o700, 0o755} { // closed; readable as a folder, its files are not
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
		cmd := child("denied", dir)
		cmd.Path = filepath.Join(base, "self")
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		out, err := cmd.CombinedOutput()
		if err != nil || strings.Count(string(out), "read-only: true") != 3 || !strings.Contains(string(out), dir) {
			t.Errorf("%v: %v\n%s", mode, err, out)
		}
	}
	if snapshot(t, dir) != before {
		t.Error("the refused directory was changed")
	}
}

func childDenied(dir string) error {
	for _, f := range []func() error{
		func() error { _, err := Open(dir, Options{Logger: quiet()}); return err },
		func() error { _, err := OpenView(dir); return err },
		func() error { _, err := Verify(dir); return err },
	} {
		err := f()
		fmt.Println(err, "read-only:", errors.Is(err, ErrReadOnly))
	}
	return nil
}

// FuzzPortableLine gives the decoder of portable files anything: a row that it takes is the row that fill writes.
func FuzzPortableLine(f *testing.F) {
	from := f.TempDir()
	lived(f, from)
	for _, l := range bytes.SplitAfter(export(f, from), []byte("\n")) {
		f.Add(l)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		p := portableReader{r: bufio.NewReader(bytes.NewReader(data)), sum: sha256.New()}
		l, _, err := p.next()
		if err != nil || l.Row == nil {
			return
		}
		r := row{no: l.Row.Row, input: l.Row.Input}
		if err := l.Row.encode(&r, 1); err != nil {
			return
		}
		again := portableRow{Row: r.no, Input: r.input}
		if err := again.fill(&r); err != nil {
			return // a payload that no ledger holds; walking the chain refuses it
		}
		back := row{no: r.no, input: r.input}
		if err := again.encode(&back, 1); err != nil || back.kind != r.kind || !bytes.Equal(back.payload, r.payload) || !bytes.Equal(back.ikey, r.ikey) {
			t.Errorf("%s: %v, %v, %v", data, r, back, err)
		}
	})
}
