package statedb

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/msup/msup/ipc"
)

// flipAt inverts bytes of a file.
func flipAt(t testing.TB, path string, offsets ...int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, off := range offsets {
		var b [1]byte
		if _, err := f.ReadAt(b[:], off); err != nil {
			t.Fatal(err)
		}
		b[0] ^= 0xff
		if _, err := f.WriteAt(b[:], off); err != nil {
			t.Fatal(err)
		}
	}
}

// The bytes are put together here from the words of FORMAT.md.
//
// Proves: RS-5
func TestMarkGolden(t *testing.T) {
	r := markRecord{lineage: ipc.Lineage{1, 2}, generation: 3, head: Head{RowNo: 4, Hash: ipc.Digest{5}}, epoch: 6, durability: Process}
	want := []byte("msm1")
	want = append(want, r.lineage[:]...)
	want = append(want, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 4)
	want = append(want, r.head.Hash[:]...)
	want = append(want, 0, 0, 0, 0, 0, 0, 0, 6, 1)
	if len(want) != 77 {
		t.Fatalf("%d bytes", len(want))
	}
	want = binary.BigEndian.AppendUint32(want, crc32.Checksum(want, crc32.MakeTable(crc32.Castagnoli)))
	want = append(want, make([]byte, 512-81)...)
	if got := r.encode(); !bytes.Equal(got, want) {
		t.Errorf("got  %x\nwant %x", got, want)
	}
	if got, ok := decodeMark(want); !ok || got != r {
		t.Errorf("decoded %+v, %v", got, ok)
	}
	for i := range 81 {
		torn := bytes.Clone(want)
		torn[i] ^= 0x40
		if _, ok := decodeMark(torn); ok {
			t.Errorf("taken with byte %d changed", i)
		}
	}
}

// Proves: ST-4, NN-3
func TestMarkFindsLostRows(t *testing.T) {
	// The instance that is damaged has number 2: its records lie 1024 bytes into the mark.
	type files struct{ dir, mark, old string }
	for name, c := range map[string]struct {
		damage func(t *testing.T, f files)
		want   error
	}{
		"untouched":  {func(*testing.T, files) {}, nil},
		"one record": {func(t *testing.T, f files) { flipAt(t, f.mark, 1024+30) }, nil},
		"both records": {func(t *testing.T, f files) {
			flipAt(t, f.mark, 1024+30, 1024+512+30)
		}, ErrMark},
		"mark removed": {func(t *testing.T, f files) {
			if err := os.Remove(f.mark); err != nil {
				t.Fatal(err)
			}
		}, ErrMark},
		"older ledger": {func(t *testing.T, f files) {
			data, err := os.ReadFile(f.old)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(f.dir, "ledger.db"), data, 0o600); err != nil {
				t.Fatal(err)
			}
		}, ErrRowsLost},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			f := files{dir, filepath.Join(dir, "mark"), filepath.Join(t.TempDir(), "old.db")}
			db := open(t, dir, Options{})
			fill(t, openInstance(t, db, "good"), 2)
			in := openInstance(t, db, "i")
			fill(t, in, 3)
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			data, err := os.ReadFile(filepath.Join(dir, "ledger.db"))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(f.old, data, 0o600); err != nil {
				t.Fatal(err)
			}
			db = open(t, dir, Options{})
			fill(t, openInstance(t, db, "i"), 3)
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			c.damage(t, f)
			before := snapshot(t, dir)
			for range 2 {
				db, err = Open(dir, Options{Logger: quiet()})
				if err != nil {
					t.Fatal(err)
				}
				in, err = db.OpenInstance(address("i"))
				if c.want == nil {
					if err != nil || in.LastInput() != 6 {
						t.Errorf("got %v", err)
					}
				} else {
					var e *Error
					if !errors.Is(err, c.want) || !errors.As(err, &e) || e.Evidence == "" {
						t.Fatalf("got %v, want %v with evidence", err, c.want)
					}
					if got := snapshot(t, e.Evidence); got != before {
						t.Error("the evidence is not what stood there before the start")
					}
				}
				if name != "mark removed" {
					fill(t, openInstance(t, db, "good"), 1) // the other instance goes on
				}
				if err := db.Close(); err != nil {
					t.Fatal(err)
				}
				if entries, err := os.ReadDir(filepath.Join(dir, "evidence")); c.want != nil && (err != nil || len(entries) == 0) {
					t.Errorf("evidence folder: %v, %v", entries, err)
				} else if name == "both records" && len(entries) != 1 {
					t.Errorf("a second start copied the evidence again: %d folders", len(entries))
				}
			}
		})
	}
}

