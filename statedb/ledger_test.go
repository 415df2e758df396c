package statedb

import (
	"crypto/sha256"
	"database/sql/driver"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/msup/msup/ipc"
)

// Proves: RS-5
func TestChainGolden(t *testing.T) {
	var lineage ipc.Lineage
	for i := range lineage {
		lineage[i] = byte(i)
	}
	// The expected values were computed outside of Go, from the words of FORMAT.md.
	start := chainStart(lineage)
	if got, want := start.String(), "9c9a41b5a8074ac2efdfd43ef482d3431aead4bf2603b802ce6e4a53e1f8d0d0"; got != want {
		t.Errorf("head 0 = %s, want %s", got, want)
	}
	one := chainNext(start, 1, kindInputs, []byte("payload"))
	if got, want := one.String(), "73ef13c8fe850c1340426c253875e1d01eb04e1efa5b0540fa94413904eb56e9"; got != want {
		t.Errorf("head 1 = %s, want %s", got, want)
	}
}

// The chain is computed again from the stored payloads, without the package's own code.
//
// Proves: RS-5, GT-7
func TestStoredRowsFormTheChain(t *testing.T) {
	db := open(t, t.TempDir(), Options{})
	in := openInstance(t, db, "i")
	mustPersist(t, in, inputBatch(1, 3))
	b := inputBatch(4, 4)
	b.Intents = []IntentRow{intentRow(1)}
	b.Statuses = []StatusRow{{Key: nthKey(1), Status: ipc.StatusStaged, CoreTS: 9, Reason: "why"}}
	head := mustPersist(t, in, b)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	c, err := openConn(db.path("ledger.db"), true)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	lin := in.Lineage()
	want := sha256.Sum256([]byte("msup/1" + string(lin[:])))
	var kinds []int64
	var payloads []string
	err = c.query(func(v []driver.Value) error {
		var no [8]byte
		binary.BigEndian.PutUint64(no[:], uint64(v[0].(int64)&(1<<40-1)))
		want = sha256.Sum256(slices.Concat(want[:], no[:], []byte{byte(v[1].(int64))}, v[2].([]byte)))
		if got := v[3].([]byte); string(got) != string(want[:]) {
			return fmt.Errorf("row %d: head %x, want %x", v[0], got, want)
		}
		kinds = append(kinds, v[1].(int64))
		payloads = append(payloads, hex.EncodeToString(v[2].([]byte)))
		return nil
	}, 4, "SELECT id, kind, payload, head FROM rows ORDER BY id")
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(kinds, []int64{1, 1, 2, 3}) {
		t.Fatalf("kinds %v", kinds)
	}
	if head.RowNo != 4 || head.Hash != want {
		t.Errorf("Done gave %v, the chain ends in %x", head, want)
	}
	if wantInputs := "0000000000000001" + "0000000000000003" + "0000000000000000" + hex.EncodeToString([]byte("inputs 1 to 3")); payloads[0] != wantInputs {
		t.Errorf("inputs payload %s, want %s", payloads[0], wantInputs)
	}
	if wantStatus := hex.EncodeToString(slices.Concat([]byte("0000000000000001"), []byte{1}, []byte{0, 0, 0, 0, 0, 0, 0, 9}, make([]byte, 8), []byte("why"))); payloads[3] != wantStatus {
		t.Errorf("status payload %s, want %s", payloads[3], wantStatus)
	}
}

