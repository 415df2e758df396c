package statedb

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/msup/msup/ipc"
)

// errReopened: an intent without a status, which Prune was about to delete, got one meanwhile.
var errReopened = errors.New("intent reopened")

// Prune deletes the rows below the older valid checkpoint, so that recovery can still fall back to it. Intents whose last status is not
// final stay, with their statuses. With fewer than two valid checkpoints nothing is deleted.
//
// What goes is chosen beside the writer, which only deletes: at most PruneRowsPerTx rows and pruneBytesPerTx bytes in a transaction, one
// pruning transaction at a time over all instances, with a rest before the next. When there is nothing to delete the writer is not
// asked at all.
func (in *Instance) Prune() (deleted int, err error) {
	st := in.st
	st.pruning.Lock()
	defer st.pruning.Unlock()
	st.checkpointing.Lock()
	valid, problems := in.checkpoints()
	st.checkpointing.Unlock()
	if len(valid) < 2 || len(problems) > 0 {
		return 0, nil
	}
	// Checkpoints that are saved from now on only move this limit up.
	limit := valid[1].Head.RowNo
	for {
		p := pruner{in: in, limit: limit}
		err := p.run()
		deleted += p.deleted
		switch {
		case err == nil:
			return deleted, nil
		case !errors.Is(err, errReopened):
			return deleted, fmt.Errorf("%s: prune: %w", st.place(), err)
		}
	}
}

// pruner is one run of Prune over an instance.
type pruner struct {
	in      *Instance
	limit   uint64
	anchor  anchor // as the chunk leaves it
	kept    *keptSum
	chunk   chunk
	deleted int
}

// pruneTurn lets one pruning transaction of all instances run at a time, and rests between two for as long as the first took, at most
// maxPruneRest: else, when many instances prune after a common checkpoint interval, every commit of everybody would have one in it until
// all are through.
type pruneTurn struct {
	mu   sync.Mutex
	rest time.Time // until then
}

func (t *pruneTurn) do(fn func() error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	time.Sleep(time.Until(t.rest))
	start := time.Now()
	err := fn()
	t.rest = time.Now().Add(min(time.Since(start), maxPruneRest))
	return err
}

// chunk is what one transaction deletes.
type chunk struct {
	runs  []rowRun
	keys  []ipc.Key // of the intents in it
	rows  int
	bytes int
	split bool // a row was kept since the last one that goes
}

// rowRun is a range of rows that all go; numbers without a row may lie between them.
type rowRun struct {
	first, last uint64
	rows        int64
}

func (c *chunk) full(next int) bool {
	return c.rows == PruneRowsPerTx || c.rows > 0 && c.bytes+next > pruneBytesPerTx
}

func (c *chunk) add(no uint64, size int, key ipc.Key) {
	if len(c.runs) == 0 || c.split {
		c.runs = append(c.runs, rowRun{first: no})
		c.split = false
	}
	r := &c.runs[len(c.runs)-1]
	r.last = no
	r.rows++
	c.rows++
	c.bytes += size
	if key != "" {
		c.keys = append(c.keys, key)
	}
}

func (p *pruner) run() error {
	p.in.st.mu.Lock()
	p.anchor = p.in.st.anchor
	p.in.st.mu.Unlock()
	if err := p.below(); err != nil {
		return err
	}
	return p.above()
}

// keeps reports whether a row stays, and gives the key when it is an intent's.
func (p *pruner) keeps(r *row) (keep bool, intent ipc.Key, err error) {
	if r.kind == kindInputs {
		return false, "", nil
	}
	if len(r.payload) < 16 {
		return false, "", chainError(p.in.st, r.no, "payload of %d bytes", len(r.payload))
	}
	key := keyString(r.payload[:16])
	p.in.st.mu.Lock()
	_, open := p.in.st.intents[key]
	p.in.st.mu.Unlock()
	if r.kind == kindIntent {
		intent = key
	}
	return open, intent, nil
}

// lowRow is a row below the anchor.
type lowRow struct {
	no     uint64
	head   ipc.Digest
	size   int
	intent ipc.Key
	goes   bool
}

// below deletes what was kept for intents that have become final since.
func (p *pruner) below() error {
	rows, going, err := p.lowRows()
	if err != nil {
		return err
	}
	for i := 0; going > 0; i++ {
		r := &rows[i]
		if !r.goes {
			p.chunk.split = true
			continue
		}
		if p.chunk.full(r.size) {
			p.anchor.keptCount, p.anchor.keptDigest = sumKept(rows, i)
			if err := p.delete(); err != nil {
				return err
			}
		}
		p.chunk.add(r.no, r.size, r.intent)
		going--
	}
	// What is left of the last chunk shares its transaction with the first rows above.
	p.kept = newKeptSum()
	for i := range rows {
		if !rows[i].goes {
			p.kept.add(rows[i].no, rows[i].head)
		}
	}
	p.chunk.split = true
	return nil
}