// An instance that only the mark remembers must not come back under a new lineage, with the same steps and other keys.
//
// Proves: ST-4, GT-6
func TestLostInstanceIsNotCreatedAnew(t *testing.T) {
	dir := t.TempDir()
	db := open(t, dir, Options{})
	fill(t, openInstance(t, db, "first"), 1)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	old, err := os.ReadFile(filepath.Join(dir, "ledger.db"))
	if err != nil {
		t.Fatal(err)
	}
	db = open(t, dir, Options{})
	fill(t, openInstance(t, db, "second"), 1)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "ledger.db"), old, 0o600); err != nil {
		t.Fatal(err)
	}
	db = open(t, dir, Options{})
	if _, err := db.OpenInstance(address("second")); !errors.Is(err, ErrRowsLost) {
		t.Errorf("got %v", err)
	}
	fill(t, openInstance(t, db, "first"), 1)
}

// Proves: LS-3
func TestLostEpochIsFound(t *testing.T) {
	dir := t.TempDir()
	db := open(t, dir, Options{})
	in := openInstance(t, db, "i")
	if _, err := in.NextEpoch(LeaseRow{}); err != nil {
		t.Fatal(err)
	}
	if _, err := in.NextEpoch(LeaseRow{}); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	c, err := openConn(filepath.Join(dir, "ledger.db"), false)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.script("DELETE FROM leases WHERE id = (SELECT max(id) FROM leases)"); err != nil {
		t.Fatal(err)
	}
	if err := c.close(); err != nil {
		t.Fatal(err)
	}
	db = open(t, dir, Options{})
	if _, err := db.OpenInstance(address("i")); !errors.Is(err, ErrRowsLost) {
		t.Errorf("got %v", err)
	}
}

// A power cut under durability process may leave the mark ahead; the refusal has to say so.
//
// Proves: ST-4
func TestMarkAheadUnderProcessDurabilityNamesTheCause(t *testing.T) {
	dir := t.TempDir()
	db := open(t, dir, Options{Durability: Process})
	in := openInstance(t, db, "i")
	fill(t, in, 2)
	rec, ok := db.mark.get(in.st.id)
	if !ok {
		t.Fatal("no record")
	}
	rec.head.RowNo++
	if err := db.mark.write(in.st.id, rec); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	db = open(t, dir, Options{})
	_, err := db.OpenInstance(address("i"))
	if !errors.Is(err, ErrRowsLost) || !contains(err, `durability was "process": a power cut explains it`) {
		t.Errorf("got %v", err)
	}
}

// Proves: RS-5
func TestMarkThatCannotBeWrittenFailsClosedAndHeals(t *testing.T) {
	db := open(t, t.TempDir(), Options{})
	in := openInstance(t, db, "i")
	fill(t, in, 1)
	good := db.mark.f
	bad, err := os.Open(good.Name()) // read-only: writing fails as on a disk gone read-only
	if err != nil {
		t.Fatal(err)
	}
	swap := func(f *os.File) {
		db.mark.mu.Lock()
		defer db.mark.mu.Unlock()
		db.mark.f = f
	}
	swap(bad)
	if _, err := persist(in, inputBatch(2, 2)); err == nil {
		t.Error("reported without a mark")
	}
	if _, err := persist(in, inputBatch(3, 3)); !errors.Is(err, ErrVoided) {
		t.Errorf("got %v", err)
	}
	swap(good) // bad stays open: a sync of it may be under way
	// The batch is in the ledger: Reset says so, and the caller goes on after it.
	_, last, err := in.Reset()
	if err != nil || last != 2 {
		t.Fatalf("reset: %d, %v", last, err)
	}
	mustPersist(t, in, inputBatch(3, 3))
	if rec, _ := db.mark.get(in.st.id); rec.head != in.Head() {
		t.Errorf("mark %v, head %v", rec.head, in.Head())
	}
	mustVerify(t, db.dir)
}

