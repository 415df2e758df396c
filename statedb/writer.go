package statedb

import (
	"database/sql/driver"
	"errors"
	"fmt"
	"sync"
	"time"

	sqlite3 "github.com/mattn/go-sqlite3"
)

// op is one unit of the writer: all of it or nothing, in the order of submission.
type op struct {
	st     *state
	apply  func(g *group, p *pending) error
	done   func(error) // after the commit, or after the failure; may be nil
	batch  bool        // a failure voids the instance
	urgent bool
	fresh  bool  // creates the instance: when it fails there is none to mark
	size   int64 // payload bytes, for the size of groups and the statistics
	queued time.Time
}

// writer is the only goroutine that writes to the ledger. Everything that queued up while one commit ran shares the next.
type writer struct {
	db    *DB
	c     *conn
	delay time.Duration

	mu      sync.Mutex
	queue   []*op
	urgent  bool
	closed  bool
	wake    chan struct{}
	stopped chan struct{}

	// held while a transaction runs and while the log is emptied
	tx sync.Mutex

	frames int64 // in the log after the last commit; of the writer goroutine
}

func newWriter(db *DB, c *conn, delay time.Duration) *writer {
	w := &writer{db: db, c: c, delay: delay, wake: make(chan struct{}, 1), stopped: make(chan struct{})}
	go w.loop()
	return w
}

// submit queues an operation. Its done is called exactly once, from the writer goroutine (or here when it is closed).
func (w *writer) submit(o *op) {
	o.queued = time.Now()
	w.mu.Lock()
	if w.closed {
		w.mu.Unlock()
		if o.done != nil {
			o.done(ErrClosed)
		}
		return
	}
	w.queue = append(w.queue, o)
	first := len(w.queue) == 1
	w.urgent = w.urgent || o.urgent
	wake := first || o.urgent
	w.mu.Unlock()
	if wake {
		w.poke()
	}
}

// call submits an operation and waits for it.
func (w *writer) call(o *op) error {
	res := make(chan error, 1)
	o.urgent = true
	o.done = func(err error) { res <- err }
	w.submit(o)
	return <-res
}

func (w *writer) poke() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// close commits what is queued, then ends the goroutine.
func (w *writer) close() {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	w.poke()
	<-w.stopped
}

func (w *writer) loop() {
	defer close(w.stopped)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		ops, wait, end := w.take()
		switch {
		case len(ops) > 0:
			w.commit(ops)
		case end:
			return
		case wait > 0:
			timer.Reset(wait)
			select {
			case <-w.wake:
			case <-timer.C:
			}
		default:
			<-w.wake
		}
	}
}

// take gives the next group, or how long to wait for one.
func (w *writer) take() (ops []*op, wait time.Duration, end bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.queue) == 0 {
		return nil, 0, w.closed
	}
	if !w.urgent && !w.closed && w.delay > 0 && len(w.queue) < maxGroupOps {
		if wait := w.delay - time.Since(w.queue[0].queued); wait > 0 {
			return nil, wait, false
		}
	}
	n, size := 0, int64(0)
	for n < len(w.queue) && n < maxGroupOps && (n == 0 || size+w.queue[n].size <= maxGroupBytes) {
		size += w.queue[n].size
		n++
	}
	ops = w.queue[:n:n]
	w.queue = w.queue[n:]
	w.urgent = false
	for _, o := range w.queue {
		w.urgent = w.urgent || o.urgent
	}
	if len(w.queue) == 0 {
		w.queue = nil
	}
	return ops, 0, false
}

// group is one transaction.
type group struct {
	w       *writer
	c       *conn
	pending map[*state]*pending
	rows    int64
	bytes   int64
}

// of gives the state of an instance inside the transaction; the stored epoch is read there (LS-3).
func (g *group) of(st *state) (*pending, error) {
	if p, ok := g.pending[st]; ok {
		return p, nil
	}
	p := newPending(st)
	id, found, err := g.c.int64Of("SELECT max(id) FROM leases WHERE id BETWEEN ? AND ?", rowID(st.id, 0), rowID(st.id, maxRowNo))
	if err != nil {
		return nil, err
	}
	if found {
		p.epoch = max(p.epoch, epochOf(id))
	}
	g.pending[st] = p
	return p, nil
}

// commit runs one group: savepoint per operation, one commit, the marks, then the callbacks in order.
func (w *writer) commit(ops []*op) {
	start := time.Now()
	g := &group{w: w, c: w.c, pending: make(map[*state]*pending)}
	w.tx.Lock()
	results, err := w.transact(g, ops)
	w.tx.Unlock()
	committed := time.Now()
	if err != nil {
		for i, o := range ops {
			if o.batch {
				o.st.void(err)
			}
			results[i] = both(results[i], err)
		}
	} else {
		w.publish(g, ops, results)
	}
	w.db.stats.commit(g, ops, err, start, committed)
	for i, o := range ops {
		if o.done != nil {
			o.done(results[i])
		}
	}
	if err == nil {
		w.measureLog(g) // after the callbacks: nobody waits for it
		w.db.wal.written()
	}
}

