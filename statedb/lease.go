package statedb

import (
	"database/sql/driver"
	"fmt"
	"time"

	"github.com/msup/msup/ipc"
)

const selectLeases = "SELECT id, pid, start_time, boot_id, nonce, wall_ns, crc FROM leases WHERE id BETWEEN ? AND ? ORDER BY id"

func (l *Lease) sum(id int64) uint32 {
	return sumOf(id, int64(l.PID), l.StartTime, l.BootID, l.Nonce[:], int64(l.WallTS))
}

// NextEpoch starts a new epoch: every start of an instance does, before it goes live (LS-3). It is durable in the ledger and in
// the mark when this returns; batches of lower epochs are refused from then on. It also ends a voided state: what the
// former owner had queued is barred.
func (in *Instance) NextEpoch(owner LeaseRow) (ipc.Epoch, error) { return in.NextEpochAbove(0, owner) }

// NextEpochAbove is NextEpoch where the ledger is not the only one who counts: the new epoch is also higher than the given one, which
// the lease of this host knows from another state directory of the same instance.
func (in *Instance) NextEpochAbove(above ipc.Epoch, owner LeaseRow) (ipc.Epoch, error) {
	st := in.st
	if above >= maxRowNo {
		return 0, fmt.Errorf("%s: an epoch above %d: %w", st.place(), above, ErrTooLarge)
	}
	if owner.WallTS == 0 {
		owner.WallTS = ipc.Nanos(time.Now().UnixNano())
	}
	var l Lease
	err := in.db.writer.call(&op{st: st, apply: func(g *group, p *pending) error {
		l = Lease{Epoch: max(p.epoch, above) + 1, LeaseRow: owner}
		id := rowID(st.id, uint64(l.Epoch))
		if err := g.c.exec("INSERT INTO leases (id, pid, start_time, boot_id, nonce, wall_ns, crc) VALUES (?, ?, ?, ?, ?, ?, ?)",
			id, int64(l.PID), int64(l.StartTime), l.BootID, l.Nonce[:], int64(l.WallTS), int64(l.sum(id))); err != nil {
			return err
		}
		if err := g.c.exec("DELETE FROM leases WHERE id BETWEEN ? AND ?", rowID(st.id, 0), id-leasesKept); err != nil {
			return err
		}
		p.epoch, p.voided = l.Epoch, nil
		return nil
	}})
	if err == nil {
		err = in.db.mark.flush()
	}
	if err != nil {
		return 0, fmt.Errorf("%s: next epoch: %w", st.place(), err)
	}
	in.epoch.Store(uint64(l.Epoch))
	return l.Epoch, nil
}

// Leases lists the newest owners, oldest first.
func (in *Instance) Leases() ([]Lease, error) {
	c, err := in.db.read.acquire()
	if err != nil {
		return nil, err
	}
	defer in.db.read.release(c)
	var out []Lease
	err = c.query(func(v []driver.Value) error {
		l, err := decodeLease(v)
		out = append(out, l)
		return err
	}, 7, selectLeases,
		rowID(in.st.id, 0), rowID(in.st.id, maxRowNo))
	return out, diskError(c.path, "reading the leases of "+in.st.place(), err)
}

// lastLease gives the newest epoch and its owner; the zero Lease when there is none.
func lastLease(c *conn, instance int64) (l Lease, err error) {
	err = c.query(func(v []driver.Value) (err error) {
		l, err = decodeLease(v)
		return err
	}, 7, "SELECT id, pid, start_time, boot_id, nonce, wall_ns, crc FROM leases WHERE id BETWEEN ? AND ? ORDER BY id DESC LIMIT 1",
		rowID(instance, 0), rowID(instance, maxRowNo))
	return l, err
}

func decodeLease(v []driver.Value) (Lease, error) {
	c := columns{v: v}
	id := c.int(0)
	l := Lease{Epoch: epochOf(id), LeaseRow: LeaseRow{PID: int(c.int(1)), StartTime: uint64(c.int(2)), BootID: c.text(3), WallTS: ipc.Nanos(c.int(5))}}
	if copy(l.Nonce[:], c.blob(4)) != len(l.Nonce) && c.err == nil {
		c.err = typeError(v[4], "blob of 16 bytes")
	}
	if crc := uint32(c.int(6)); c.err == nil && crc != l.sum(id) {
		c.err = &Error{Kind: ErrCorrupt, Place: "leases", Cause: fmt.Sprintf("epoch %d fails its checksum", l.Epoch), Remedy: remedyRestore}
	}
	return l, c.err
}