// Readers that overlap leave no moment without one, and would keep the log from ever starting over.
//
// Proves: RS-5
func TestLogIsEmptiedBesideReadersAndWriters(t *testing.T) {
	db := open(t, t.TempDir(), Options{Durability: Process, WALTarget: 64 << 10})
	in := openInstance(t, db, "i")
	fill(t, in, 500)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				next := ipc.InputNo(1)
				err := in.ReadInputs(1, func(first, last ipc.InputNo, _ []byte) error {
					if first != next {
						return errors.New("out of order")
					}
					next = last + 1
					return nil
				})
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	before := db.Stats().Emptied
	for end := time.Now().Add(20 * time.Second); db.Stats().Emptied < before+5 && time.Now().Before(end); {
		fill(t, in, 20)
	}
	close(stop)
	wg.Wait()
	if s := db.Stats(); s.Emptied < before+5 || s.WALBytes < s.Commits*walFrameBytes || s.WALSize > s.WALBytes {
		t.Errorf("stats %+v", s)
	}
	mustVerify(t, db.dir)
}

// Proves: RS-5
func TestShortReadersWaitForTheEmptyingOfTheLog(t *testing.T) {
	db := open(t, t.TempDir(), Options{Durability: Process, WALTarget: 1})
	in := openInstance(t, db, "i")
	c, err := db.read.acquire()
	if err != nil {
		t.Fatal(err)
	}
	fill(t, in, 1) // wakes the keeper, which waits for the reader
	wait := func(what string, done func() bool) {
		t.Helper()
		for range 10_000 {
			if done() {
				return
			}
			time.Sleep(time.Millisecond)
		}
		t.Error(what)
	}
	free := func() bool {
		ok := db.read.gate.TryRLock()
		if ok {
			db.read.gate.RUnlock()
		}
		return ok
	}
	wait("the next reader was let in before the log was emptied", func() bool { return !free() })
	long, err := db.read.acquireLong()
	if err != nil {
		t.Fatal(err)
	}
	fill(t, in, 1) // the writer does not wait for readers
	db.read.releaseLong(long)
	db.read.release(c)
	wait("readers are still kept out", free)
	wait("the log never started over", func() bool { fill(t, in, 1); return db.Stats().Emptied > 0 })
}

// A start that was killed between the ledger and the checkpoints lost nothing: there was no instance yet.
//
// Proves: NN-3, ST-4
func TestVerifyAfterAnUnfinishedStart(t *testing.T) {
	dir := t.TempDir()
	db := open(t, dir, Options{})
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	slots := filepath.Join(dir, "checkpoints.db")
	if err := os.Remove(slots); err != nil {
		t.Fatal(err)
	}
	mustVerify(t, dir)
	db = open(t, dir, Options{})
	fill(t, openInstance(t, db, "i"), 1)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(slots); err != nil {
		t.Fatal(err)
	}
	r, err := Verify(dir)
	if err != nil || len(r.Problems) != 1 || !errors.Is(r.Problems[0], ErrCorrupt) {
		t.Errorf("checkpoints that are missing beside an instance: %+v, %v", r, err)
	}
}

// Proves: NN-3
func TestVerifyBesideARunningSupervisor(t *testing.T) {
	db := open(t, t.TempDir(), Options{Durability: Process, WALTarget: 64 << 10})
	in := openInstance(t, db, "i")
	fill(t, in, 1)
	stop, done := make(chan struct{}), make(chan error, 1)
	go func() {
		for n := in.LastInput() + 1; ; n++ {
			select {
			case <-stop:
				done <- nil
				return
			default:
			}
			_, err := persist(in, inputBatch(n, n))
			if err == nil && n%20 == 0 {
				if err = in.SaveCheckpoint(checkpointHere(in, "s")); err == nil {
					_, err = in.Prune()
				}
			}
			if err != nil {
				done <- err
				return
			}
		}
	}()
	for range 20 {
		mustVerify(t, db.dir)
	}
	close(stop)
	if err := <-done; err != nil {
		t.Error(err)
	}
}
