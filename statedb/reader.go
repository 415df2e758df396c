package statedb

import (
	"database/sql/driver"
	"errors"
	"fmt"
	"sync"

	"github.com/msup/msup/ipc"
)

// readPageRows and readPageBytes bound what one read transaction takes: a long one would keep the write-ahead log from starting over.
const (
	readPageRows  = 256
	readPageBytes = 4 << 20
)

// errPageFull ends a page early.
var errPageFull = errors.New("page full")

// readerPool lends read-only connections; a reader sees a snapshot and does not wait for the writer. Who has one must not ask for another:
// the gate may close in between.
type readerPool struct {
	path string
	gate sync.RWMutex // held by short readers, and alone while the log is emptied

	mu     sync.Mutex
	idle   []*conn
	closed bool
}

const idleReaders = 4

// acquire lends a connection for short reads.
func (p *readerPool) acquire() (*conn, error) {
	p.gate.RLock()
	c, err := p.acquireLong()
	if err != nil {
		p.gate.RUnlock()
	}
	return c, err
}

func (p *readerPool) release(c *conn) {
	p.releaseLong(c)
	p.gate.RUnlock()
}

// acquireLong lends a connection for a read that takes its time; the log is not emptied meanwhile.
func (p *readerPool) acquireLong() (*conn, error) {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil, ErrClosed
	}
	if n := len(p.idle); n > 0 {
		c := p.idle[n-1]
		p.idle = p.idle[:n-1]
		p.mu.Unlock()
		return c, nil
	}
	p.mu.Unlock()
	return openConn(p.path, true)
}

func (p *readerPool) releaseLong(c *conn) {
	p.mu.Lock()
	if !p.closed && len(p.idle) < idleReaders && c.c.AutoCommit() {
		p.idle = append(p.idle, c)
		p.mu.Unlock()
		return
	}
	p.mu.Unlock()
	// A reader has nothing to lose at close.
	_ = c.close()
}

func (p *readerPool) close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	var errs []error
	for _, c := range p.idle {
		errs = append(errs, c.close())
	}
	p.idle = nil
	return errors.Join(errs...)
}

// page reads the rows that follow a row number, in one short read transaction.
func (in *Instance) page(after uint64) (rows []row, more bool, err error) {
	c, err := in.db.read.acquire()
	if err != nil {
		return nil, false, err
	}
	defer in.db.read.release(c)
	size := 0
	err = c.query(func(v []driver.Value) error {
		r, err := decodeRow(in.st, v)
		if err != nil {
			return err
		}
		if len(rows) == readPageRows || size+len(r.payload) > readPageBytes && len(rows) > 0 {
			return errPageFull
		}
		rows = append(rows, r)
		size += len(r.payload)
		return nil
	}, 7, selectRows, rowID(in.st.id, after+1), rowID(in.st.id, maxRowNo))
	if errors.Is(err, errPageFull) {
		return rows, true, nil
	}
	return rows, false, diskError(c.path, "reading "+in.st.place(), err)
}

// scan calls fn for the rows after a row number, up to the head at the time of the call. Above the anchor every row must follow the
// one before it in the chain; prev is the hash of the row number after.
func (in *Instance) scan(after Head, fn func(*row) error) error {
	end := in.Head().RowNo
	prev := after
	for prev.RowNo < end {
		rows, more, err := in.page(prev.RowNo)
		if err != nil {
			return err
		}
		for i := range rows {
			r := &rows[i]
			if r.no > end {
				return nil
			}
			if r.no != prev.RowNo+1 {
				return in.gone(prev.RowNo+1, fmt.Sprintf("row %d follows", r.no))
			}
			if want := chainNext(prev.Hash, r.no, r.kind, r.payload); want != r.head {
				return chainError(in.st, r.no, "head %s, computed %s", r.head, want)
			}
			prev = Head{RowNo: r.no, Hash: r.head}
			if err := fn(r); err != nil {
				return err
			}
		}
		if !more && prev.RowNo < end {
			return in.gone(prev.RowNo+1, fmt.Sprintf("row %d was persisted", end))
		}
	}
	return nil
}

