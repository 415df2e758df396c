package statedb

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"

	"github.com/msup/msup/ipc"
)

// View looks at a state directory without owning it: it takes no lock and writes nothing, not even evidence, and may be opened beside the
// supervisor that runs on the directory. What it shows of an instance is the instance as it was when OpenInstance was called.
type View struct {
	db     *DB
	marks  map[int64]markRecord
	states []*state
}

// OpenView opens a directory for looking. One that is not of msup, of another version, or damaged as a whole is refused; what is wrong with
// a single instance comes from OpenInstance.
func OpenView(dir string) (v *View, err error) {
	if err := requireLedger(dir); err != nil {
		return nil, err
	}
	// The mark first: beside a running supervisor the ledger only moves ahead of it.
	marks, _, err := readMarks(filepath.Join(dir, markFile))
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, ledgerSchema.file)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil, &Error{Kind: ErrRowsLost, Place: path, Cause: "the ledger is missing, the high-water mark is not", Remedy: remedyRestore}
	}
	v = &View{marks: marks, db: &DB{dir: dir, log: slog.Default(), read: &readerPool{path: path},
		slots: &slotStore{path: filepath.Join(dir, checkpointSchema.file)}}}
	defer func() {
		if err != nil {
			err = both(err, v.Close())
			v = nil
		}
	}()
	c, err := v.db.read.acquire()
	if err != nil {
		return v, err
	}
	defer v.db.read.release(c)
	version, err := ledgerSchema.inspect(c)
	if err != nil {
		return v, err
	}
	if version == 0 {
		return v, noLedger(dir, "its "+ledgerSchema.file+" is empty: nothing was ever recorded", nil)
	}
	states, damaged, err := loadInstances(c)
	if err = both(err, both(damaged, orphans(path, states, marks))); err != nil {
		return v, err
	}
	slices.SortFunc(states, func(a, b *state) int { return compareAddress(a.addr, b.addr) })
	v.states = states
	// Slots that cannot be read are a problem of each instance: its log may do without them.
	if err := v.db.slots.openReadOnly(len(states) > 0); err != nil {
		v.db.slots.broken = err
	}
	return v, nil
}

// Dir is the directory that is looked at.
func (v *View) Dir() string { return v.db.dir }

// Close ends the look.
func (v *View) Close() error {
	return errors.Join(v.db.slots.close(), v.db.read.close())
}

// Addresses lists the instances that the ledger knows, in order.
func (v *View) Addresses() []ipc.Address {
	out := make([]ipc.Address, 0, len(v.states))
	for _, st := range v.states {
		out = append(out, st.addr)
	}
	return out
}

// OpenInstance verifies the whole chain of an instance, against the high-water mark too, and gives it for reading.
func (v *View) OpenInstance(addr ipc.Address) (*Reading, error) {
	i := slices.IndexFunc(v.states, func(st *state) bool { return st.addr == addr })
	if i < 0 {
		return nil, noLedger(v.db.dir, fmt.Sprintf("it knows no instance %s", addr), nil)
	}
	r, err := v.read(v.states[i])
	// Beside a running supervisor a checkpoint may be replaced, and its rows pruned, between two looks.
	for n := 1; err == nil && len(r.problems) > 0 && n < lookAttempts; n++ {
		r, err = v.read(v.states[i])
	}
	return r, err
}

// read takes the slots before the ledger, which then reaches them.
func (v *View) read(known *state) (*Reading, error) {
	st := &state{id: known.id, addr: known.addr, lineage: known.lineage, created: known.created}
	c, err := v.db.read.acquireLong()
	if err != nil {
		return nil, err
	}
	defer v.db.read.releaseLong(c)
	if err := compareTail(c, st, v.marks); err != nil {
		return nil, err
	}
	stored, unread := v.db.slots.read(st)
	var mark *markRecord
	if m, ok := v.marks[st.id]; ok {
		mark = &m
	}
	w, lease, err := readInstance(c, st, mark)
	if err != nil {
		return nil, err
	}
	st.head, st.lastInput, st.intents, st.anchor, st.epoch = w.head, w.input, w.intents, w.anchor, lease.Epoch
	r := &Reading{in: &Instance{db: v.db, st: st}, rows: w.rows}
	r.in.epoch.Store(uint64(st.epoch))
	r.valid, r.problems = r.in.judge(stored, unread)
	return r, nil
}

// Reading is one instance of a View: all that can be read of an Instance, and nothing that writes.
type Reading struct {
	in       *Instance
	rows     int64
	valid    []Checkpoint
	problems []error
}

// Info says what the ledger knows of the instance.
func (r *Reading) Info() InstanceInfo {
	st := r.in.st
	return InstanceInfo{Address: st.addr, Lineage: st.lineage, Created: st.created, Epoch: st.epoch, Head: st.head}
}

// Rows is how many rows are stored, those of open intents below the anchor included.
func (r *Reading) Rows() int64 { return r.rows }

// LastInput is the last durable input.
func (r *Reading) LastInput() ipc.InputNo { return r.in.LastInput() }

// FirstInput is the first input that was not pruned; one behind LastInput when there is none.
func (r *Reading) FirstInput() ipc.InputNo { return r.in.st.anchor.lastInput + 1 }

// Checkpoints gives the checkpoints that count, newest first, and what is wrong with the others. Nothing is kept as evidence.
func (r *Reading) Checkpoints() ([]Checkpoint, []error) { return r.valid, r.problems }

// ReadInputs is Instance.ReadInputs.
func (r *Reading) ReadInputs(from ipc.InputNo, fn func(first, last ipc.InputNo, payload []byte) error) error {
	return r.in.ReadInputs(from, fn)
}

// Intents is Instance.Intents.
func (r *Reading) Intents(f IntentFilter, fn func(Intent) error) error { return r.in.Intents(f, fn) }

// OpenIntents is Instance.OpenIntents.
func (r *Reading) OpenIntents() ([]Intent, error) { return r.in.OpenIntents() }

// Intent is Instance.Intent.
func (r *Reading) Intent(key ipc.Key) (Intent, error) { return r.in.Intent(key) }

// StatusHistory is Instance.StatusHistory.
func (r *Reading) StatusHistory(key ipc.Key) ([]StatusEntry, error) { return r.in.StatusHistory(key) }

// Leases is Instance.Leases.
func (r *Reading) Leases() ([]Lease, error) { return r.in.Leases() }

// Bytes is how many bytes the instance's rows hold, without SQLite's own.
func (r *Reading) Bytes() (int64, error) {
	c, err := r.in.db.read.acquire()
	if err != nil {
		return 0, err
	}
	defer r.in.db.read.release(c)
	n, _, err := c.int64Of("SELECT sum(length(payload) + length(head) + 24) FROM rows WHERE id BETWEEN ? AND ?",
		rowID(r.in.st.id, 1), rowID(r.in.st.id, maxRowNo))
	return n, diskError(c.path, "measuring "+r.in.st.place(), err)
}
