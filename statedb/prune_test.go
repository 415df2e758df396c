package statedb

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/msup/msup/ipc"
)

// prunable gives an instance with two checkpoints, the older one after n rows of inputs of some bytes.
func prunable(t testing.TB, db *DB, name string, n, size int) *Instance {
	t.Helper()
	in := openInstance(t, db, name)
	var wg sync.WaitGroup
	first := in.LastInput()
	for i := range n {
		no := first + ipc.InputNo(i) + 1
		wg.Add(1)
		in.Persist(&Batch{FirstInput: no, LastInput: no, Inputs: make([]byte, size), Done: func(_ Head, err error) {
			if err != nil {
				t.Errorf("input %d: %v", no, err)
			}
			wg.Done()
		}})
	}
	wg.Wait()
	mustSave(t, in, "older")
	fill(t, in, 1)
	mustSave(t, in, "newer")
	return in
}

// Proves: RS-5, ST-4
func TestPruneKeepsItsTransactionsSmall(t *testing.T) {
	for name, c := range map[string]struct {
		rows, size int
		commits    uint64
	}{
		"nothing":  {0, 0, 0},
		"few rows": {7, 10, 1},
		"rows":     {3 * PruneRowsPerTx, 10, 3},
		"one more": {3*PruneRowsPerTx + 1, 10, 4},
		"bytes":    {10, 1 << 20, 4}, // 3 rows of a little more than a megabyte in each
	} {
		t.Run(name, func(t *testing.T) {
			db := open(t, t.TempDir(), Options{Durability: Process})
			in := prunable(t, db, "i", c.rows, c.size)
			before := db.Stats()
			n, err := in.Prune()
			if err != nil || n != c.rows {
				t.Errorf("pruned %d of %d rows, %v", n, c.rows, err)
			}
			if got := db.Stats().Commits - before.Commits; got != c.commits {
				t.Errorf("%d commits, want %d", got, c.commits)
			}
			before = db.Stats()
			if n, err := in.Prune(); n != 0 || err != nil {
				t.Errorf("again: %d, %v", n, err)
			}
			if after := db.Stats(); after.Operations != before.Operations {
				t.Errorf("with nothing to do the writer was asked %d times", after.Operations-before.Operations)
			}
			mustVerify(t, db.dir)
		})
	}
}

// Many instances prune at once, as after a common checkpoint interval: their transactions must not add up in one commit, and most
// commits of the others must be free of them.
//
// Proves: RS-5
func TestPruneDoesNotCrowdTheWriter(t *testing.T) {
	var with, alone atomic.Int64 // commits with and without pruning: a batch of the other instance adds one row
	db := open(t, t.TempDir(), Options{Durability: Process, Observer: func(c CommitInfo) {
		if int64(c.Operations) > c.Rows {
			with.Add(1)
		} else {
			alone.Add(1)
		}
	}})
	const instances, each = 4, 3
	var ins [instances]*Instance
	for i := range ins {
		ins[i] = prunable(t, db, fmt.Sprint("i", i), each*PruneRowsPerTx, 10)
	}
	other := openInstance(t, db, "other")
	db.writer.tx.Lock() // the writer takes one operation and waits
	var wg sync.WaitGroup
	for _, in := range ins {
		wg.Go(func() {
			if n, err := in.Prune(); n != each*PruneRowsPerTx || err != nil {
				t.Errorf("pruned %d, %v", n, err)
			}
		})
	}
	time.Sleep(200 * time.Millisecond)
	if n := db.Stats().QueueLength; n != 0 {
		t.Errorf("%d pruning transactions wait beside the running one", n)
	}
	with.Store(0)
	alone.Store(0)
	db.writer.tx.Unlock()
	pruned := make(chan struct{})
	go func() { wg.Wait(); close(pruned) }()
	for running := true; running; {
		fill(t, other, 1)
		select {
		case <-pruned:
			running = false
		default:
		}
	}
	if with.Load() != instances*each || alone.Load() < instances*each {
		t.Errorf("%d commits with pruning, %d without", with.Load(), alone.Load())
	}
	mustVerify(t, db.dir)
}

