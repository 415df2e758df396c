package statedb

import (
	"cmp"
	"crypto/rand"
	"database/sql/driver"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/msup/msup/ipc"
)

// leasesKept is how many lease rows stay per instance; they are history, only the newest counts.
const leasesKept = 100

// Instance is a handle on one instance's ledger and checkpoints. Safe for concurrent use.
type Instance struct {
	db      *DB
	st      *state
	created bool
	epoch   atomic.Uint64
}

// Address names the instance.
func (in *Instance) Address() ipc.Address { return in.st.addr }

// Lineage was drawn when the instance was first created.
func (in *Instance) Lineage() ipc.Lineage { return in.st.lineage }

// Created reports whether OpenInstance created it just now.
func (in *Instance) Created() bool { return in.created }

// Head is the end of the durable chain.
func (in *Instance) Head() Head {
	in.st.mu.Lock()
	defer in.st.mu.Unlock()
	return in.st.head
}

// LastInput is the last durable input; zero when there is none.
func (in *Instance) LastInput() ipc.InputNo {
	in.st.mu.Lock()
	defer in.st.mu.Unlock()
	return in.st.lastInput
}

// Epoch of this handle: what NextEpoch gave, else the one that was stored when the handle was opened. Batches carry it, so a
// handle from before a take-over is refused (LS-3).
func (in *Instance) Epoch() ipc.Epoch { return ipc.Epoch(in.epoch.Load()) }

// compareAddress orders addresses by their parts.
func compareAddress(a, b ipc.Address) int {
	return cmp.Or(cmp.Compare(a.Bot, b.Bot), cmp.Compare(a.Strategy, b.Strategy), cmp.Compare(a.Instance, b.Instance))
}

func (st *state) identitySum() uint32 {
	return sumOf(st.id, string(st.addr.Bot), string(st.addr.Strategy), string(st.addr.Instance), st.lineage[:], int64(st.created))
}

// loadInstances reads every identity. Damaged ones come as one error: which instance it was cannot be told.
func loadInstances(c *conn) (out []*state, damaged error, err error) {
	err = c.query(func(v []driver.Value) error {
		cols := columns{v: v}
		st := &state{id: cols.int(0), created: ipc.Nanos(cols.int(5)),
			addr: ipc.Address{Bot: ipc.BotID(cols.text(1)), Strategy: ipc.StrategyID(cols.text(2)), Instance: ipc.InstanceID(cols.text(3))}}
		if copy(st.lineage[:], cols.blob(4)) != len(st.lineage) && cols.err == nil {
			cols.err = typeError(v[4], "blob of 16 bytes")
		}
		if crc := uint32(cols.int(6)); cols.err != nil || crc != st.identitySum() || st.id < 1 || st.id > maxInstances {
			damaged = both(damaged, &Error{Kind: ErrCorrupt, Place: c.path, Remedy: remedyRestore,
				Cause: fmt.Sprintf("the identity of instance number %v fails its checksum", v[0]), Err: cols.err})
			return nil
		}
		out = append(out, st)
		return nil
	}, 7, "SELECT id, bot, strategy, instance, lineage, created_ns, crc FROM instances ORDER BY id")
	if err != nil {
		return nil, nil, diskError(c.path, "reading the instances", err)
	}
	return out, damaged, nil
}

// tail is where an instance's records end, without verifying what leads there.
type tail struct {
	head  Head
	epoch ipc.Epoch
}

func loadTail(c *conn, st *state) (t tail, err error) {
	a, err := loadAnchor(c, st)
	if err != nil {
		return t, diskError(c.path, "reading the anchor of "+st.place(), err)
	}
	t.head = a.head
	last, found, err := tailRow(c, st.id)
	if err != nil {
		return t, diskError(c.path, "reading the last row of "+st.place(), err)
	}
	if found && last.no > t.head.RowNo {
		t.head = Head{RowNo: last.no, Hash: last.head}
	}
	l, err := lastLease(c, st.id)
	if err != nil {
		return t, diskError(c.path, "reading the leases of "+st.place(), err)
	}
	t.epoch = l.Epoch
	return t, nil
}

// compareTail sets the ends against the mark: quick, done for every instance before anything is written.
func compareTail(c *conn, st *state, marks map[int64]markRecord) error {
	t, err := loadTail(c, st)
	if err != nil {
		return err
	}
	m, ok := marks[st.id]
	switch {
	case !ok && (t.head.RowNo > 0 || t.epoch > 0):
		return &Error{Kind: ErrMark, Place: st.place(), Remedy: remedyRestore,
			Cause: fmt.Sprintf("no valid record in the mark file, the ledger has %d rows and epoch %d", t.head.RowNo, t.epoch)}
	case !ok:
		return nil
	case m.lineage != st.lineage:
		return &Error{Kind: ErrMark, Place: st.place(), Remedy: remedyRestore,
			Cause: fmt.Sprintf("the mark is of lineage %s, the ledger of %s", m.lineage, st.lineage)}
	case t.epoch < m.epoch:
		return m.lost(st, fmt.Sprintf("the ledger knows epoch %d, epoch %d had started", t.epoch, m.epoch))
	case t.head.RowNo == m.head.RowNo && t.head.Hash != m.head.Hash:
		return chainError(st, t.head.RowNo, "head %s, the high-water mark says %s", t.head.Hash, m.head.Hash)
	}
	return m.behind(st, t.head.RowNo)
}

