package statedb

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/msup/msup/ipc"
)

// checkpointHere makes a checkpoint of the present head.
func checkpointHere(in *Instance, state string) Checkpoint {
	return Checkpoint{State: []byte(state), StateSchemaVersion: 3, Cursors: []ipc.Cursor{{Source: "feed", Epoch: 2, Seq: 7}},
		InputNo: in.LastInput(), Step: 5, Core: []byte("core of " + state), PackageHash: ipc.Digest{1}, ConfigHash: ipc.Digest{2},
		Head: in.Head(), SavedCoreTS: 11}
}

func mustSave(t testing.TB, in *Instance, state string) {
	t.Helper()
	if err := in.SaveCheckpoint(checkpointHere(in, state)); err != nil {
		t.Fatalf("save %s: %v", state, err)
	}
}

// damageSlot flips a byte of one stored body, as a failing disk would.
func damageSlot(t testing.TB, dir string, lineage ipc.Lineage, generation uint64) {
	t.Helper()
	c, err := openConn(filepath.Join(dir, checkpointSchema.file), false)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	for slot := range 2 {
		body, found, err := readSlot(c, &state{lineage: lineage}, slot)
		if err != nil || !found {
			continue
		}
		if cp, err := decodeCheckpoint(lineage, body); err == nil && cp.Generation == generation {
			body[rand.IntN(len(body))] ^= 0x10
			if err := c.exec("UPDATE slots SET body = ? WHERE lineage = ? AND slot = ?", body, lineage[:], int64(slot)); err != nil {
				t.Fatal(err)
			}
			return
		}
	}
	t.Fatalf("no slot with generation %d", generation)
}

