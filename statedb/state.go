package statedb

import (
	"fmt"
	"maps"
	"sync"

	"github.com/msup/msup/ipc"
)

// openIntent is an intent whose last status is not final, as kept in memory.
type openIntent struct {
	rowNo  uint64
	status ipc.Status
}

// state is what is known of one instance's ledger, shared by all its handles. Everything in it is durable: it changes after a
// commit only.
type state struct {
	id      int64
	addr    ipc.Address
	lineage ipc.Lineage
	created ipc.Nanos

	opening sync.Mutex // one OpenInstance at a time
	open    bool       // verified; guarded by opening

	checkpointing sync.Mutex // one SaveCheckpoint at a time
	pruning       sync.Mutex // one Prune at a time

	mu        sync.Mutex
	head      Head
	lastInput ipc.InputNo
	epoch     ipc.Epoch
	intents   map[ipc.Key]openIntent
	anchor    anchor
	voided    error // cause of the first failed batch, until Reset
}

// anchor is where the chain begins after pruning.
type anchor struct {
	head       Head
	lastInput  ipc.InputNo
	keptCount  int64
	keptDigest ipc.Digest
}

func (st *state) place() string { return "instance " + st.addr.String() }

// pending is the state of one instance as the running transaction would leave it.
type pending struct {
	st        *state
	head      Head
	lastInput ipc.InputNo
	epoch     ipc.Epoch
	anchor    anchor
	voided    error
	// changed intents: a final status stands for removal from state.intents
	intents map[ipc.Key]openIntent
}

func newPending(st *state) *pending {
	st.mu.Lock()
	defer st.mu.Unlock()
	return &pending{st: st, head: st.head, lastInput: st.lastInput, epoch: st.epoch, anchor: st.anchor,
		voided: st.voided, intents: make(map[ipc.Key]openIntent)}
}

// fork gives a copy for one operation, to be joined or thrown away with its savepoint. The maps are copied when written.
func (p *pending) fork() *pending {
	c := *p
	c.intents = make(map[ipc.Key]openIntent)
	return &c
}

func (p *pending) join(c *pending) {
	merged := p.intents
	maps.Copy(merged, c.intents)
	*p = *c
	p.intents = merged
}

// lookup finds an intent whose status may go on: in this operation, in this transaction, in memory.
func (p *pending) lookup(base *pending, key ipc.Key) (openIntent, bool) {
	if o, ok := p.intents[key]; ok {
		return o, true
	}
	if o, ok := base.intents[key]; ok {
		return o, true
	}
	p.st.mu.Lock()
	defer p.st.mu.Unlock()
	o, ok := p.st.intents[key]
	return o, ok
}

// publish makes the pending state the known one, after the commit.
func (p *pending) publish() {
	st := p.st
	st.mu.Lock()
	defer st.mu.Unlock()
	st.head, st.lastInput, st.epoch, st.anchor, st.voided = p.head, p.lastInput, p.epoch, p.anchor, p.voided
	for k, o := range p.intents {
		if o.status == ipc.StatusNotSeen || o.status.Terminal() {
			delete(st.intents, k)
		} else {
			st.intents[k] = o
		}
	}
}

func (p *pending) markRecord(d Durability) markRecord {
	return markRecord{lineage: p.st.lineage, head: p.head, epoch: p.epoch, durability: d}
}

// void remembers the first failure; later batches are refused because of it.
func (st *state) void(cause error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.voided == nil {
		st.voided = cause
	}
}

// voidedError is what a batch after a failed one gets.
func (st *state) voidedError(cause error) error {
	return &Error{Kind: ErrVoided, Place: st.place(), Cause: fmt.Sprintf("an earlier persist failed (%v)", cause),
		Remedy: "go back to the last durable input (Reset)"}
}