// gone says why a row is not there: Prune has taken it, maybe beside the reader, or it was lost. The stored anchor tells, which moves
// with the rows; the one in memory follows a moment later.
func (in *Instance) gone(rowNo uint64, then string) error {
	c, err := in.db.read.acquire()
	if err != nil {
		return err
	}
	defer in.db.read.release(c)
	a, err := loadAnchor(c, in.st)
	switch {
	case err != nil:
		return diskError(c.path, "reading the anchor of "+in.st.place(), err)
	case rowNo <= a.head.RowNo:
		return prunedError(in.st, fmt.Sprintf("row %d is asked for, the ledger begins after row %d", rowNo, a.head.RowNo))
	}
	return chainError(in.st, rowNo, "missing; %s", then)
}

func prunedError(st *state, cause string) error {
	return &Error{Kind: ErrPruned, Place: st.place(), Cause: cause, Remedy: "start from a checkpoint"}
}

// ReadInputs gives the persisted batches of inputs that hold from or later ones, in order; the first may begin before from. Checksums and
// chain are verified on the way. What is persisted during the call is not given. Asking for what was pruned is an error.
func (in *Instance) ReadInputs(from ipc.InputNo, fn func(first, last ipc.InputNo, payload []byte) error) error {
	start, err := in.rowBefore(from)
	if err != nil {
		return err
	}
	return in.scan(start, func(r *row) error {
		if r.kind != kindInputs {
			return nil
		}
		first, last, _, inputs, err := decodeInputs(r.payload)
		if err != nil {
			return chainError(in.st, r.no, "%v", err)
		}
		if last < from {
			return nil
		}
		return fn(first, last, inputs)
	})
}

// rowBefore finds the last row that was persisted before an input: input numbers never decrease along the rows.
func (in *Instance) rowBefore(input ipc.InputNo) (h Head, err error) {
	end := in.Head().RowNo
	c, err := in.db.read.acquire()
	if err != nil {
		return Head{}, err
	}
	defer in.db.read.release(c)
	err = c.snapshot(func() (err error) {
		h, err = searchBefore(c, in.st, input, end)
		return err
	})
	return h, err
}

// searchBefore halves the rows between the anchor and end, inside one snapshot: Prune may run beside it.
func searchBefore(c *conn, st *state, input ipc.InputNo, end uint64) (Head, error) {
	a, err := loadAnchor(c, st)
	if err != nil {
		return Head{}, diskError(c.path, "reading the anchor of "+st.place(), err)
	}
	if input <= a.lastInput && a.lastInput > 0 {
		return Head{}, prunedError(st, fmt.Sprintf("input %d is asked for, the ledger begins after input %d", input, a.lastInput))
	}
	low, high := a.head, end // the row sought is at low or above, and not above high
	for low.RowNo < high {
		mid := low.RowNo + (high-low.RowNo+1)/2
		h, at, err := rowAt(c, st, mid)
		if err != nil {
			return Head{}, err
		}
		if at < input {
			low = h
		} else {
			high = mid - 1
		}
	}
	return low, nil
}

// rowAt gives the head and the input of one row.
func rowAt(c *conn, st *state, rowNo uint64) (h Head, input ipc.InputNo, err error) {
	found := false
	err = c.query(func(v []driver.Value) error {
		cols := columns{v: v}
		h, input, found = Head{RowNo: rowNo, Hash: cols.digest(0)}, ipc.InputNo(cols.int(1)), true
		return cols.err
	}, 2, "SELECT head, input_no FROM rows WHERE id = ?", rowID(st.id, rowNo))
	if err == nil && !found {
		err = chainError(st, rowNo, "missing")
	}
	return h, input, diskError(c.path, fmt.Sprintf("reading row %d of %s", rowNo, st.place()), err)
}

// The two queries that find an intent: by the unique index, and along the rows behind it.
const (
	selectIntent   = "SELECT id, kind, input_no, payload, head, crc, ikey FROM rows WHERE ikey = ?"
	selectStatuses = "SELECT id, kind, input_no, payload, head, crc, ikey FROM rows WHERE id BETWEEN ? AND ? AND kind = 3 ORDER BY id"
)

// The verdicts that no status ever follows (FORMAT.md).
const (
	verdictRefused = 3
	verdictLate    = 4
)