// Proves: RS-5
func TestPruningRests(t *testing.T) {
	var turn pruneTurn
	var started, ended []time.Time
	for _, took := range []time.Duration{30 * time.Millisecond, 500 * time.Millisecond, 0} {
		err := turn.do(func() error {
			started = append(started, time.Now())
			time.Sleep(took)
			ended = append(ended, time.Now())
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if rest := started[1].Sub(ended[0]); rest < 30*time.Millisecond {
		t.Errorf("rested %v after a transaction of 30 ms", rest)
	}
	if rest := started[2].Sub(ended[1]); rest < maxPruneRest || rest > 400*time.Millisecond {
		t.Errorf("rested %v after one of half a second, at most %v are due", rest, maxPruneRest)
	}
}

// Every state that Prune leaves between two of its transactions must be one that the next start accepts, also when what it deletes first
// are rows kept below the anchor, more than fit into one.
//
// Proves: ST-4, NN-3
func TestPruneIsValidAfterEveryTransaction(t *testing.T) {
	var look func() // runs in the writer, after every commit
	db := open(t, t.TempDir(), Options{Durability: Process, Observer: func(CommitInfo) {
		if look != nil {
			look()
		}
	}})
	in := openInstance(t, db, "i")
	const intents = 2000
	for from := 0; from < intents; from += 1000 {
		b := &Batch{Urgent: true}
		for n := from; n < from+1000; n++ {
			b.Intents = append(b.Intents, intentRow(n))
			b.Statuses = append(b.Statuses, StatusRow{Key: nthKey(n), Status: ipc.StatusStaged})
		}
		mustPersist(t, in, b)
	}
	prunable(t, db, "i", 10, 10)
	if n, err := in.Prune(); n != 10 || err != nil {
		t.Fatalf("pruned %d, %v", n, err)
	}
	b := &Batch{Urgent: true}
	for n := range intents {
		if n%10 != 0 {
			b.Statuses = append(b.Statuses, StatusRow{Key: nthKey(n), Status: ipc.StatusExpired})
		}
	}
	mustPersist(t, in, b)
	prunable(t, db, "i", 1500, 10)
	c, err := openConn(db.path("ledger.db"), true)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	looks := 0
	look = func() {
		looks++
		if _, _, err := readInstance(c, &state{id: in.st.id, addr: in.st.addr, lineage: in.st.lineage}, nil); err != nil {
			t.Errorf("after transaction %d: %v", looks, err)
		}
	}
	// 1800 intents with two statuses each, one of them still above the anchor, two batches of inputs between the checkpoints, 1500 rows.
	if n, err := in.Prune(); n != 3*1800+1501 || err != nil || looks != 7 {
		t.Errorf("pruned %d in %d transactions, %v", n, looks, err)
	}
	if got, err := in.OpenIntents(); err != nil || len(got) != intents/10 {
		t.Errorf("%d open intents, %v", len(got), err)
	}
}

// An intent becomes final, and is pruned, between the look at what is open and the look at its row.
//
// Proves: ST-4
func TestOpenIntentThatIsPrunedMeanwhileIsNotMissed(t *testing.T) {
	db := open(t, t.TempDir(), Options{Durability: Process})
	in := openInstance(t, db, "i")
	b := inputBatch(1, 1)
	for n := range 2 {
		b.Intents = append(b.Intents, intentRow(n))
		b.Statuses = append(b.Statuses, StatusRow{Key: nthKey(n), Status: ipc.StatusStaged})
	}
	mustPersist(t, in, b)
	list := in.listOpen()
	mustPersist(t, in, &Batch{Urgent: true, Statuses: []StatusRow{{Key: nthKey(0), Status: ipc.StatusExpired}}})
	prunable(t, db, "i", 5, 10)
	if n, err := in.Prune(); n != 9 || err != nil {
		t.Fatalf("pruned %d, %v", n, err)
	}
	if got, err := in.readOpen(list); err != nil || len(got) != 1 || got[0].Key != nthKey(1) {
		t.Errorf("open intents %+v, %v", got, err)
	}
	list[1].rowNo += 1000 // a row that is open and not there
	if _, err := in.readOpen(list); !errors.Is(err, ErrChain) {
		t.Errorf("a lost one: %v", err)
	}
}

// Proves: ST-4
func TestRowsPrunedUnderAReaderAreNotLost(t *testing.T) {
	db := open(t, t.TempDir(), Options{Durability: Process})
	in := prunable(t, db, "i", 3*readPageRows, 10)
	read := 0
	err := in.ReadInputs(1, func(_, _ ipc.InputNo, _ []byte) error {
		if read++; read > 1 {
			return nil
		}
		_, err := in.Prune()
		return err
	})
	if !errors.Is(err, ErrPruned) || errors.Is(err, ErrChain) || read != readPageRows {
		t.Errorf("after %d batches: %v", read, err)
	}
}

// An intent that never had a status gets one while Prune, which has chosen its row already, waits for the writer.
//
// Proves: ST-4, GT-7
func TestPruneSparesAnIntentThatIsReopened(t *testing.T) {
	db := open(t, t.TempDir(), Options{Durability: Process})
	in := openInstance(t, db, "i")
	b := inputBatch(1, 1)
	b.Intents = []IntentRow{intentRow(1), intentRow(2)}
	mustPersist(t, in, b)
	in = prunable(t, db, "i", 5, 10)
	db.writer.tx.Lock()
	staged := make(chan error, 1)
	in.Persist(&Batch{Urgent: true, Statuses: []StatusRow{{Key: nthKey(1), Status: ipc.StatusStaged}}, Done: func(_ Head, err error) { staged <- err }})
	waitQueue(t, db, 0)
	pruned := make(chan error, 1)
	go func() {
		n, err := in.Prune()
		if err == nil && n != 7 { // 6 rows of inputs and intent 2
			err = fmt.Errorf("pruned %d rows", n)
		}
		pruned <- err
	}()
	waitQueue(t, db, 1)
	db.writer.tx.Unlock()
	if err := errors.Join(<-staged, <-pruned); err != nil {
		t.Fatal(err)
	}
	if got, err := in.OpenIntents(); err != nil || len(got) != 1 || got[0].Key != nthKey(1) || got[0].Status != ipc.StatusStaged {
		t.Errorf("open intents %+v, %v", got, err)
	}
	if _, err := in.Intent(nthKey(2)); !errors.Is(err, ErrUnknownKey) {
		t.Errorf("the other intent: %v", err)
	}
	mustVerify(t, db.dir)
}

// waitQueue waits until so many operations are queued behind the one that the writer has taken.
func waitQueue(t testing.TB, db *DB, n int) {
	t.Helper()
	for range 1000 {
		if db.Stats().QueueLength == n {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatalf("the queue never held %d operations", n)
}

// Whoever reads beside Prune gets what is asked for or learns that it is pruned; never that the chain is broken, which would halt the instance.
//
// Proves: ST-4
func TestReadersBesidePrune(t *testing.T) {
	db := open(t, t.TempDir(), Options{Durability: Process, WALTarget: 256 << 10})
	in := openInstance(t, db, "i")
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for name, read := range map[string]func() error{
		"inputs": func() error { return in.ReadInputs(1, func(_, _ ipc.InputNo, _ []byte) error { return nil }) },
		"recent": func() error {
			return in.ReadInputs(in.LastInput(), func(_, _ ipc.InputNo, _ []byte) error { return nil })
		},
		"intents": func() error { return in.Intents(IntentFilter{}, func(Intent) error { return nil }) },
		"open":    func() error { _, err := in.OpenIntents(); return err },
		"checkpoints": func() error {
			_, problems := in.Checkpoints()
			return errors.Join(problems...)
		},
		"one": func() error {
			one, err := in.Intent(nthKey(int(in.LastInput()/2) + 1))
			if err == nil && one.Status == ipc.StatusNotSeen {
				err = errors.New("an intent without the status that it had from the first")
			}
			return err
		},
	} {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := read(); err != nil && !errors.Is(err, ErrPruned) && !errors.Is(err, ErrUnknownKey) {
					t.Errorf("%s: %v", name, err)
					return
				}
			}
		})
	}
	for n := ipc.InputNo(1); n <= 3000; n++ {
		b := inputBatch(n, n)
		key := nthKey(int(n))
		b.Intents, b.Statuses = []IntentRow{intentRow(int(n))}, []StatusRow{{Key: key, Status: ipc.StatusStaged}}
		if n%7 != 0 {
			b.Statuses = append(b.Statuses, StatusRow{Key: key, Status: ipc.StatusWithdrawn})
		} else if n > 700 { // open for 700 inputs, kept below the anchor meanwhile
			b.Statuses = append(b.Statuses, StatusRow{Key: nthKey(int(n - 700)), Status: ipc.StatusExpired})
		}
		mustPersist(t, in, b)
		if n%100 == 0 {
			mustSave(t, in, "s")
			if _, err := in.Prune(); err != nil {
				t.Fatal(err)
			}
		}
	}
	close(stop)
	wg.Wait()
	mustVerify(t, db.dir)
}

// A row that was damaged while the ledger is open must not vanish under an anchor that declares the chain whole.
//
// Proves: ST-4, NN-3
func TestPruneDoesNotSealDamage(t *testing.T) {
	for name, sql := range map[string]string{
		"payload":   fmt.Sprint("UPDATE rows SET payload = x'00' WHERE id = ", 1<<40+40),
		"row":       fmt.Sprint("DELETE FROM rows WHERE id = ", 1<<40+40),
		"kept row":  fmt.Sprint("DELETE FROM rows WHERE id = ", 1<<40+3),
		"row moved": fmt.Sprint("UPDATE rows SET id = ", 1<<40+4, " WHERE id = ", 1<<40+3),
	} {
		t.Run(name, func(t *testing.T) {
			db := open(t, t.TempDir(), Options{Durability: Process})
			in := openInstance(t, db, "i")
			b := inputBatch(1, 1)
			b.Intents, b.Statuses = []IntentRow{intentRow(1)}, []StatusRow{{Key: nthKey(1), Status: ipc.StatusStaged}}
			mustPersist(t, in, b)
			prunable(t, db, "i", 20, 10)
			if n, err := in.Prune(); n != 21 || err != nil {
				t.Fatalf("pruned %d, %v", n, err)
			}
			prunable(t, db, "i", 30, 10)
			anchor := in.st.anchor
			c, err := openConn(db.path("ledger.db"), false)
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(c.script(sql), c.close()); err != nil {
				t.Fatal(err)
			}
			if n, err := in.Prune(); !errors.Is(err, ErrChain) {
				t.Errorf("pruned %d rows, %v", n, err)
			}
			if in.st.anchor != anchor {
				t.Error("the anchor moved")
			}
		})
	}
}
