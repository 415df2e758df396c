package statedb

import (
	"errors"
	"fmt"
	"math"

	sqlite3 "github.com/mattn/go-sqlite3"

	"github.com/msup/msup/ipc"
)

const insertRow = "INSERT INTO rows (id, kind, input_no, payload, head, crc, ikey) VALUES (?, ?, ?, ?, ?, ?, ?)"

// Persist queues a batch (RS-5). Order is kept; the outcome comes through Batch.Done.
func (in *Instance) Persist(b *Batch) {
	epoch := b.Epoch
	if epoch == 0 {
		epoch = in.Epoch()
	}
	size := int64(len(b.Inputs))
	for i := range b.Intents {
		size += int64(intentHeaderBytes + len(b.Intents[i].Bytes))
	}
	size += int64(len(b.Statuses) * statusHeaderBytes)
	var head Head
	o := &op{
		st: in.st, batch: true, size: size, urgent: b.Urgent || len(b.Intents) > 0,
		apply: func(g *group, p *pending) error {
			base := g.pending[in.st]
			err := g.persist(base, p, b, epoch)
			head = p.head
			return err
		},
	}
	if b.Done != nil {
		o.done = func(err error) {
			if err != nil {
				b.Done(Head{}, err)
				return
			}
			b.Done(head, nil)
		}
	}
	in.db.writer.submit(o)
}

// check refuses what could never be stored, before anything is written.
func (b *Batch) check() error {
	switch {
	case (b.FirstInput == 0) != (b.LastInput == 0) || (b.FirstInput == 0) != (len(b.Inputs) == 0) || b.LastInput < b.FirstInput:
		return fmt.Errorf("inputs %d to %d in %d bytes: %w", b.FirstInput, b.LastInput, len(b.Inputs), ErrInvalid)
	case b.LastInput > math.MaxInt64:
		return fmt.Errorf("input %d: %w", b.LastInput, ErrTooLarge)
	case len(b.Inputs) > MaxInputsBytes:
		return fmt.Errorf("inputs of %d bytes, at most %d: %w", len(b.Inputs), MaxInputsBytes, ErrTooLarge)
	case len(b.Intents)+len(b.Statuses) > MaxBatchRows:
		return fmt.Errorf("%d intents and %d statuses, at most %d: %w", len(b.Intents), len(b.Statuses), MaxBatchRows, ErrTooLarge)
	}
	for i := range b.Intents {
		if n := len(b.Intents[i].Bytes); n > MaxIntentBytes {
			return fmt.Errorf("intent %s of %d bytes, at most %d: %w", b.Intents[i].Key, n, MaxIntentBytes, ErrTooLarge)
		}
	}
	for i := range b.Statuses {
		if n := len(b.Statuses[i].Reason); n > MaxReasonBytes {
			return fmt.Errorf("reason of %s of %d bytes, at most %d: %w", b.Statuses[i].Key, n, MaxReasonBytes, ErrTooLarge)
		}
	}
	return nil
}

func (g *group) persist(base, p *pending, b *Batch, epoch ipc.Epoch) error {
	if epoch < p.epoch {
		return &Error{Kind: ErrEpoch, Place: p.st.place(), Cause: fmt.Sprintf("batch of epoch %d, epoch %d has started", epoch, p.epoch),
			Remedy: "stop this owner; a newer one has taken over"}
	}
	if err := b.check(); err != nil {
		return fmt.Errorf("%s: persist: %w", p.st.place(), err)
	}
	if b.FirstInput != 0 {
		if b.FirstInput != p.lastInput+1 {
			return fmt.Errorf("%s: inputs %d to %d after input %d: %w", p.st.place(), b.FirstInput, b.LastInput, p.lastInput, ErrInputGap)
		}
		p.lastInput = b.LastInput
		payload := appendInputs(make([]byte, 0, inputsHeaderBytes+len(b.Inputs)), b.FirstInput, b.LastInput, epoch, b.Inputs)
		if err := g.appendRow(p, kindInputs, payload, nil); err != nil {
			return err
		}
	}
	for i := range b.Intents {
		if err := g.persistIntent(p, b.Intents[i], epoch); err != nil {
			return err
		}
	}
	for i := range b.Statuses {
		if err := g.persistStatus(base, p, b.Statuses[i], epoch); err != nil {
			return err
		}
	}
	return nil
}