// Proves: RS-5, NN-3
func TestReadsBackWhatWasPersisted(t *testing.T) {
	db := open(t, t.TempDir(), Options{})
	in := openInstance(t, db, "i")
	if !in.Created() {
		t.Error("a new instance does not say so")
	}
	mustPersist(t, in, inputBatch(1, 3))
	b := inputBatch(4, 6)
	b.Intents = []IntentRow{intentRow(1), intentRow(2), intentRow(3)}
	b.Statuses = []StatusRow{{Key: nthKey(1), Status: ipc.StatusStaged}, {Key: nthKey(2), Status: ipc.StatusStaged}}
	mustPersist(t, in, b)
	mustPersist(t, in, &Batch{Statuses: []StatusRow{{Key: nthKey(1), Status: ipc.StatusApproved}, {Key: nthKey(1), Status: ipc.StatusCommitted, Reason: "r"},
		{Key: nthKey(2), Status: ipc.StatusApproved}}, Urgent: true})
	mustPersist(t, in, inputBatch(7, 9))
	head := in.Head()
	for range 2 {
		for from, want := range map[ipc.InputNo][]string{
			1: {"inputs 1 to 3", "inputs 4 to 6", "inputs 7 to 9"}, 4: {"inputs 4 to 6", "inputs 7 to 9"}, 5: {"inputs 4 to 6", "inputs 7 to 9"},
			9: {"inputs 7 to 9"}, 10: nil,
		} {
			if got, err := readAll(in, from); err != nil || !slices.Equal(got, want) {
				t.Errorf("from %d: %q, %v; want %q", from, got, err, want)
			}
		}
		if in.Head() != head || in.LastInput() != 9 {
			t.Errorf("head %v, last input %d; want %v, 9", in.Head(), in.LastInput(), head)
		}
		opened, err := in.OpenIntents()
		if err != nil || len(opened) != 1 || opened[0].Key != nthKey(2) || opened[0].Status != ipc.StatusApproved {
			t.Errorf("open intents %v, %v", opened, err)
		}
		one, err := in.Intent(nthKey(1))
		if err != nil || one.Status != ipc.StatusCommitted || string(one.Bytes) != "intent 1" || one.RequestDigest != (ipc.Digest{1, 1}) ||
			one.Digest != (ipc.Digest{2, 1}) || one.ValidUntilCore != 5 || one.ValidUntilWall != 6 {
			t.Errorf("intent %+v, %v", one, err)
		}
		if _, err := in.Intent(nthKey(99)); !errors.Is(err, ErrUnknownKey) {
			t.Errorf("unknown key: %v", err)
		}
		history, err := in.StatusHistory(nthKey(1))
		if err != nil || len(history) != 3 || history[2].Reason != "r" {
			t.Errorf("history %v, %v", history, err)
		}
		var all []ipc.Status
		if err := in.Intents(IntentFilter{FromStep: 1, ToStep: 3}, func(i Intent) error { all = append(all, i.Status); return nil }); err != nil {
			t.Error(err)
		}
		if !slices.Equal(all, []ipc.Status{ipc.StatusCommitted, ipc.StatusApproved, ipc.StatusNotSeen}) {
			t.Errorf("statuses %v", all)
		}
		mustVerify(t, db.dir)
		db = reopen(t, db)
		in = openInstance(t, db, "i")
	}
}

// Proves: RS-5
func TestOrderIsKeptInGroupCommits(t *testing.T) {
	var mu sync.Mutex
	largest := 0
	db := open(t, t.TempDir(), Options{Observer: func(c CommitInfo) {
		mu.Lock()
		defer mu.Unlock()
		largest = max(largest, c.Operations)
	}})
	const instances, batches = 8, 200
	var wg sync.WaitGroup
	for i := range instances {
		in := openInstance(t, db, fmt.Sprint("i", i))
		var seen []uint64
		wg.Add(batches)
		for n := range batches {
			b := inputBatch(ipc.InputNo(n+1), ipc.InputNo(n+1))
			b.Urgent = n%7 == 0
			b.Done = func(h Head, err error) {
				if err != nil {
					t.Errorf("instance %d batch %d: %v", i, n, err)
				}
				if seen = append(seen, h.RowNo); !slices.IsSorted(seen) {
					t.Errorf("instance %d: callbacks out of order: %v", i, seen)
				}
				wg.Done()
			}
			in.Persist(b)
		}
	}
	wg.Wait()
	mu.Lock()
	if largest < 2 {
		t.Errorf("no commit served more than one batch")
	}
	mu.Unlock()
	if s := db.Stats(); s.Rows != instances*batches || s.Commits >= instances*batches || s.LogicalBytes == 0 || s.WALBytes < s.LogicalBytes {
		t.Errorf("stats %+v", s)
	}
	mustVerify(t, db.dir)
}