// findIntent reads an intent through the unique index, without its status.
func findIntent(c *conn, st *state, key ipc.Key) (Intent, error) {
	kb, err := keyBytes(key)
	if err != nil {
		return Intent{}, fmt.Errorf("%s: %w", st.place(), err)
	}
	var out Intent
	found := false
	err = c.query(func(v []driver.Value) error {
		r, err := decodeRow(st, v)
		if err != nil {
			return err
		}
		ir, err := decodeIntent(r.payload)
		if err != nil {
			return chainError(st, r.no, "%v", err)
		}
		if ir.Key != key {
			return chainError(st, r.no, "indexed under %s, holds %s", key, ir.Key)
		}
		out, found = Intent{IntentRow: ir, RowNo: r.no}, true
		return nil
	}, 7, selectIntent, indexKey(st.id, kb))
	if err == nil && !found {
		return Intent{}, fmt.Errorf("%s: key %s: %w", st.place(), key, ErrUnknownKey)
	}
	return out, diskError(c.path, "reading intent "+string(key), err)
}

// findStatus is findIntent with the last status, by the rows alone: the writer, inside its transaction, may not believe the memory.
func findStatus(c *conn, st *state, key ipc.Key) (Intent, error) {
	out, err := findIntent(c, st, key)
	if err != nil {
		return out, err
	}
	history, err := statuses(c, st, key, out.RowNo)
	if len(history) > 0 {
		out.Status = history[len(history)-1].Status
	}
	return out, diskError(c.path, "reading the statuses of "+string(key), err)
}

// statuses collects the transitions of one intent, which all lie after it, up to the final one. There is no index for this: it would cost a
// page per persisted status, and histories are read by people and at recovery only. Who wants the last status of an intent that is still open,
// or never had one, asks [Instance.Intent], which does not walk.
func statuses(c *conn, st *state, key ipc.Key, after uint64) (out []StatusEntry, err error) {
	done := errors.New("final status")
	err = c.query(func(v []driver.Value) error {
		r, err := decodeRow(st, v)
		if err != nil {
			return err
		}
		s, err := decodeStatus(r.payload)
		if err != nil {
			return chainError(st, r.no, "%v", err)
		}
		if s.Key != key {
			return nil
		}
		if out = append(out, StatusEntry{StatusRow: s, RowNo: r.no}); s.Status.Terminal() {
			return done
		}
		return nil
	}, 7, selectStatuses, rowID(st.id, after), rowID(st.id, maxRowNo))
	if errors.Is(err, done) {
		err = nil
	}
	return out, err
}

// Intent gives an intent by key with its last status, or ErrUnknownKey when there is none or it was pruned. It reads one row of an intent that is
// open or never left the gate, and of a final one the rows up to its final status: the age of the ledger does not matter.
func (in *Instance) Intent(key ipc.Key) (out Intent, err error) {
	in.st.mu.Lock()
	open, isOpen := in.st.intents[key]
	in.st.mu.Unlock()
	c, err := in.db.read.acquire()
	if err != nil {
		return Intent{}, err
	}
	defer in.db.read.release(c)
	err = c.snapshot(func() (err error) {
		out, err = findIntent(c, in.st, key)
		switch {
		case err != nil || out.Verdict == verdictRefused || out.Verdict == verdictLate:
			return err
		case isOpen:
			out.Status = open.status
			return nil
		}
		out, err = findStatus(c, in.st, key)
		return err
	})
	return out, err
}

// IntentRow gives an intent by key as it was judged, without its status, or ErrUnknownKey: one look into the index.
func (in *Instance) IntentRow(key ipc.Key) (IntentRow, error) {
	c, err := in.db.read.acquire()
	if err != nil {
		return IntentRow{}, err
	}
	defer in.db.read.release(c)
	out, err := findIntent(c, in.st, key)
	return out.IntentRow, err
}

// StatusHistory gives every transition of an intent, oldest first.
func (in *Instance) StatusHistory(key ipc.Key) (out []StatusEntry, err error) {
	c, err := in.db.read.acquire()
	if err != nil {
		return nil, err
	}
	defer in.db.read.release(c)
	err = c.snapshot(func() error {
		found, err := findIntent(c, in.st, key)
		if err != nil {
			return err
		}
		out, err = statuses(c, in.st, key, found.RowNo)
		return diskError(c.path, "reading the statuses of "+string(key), err)
	})
	return out, err
}