// measureLog learns the size of the write-ahead log; a NOOP checkpoint only reads its index. A log that has shrunk was started over by this
// commit: SQLite does that as soon as all of it is in the database and nobody reads it, with the keeper's help or without. A failure is
// counted as growth: the keeper then looks itself.
func (w *writer) measureLog(g *group) {
	frames := int64(-1)
	err := w.c.query(func(v []driver.Value) error {
		c := columns{v: v}
		frames = c.int(1)
		return c.err
	}, 3, "PRAGMA wal_checkpoint(NOOP)")
	if err != nil || frames < 0 {
		w.db.stats.walBytes.Add(g.bytes + walFrameBytes)
		return
	}
	if frames < w.frames {
		w.db.stats.startedOver(w.frames)
	}
	w.frames = frames
	w.db.stats.walBytes.Store(frames * walFrameBytes)
}

// publish writes the marks and makes the new states known. A mark that cannot be written fails its instance's operations:
// they are durable, but nothing would notice their loss.
func (w *writer) publish(g *group, ops []*op, results []error) {
	failed := make(map[*state]error)
	for st, p := range g.pending {
		p.publish()
		if err := w.db.mark.write(st.id, p.markRecord(w.db.opt.Durability)); err != nil {
			failed[st] = err
		}
	}
	for i, o := range ops {
		err := failed[o.st]
		if err == nil {
			continue
		}
		results[i] = both(results[i], err)
		if o.batch {
			o.st.void(err)
		}
	}
}

// transact runs the operations and commits. A result is the error of one operation; err is one that took the whole
// transaction with it.
func (w *writer) transact(g *group, ops []*op) (results []error, err error) {
	results = make([]error, len(ops))
	if err := w.c.exec("BEGIN IMMEDIATE"); err != nil {
		return results, diskError(w.c.path, "beginning a transaction", err)
	}
	for i, o := range ops {
		if results[i], err = w.apply(g, o); err != nil {
			return results, both(diskError(w.c.path, "writing", err), w.rollback())
		}
	}
	if err := w.c.exec("COMMIT"); err != nil {
		return results, both(diskError(w.c.path, "committing", err), w.rollback())
	}
	return results, nil
}

func (w *writer) rollback() error {
	if w.c.c.AutoCommit() {
		return nil // SQLite did it itself
	}
	if err := w.c.exec("ROLLBACK"); err != nil {
		return diskError(w.c.path, "rolling back", err)
	}
	return nil
}

// apply runs one operation in a savepoint. own is its own failure; whole is one that ends the transaction.
func (w *writer) apply(g *group, o *op) (own, whole error) {
	base, err := g.of(o.st)
	if err != nil {
		return nil, err
	}
	if o.batch && base.voided != nil {
		return o.st.voidedError(base.voided), nil
	}
	if err := w.c.exec("SAVEPOINT op"); err != nil {
		return nil, err
	}
	p := base.fork()
	rows, bytes := g.rows, g.bytes
	own = o.apply(g, p)
	if own == nil {
		if err := w.c.exec("RELEASE op"); err != nil {
			return nil, err
		}
		base.join(p)
		return nil, nil
	}
	g.rows, g.bytes = rows, bytes
	// A barred owner must not stop the one that has taken over.
	if o.batch && base.voided == nil && !errors.Is(own, ErrEpoch) {
		base.voided = own
	}
	if w.c.c.AutoCommit() || endsTransaction(own) {
		return nil, fmt.Errorf("%s: %w", o.st.place(), own)
	}
	if err := w.c.exec("ROLLBACK TO op"); err != nil {
		return nil, errors.Join(own, err)
	}
	if err := w.c.exec("RELEASE op"); err != nil {
		return nil, errors.Join(own, err)
	}
	if o.fresh {
		delete(g.pending, o.st)
	}
	return own, nil
}

// endsTransaction tells failures of the disk or of memory, which would hit the other operations too, from an operation's own.
func endsTransaction(err error) bool {
	var se sqlite3.Error
	if !errors.As(err, &se) {
		return false
	}
	switch se.Code {
	case sqlite3.ErrFull, sqlite3.ErrIoErr, sqlite3.ErrNomem, sqlite3.ErrReadonly, sqlite3.ErrCantOpen, sqlite3.ErrBusy:
		return true
	}
	return false
}