// Proves: RS-5
func TestCommitWithoutIntentsWaitsAndIntentsDoNot(t *testing.T) {
	const delay = 300 * time.Millisecond
	db := open(t, t.TempDir(), Options{CommitDelay: delay})
	in := openInstance(t, db, "i")
	lazy := make(chan time.Duration, 1)
	start := time.Now()
	b := inputBatch(1, 1)
	b.Urgent = false
	b.Done = func(Head, error) { lazy <- time.Since(start) }
	in.Persist(b)
	if d := <-lazy; d < delay/2 {
		t.Errorf("committed after %v: nobody had asked for it", d)
	}
	start = time.Now()
	b = inputBatch(2, 2)
	b.Urgent, b.Intents = false, []IntentRow{intentRow(1)}
	mustPersist(t, in, b)
	if d := time.Since(start); d > delay/2 {
		t.Errorf("a batch with an intent waited %v", d)
	}
}

// Proves: NN-6, LS-3
func TestLowerEpochIsRefused(t *testing.T) {
	db := open(t, t.TempDir(), Options{})
	old := openInstance(t, db, "i")
	first, err := old.NextEpoch(LeaseRow{PID: 1, BootID: "b", Nonce: ipc.Nonce{7}})
	if err != nil || first != 1 || old.Epoch() != 1 {
		t.Fatalf("epoch %d, %v", first, err)
	}
	mustPersist(t, old, inputBatch(1, 1))
	newer := openInstance(t, db, "i")
	if e, err := newer.NextEpoch(LeaseRow{PID: 2}); err != nil || e != 2 {
		t.Fatalf("epoch %d, %v", e, err)
	}
	if _, err := persist(old, inputBatch(2, 2)); !errors.Is(err, ErrEpoch) {
		t.Errorf("the barred owner got %v", err)
	}
	// Neither that nor what voided the former owner stops the new one.
	mustPersist(t, newer, inputBatch(2, 2))
	if _, err := persist(newer, inputBatch(9, 9)); !errors.Is(err, ErrInputGap) {
		t.Fatal(err)
	}
	last := openInstance(t, db, "i")
	if e, err := last.NextEpoch(LeaseRow{PID: 3}); err != nil || e != 3 {
		t.Fatalf("epoch %d, %v", e, err)
	}
	mustPersist(t, last, inputBatch(3, 3))
	db = reopen(t, db)
	in := openInstance(t, db, "i")
	if in.Epoch() != 3 || in.LastInput() != 3 {
		t.Errorf("after reopening epoch %d, input %d", in.Epoch(), in.LastInput())
	}
	leases, err := in.Leases()
	if err != nil || len(leases) != 3 || leases[0].Nonce != (ipc.Nonce{7}) || leases[0].BootID != "b" || leases[1].PID != 2 {
		t.Errorf("leases %+v, %v", leases, err)
	}
}

// Proves: GT-5, GT-6
func TestDuplicateKeyFailsItsBatchAlone(t *testing.T) {
	db := open(t, t.TempDir(), Options{CommitDelay: 50 * time.Millisecond})
	a, b := openInstance(t, db, "a"), openInstance(t, db, "b")
	first := inputBatch(1, 1)
	first.Intents = []IntentRow{intentRow(1)}
	mustPersist(t, a, first)
	// One group: a's bad batch, a's next one, and b's good one with the same key, which is another instance's.
	errs := make(map[string]error)
	var wg sync.WaitGroup
	queue := func(name string, in *Instance, batch *Batch) {
		wg.Add(1)
		batch.Urgent = false
		batch.Done = func(_ Head, err error) { errs[name] = err; wg.Done() }
		in.Persist(batch)
	}
	db.writer.tx.Lock()
	queue("b before", b, inputBatch(1, 1))
	bad := inputBatch(2, 2)
	bad.Intents = []IntentRow{intentRow(2), intentRow(1)}
	queue("a bad", a, bad)
	queue("a later", a, inputBatch(3, 3))
	good := inputBatch(2, 2)
	good.Intents = []IntentRow{intentRow(1)}
	queue("b after", b, good)
	db.writer.tx.Unlock()
	wg.Wait()
	if !errors.Is(errs["a bad"], ErrDuplicateKey) || !errors.Is(errs["a later"], ErrVoided) || errs["b before"] != nil || errs["b after"] != nil {
		t.Fatalf("outcomes %v", errs)
	}
	if _, err := a.Intent(nthKey(2)); !errors.Is(err, ErrUnknownKey) {
		t.Errorf("half of the refused batch is in the ledger: %v", err)
	}
	if _, err := a.Flush(); !errors.Is(err, ErrVoided) {
		t.Errorf("flush of a voided instance: %v", err)
	}
	if h, last, err := a.Reset(); err != nil || last != 1 || h.RowNo != 2 {
		t.Fatalf("reset: %v %d %v", h, last, err)
	}
	mustPersist(t, a, inputBatch(2, 2))
	mustVerify(t, db.dir)
}

