package ipc

import "fmt"

// boundary writes the messages between M and H, I, J/E.
func (w *writer) boundary(m Message) {
	switch m := m.(type) {
	case *BoundaryHello:
		w.about(TypeBoundaryHello, m.Seq, m.Address)
		w.bin("lineage", m.Lineage[:], len(m.Lineage))
		w.uint(uint64(m.Epoch))
		w.bin("owner_nonce", m.Owner[:], len(m.Owner))
		w.step(m.OldestOpenStep)
	case *Welcome:
		w.about(TypeWelcome, m.Seq, m.Address)
		w.step(m.LastStep)
		w.cursor(m.Cursor)
	case *Refused:
		w.about(TypeRefused, m.Seq, m.Address)
		w.code(m.Reason)
		w.uint(uint64(m.Epoch))
	case *Offer:
		w.about(TypeOffer, m.Seq, m.Address)
		w.offer(m.Epoch, m.Step, m.Ordinal, m.Digest, m.ValidUntil, m.Intent)
	case *Query:
		w.question(TypeQuery, m.Seq, m.Address, m.Epoch, m.Key)
	case *StatusReport:
		w.about(TypeStatus, m.Seq, m.Address)
		w.id("key", string(m.Key))
		w.enum("status", uint8(m.Status), 0, uint8(StatusWithdrawn))
		if m.Digest == nil {
			w.null()
		} else {
			w.bin("digest", m.Digest[:], len(m.Digest))
		}
		w.code(m.Reason)
	case *Tombstone:
		w.question(TypeTombstone, m.Seq, m.Address, m.Epoch, m.Key)
	case *LastStep:
		w.about(TypeLastStep, m.Seq, m.Address)
		w.step(m.Step)
	case *SnapshotRequest:
		w.about(TypeSnapshotRequest, m.Seq, m.Address)
	case *ApprovalRequest:
		w.about(TypeApprovalRequest, m.Seq, m.Address)
		w.offer(m.Epoch, m.Step, m.Ordinal, m.Digest, m.ValidUntil, m.Intent)
	case *Approval:
		w.about(TypeApproval, m.Seq, m.Address)
		w.id("key", string(m.Key))
		w.bool(m.Approved)
		w.code(m.Reason)
	default:
		w.flow(m)
	}
}

// flow writes the messages that move a source forward; their address may be missing.
func (w *writer) flow(m Message) {
	switch m := m.(type) {
	case *SourceEvent:
		w.open(TypeEvent, m.Seq)
		w.optAddress(m.Address)
		w.cursor(m.Cursor)
		w.nanos(m.RecvTS)
		w.id("trace_id", string(m.TraceID))
		w.event(m.Event)
	case *Ack:
		w.open(TypeAck, m.Seq)
		w.optAddress(m.Address)
		w.cursor(m.Cursor)
	case *Resume:
		w.open(TypeResume, m.Seq)
		w.optAddress(m.Address)
		w.cursor(m.Cursor)
	case *Sync:
		w.open(TypeSync, m.Seq)
	default:
		w.fail("message", "%T is no message", m)
	}
}

func (w *writer) about(t MessageType, seq uint64, a Address) {
	w.open(t, seq)
	w.address(a)
}

func (w *writer) question(t MessageType, seq uint64, a Address, epoch Epoch, key Key) {
	w.about(t, seq, a)
	w.uint(uint64(epoch))
	w.id("key", string(key))
}

func (w *writer) offer(epoch Epoch, step Step, ordinal uint32, digest Digest, validUntil Nanos, intent *Intent) {
	w.uint(uint64(epoch))
	w.step(step)
	w.uint(uint64(ordinal))
	w.bin("digest", digest[:], len(digest))
	w.nanos(validUntil)
	w.intent(intent, withAll)
}

func (w *writer) optAddress(a *Address) {
	if a == nil {
		w.null()
		return
	}
	w.address(*a)
}

func (r *Reader) optAddress() *Address {
	if r.null() {
		return nil
	}
	a := r.address()
	return &a
}

func (r *Reader) key() Key { return Key(r.id("key")) }

func (r *Reader) boundaryHello() Message {
	m := &BoundaryHello{Seq: r.seq(), Address: r.address()}
	r.fixed("lineage", m.Lineage[:])
	m.Epoch = Epoch(r.u64("epoch"))
	r.fixed("owner_nonce", m.Owner[:])
	m.OldestOpenStep = r.step("oldest_open_step")
	return m
}

func (r *Reader) welcome() Message {
	return &Welcome{Seq: r.seq(), Address: r.address(), LastStep: r.step("last_step"), Cursor: r.cursor()}
}

func (r *Reader) refused() Message {
	return &Refused{Seq: r.seq(), Address: r.address(), Reason: r.reason("reason"), Epoch: Epoch(r.u64("epoch"))}
}

func (r *Reader) offer() Message {
	m := &Offer{
		Seq: r.seq(), Address: r.address(), Epoch: Epoch(r.u64("epoch")), Step: r.step("step"), Ordinal: r.u32("ordinal"),
	}
	r.fixed("digest", m.Digest[:])
	m.ValidUntil = r.nanos("valid_until")
	m.Intent = r.intent()
	return m
}

func (r *Reader) approvalRequest() Message {
	m := ApprovalRequest(*r.offer().(*Offer))
	return &m
}

func (r *Reader) query() Message {
	return &Query{Seq: r.seq(), Address: r.address(), Epoch: Epoch(r.u64("epoch")), Key: r.key()}
}

func (r *Reader) status() Message {
	m := &StatusReport{
		Seq: r.seq(), Address: r.address(), Key: r.key(), Status: Status(r.enum("status", 0, uint8(StatusWithdrawn))),
	}
	if !r.null() {
		m.Digest = new(Digest)
		r.fixed("digest", m.Digest[:])
	}
	m.Reason = r.reason("reason")
	return m
}

func (r *Reader) tombstone() Message {
	return &Tombstone{Seq: r.seq(), Address: r.address(), Epoch: Epoch(r.u64("epoch")), Key: r.key()}
}

func (r *Reader) lastStep() Message {
	return &LastStep{Seq: r.seq(), Address: r.address(), Step: r.step("step")}
}

// sourceEvent refuses the events that only M makes: a source that could forge a compute result or a configuration would
// stand above the operator.
func (r *Reader) sourceEvent() Message {
	m := &SourceEvent{
		Seq: r.seq(), Address: r.optAddress(), Cursor: r.cursor(), RecvTS: r.nanos("recv_ts"), TraceID: TraceID(r.id("trace_id")),
	}
	at := r.rest
	m.Event = r.event()
	if r.err != nil || r.from == FromAnyone {
		return m
	}
	if kind := m.Event.Kind(); kind >= KindTimer && kind != KindManualSignal {
		r.rest = at
		r.fail(ClassDirection, "event", fmt.Sprintf("a source may not send a %s event", kind))
	}
	return m
}

func (r *Reader) ack() Message {
	return &Ack{Seq: r.seq(), Address: r.optAddress(), Cursor: r.cursor()}
}

func (r *Reader) resume() Message {
	return &Resume{Seq: r.seq(), Address: r.optAddress(), Cursor: r.cursor()}
}

func (r *Reader) snapshotRequest() Message {
	return &SnapshotRequest{Seq: r.seq(), Address: r.address()}
}

func (r *Reader) approval() Message {
	return &Approval{Seq: r.seq(), Address: r.address(), Key: r.key(), Approved: r.bool("approved"), Reason: r.reason("reason")}
}

func (r *Reader) sync() Message { return &Sync{Seq: r.seq()} }
