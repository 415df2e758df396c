package statedb

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"

	"github.com/msup/msup/ipc"
)

var checkpointMagic = [4]byte{'m', 's', 'c', '1'}

// maxCheckpointBytes bounds an encoded checkpoint before anything is allocated for it.
const maxCheckpointBytes = MaxStateBytes + MaxCoreBytes + MaxCursors*(1+ipc.MaxIDBytes+16) + 512

func (c *Checkpoint) check() error {
	switch {
	case len(c.State) > MaxStateBytes:
		return fmt.Errorf("state of %d bytes, at most %d: %w", len(c.State), MaxStateBytes, ErrTooLarge)
	case len(c.Core) > MaxCoreBytes:
		return fmt.Errorf("core state of %d bytes, at most %d: %w", len(c.Core), MaxCoreBytes, ErrTooLarge)
	case len(c.Cursors) > MaxCursors:
		return fmt.Errorf("%d cursors, at most %d: %w", len(c.Cursors), MaxCursors, ErrTooLarge)
	case c.Head.RowNo > maxRowNo || c.InputNo > math.MaxInt64:
		return fmt.Errorf("row %d, input %d: %w", c.Head.RowNo, c.InputNo, ErrTooLarge)
	}
	for _, cur := range c.Cursors {
		if err := ipc.CheckID(string(cur.Source)); err != nil {
			return fmt.Errorf("cursor: source: %w: %w", ErrInvalid, err)
		}
	}
	return nil
}

