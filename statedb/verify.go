package statedb

import (
	"database/sql/driver"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/msup/msup/ipc"
)

// Report is what Verify found.
type Report struct {
	Dir       string
	Instances []InstanceReport
	// Problems of the directory as a whole; those of one instance are in its report.
	Problems []error
}

// InstanceReport is what Verify found of one instance.
type InstanceReport struct {
	Address     ipc.Address
	Lineage     ipc.Lineage
	Epoch       ipc.Epoch
	Head        Head
	Anchor      Head // the chain begins after it
	LastInput   ipc.InputNo
	Rows        int64 // stored, kept ones below the anchor included
	OpenIntents int
	Mark        Head // what the high-water mark says; zero when it says nothing
	Checkpoints []Checkpoint
	Problems    []error
}

// OK reports whether nothing is wrong anywhere.
func (r *Report) OK() bool {
	return len(r.Problems) == 0 && !slices.ContainsFunc(r.Instances, func(i InstanceReport) bool { return len(i.Problems) > 0 })
}

// Verify walks everything in a state directory: structure, identities, checksums, chains, keys, marks, checkpoints. It writes
// nothing, and may run beside the supervisor. The error is for a directory that cannot be looked at; what is wrong with it is in the report.
func Verify(dir string) (*Report, error) {
	if err := requireLedger(dir); err != nil {
		return nil, err
	}
	r := &Report{Dir: dir}
	// The mark first: beside a running supervisor the ledger only moves ahead of it.
	marks, damaged, err := readMarks(filepath.Join(dir, markFile))
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, ledgerSchema.file)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		r.Problems = append(r.Problems, &Error{Kind: ErrRowsLost, Place: path, Cause: "the ledger is missing, the high-water mark is not", Remedy: remedyRestore})
		return r, nil
	} else if err != nil {
		return nil, diskError(path, "looking at the ledger", err)
	}
	c, err := openConn(path, true)
	if err != nil {
		return nil, err
	}
	defer func() { _ = c.close() }() // read-only: nothing to lose
	version, err := ledgerSchema.inspect(c)
	if err != nil {
		r.Problems = append(r.Problems, err)
		return r, nil
	}
	if version == 0 {
		if len(marks) > 0 {
			r.Problems = append(r.Problems, &Error{Kind: ErrRowsLost, Place: path, Cause: "the ledger is empty, the high-water mark is not", Remedy: remedyRestore})
		}
		return r, nil
	}
	if err := integrity(c); err != nil {
		r.Problems = append(r.Problems, err)
	}
	states, identity, err := loadInstances(c)
	if err = errors.Join(err, identity, orphans(path, states, marks)); err != nil {
		r.Problems = append(r.Problems, err)
	}
	slots := &slotStore{path: filepath.Join(dir, checkpointSchema.file)}
	// A start makes the ledger, then the checkpoints, then the first instance: killed between them it leaves no checkpoints.
	if err := slots.openReadOnly(len(states) > 0); err != nil {
		r.Problems = append(r.Problems, err)
	}
	defer func() { _ = slots.close() }()
	for _, st := range states {
		rep := verifyInstance(c, slots, st, marks, slices.Contains(damaged, st.id))
		// Beside a running supervisor a checkpoint may be replaced, and its rows pruned, between two looks.
		for n := 1; len(rep.Problems) > 0 && n < lookAttempts; n++ {
			rep = verifyInstance(c, slots, st, marks, slices.Contains(damaged, st.id))
		}
		r.Instances = append(r.Instances, rep)
	}
	return r, nil
}

// integrity is the thorough sibling of quickCheck.
func integrity(c *conn) error {
	var found []error
	err := c.query(func(v []driver.Value) error {
		if s, ok := v[0].(string); !ok || s != "ok" {
			found = append(found, &Error{Kind: ErrCorrupt, Place: c.path, Cause: fmt.Sprint(v[0]), Remedy: remedyRestore})
		}
		return nil
	}, 1, "PRAGMA integrity_check(10)")
	return errors.Join(diskError(c.path, "checking the structure", err), errors.Join(found...))
}

func verifyInstance(c *conn, slots *slotStore, st *state, marks map[int64]markRecord, damagedMark bool) InstanceReport {
	rep := InstanceReport{Address: st.addr, Lineage: st.lineage}
	problem := func(err error) { rep.Problems = append(rep.Problems, err) }
	var known *markRecord
	if m, ok := marks[st.id]; ok {
		known, rep.Mark = &m, m.head
	}
	if err := compareTail(c, st, marks); err != nil {
		problem(err)
	} else if damagedMark {
		problem(&Error{Kind: ErrMark, Place: st.place(), Cause: "both records of the mark are damaged; the ledger has no rows", Remedy: "none needed; the next start writes it again"})
	}
	// The slots before the ledger, which then reaches them.
	stored, unread := slots.read(st)
	w, lease, err := readInstance(c, st, known)
	if err != nil {
		problem(err)
		return rep
	}
	rep.Head, rep.Anchor, rep.LastInput, rep.Rows, rep.OpenIntents = w.head, w.anchor.head, w.input, w.rows, len(w.intents)
	rep.Epoch = lease.Epoch
	st.head, st.lastInput, st.anchor = w.head, w.input, w.anchor
	in := &Instance{db: &DB{slots: slots, read: &readerPool{path: c.path}}, st: st}
	defer func() { _ = in.db.read.close() }()
	var problems []error
	rep.Checkpoints, problems = in.judge(stored, unread)
	rep.Problems = append(rep.Problems, problems...)
	return rep
}

// openReadOnly gives a store that can only be read; needed says that a missing one is a fault.
func (s *slotStore) openReadOnly(needed bool) error {
	version, err := inspectSlots(s.path)
	if err == nil && version == 0 {
		if !needed {
			return nil
		}
		err = &Error{Kind: ErrCorrupt, Place: s.path, Cause: "empty or missing", Remedy: "the next start makes it again; checkpoints that were in it are lost"}
	}
	if err == nil {
		s.back, err = openConn(s.path, true)
	}
	s.broken = err
	return err
}
