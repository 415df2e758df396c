package statedb

import (
	"bytes"
	"crypto/sha256"
	"database/sql/driver"
	"encoding/binary"
	"fmt"
	"hash"
	"hash/crc64"

	"github.com/msup/msup/ipc"
)

const selectRows = "SELECT id, kind, input_no, payload, head, crc, ikey FROM rows WHERE id BETWEEN ? AND ? ORDER BY id"

var indexTable = crc64.MakeTable(crc64.ECMA)

func rowNoOf(id int64) uint64    { return uint64(id) & maxRowNo }
func instanceOf(id int64) int64  { return id >> 40 }
func epochOf(id int64) ipc.Epoch { return ipc.Epoch(uint64(id) & maxRowNo) }
func chainError(st *state, rowNo uint64, format string, args ...any) error {
	return &Error{Kind: ErrChain, Place: fmt.Sprintf("%s row %d", st.place(), rowNo), Cause: fmt.Sprintf(format, args...), Remedy: remedyRestore}
}

// decodeRow takes a row out of selectRows and checks its checksum.
func decodeRow(st *state, v []driver.Value) (row, error) {
	c := columns{v: v}
	id := c.int(0)
	r := row{no: rowNoOf(id), kind: uint8(c.int(1)), input: ipc.InputNo(c.int(2)), payload: c.blob(3), head: c.digest(4), crc: uint32(c.int(5))}
	if v[6] != nil {
		r.ikey = c.blob(6)
	}
	if c.err != nil {
		return row{}, chainError(st, r.no, "%v", c.err)
	}
	if instanceOf(id) != st.id {
		return row{}, chainError(st, r.no, "row of instance number %d", instanceOf(id))
	}
	if got := r.sum(st.id); got != r.crc {
		return row{}, chainError(st, r.no, "checksum %08x, stored %08x", got, r.crc)
	}
	return r, nil
}

// tailRow gives the last row of an instance.
func tailRow(c *conn, instance int64) (r row, found bool, err error) {
	err = c.query(func(v []driver.Value) error {
		cols := columns{v: v}
		r, found = row{no: rowNoOf(cols.int(0)), head: cols.digest(1)}, true
		return cols.err
	}, 2, "SELECT id, head FROM rows WHERE id BETWEEN ? AND ? ORDER BY id DESC LIMIT 1", rowID(instance, 1), rowID(instance, maxRowNo))
	return r, found, err
}

// keptSum accumulates what stands below the anchor.
type keptSum struct {
	h     hash.Hash
	count int64
}

func newKeptSum() *keptSum { return &keptSum{h: sha256.New()} }

func (k *keptSum) add(rowNo uint64, head ipc.Digest) {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], rowNo)
	k.h.Write(b[:])
	k.h.Write(head[:])
	k.count++
}

func (k *keptSum) digest() (d ipc.Digest) {
	k.h.Sum(d[:0])
	return d
}

func (a *anchor) sum(instance int64) uint32 {
	return sumOf(instance, a.head.RowNo, uint64(a.lastInput), a.head.Hash[:], a.keptCount, a.keptDigest[:])
}

// loadAnchor reads where the chain begins; without a stored anchor it begins at the lineage.
func loadAnchor(c *conn, st *state) (anchor, error) {
	a := anchor{head: Head{Hash: chainStart(st.lineage)}, keptDigest: newKeptSum().digest()}
	err := c.query(func(v []driver.Value) error {
		cols := columns{v: v}
		a = anchor{head: Head{RowNo: uint64(cols.int(0)), Hash: cols.digest(2)}, lastInput: ipc.InputNo(cols.int(1)),
			keptCount: cols.int(3), keptDigest: cols.digest(4)}
		crc := uint32(cols.int(5))
		if cols.err == nil && crc != a.sum(st.id) {
			cols.err = chainError(st, a.head.RowNo, "the chain's anchor fails its checksum")
		}
		return cols.err
	}, 6, "SELECT row_no, input_no, head, kept_count, kept_digest, crc FROM anchors WHERE instance = ?", st.id)
	return a, err
}

// walker follows one instance's chain from the anchor to its end.
type walker struct {
	st      *state
	mark    *markRecord
	anchor  anchor
	kept    *keptSum
	head    Head
	input   ipc.InputNo
	rows    int64
	intents map[ipc.Key]openIntent
	keyed   indexSum
}

// indexSum compares the unique index with the table: an index that lost an entry would let a key pass twice.
type indexSum struct {
	count int64
	sum   uint64
}

func (s *indexSum) add(ikey []byte, id int64) {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(id))
	s.count++
	s.sum += crc64.Update(crc64.Checksum(ikey, indexTable), indexTable, b[:])
}

// walk verifies the ledger of one instance inside one snapshot and fills in what state keeps in memory.
func walk(c *conn, st *state, mark *markRecord) (w *walker, err error) {
	w = &walker{st: st, mark: mark, kept: newKeptSum(), intents: make(map[ipc.Key]openIntent)}
	if w.anchor, err = loadAnchor(c, st); err != nil {
		return nil, err
	}
	w.head, w.input = w.anchor.head, w.anchor.lastInput
	if err := c.query(w.row, 7, selectRows, rowID(st.id, 1), rowID(st.id, maxRowNo)); err != nil {
		return nil, diskError(c.path, "walking "+st.place(), err)
	}
	if err := w.finish(c); err != nil {
		return nil, err
	}
	return w, nil
}