// encodeCheckpoint lays a slot's body out; the crc32c over all of it ends it.
func encodeCheckpoint(lineage ipc.Lineage, c *Checkpoint) []byte {
	b := make([]byte, 0, len(c.State)+len(c.Core)+512+len(c.Cursors)*64)
	b = append(b, checkpointMagic[:]...)
	b = append(b, lineage[:]...)
	b = binary.BigEndian.AppendUint64(b, c.Generation)
	b = binary.BigEndian.AppendUint64(b, uint64(c.InputNo))
	b = binary.BigEndian.AppendUint64(b, uint64(c.Step))
	b = binary.BigEndian.AppendUint64(b, c.Head.RowNo)
	b = append(b, c.Head.Hash[:]...)
	b = append(b, c.PackageHash[:]...)
	b = append(b, c.ConfigHash[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(c.SavedCoreTS))
	b = binary.BigEndian.AppendUint32(b, c.StateSchemaVersion)
	b = binary.BigEndian.AppendUint32(b, uint32(len(c.Cursors)))
	for _, cur := range c.Cursors {
		b = append(b, byte(len(cur.Source)))
		b = append(b, cur.Source...)
		b = binary.BigEndian.AppendUint64(b, cur.Epoch)
		b = binary.BigEndian.AppendUint64(b, cur.Seq)
	}
	b = binary.BigEndian.AppendUint32(b, uint32(len(c.State)))
	b = append(b, c.State...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(c.Core)))
	b = append(b, c.Core...)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// cutter takes fields off the front of a slot's body.
type cutter struct {
	b   []byte
	err error
}

func (c *cutter) take(n int, what string) []byte {
	if c.err != nil || n > len(c.b) {
		if c.err == nil {
			c.err = fmt.Errorf("ends in %s: %d bytes where %d are due", what, len(c.b), n)
		}
		return make([]byte, min(n, 64))
	}
	out := c.b[:n]
	c.b = c.b[n:]
	return out
}

func (c *cutter) u64(what string) uint64 { return binary.BigEndian.Uint64(c.take(8, what)) }
func (c *cutter) u32(what string) uint32 { return binary.BigEndian.Uint32(c.take(4, what)) }

func (c *cutter) digest(what string) (d ipc.Digest) {
	copy(d[:], c.take(len(d), what))
	return d
}

// decodeCheckpoint reads a slot's body; it trusts nothing before the checksum holds, and no length after.
func decodeCheckpoint(lineage ipc.Lineage, b []byte) (Checkpoint, error) {
	var c Checkpoint
	if len(b) < 4+4 || len(b) > maxCheckpointBytes {
		return c, fmt.Errorf("body of %d bytes", len(b))
	}
	body, sum := b[:len(b)-4], binary.BigEndian.Uint32(b[len(b)-4:])
	if got := crc32.Checksum(body, castagnoli); got != sum {
		return c, fmt.Errorf("checksum %08x, stored %08x", got, sum)
	}
	cut := &cutter{b: body}
	if m := cut.take(4, "magic"); string(m) != string(checkpointMagic[:]) {
		return c, fmt.Errorf("magic %q", m)
	}
	if l := ipc.Lineage(cut.take(16, "lineage")); l != lineage {
		return c, fmt.Errorf("of lineage %s", l)
	}
	c.Generation = cut.u64("generation")
	c.InputNo = ipc.InputNo(cut.u64("input"))
	c.Step = ipc.Step(cut.u64("step"))
	c.Head.RowNo = cut.u64("row")
	c.Head.Hash = cut.digest("head")
	c.PackageHash = cut.digest("package hash")
	c.ConfigHash = cut.digest("config hash")
	c.SavedCoreTS = ipc.Nanos(cut.u64("core time"))
	c.StateSchemaVersion = cut.u32("schema version")
	n := cut.u32("cursors")
	if n > MaxCursors {
		return c, fmt.Errorf("%d cursors", n)
	}
	for range n {
		src := cut.take(int(cut.take(1, "source")[0]), "source")
		c.Cursors = append(c.Cursors, ipc.Cursor{Source: ipc.SourceID(src), Epoch: cut.u64("cursor"), Seq: cut.u64("cursor")})
	}
	c.State = cut.take(int(cut.u32("state length")), "state")
	c.Core = cut.take(int(cut.u32("core length")), "core state")
	if cut.err == nil && len(cut.b) > 0 {
		cut.err = fmt.Errorf("%d bytes too many", len(cut.b))
	}
	return c, cut.err
}

// SaveCheckpoint writes the slot that does not hold the newest valid checkpoint, syncs it, reads it back through another connection and
// verifies it (ST-1, ST-3). Its head must be durable in the ledger and end the batch of InputNo; call Flush first.
func (in *Instance) SaveCheckpoint(c Checkpoint) error {
	st := in.st
	st.checkpointing.Lock()
	defer st.checkpointing.Unlock()
	if err := c.check(); err != nil {
		return fmt.Errorf("%s: save checkpoint: %w", st.place(), err)
	}
	if err := in.reaches(&c); err != nil {
		return fmt.Errorf("%s: save checkpoint: %w", st.place(), err)
	}
	slots, err := in.db.slots.read(st)
	if err != nil {
		return fmt.Errorf("%s: save checkpoint: %w", st.place(), err)
	}
	target := 0
	var newest uint64
	for i := range slots {
		s := &slots[i]
		c.Generation = max(c.Generation, s.checkpoint.Generation)
		if s.err == nil && s.checkpoint.Generation > newest && in.reaches(&s.checkpoint) == nil {
			newest, target = s.checkpoint.Generation, 1-s.slot
		}
	}
	c.Generation++
	body := encodeCheckpoint(st.lineage, &c)
	if err := in.db.slots.write(st, target, body); err != nil {
		return fmt.Errorf("%s: save checkpoint at input %d: %w", st.place(), c.InputNo, err)
	}
	return nil
}

// reaches reports whether the ledger holds the checkpoint's head at its input.
func (in *Instance) reaches(c *Checkpoint) error {
	end := in.Head().RowNo
	conn, err := in.db.read.acquire()
	if err != nil {
		return err
	}
	defer in.db.read.release(conn)
	// One snapshot: Prune may run beside this and make the row the anchor.
	return conn.snapshot(func() error { return reachedBy(conn, in.st, end, c) })
}

// reachedBy is reaches within a snapshot of a ledger that ends at a row.
func reachedBy(conn *conn, st *state, end uint64, c *Checkpoint) error {
	if c.Head.RowNo > end {
		return &Error{Kind: ErrNoCheckpoint, Place: st.place(),
			Cause: fmt.Sprintf("checkpoint at row %d, the ledger ends at row %d", c.Head.RowNo, end)}
	}
	a, err := loadAnchor(conn, st)
	if err != nil {
		return diskError(conn.path, "reading the anchor of "+st.place(), err)
	}
	at, input := a.head, a.lastInput
	switch {
	case c.Head.RowNo < a.head.RowNo:
		return &Error{Kind: ErrNoCheckpoint, Place: st.place(),
			Cause: fmt.Sprintf("checkpoint at row %d, the ledger begins after row %d", c.Head.RowNo, a.head.RowNo)}
	case c.Head.RowNo > a.head.RowNo:
		if at, input, err = rowAt(conn, st, c.Head.RowNo); err != nil {
			return err
		}
	}
	if at.Hash != c.Head.Hash || input != c.InputNo {
		return &Error{Kind: ErrNoCheckpoint, Place: st.place(), Cause: fmt.Sprintf("checkpoint at row %d with head %s and input %d, the ledger has %s and %d",
			c.Head.RowNo, c.Head.Hash, c.InputNo, at.Hash, input)}
	}
	return nil
}

// Checkpoints gives the checkpoints that count, newest first, and what is wrong with the others. No checkpoint and no problem means that none
// was saved and the log begins at input 1; no checkpoint with problems means that the instance has to stop (ST-4).
func (in *Instance) Checkpoints() (valid []Checkpoint, problems []error) {
	st := in.st
	st.checkpointing.Lock()
	defer st.checkpointing.Unlock()
	valid, problems = in.checkpoints()
	if len(valid) == 0 && len(problems) > 0 {
		problems = []error{in.db.withEvidence(string(st.addr.Instance), &Error{Kind: ErrNoCheckpoint, Place: st.place(),
			Err: errors.Join(problems...), Remedy: remedyRestore})}
	}
	return valid, problems
}

func (in *Instance) checkpoints() (valid []Checkpoint, problems []error) {
	slots, err := in.db.slots.read(in.st)
	return in.judge(slots, err)
}

// judge tells the slots that count from the others; unread is why none could be read.
func (in *Instance) judge(slots []storedSlot, unread error) (valid []Checkpoint, problems []error) {
	st := in.st
	if unread != nil {
		problems = append(problems, unread)
	}
	for i := range slots {
		s := &slots[i]
		err := s.err
		if err == nil {
			err = in.reaches(&s.checkpoint)
		}
		if err != nil {
			problems = append(problems, fmt.Errorf("%s: checkpoint slot %d: %w", st.place(), s.slot, err))
			continue
		}
		valid = append(valid, s.checkpoint)
	}
	if len(valid) == 2 && valid[0].Generation < valid[1].Generation {
		valid[0], valid[1] = valid[1], valid[0]
	}
	st.mu.Lock()
	begins := st.anchor.lastInput
	st.mu.Unlock()
	if len(valid) == 0 && begins > 0 {
		problems = append(problems, &Error{Kind: ErrNoCheckpoint, Place: st.place(), Remedy: remedyRestore,
			Cause: fmt.Sprintf("the log begins after input %d and no checkpoint reaches it", begins)})
	}
	return valid, problems
}

// KeepEvidence copies the files of the state directory to the evidence folder and names it: for trouble that only the caller can see, such
// as two corrupt checkpoints or a replay that differs.
func (in *Instance) KeepEvidence(cause error) (string, error) {
	err := in.db.withEvidence(string(in.st.addr.Instance), cause)
	var e *Error
	if errors.As(err, &e) && e.Evidence != "" {
		return e.Evidence, nil
	}
	return "", err
}
