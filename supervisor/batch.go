package supervisor

import (
	"fmt"
	"time"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/supervisor/core"
	"github.com/msup/msup/supervisor/mailbox"
)

// BatchDelay is how long inputs that nobody waits for may stay in memory before they go to the ledger (RS-5).
const BatchDelay = 25 * time.Millisecond

const (
	// batchBytes is the size at which a batch goes at once, as it does when somebody waits for it.
	batchBytes = 256 << 10
	// intentBytes holds nearly every encoded intent: growing to it would be four allocations on the way to the offer.
	intentBytes = 512
)

// batch collects what the core did since the last persist.
type batch struct {
	first, last ipc.InputNo
	inputs      []byte
	intents     []LedgerIntent
	statuses    []core.StatusRow
	acks        []ipc.Cursor
	replies     []chan<- error
	tasks       []core.Task
	asked       time.Time
	urgent      bool
	release     bool
	since       time.Time
}

func (b *batch) empty() bool { return b.last == 0 }

// add records one input and its rows.
func (b *batch) add(in core.Input, e *core.Effects) error {
	if b.empty() {
		b.first, b.since = e.InputNo, time.Now()
	}
	b.last = e.InputNo
	b.inputs = core.AppendInput(b.inputs, in)
	for i := range e.Intents {
		row := &e.Intents[i]
		intent := row.Verdict.Intent
		if intent == nil {
			intent = row.Asked
		}
		bytes, err := ipc.AppendIntent(make([]byte, 0, intentBytes), intent)
		if err != nil {
			return fmt.Errorf("writing intent %d of step %d: %w", row.Ordinal, row.Step, err)
		}
		b.intents = append(b.intents, LedgerIntent{IntentRow: *row, Bytes: bytes})
	}
	for _, row := range e.Statuses {
		b.statuses = append(b.statuses, row)
		if row.Status == ipc.StatusApproved || row.Status == ipc.StatusStaged {
			b.release = true
		}
	}
	if len(e.Compute) > 0 {
		if len(b.tasks) == 0 {
			b.asked = time.Now()
		}
		b.tasks = append(b.tasks, e.Compute...)
	}
	if e.Ack != nil {
		b.acks = append(b.acks, *e.Ack)
	}
	b.urgent = b.urgent || e.Urgent || len(b.replies) > 0
	return nil
}

// submit hands the batch to the persister and begins a new one. done, when not nil, hears the outcome on the persister's goroutine.
func (p *Instance) submit(done func(Head, error)) {
	b := &p.batch
	word := &persisted{last: b.last, release: b.release, acks: b.acks, replies: b.replies, tasks: b.tasks, asked: b.asked}
	tell := b.release || len(b.acks) > 0 || len(b.tasks) > 0 || len(b.replies) > 0
	box := p.box
	p.cfg.Ledger.Persist(&Batch{
		First: b.first, Last: b.last, Inputs: b.inputs, Intents: b.intents, Statuses: b.statuses, Urgent: b.urgent || done != nil,
		Done: func(h Head, err error) {
			if done != nil {
				done(h, err)
			}
			if tell || err != nil {
				word.err = err
				box.PutUrgent(mailbox.Internal, urgent{persisted: word})
			}
		},
	})
	// The persister owns the old slices now.
	p.batch = batch{inputs: make([]byte, 0, min(max(2*len(b.inputs), 1024), batchBytes))}
}

// flushIfDue submits a batch that somebody waits for, or that is old or large enough.
func (p *Instance) flushIfDue() error {
	b := &p.batch
	if b.empty() {
		return nil
	}
	if b.urgent || len(b.inputs) >= batchBytes || time.Since(b.since) >= BatchDelay {
		p.submit(nil)
	}
	return nil
}

// flush makes everything so far durable before it returns.
func (p *Instance) flush() error {
	if !p.batch.empty() {
		p.submit(nil)
	}
	if _, err := p.cfg.Ledger.Flush(); err != nil {
		return fmt.Errorf("making the log durable: %w", err)
	}
	return nil
}

// onPersisted lets leave what has become durable (law 3), and answers who waited.
func (p *Instance) onPersisted(w *persisted) error {
	for _, r := range w.replies {
		r <- w.err
	}
	if w.err != nil {
		if !p.voided {
			p.log.Error("persist failed; going back to the last durable input", "reason", ipc.ReasonPersistFailed, "err", w.err)
			p.voided = true
		}
		return nil
	}
	for _, c := range w.acks {
		p.durably(c)
		p.ack(c)
	}
	if !p.voided {
		p.compute(w.tasks, w.asked)
	}
	if !w.release || p.voided || p.cfg.Sink == nil {
		return nil
	}
	if p.sink.state != sinkLive {
		p.sink.owed = true
		return nil
	}
	processed, coreTS := p.cfg.Clock.Now(0)
	return p.apply(&core.Release{At: core.At{CoreTS: coreTS}, Upto: w.last, WallTS: processed})
}