// Proves: GT-7
func TestRefusedBatches(t *testing.T) {
	db := open(t, t.TempDir(), Options{})
	staged := StatusRow{Key: nthKey(1), Status: ipc.StatusStaged}
	for name, c := range map[string]struct {
		b    *Batch
		want error
	}{
		"gap":           {inputBatch(3, 3), ErrInputGap},
		"repeated":      {inputBatch(1, 1), ErrInputGap},
		"empty inputs":  {&Batch{FirstInput: 2, LastInput: 2}, ErrInvalid},
		"backwards":     {&Batch{FirstInput: 3, LastInput: 2, Inputs: []byte{1}}, ErrInvalid},
		"too large":     {&Batch{FirstInput: 2, LastInput: 2, Inputs: make([]byte, MaxInputsBytes+1)}, ErrTooLarge},
		"bad key":       {&Batch{Intents: []IntentRow{{Key: "ABC"}}}, ErrInvalid},
		"unknown key":   {&Batch{Statuses: []StatusRow{{Key: nthKey(9), Status: ipc.StatusStaged}}}, ErrUnknownKey},
		"skipped stage": {&Batch{Intents: []IntentRow{intentRow(1)}, Statuses: []StatusRow{staged, {Key: nthKey(1), Status: ipc.StatusCommitted}}}, ErrTransition},
		"after final": {&Batch{Intents: []IntentRow{intentRow(1)}, Statuses: []StatusRow{staged, {Key: nthKey(1), Status: ipc.StatusWithdrawn},
			{Key: nthKey(1), Status: ipc.StatusApproved}}}, ErrTransition},
		"long reason": {&Batch{Intents: []IntentRow{intentRow(1)}, Statuses: []StatusRow{{Key: nthKey(1), Status: ipc.StatusStaged, Reason: strings.Repeat("x", MaxReasonBytes+1)}}}, ErrTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			in := openInstance(t, db, name)
			mustPersist(t, in, inputBatch(1, 1))
			before := in.Head()
			if _, err := persist(in, c.b); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
			if h, last, err := in.Reset(); err != nil || h != before || last != 1 {
				t.Errorf("reset: %v %d %v", h, last, err)
			}
			mustPersist(t, in, inputBatch(2, 2))
		})
	}
	mustVerify(t, db.dir)
}

// Proves: RS-5
func TestPersistAfterCloseFails(t *testing.T) {
	db := open(t, t.TempDir(), Options{})
	in := openInstance(t, db, "i")
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := persist(in, inputBatch(1, 1)); !errors.Is(err, ErrClosed) {
		t.Errorf("got %v", err)
	}
	if _, err := db.OpenInstance(address("j")); !errors.Is(err, ErrClosed) {
		t.Errorf("got %v", err)
	}
}

// The lease of a host knows epochs of other state directories: the next one is above both.
//
// Proves: LS-3
func TestTheNextEpochIsAboveTheLeases(t *testing.T) {
	db := open(t, t.TempDir(), Options{})
	in := openInstance(t, db, "i")
	for _, one := range []struct{ above, want ipc.Epoch }{{0, 1}, {7, 8}, {3, 9}, {9, 10}, {500, 501}} {
		if e, err := in.NextEpochAbove(one.above, LeaseRow{PID: 1}); err != nil || e != one.want || in.Epoch() != one.want {
			t.Errorf("above %d: epoch %d, %v; want %d", one.above, e, err, one.want)
		}
	}
	if e, err := in.NextEpochAbove(maxRowNo, LeaseRow{PID: 1}); !errors.Is(err, ErrTooLarge) {
		t.Errorf("an epoch above all: %d, %v", e, err)
	}
	mustPersist(t, in, inputBatch(1, 1))
	db = reopen(t, db)
	again := openInstance(t, db, "i")
	if e, err := again.NextEpoch(LeaseRow{PID: 1}); err != nil || e != 502 {
		t.Errorf("after reopening: epoch %d, %v", e, err)
	}
	if leases, err := again.Leases(); err != nil || leases[len(leases)-1].Epoch != 502 {
		t.Errorf("leases %+v, %v", leases, err)
	}
}
