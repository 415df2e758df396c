package statedb

import (
	"cmp"
	"database/sql/driver"
	"fmt"
	"slices"

	"github.com/msup/msup/ipc"
)

// pageOfKind reads up to readPageRows rows of one kind after a row number, kept rows below the anchor included.
func (in *Instance) pageOfKind(kind uint8, after uint64) (rows []row, err error) {
	c, err := in.db.read.acquire()
	if err != nil {
		return nil, err
	}
	defer in.db.read.release(c)
	err = c.query(func(v []driver.Value) error {
		r, err := decodeRow(in.st, v)
		rows = append(rows, r)
		return err
	}, 7, "SELECT id, kind, input_no, payload, head, crc, ikey FROM rows WHERE id BETWEEN ? AND ? AND kind = ? ORDER BY id LIMIT ?",
		rowID(in.st.id, after+1), rowID(in.st.id, maxRowNo), int64(kind), int64(readPageRows))
	return rows, diskError(c.path, "reading "+in.st.place(), err)
}

func (in *Instance) eachOfKind(kind uint8, after uint64, fn func(*row) (more bool, err error)) error {
	for {
		rows, err := in.pageOfKind(kind, after)
		if err != nil || len(rows) == 0 {
			return err
		}
		for i := range rows {
			if more, err := fn(&rows[i]); err != nil || !more {
				return err
			}
		}
		after = rows[len(rows)-1].no
	}
}

// Intents gives the intents that pass the filter with their last status, in the order of their rows.
func (in *Instance) Intents(f IntentFilter, fn func(Intent) error) error {
	after := uint64(0)
	if f.FromRow > 0 {
		after = f.FromRow - 1
	}
	last := make(map[ipc.Key]ipc.Status)
	err := in.eachOfKind(kindStatus, after, func(r *row) (bool, error) {
		s, err := decodeStatus(r.payload)
		if err != nil {
			return false, chainError(in.st, r.no, "%v", err)
		}
		last[s.Key] = s.Status
		return true, nil
	})
	if err != nil {
		return err
	}
	n := 0
	return in.eachOfKind(kindIntent, after, func(r *row) (bool, error) {
		ir, err := decodeIntent(r.payload)
		if err != nil {
			return false, chainError(in.st, r.no, "%v", err)
		}
		if ir.Step < f.FromStep || f.ToStep != 0 && ir.Step > f.ToStep || f.Verdict != 0 && ir.Verdict != f.Verdict {
			return true, nil
		}
		n++
		if err := fn(Intent{IntentRow: ir, RowNo: r.no, Status: last[ir.Key]}); err != nil {
			return false, err
		}
		return f.Limit == 0 || n < f.Limit, nil
	})
}

// OpenIntents gives every intent whose last status is not final, oldest first: what recovery has to ask I about.
func (in *Instance) OpenIntents() ([]Intent, error) {
	return in.readOpen(in.listOpen())
}

// keyedIntent is an open intent with its key.
type keyedIntent struct {
	openIntent
	key ipc.Key
}

func (in *Instance) listOpen() []keyedIntent {
	in.st.mu.Lock()
	defer in.st.mu.Unlock()
	open := make([]keyedIntent, 0, len(in.st.intents))
	for k, o := range in.st.intents {
		open = append(open, keyedIntent{o, k})
	}
	slices.SortFunc(open, func(a, b keyedIntent) int { return cmp.Compare(a.rowNo, b.rowNo) })
	return open
}

func (in *Instance) readOpen(open []keyedIntent) ([]Intent, error) {
	c, err := in.db.read.acquire()
	if err != nil {
		return nil, err
	}
	defer in.db.read.release(c)
	out := make([]Intent, 0, len(open))
	for _, o := range open {
		n := len(out)
		err := c.query(func(v []driver.Value) error {
			r, err := decodeRow(in.st, v)
			if err != nil {
				return err
			}
			ir, err := decodeIntent(r.payload)
			if err != nil {
				return chainError(in.st, r.no, "%v", err)
			}
			out = append(out, Intent{IntentRow: ir, RowNo: r.no, Status: o.status})
			return nil
		}, 7, "SELECT id, kind, input_no, payload, head, crc, ikey FROM rows WHERE id = ?", rowID(in.st.id, o.rowNo))
		if err != nil {
			return nil, diskError(c.path, fmt.Sprintf("reading row %d of %s", o.rowNo, in.st.place()), err)
		}
		if len(out) == n {
			in.st.mu.Lock()
			_, still := in.st.intents[o.key]
			in.st.mu.Unlock()
			if still {
				return nil, chainError(in.st, o.rowNo, "missing")
			}
			continue // it has become final, and Prune has taken it
		}
	}
	return out, nil
}