// Proves: ST-1, ST-3, ST-4, RS-5
func TestCheckpointSlots(t *testing.T) {
	db := open(t, t.TempDir(), Options{})
	in := openInstance(t, db, "i")
	if valid, problems := in.Checkpoints(); len(valid)+len(problems) != 0 {
		t.Fatalf("a new instance has %v, %v", valid, problems)
	}
	for n, state := range []string{"one", "two", "three"} {
		fill(t, in, 2)
		mustSave(t, in, state)
		valid, problems := in.Checkpoints()
		if len(problems) > 0 || len(valid) != min(n+1, 2) || string(valid[0].State) != state || valid[0].Generation != uint64(n+1) {
			t.Fatalf("after %s: %+v, %v", state, valid, problems)
		}
		want := checkpointHere(in, state)
		want.Generation = uint64(n + 1)
		if !reflect.DeepEqual(valid[0], want) {
			t.Errorf("read back %+v, want %+v", valid[0], want)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	damageSlot(t, db.dir, in.Lineage(), 3)
	db = open(t, db.dir, Options{})
	in = openInstance(t, db, "i")
	valid, problems := in.Checkpoints()
	if len(valid) != 1 || string(valid[0].State) != "two" || len(problems) != 1 || !errors.Is(problems[0], ErrCorrupt) {
		t.Fatalf("with a damaged newest slot: %v, %v", valid, problems)
	}
	// The next save must replace the damaged slot, not the good one.
	fill(t, in, 1)
	mustSave(t, in, "four")
	if valid, problems = in.Checkpoints(); len(valid) != 2 || string(valid[0].State) != "four" || string(valid[1].State) != "two" || len(problems) != 0 {
		t.Fatalf("after saving again: %v, %v", valid, problems)
	}
	newest := valid[0].Generation
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	damageSlot(t, db.dir, in.Lineage(), 2)
	damageSlot(t, db.dir, in.Lineage(), newest)
	db = open(t, db.dir, Options{})
	in = openInstance(t, db, "i")
	valid, problems = in.Checkpoints()
	var e *Error
	if len(valid) != 0 || len(problems) != 1 || !errors.Is(problems[0], ErrNoCheckpoint) || !errors.As(problems[0], &e) || e.Evidence == "" {
		t.Fatalf("with both slots damaged: %v, %v", valid, problems)
	}
	if _, err := os.Stat(filepath.Join(e.Evidence, "checkpoints.db")); err != nil {
		t.Errorf("evidence: %v", err)
	}
}

// Proves: ST-1
func TestCheckpointMustMatchTheLedger(t *testing.T) {
	db := open(t, t.TempDir(), Options{})
	in := openInstance(t, db, "i")
	fill(t, in, 3)
	for name, change := range map[string]func(*Checkpoint){
		"ahead":       func(c *Checkpoint) { c.Head.RowNo++ },
		"other head":  func(c *Checkpoint) { c.Head.Hash[0] ^= 1 },
		"other input": func(c *Checkpoint) { c.InputNo-- },
		"large":       func(c *Checkpoint) { c.State = make([]byte, MaxStateBytes+1) },
		"bad cursor":  func(c *Checkpoint) { c.Cursors[0].Source = "" },
	} {
		c := checkpointHere(in, "s")
		change(&c)
		if err := in.SaveCheckpoint(c); err == nil {
			t.Errorf("%s: saved", name)
		}
	}
	if valid, problems := in.Checkpoints(); len(valid)+len(problems) != 0 {
		t.Errorf("refused checkpoints were stored: %v %v", valid, problems)
	}
	c := checkpointHere(in, "")
	c.State = bytes.Repeat([]byte{1, 2, 3, 4}, MaxStateBytes/4)
	if err := in.SaveCheckpoint(c); err != nil {
		t.Fatalf("the largest state: %v", err)
	}
	if valid, problems := in.Checkpoints(); len(valid) != 1 || !bytes.Equal(valid[0].State, c.State) {
		t.Errorf("the largest state does not come back: %v", problems)
	}
}

// A checkpoint from another history of the same instance (an older backup of checkpoints.db) does not count.
//
// Proves: ST-4
func TestCheckpointOfAnotherHistoryDoesNotCount(t *testing.T) {
	db := open(t, t.TempDir(), Options{})
	in := openInstance(t, db, "i")
	fill(t, in, 2)
	c := checkpointHere(in, "s")
	c.Generation = 9
	c.Head.Hash[5] ^= 1
	if err := db.slots.write(in.st, 0, encodeCheckpoint(in.st.lineage, &c)); err != nil {
		t.Fatal(err)
	}
	valid, problems := in.Checkpoints()
	if len(valid) != 0 || len(problems) != 1 || !errors.Is(problems[0], ErrNoCheckpoint) {
		t.Errorf("%v, %v", valid, problems)
	}
}

// Proves: ST-4
func TestPruneKeepsWhatRecoveryNeeds(t *testing.T) {
	db := open(t, t.TempDir(), Options{Durability: Process})
	in := openInstance(t, db, "i")
	b := inputBatch(1, 1)
	b.Intents = []IntentRow{intentRow(1), intentRow(2), intentRow(3)}
	b.Statuses = []StatusRow{{Key: nthKey(1), Status: ipc.StatusStaged}, {Key: nthKey(2), Status: ipc.StatusStaged}, {Key: nthKey(2), Status: ipc.StatusWithdrawn}}
	mustPersist(t, in, b)
	fill(t, in, 1500)
	mustSave(t, in, "older")
	if n, err := in.Prune(); n != 0 || err != nil {
		t.Fatalf("with one checkpoint %d rows were pruned, %v", n, err)
	}
	older := in.LastInput()
	fill(t, in, 10)
	mustSave(t, in, "newer")
	fill(t, in, 5)
	head := in.Head()
	n, err := in.Prune()
	// Kept: the open intent and its status. Gone: intents 2 and 3, two statuses, 1501 rows of inputs.
	if err != nil || n != 1505 {
		t.Fatalf("pruned %d, %v", n, err)
	}
	check := func(in *Instance, open int) {
		t.Helper()
		if in.Head() != head {
			t.Errorf("head %v, want %v", in.Head(), head)
		}
		if got, err := readAll(in, older+1); err != nil || len(got) != 15 {
			t.Errorf("%d batches after the older checkpoint, %v", len(got), err)
		}
		if _, err := readAll(in, older); err == nil {
			t.Error("pruned inputs were given")
		}
		if valid, problems := in.Checkpoints(); len(valid) != 2 || len(problems) != 0 {
			t.Errorf("checkpoints %v, %v", valid, problems)
		}
		if got, err := in.OpenIntents(); err != nil || len(got) != open {
			t.Errorf("open intents %v, %v", got, err)
		}
		mustVerify(t, db.dir)
	}
	check(in, 1)
	db = reopen(t, db)
	in = openInstance(t, db, "i")
	check(in, 1)
	// Once the intent is final its rows may go too.
	head = mustPersist(t, in, &Batch{Statuses: []StatusRow{{Key: nthKey(1), Status: ipc.StatusExpired}}, Urgent: true})
	if n, err := in.Prune(); n != 2 || err != nil {
		t.Errorf("pruned %d, %v", n, err)
	}
	check(in, 0)
	db = reopen(t, db)
	check(openInstance(t, db, "i"), 0)
}

// Whatever stands in a slot: no panic, nothing allocated beyond it, and what decodes encodes to the same bytes.
//
// Proves: ST-4
func FuzzDecodeCheckpoint(f *testing.F) {
	lineage := ipc.Lineage{1}
	full := Checkpoint{State: []byte("state"), Core: []byte("core"), Cursors: []ipc.Cursor{{Source: "s", Epoch: 1, Seq: 2}}, InputNo: 3}
	f.Add(encodeCheckpoint(lineage, &Checkpoint{}))
	f.Add(encodeCheckpoint(lineage, &full))
	f.Add([]byte("msc1"))
	f.Fuzz(func(t *testing.T, b []byte) {
		// The checksum is made to hold, or the fuzzer would never get past it.
		for _, body := range [][]byte{b, binary.BigEndian.AppendUint32(b[:len(b):len(b)], crc32.Checksum(b, castagnoli))} {
			c, err := decodeCheckpoint(lineage, body)
			if err != nil {
				continue
			}
			if again := encodeCheckpoint(lineage, &c); !bytes.Equal(again, body) {
				t.Errorf("%x decodes and encodes to %x", body, again)
			}
		}
	})
}