// sumKept describes the rows below the anchor when those before index done have been dealt with.
func sumKept(rows []lowRow, done int) (int64, ipc.Digest) {
	k := newKeptSum()
	for i := range rows {
		if i >= done || !rows[i].goes {
			k.add(rows[i].no, rows[i].head)
		}
	}
	return k.count, k.digest()
}

// lowRows reads the rows below the anchor: those that stay are the open intents of old, a few.
func (p *pruner) lowRows() (rows []lowRow, going int, err error) {
	st, was := p.in.st, newKeptSum()
	for after := uint64(0); after < p.anchor.head.RowNo; {
		page, more, err := p.in.page(after)
		if err != nil {
			return nil, 0, err
		}
		for i := range page {
			r := &page[i]
			if after = r.no; r.no > p.anchor.head.RowNo {
				break
			}
			keep, intent, err := p.keeps(r)
			if err != nil {
				return nil, 0, err
			}
			was.add(r.no, r.head)
			rows = append(rows, lowRow{no: r.no, head: r.head, size: len(r.payload), intent: intent, goes: !keep})
			if !keep {
				going++
			}
		}
		if !more {
			break
		}
	}
	if was.count != p.anchor.keptCount || was.digest() != p.anchor.keptDigest {
		return nil, 0, chainError(st, p.anchor.head.RowNo, "%d rows below the anchor, %d were kept, or they are others", was.count, p.anchor.keptCount)
	}
	return rows, going, nil
}

// above moves the anchor up to the limit; the chain is verified on the way, so that the anchor cannot seal a damage.
func (p *pruner) above() error {
	from := p.anchor.head
	passed := errors.New("limit passed")
	err := p.in.scan(from, func(r *row) error {
		if r.no > p.limit {
			return passed
		}
		keep, intent, err := p.keeps(r)
		if err != nil {
			return err
		}
		if !keep && p.chunk.full(len(r.payload)) {
			if err := p.delete(); err != nil {
				return err
			}
		}
		if keep {
			p.kept.add(r.no, r.head)
			p.chunk.split = true
		} else {
			p.chunk.add(r.no, len(r.payload), intent)
		}
		p.anchor.head, p.anchor.lastInput = Head{RowNo: r.no, Hash: r.head}, r.input
		p.anchor.keptCount = p.kept.count
		return nil
	})
	if err != nil && !errors.Is(err, passed) {
		return err
	}
	if p.anchor.head == from && p.chunk.rows == 0 {
		return nil
	}
	return p.delete()
}

// delete gives the chunk to the writer and waits for it.
func (p *pruner) delete() error {
	if p.kept != nil {
		p.anchor.keptCount, p.anchor.keptDigest = p.kept.count, p.kept.digest()
	}
	db, st, c, a := p.in.db, p.in.st, p.chunk, p.anchor
	err := db.pruning.do(func() error {
		return db.writer.call(&op{st: st, apply: func(g *group, pend *pending) error { return g.prune(pend, &c, a) }})
	})
	if err != nil {
		return err
	}
	p.deleted += c.rows
	p.chunk = chunk{split: true}
	return nil
}

// prune deletes one chunk and moves the anchor with it.
func (g *group) prune(p *pending, c *chunk, a anchor) error {
	st := p.st
	for _, key := range c.keys {
		if o, ok := p.lookup(g.pending[st], key); ok && o.status != ipc.StatusNotSeen && !o.status.Terminal() {
			return errReopened
		}
	}
	for _, r := range c.runs {
		n, err := g.c.execCount("DELETE FROM rows WHERE id BETWEEN ? AND ?", rowID(st.id, r.first), rowID(st.id, r.last))
		if err != nil {
			return err
		}
		if n != r.rows {
			return chainError(st, r.first, "%d rows from here to row %d, %d were there", n, r.last, r.rows)
		}
	}
	if err := g.c.exec("INSERT OR REPLACE INTO anchors (instance, row_no, input_no, head, kept_count, kept_digest, crc) VALUES (?, ?, ?, ?, ?, ?, ?)",
		st.id, int64(a.head.RowNo), int64(a.lastInput), a.head.Hash[:], a.keptCount, a.keptDigest[:], int64(a.sum(st.id))); err != nil {
		return err
	}
	p.anchor = a
	return nil
}
