package statedb

import (
	"database/sql/driver"
	"log/slog"
	"os"
	"sync"
)

const walFrameBytes = 4096 + 24

// walKeeper empties the write-ahead log beside the writer: a passive run copies most pages while commits go on, then a short one
// under the writer's lock lets the next commit start the log over. As autocheckpoint this put 7 ms into the commit p99, like this 2 ms.
// Short reads wait for it: one that reads page after page left no gap in 1 run of 40, and the log never started over.
type walKeeper struct {
	c       *conn
	db      *DB
	target  int64
	log     *slog.Logger
	wake    chan struct{}
	stop    chan struct{}
	stopped sync.WaitGroup
}

func newWALKeeper(db *DB, path string) (*walKeeper, error) {
	c, err := openConn(path, false)
	if err != nil {
		return nil, err
	}
	if err := tune(c, db.opt.Durability); err != nil {
		return nil, both(err, c.close())
	}
	// A reader that holds the log back must not hold the writer: try again at the next commit.
	if err := c.script("PRAGMA busy_timeout = 0"); err != nil {
		return nil, both(diskError(path, "tuning", err), c.close())
	}
	return &walKeeper{c: c, db: db, target: db.opt.WALTarget, log: db.log, wake: make(chan struct{}, 1), stop: make(chan struct{})}, nil
}

func (k *walKeeper) start() {
	k.stopped.Go(func() {
		for {
			select {
			case <-k.stop:
				return
			case <-k.wake:
			}
			if err := k.empty(); err != nil {
				k.log.Warn("the write-ahead log could not be emptied; it grows until the next try", "err", err)
			}
		}
	})
}

// written is told of every commit.
func (k *walKeeper) written() {
	if k.db.stats.walBytes.Load() < k.target {
		return
	}
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

func (k *walKeeper) close() error {
	close(k.stop)
	k.stopped.Wait()
	return k.c.close()
}

func (k *walKeeper) empty() error {
	if k.db.stats.walBytes.Load() < k.target {
		return nil // woken before the log was started over
	}
	if err := k.checkpoint("PASSIVE"); err != nil {
		return err
	}
	k.db.read.gate.Lock()
	defer k.db.read.gate.Unlock()
	k.db.writer.tx.Lock()
	defer k.db.writer.tx.Unlock()
	// RESTART keeps the file and its blocks: a commit into them does not have to sync the file's size. Only a log that a slow reader
	// let grow far is cut.
	mode := "RESTART"
	if st, err := os.Stat(k.c.path + "-wal"); err == nil && st.Size() > 8*k.target {
		mode = "TRUNCATE"
	}
	return k.checkpoint(mode)
}

// checkpoint runs one mode. That it was kept from some pages by a long reader is no error: the next commit wakes the keeper again.
func (k *walKeeper) checkpoint(mode string) error {
	err := k.c.query(func([]driver.Value) error { return nil }, 3, "PRAGMA wal_checkpoint("+mode+")")
	return diskError(k.c.path, "emptying the write-ahead log ("+mode+")", err)
}