func (g *group) persistIntent(p *pending, r IntentRow, epoch ipc.Epoch) error {
	key, err := keyBytes(r.Key)
	if err != nil {
		return fmt.Errorf("%s: intent: %w", p.st.place(), err)
	}
	if r.Epoch == 0 {
		r.Epoch = epoch
	}
	payload := appendIntent(make([]byte, 0, intentHeaderBytes+len(r.Bytes)), key, &r)
	if err := g.appendRow(p, kindIntent, payload, indexKey(p.st.id, key)); err != nil {
		var se sqlite3.Error
		if errors.As(err, &se) && se.ExtendedCode == sqlite3.ErrConstraintUnique {
			return &Error{Kind: ErrDuplicateKey, Place: p.st.place(), Cause: fmt.Sprintf("key %s of step %d", r.Key, r.Step), Err: err,
				Remedy: "the gate lets a key pass once; the strategy reused a name, or the ledger of another run was restored"}
		}
		return err
	}
	p.intents[r.Key] = openIntent{rowNo: p.head.RowNo, status: ipc.StatusNotSeen}
	return nil
}

func (g *group) persistStatus(base, p *pending, r StatusRow, epoch ipc.Epoch) error {
	key, err := keyBytes(r.Key)
	if err != nil {
		return fmt.Errorf("%s: status: %w", p.st.place(), err)
	}
	if r.Epoch == 0 {
		r.Epoch = epoch
	}
	known, ok := p.lookup(base, r.Key)
	if !ok {
		stored, err := findStatus(g.c, p.st, r.Key)
		if err != nil {
			return err
		}
		known = openIntent{rowNo: stored.RowNo, status: stored.Status}
	}
	if !known.status.CanBecome(r.Status) {
		return fmt.Errorf("%s: intent %s: %s after %s: %w", p.st.place(), r.Key, r.Status, known.status, ErrTransition)
	}
	payload := appendStatus(make([]byte, 0, statusHeaderBytes+len(r.Reason)), key, &r)
	if err := g.appendRow(p, kindStatus, payload, nil); err != nil {
		return err
	}
	p.intents[r.Key] = openIntent{rowNo: known.rowNo, status: r.Status}
	return nil
}

// appendRow puts one row at the end of the chain.
func (g *group) appendRow(p *pending, kind uint8, payload, ikey []byte) error {
	if p.head.RowNo >= maxRowNo {
		return fmt.Errorf("%s: row %d: %w", p.st.place(), p.head.RowNo+1, ErrTooLarge)
	}
	r := row{no: p.head.RowNo + 1, kind: kind, input: p.lastInput, payload: payload, ikey: ikey}
	r.head = chainNext(p.head.Hash, r.no, kind, payload)
	var index any
	if ikey != nil {
		index = ikey
	}
	if err := g.c.exec(insertRow, rowID(p.st.id, r.no), int64(kind), int64(r.input), payload, r.head[:], int64(r.sum(p.st.id)), index); err != nil {
		return err
	}
	p.head = Head{RowNo: r.no, Hash: r.head}
	g.rows++
	g.bytes += int64(len(payload) + len(ikey) + len(r.head))
	return nil
}

// Flush waits until everything that was given to Persist before is decided, and gives the durable head. The error is the one that
// voided the instance, if one did.
func (in *Instance) Flush() (Head, error) {
	err := in.db.writer.call(&op{st: in.st, apply: func(_ *group, p *pending) error {
		if p.voided != nil {
			return p.st.voidedError(p.voided)
		}
		return nil
	}})
	return in.Head(), err
}

// Reset ends the voided state after a failed persist: it learns by a write whether the disk takes writes again, and gives the last
// durable head and input, to which the caller goes back. While the disk still fails it returns the error and the instance stays
// voided; call it again later.
func (in *Instance) Reset() (Head, ipc.InputNo, error) {
	st := in.st
	err := in.db.writer.call(&op{st: st, apply: func(g *group, p *pending) error {
		if err := g.c.exec("UPDATE probe SET n = n + 1 WHERE id = 1"); err != nil {
			return err
		}
		tail, found, err := tailRow(g.c, st.id)
		if err != nil {
			return err
		}
		if found && tail.no != p.head.RowNo || !found && p.head.RowNo != p.anchor.head.RowNo {
			return &Error{Kind: ErrCorrupt, Place: st.place(), Remedy: remedyRestore,
				Cause: fmt.Sprintf("the ledger ends at row %d, row %d was persisted", tail.no, p.head.RowNo)}
		}
		p.voided = nil
		return nil
	}})
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.head, st.lastInput, err
}
