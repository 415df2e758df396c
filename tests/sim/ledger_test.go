package sim

import (
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/supervisor"
)

var (
	errVoided = errors.New("simulated: the disk did not take the batch")
	errDead   = errors.New("simulated: the process is dead")
)

// disk is what survives a process.
type disk struct {
	mu       sync.Mutex
	batches  []supervisor.Batch
	pruned   int  // batches that are gone
	keeps    bool // nothing is ever pruned
	epoch    ipc.Epoch
	slots    []supervisor.Checkpoint // newest first
	statuses map[ipc.Key]ipc.Status
	complain func(format string, args ...any)
	counts   map[string]int
}

func (d *disk) lastInput() ipc.InputNo {
	if len(d.batches) == 0 {
		return 0
	}
	return d.batches[len(d.batches)-1].Last
}

func (d *disk) head() supervisor.Head {
	return supervisor.Head{RowNo: uint64(d.pruned + len(d.batches))}
}

// append makes a batch durable and looks at its statuses.
func (d *disk) append(b *supervisor.Batch) {
	if b.First != 0 && b.First != d.lastInput()+1 {
		d.complain("inputs %d to %d are persisted after input %d", b.First, b.Last, d.lastInput())
	}
	if b.First == 0 {
		return
	}
	d.batches = append(d.batches, *b)
	for _, r := range b.Statuses {
		if !d.statuses[r.Key].CanBecome(r.Status) {
			d.complain("key %s becomes %s after %s", r.Key, r.Status, d.statuses[r.Key])
		}
		d.statuses[r.Key] = r.Status
		d.counts[r.Status.String()]++
	}
}

// memoryLedger is one process's way to the disk: a persister that takes its time, and sometimes fails.
type memoryLedger struct {
	disk   *disk
	rng    *rand.Rand
	mu     sync.Mutex
	work   *sync.Cond
	queue  []*supervisor.Batch
	busy   bool
	voided bool
	dead   bool
	faults bool
	torn   bool // a slot may turn out to be
}

func newLedger(d *disk, rng *rand.Rand, faults bool) *memoryLedger {
	l := &memoryLedger{disk: d, rng: rng, faults: faults, torn: faults}
	l.work = sync.NewCond(&l.mu)
	go l.persister()
	return l
}

func (l *memoryLedger) persister() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		for len(l.queue) == 0 && !l.dead {
			l.work.Wait()
		}
		if len(l.queue) == 0 {
			return
		}
		b := l.queue[0]
		l.queue, l.busy = l.queue[1:], true
		pause := time.Duration(l.rng.IntN(4)) * time.Millisecond
		if l.faults && l.rng.IntN(60) == 0 {
			l.voided = true
		}
		l.mu.Unlock()
		time.Sleep(pause)
		l.mu.Lock()
		var err error
		var head supervisor.Head
		switch {
		case l.dead:
			err = errDead
		case l.voided:
			err = errVoided
		default:
			l.disk.mu.Lock()
			l.disk.append(b)
			head = l.disk.head()
			l.disk.mu.Unlock()
		}
		l.mu.Unlock()
		b.Done(head, err)
		l.mu.Lock()
		l.busy = false
		l.work.Broadcast()
	}
}

// kill loses what is not durable.
func (l *memoryLedger) kill() {
	l.mu.Lock()
	l.dead = true
	l.work.Broadcast()
	l.mu.Unlock()
}

func (l *memoryLedger) Lineage() ipc.Lineage { return lineage }

func (l *memoryLedger) LastInput() ipc.InputNo {
	l.disk.mu.Lock()
	defer l.disk.mu.Unlock()
	return l.disk.lastInput()
}

func (l *memoryLedger) NextEpoch(_ ipc.Nonce, above ipc.Epoch) (ipc.Epoch, error) {
	l.disk.mu.Lock()
	defer l.disk.mu.Unlock()
	l.disk.epoch = max(l.disk.epoch, above) + 1
	return l.disk.epoch, nil
}

func (l *memoryLedger) Persist(b *supervisor.Batch) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dead {
		go b.Done(supervisor.Head{}, errDead)
		return
	}
	l.queue = append(l.queue, b)
	l.work.Broadcast()
}

func (l *memoryLedger) Flush() (supervisor.Head, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for (len(l.queue) > 0 || l.busy) && !l.dead {
		l.work.Wait()
	}
	switch {
	case l.dead:
		return supervisor.Head{}, errDead
	case l.voided:
		return supervisor.Head{}, errVoided
	}
	l.disk.mu.Lock()
	defer l.disk.mu.Unlock()
	return l.disk.head(), nil
}

func (l *memoryLedger) Reset() (ipc.InputNo, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for (len(l.queue) > 0 || l.busy) && !l.dead {
		l.work.Wait()
	}
	if l.dead {
		return 0, errDead
	}
	if l.rng.IntN(3) == 0 {
		return 0, errVoided // the disk is still full
	}
	l.voided = false
	l.disk.mu.Lock()
	defer l.disk.mu.Unlock()
	l.disk.counts["voids"]++
	return l.disk.lastInput(), nil
}

func (l *memoryLedger) ReadInputs(from ipc.InputNo, fn func(first, last ipc.InputNo, payload []byte) error) error {
	l.disk.mu.Lock()
	batches := append([]supervisor.Batch(nil), l.disk.batches...)
	gone := l.disk.pruned > 0 && (len(batches) == 0 || from < batches[0].First)
	l.disk.mu.Unlock()
	if gone {
		return supervisor.ErrPruned
	}
	for _, b := range batches {
		if b.Last < from {
			continue
		}
		if err := fn(b.First, b.Last, b.Inputs); err != nil {
			return err
		}
	}
	return nil
}

func (l *memoryLedger) SaveCheckpoint(c supervisor.Checkpoint) error {
	l.mu.Lock()
	dead := l.dead
	l.mu.Unlock()
	if dead {
		return errDead
	}
	d := l.disk
	d.mu.Lock()
	defer d.mu.Unlock()
	if n := int(c.Head.RowNo) - d.pruned; n < 1 || n > len(d.batches) || d.batches[n-1].Last != c.InputNo {
		d.complain("a checkpoint of input %d names row %d", c.InputNo, n)
	}
	d.slots = append([]supervisor.Checkpoint{c}, d.slots...)
	d.slots = d.slots[:min(2, len(d.slots))]
	d.counts["checkpoints"]++
	return nil
}

// Prune forgets the batches below the older slot.
func (l *memoryLedger) Prune() (int, error) {
	l.mu.Lock()
	dead := l.dead
	l.mu.Unlock()
	l.disk.mu.Lock()
	defer l.disk.mu.Unlock()
	d := l.disk
	if dead || len(d.slots) < 2 || d.keeps {
		return 0, nil
	}
	n := 0
	for n < len(d.batches)-1 && d.batches[n].Last <= d.slots[1].InputNo {
		n++
	}
	d.batches = d.batches[n:]
	d.pruned += n
	d.counts["pruned"] += n
	return n, nil
}

func (l *memoryLedger) Checkpoints() ([]supervisor.Checkpoint, []error) {
	l.mu.Lock()
	torn := l.torn && l.rng.IntN(4) == 0
	l.mu.Unlock()
	l.disk.mu.Lock()
	defer l.disk.mu.Unlock()
	if torn && len(l.disk.slots) == 2 { // the newest slot is torn
		return append([]supervisor.Checkpoint(nil), l.disk.slots[1:]...), []error{errors.New("simulated: a torn slot")}
	}
	return append([]supervisor.Checkpoint(nil), l.disk.slots...), nil
}