// OpenInstance gives a handle, creating the instance with a fresh lineage when it is absent. The chain is verified from its anchor
// to its end and against the high-water mark before anything can be added to it (ST-4).
func (db *DB) OpenInstance(addr ipc.Address) (*Instance, error) {
	if err := addr.Validate(); err != nil {
		return nil, fmt.Errorf("open instance %s: %w: %w", addr, ErrInvalid, err)
	}
	st, created, err := db.findOrCreate(addr)
	if err != nil {
		return nil, err
	}
	if err := db.verify(st); err != nil {
		return nil, err
	}
	in := &Instance{db: db, st: st, created: created}
	st.mu.Lock()
	in.epoch.Store(uint64(st.epoch))
	st.mu.Unlock()
	return in, nil
}

func (db *DB) findOrCreate(addr ipc.Address) (st *state, created bool, err error) {
	db.creating.Lock()
	defer db.creating.Unlock()
	db.mu.Lock()
	st, known := db.states[addr]
	closed := db.closed
	db.mu.Unlock()
	if closed {
		return nil, false, ErrClosed
	}
	if known {
		return st, false, nil
	}
	st, err = db.create(addr)
	return st, true, err
}

// create makes an identity durable in the ledger, then in the mark.
func (db *DB) create(addr ipc.Address) (*state, error) {
	if db.orphan != nil {
		return nil, fmt.Errorf("create instance %s: it may be the one that is missing: %w", addr, db.orphan)
	}
	st := &state{addr: addr, created: ipc.Nanos(time.Now().UnixNano()), open: true, intents: make(map[ipc.Key]openIntent)}
	if _, err := rand.Read(st.lineage[:]); err != nil {
		return nil, fmt.Errorf("draw a lineage: %w", err)
	}
	st.head = Head{Hash: chainStart(st.lineage)}
	st.anchor = anchor{head: st.head, keptDigest: newKeptSum().digest()}
	db.mu.Lock()
	for _, other := range db.states {
		st.id = max(st.id, other.id)
	}
	db.mu.Unlock()
	if st.id++; st.id > maxInstances {
		return nil, fmt.Errorf("create instance %s: the ledger has %d: %w", addr, maxInstances, ErrTooLarge)
	}
	if err := db.mark.reserve(st.id); err != nil {
		return nil, err
	}
	err := db.writer.call(&op{st: st, fresh: true, apply: func(g *group, _ *pending) error {
		return g.c.exec("INSERT INTO instances (id, bot, strategy, instance, lineage, created_ns, crc) VALUES (?, ?, ?, ?, ?, ?, ?)",
			st.id, string(addr.Bot), string(addr.Strategy), string(addr.Instance), st.lineage[:], int64(st.created), int64(st.identitySum()))
	}})
	if err == nil {
		err = db.mark.flush()
	}
	if err != nil {
		err = fmt.Errorf("create instance %s: %w", addr, err)
		if stored, lookErr := db.stored(st); lookErr != nil || !stored {
			return nil, both(err, lookErr)
		}
	}
	// Also when only the mark failed: the identity is in the ledger, and the next OpenInstance must find it.
	db.mu.Lock()
	db.states[addr] = st
	db.mu.Unlock()
	return st, err
}

// stored reports whether the ledger has an identity.
func (db *DB) stored(st *state) (bool, error) {
	c, err := db.read.acquire()
	if err != nil {
		return false, err
	}
	defer db.read.release(c)
	n, _, err := c.int64Of("SELECT count(*) FROM instances WHERE id = ? AND lineage = ?", st.id, st.lineage[:])
	return n > 0, diskError(c.path, "looking for "+st.place(), err)
}

// verify walks the instance once per Open of the database.
func (db *DB) verify(st *state) error {
	st.opening.Lock()
	defer st.opening.Unlock()
	if st.open {
		return nil
	}
	db.mu.Lock()
	err := db.lost[st.id]
	db.mu.Unlock()
	if err != nil {
		return err
	}
	if err := db.load(st); err != nil {
		if !errors.Is(err, ErrClosed) {
			err = db.withEvidence(string(st.addr.Instance), err)
			db.mu.Lock()
			db.lost[st.id] = err
			db.mu.Unlock()
		}
		return err
	}
	st.open = true
	return nil
}

// load verifies the records of an instance in one snapshot and takes over what is kept in memory.
func (db *DB) load(st *state) (err error) {
	c, err := db.read.acquireLong()
	if err != nil {
		return err
	}
	defer db.read.releaseLong(c)
	var known *markRecord
	if m, ok := db.mark.get(st.id); ok {
		known = &m
	}
	w, lease, err := readInstance(c, st, known)
	if err != nil {
		return err
	}
	st.mu.Lock()
	st.head, st.lastInput, st.intents, st.anchor, st.epoch = w.head, w.input, w.intents, w.anchor, lease.Epoch
	st.mu.Unlock()
	// The ledger may be ahead by what was committed and not reported before a crash.
	return db.mark.write(st.id, newPending(st).markRecord(db.opt.Durability))
}

// readInstance verifies everything of one instance in ledger.db.
func readInstance(c *conn, st *state, m *markRecord) (w *walker, lease Lease, err error) {
	err = c.snapshot(func() (err error) {
		if w, err = walk(c, st, m); err != nil {
			return err
		}
		lease, err = lastLease(c, st.id)
		return diskError(c.path, "reading the leases of "+st.place(), err)
	})
	return w, lease, err
}