func (w *walker) row(v []driver.Value) error {
	r, err := decodeRow(w.st, v)
	if err != nil {
		return err
	}
	w.rows++
	if r.ikey != nil {
		w.keyed.add(r.ikey, rowID(w.st.id, r.no))
	}
	if r.no <= w.anchor.head.RowNo {
		w.kept.add(r.no, r.head)
		return w.content(&r, false)
	}
	if r.no != w.head.RowNo+1 {
		return chainError(w.st, w.head.RowNo+1, "missing; row %d follows", r.no)
	}
	if want := chainNext(w.head.Hash, r.no, r.kind, r.payload); want != r.head {
		return chainError(w.st, r.no, "head %s, computed %s", r.head, want)
	}
	w.head = Head{RowNo: r.no, Hash: r.head}
	if w.mark != nil && w.mark.head.RowNo == r.no {
		if w.mark.head.Hash != r.head {
			return chainError(w.st, r.no, "head %s, the high-water mark says %s", r.head, w.mark.head.Hash)
		}
	}
	return w.content(&r, true)
}

// content checks what a row says: inputs go on without a gap, statuses follow each other as they may.
func (w *walker) content(r *row, chained bool) error {
	switch r.kind {
	case kindInputs:
		first, last, _, _, err := decodeInputs(r.payload)
		if err != nil {
			return chainError(w.st, r.no, "%v", err)
		}
		if first != w.input+1 || !chained {
			return chainError(w.st, r.no, "inputs %d to %d after input %d", first, last, w.input)
		}
		w.input = last
	case kindIntent:
		in, err := decodeIntent(r.payload)
		if err != nil {
			return chainError(w.st, r.no, "%v", err)
		}
		if key, err := keyBytes(in.Key); err != nil || !bytes.Equal(r.ikey, indexKey(w.st.id, key)) {
			return chainError(w.st, r.no, "indexed under another key than %s", in.Key)
		}
		w.intents[in.Key] = openIntent{rowNo: r.no, status: ipc.StatusNotSeen}
	case kindStatus:
		s, err := decodeStatus(r.payload)
		if err != nil {
			return chainError(w.st, r.no, "%v", err)
		}
		// An intent that was pruned may still have its last statuses above the anchor.
		if known, ok := w.intents[s.Key]; ok {
			if !known.status.CanBecome(s.Status) {
				return chainError(w.st, r.no, "%s after %s for %s", s.Status, known.status, s.Key)
			}
			if w.intents[s.Key] = (openIntent{rowNo: known.rowNo, status: s.Status}); s.Status.Terminal() {
				delete(w.intents, s.Key)
			}
		}
	default:
		return chainError(w.st, r.no, "kind %d", r.kind)
	}
	if chained && r.input != w.input {
		return chainError(w.st, r.no, "stored under input %d, the last one is %d", r.input, w.input)
	}
	return nil
}

// finish judges the end of the walk: what the anchor kept, the mark, the index.
func (w *walker) finish(c *conn) error {
	st := w.st
	if w.kept.count != w.anchor.keptCount || w.kept.digest() != w.anchor.keptDigest {
		return chainError(st, w.anchor.head.RowNo, "%d rows below the anchor, %d were kept, or they are others", w.kept.count, w.anchor.keptCount)
	}
	if m := w.mark; m != nil {
		if err := m.behind(st, w.head.RowNo); err != nil {
			return err
		}
		if m.head.RowNo == w.anchor.head.RowNo && m.head.Hash != w.anchor.head.Hash {
			return chainError(st, m.head.RowNo, "anchor %s, the high-water mark says %s", w.anchor.head.Hash, m.head.Hash)
		}
	}
	var index indexSum
	low, high := indexKey(st.id, [16]byte{}), indexKey(st.id+1, [16]byte{})
	if err := c.query(func(v []driver.Value) error {
		cols := columns{v: v}
		index.add(cols.blob(0), cols.int(1))
		return cols.err
	}, 2, "SELECT ikey, id FROM rows INDEXED BY intent_keys WHERE ikey >= ? AND ikey < ?", low, high); err != nil {
		return diskError(c.path, "walking the keys of "+st.place(), err)
	}
	if index != w.keyed {
		return &Error{Kind: ErrCorrupt, Place: st.place(), Remedy: remedyRestore,
			Cause: fmt.Sprintf("the index holds %d keys, the rows %d, or they are others", index.count, w.keyed.count)}
	}
	for k, o := range w.intents {
		if o.status == ipc.StatusNotSeen { // verdicts late and refused never get one
			delete(w.intents, k)
		}
	}
	return nil
}

// behind tells whether the ledger ends before the mark: rows that had been reported are gone.
func (m *markRecord) behind(st *state, rowNo uint64) error {
	if rowNo >= m.head.RowNo {
		return nil
	}
	return m.lost(st, fmt.Sprintf("the ledger ends at row %d, row %d had been persisted", rowNo, m.head.RowNo))
}

func (m *markRecord) lost(st *state, cause string) error {
	if m.durability != Power {
		cause += fmt.Sprintf(" (durability was %q: a power cut explains it)", m.durability)
	}
	return &Error{Kind: ErrRowsLost, Place: st.place(), Cause: cause, Remedy: remedyRestore}
}
