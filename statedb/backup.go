package statedb

import (
	"errors"
	"path/filepath"

	"github.com/msup/msup/ipc"
)

// Backup copies a state directory into a fresh one, beside the supervisor that may be running on it. It takes the checkpoints before the
// ledger, each in one snapshot, so that the copied ledger reaches the copied checkpoints; the copy's mark says exactly what the copied
// ledger holds. The copy is verified before it appears in its place, where it can be started from like any other.
//
// The directory goes on afterwards: whoever starts an older backup has a ledger behind what I has seen. A start asks I for the last step
// it has seen, and halts.
func Backup(from, to string) (r *Report, err error) {
	for range lookAttempts {
		if r, err = backup(from, to); !errors.Is(err, ErrNoCheckpoint) {
			break
		}
	}
	return r, err
}

// lookAttempts is how often a look that found a checkpoint replaced, and its rows pruned, between slots and ledger is taken anew.
const lookAttempts = 5

func backup(from, to string) (*Report, error) {
	// The mark before anything else: the copy must reach it.
	v, err := OpenView(from)
	if err != nil {
		return nil, err
	}
	defer func() { _ = v.Close() }() // read-only: nothing to lose
	return fresh(to, func(tmp string) error {
		for _, s := range []*schema{checkpointSchema, ledgerSchema} {
			if err := copyDatabase(s, from, tmp); err != nil {
				return err
			}
		}
		return v.markCopy(tmp)
	})
}

// copyDatabase copies all pages in one read transaction; in WAL mode the writer goes on meanwhile.
func copyDatabase(s *schema, from, to string) (err error) {
	src, err := openConn(filepath.Join(from, s.file), true)
	if err != nil {
		return err
	}
	defer func() { err = both(err, src.close()) }()
	if _, err := s.inspect(src); err != nil {
		return err
	}
	dst, err := openConn(filepath.Join(to, s.file), false)
	if err != nil {
		return err
	}
	defer func() { err = both(err, dst.close()) }()
	b, err := dst.c.Backup("main", src.c, "main")
	if err != nil {
		return diskError(dst.path, "copying "+src.path, err)
	}
	_, err = b.Step(-1)
	return diskError(dst.path, "copying "+src.path, both(err, b.Finish()))
}

// markCopy gives a copied ledger its mark, when the ledger reaches the mark of the original.
func (v *View) markCopy(to string) error {
	later, _, err := readMarks(filepath.Join(v.Dir(), markFile))
	if err != nil {
		return err
	}
	for id, m := range later {
		if _, ok := v.marks[id]; !ok {
			v.marks[id] = markRecord{lineage: m.lineage, durability: m.durability} // created while the files were copied
		}
	}
	c, err := openConn(filepath.Join(to, ledgerSchema.file), true)
	if err != nil {
		return err
	}
	defer func() { _ = c.close() }() // read-only
	states, damaged, err := loadInstances(c)
	if err = both(err, damaged); err != nil {
		return err
	}
	marks := make(map[int64]markRecord)
	for _, st := range states {
		if err := compareTail(c, st, v.marks); err != nil {
			return err
		}
		t, err := loadTail(c, st)
		if err != nil {
			return err
		}
		if t.head.RowNo > 0 || t.epoch > 0 || v.marks[st.id].lineage != (ipc.Lineage{}) {
			marks[st.id] = markRecord{lineage: st.lineage, generation: 1, head: t.head, epoch: t.epoch, durability: v.marks[st.id].durability}
		}
	}
	return writeMarks(to, marks)
}
