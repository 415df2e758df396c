package statedb

import (
	"database/sql/driver"
	"errors"
	"fmt"

	"github.com/msup/msup/ipc"
)

// Prune deletes the rows below the older valid checkpoint, so that recovery can still fall back to it. Intents whose last status is not
// final stay, with their statuses. With fewer than two valid checkpoints nothing is deleted. It works in transactions of at most
// PruneRowsPerTx rows, between which the writer serves others.
func (in *Instance) Prune() (deleted int, err error) {
	st := in.st
	st.checkpointing.Lock()
	defer st.checkpointing.Unlock()
	valid, problems := in.checkpoints()
	if len(valid) < 2 || len(problems) > 0 {
		return 0, nil
	}
	limit := valid[1].Head.RowNo
	for {
		n, more := 0, false
		err := in.db.writer.call(&op{st: st, apply: func(g *group, p *pending) (err error) {
			n, more, err = g.prune(p, limit)
			return err
		}})
		if err != nil {
			return deleted, fmt.Errorf("%s: prune: %w", st.place(), err)
		}
		if deleted += n; !more {
			return deleted, nil
		}
	}
}

// prune moves the anchor up to limit, or as far as PruneRowsPerTx deletions go.
func (g *group) prune(p *pending, limit uint64) (deleted int, more bool, err error) {
	st := p.st
	if limit > p.head.RowNo {
		return 0, false, fmt.Errorf("up to row %d, the ledger ends at %d: %w", limit, p.head.RowNo, ErrInvalid)
	}
	st.mu.Lock()
	open := func(key ipc.Key) bool { _, ok := st.intents[key]; return ok }
	doomed, a, more, err := g.survey(p, limit, open)
	st.mu.Unlock()
	if err != nil || a.head.RowNo == p.anchor.head.RowNo && len(doomed) == 0 {
		return 0, false, err
	}
	for _, no := range doomed {
		if err := g.c.exec("DELETE FROM rows WHERE id = ?", rowID(st.id, no)); err != nil {
			return 0, false, err
		}
	}
	if err := g.c.exec("INSERT OR REPLACE INTO anchors (instance, row_no, input_no, head, kept_count, kept_digest, crc) VALUES (?, ?, ?, ?, ?, ?, ?)",
		st.id, int64(a.head.RowNo), int64(a.lastInput), a.head.Hash[:], a.keptCount, a.keptDigest[:], int64(a.sum(st.id))); err != nil {
		return 0, false, err
	}
	p.anchor = a
	return len(doomed), more, nil
}

// survey walks from the first stored row to limit and says which rows go, and what the anchor becomes. Rows that were kept before may go
// now. An intent that an operation of the same transaction closes stays until the next Prune.
func (g *group) survey(p *pending, limit uint64, open func(ipc.Key) bool) (doomed []uint64, a anchor, more bool, err error) {
	a = p.anchor
	kept := newKeptSum()
	full := errors.New("enough for one transaction")
	err = g.c.query(func(v []driver.Value) error {
		r, err := decodeRow(p.st, v)
		if err != nil {
			return err
		}
		keep := false
		switch r.kind {
		case kindIntent, kindStatus:
			if len(r.payload) < 16 {
				return chainError(p.st, r.no, "payload of %d bytes", len(r.payload))
			}
			keep = open(keyString(r.payload[:16]))
		}
		if !keep && len(doomed) == PruneRowsPerTx {
			if r.no <= p.anchor.head.RowNo {
				// More of the rows kept before could go: they stay until the next transaction, and are counted.
				keep = true
			} else {
				return full
			}
		}
		if keep {
			kept.add(r.no, r.head)
		} else {
			doomed = append(doomed, r.no)
		}
		if r.no > a.head.RowNo {
			a.head, a.lastInput = Head{RowNo: r.no, Hash: r.head}, r.input
		}
		return nil
	}, 7, "SELECT id, kind, input_no, payload, head, crc, ikey FROM rows WHERE id BETWEEN ? AND ? ORDER BY id",
		rowID(p.st.id, 1), rowID(p.st.id, limit))
	if errors.Is(err, full) {
		more, err = true, nil
	}
	a.keptCount, a.keptDigest = kept.count, kept.digest()
	return doomed, a, more || len(doomed) == PruneRowsPerTx, err
}
