package statedb

import (
	"database/sql/driver"
	"log/slog"
	"os"
	"sync"
)

const walFrameBytes = 4096 + 24

// walKeeper empties the write-ahead log beside the writer: a passive run copies most pages while commits go on, then a short one
// under the writer's lock starts the log over. As autocheckpoint this put 7 ms into the commit p99, like this 2 ms.
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
		return nil // woken by a commit that ran before the last start-over
	}
	if _, _, err := k.checkpoint("PASSIVE"); err != nil {
		return err
	}
	k.db.writer.tx.Lock()
	defer k.db.writer.tx.Unlock()
	// RESTART keeps the file and its blocks: a commit into them does not have to sync the file's size. Only a log that a slow reader
	// let grow far is cut.
	mode := "RESTART"
	if st, err := os.Stat(k.c.path + "-wal"); err == nil && st.Size() > 8*k.target {
		mode = "TRUNCATE"
	}
	frames, busy, err := k.checkpoint(mode)
	if err != nil || busy {
		return err
	}
	k.db.stats.emptied(frames)
	return nil
}

// checkpoint runs one mode and gives the number of frames in the log.
func (k *walKeeper) checkpoint(mode string) (frames int64, busy bool, err error) {
	err = k.c.query(func(v []driver.Value) error {
		c := columns{v: v}
		busy, frames = c.int(0) != 0, c.int(1)
		return c.err
	}, 3, "PRAGMA wal_checkpoint("+mode+")")
	if err != nil {
		return 0, false, diskError(k.c.path, "emptying the write-ahead log ("+mode+")", err)
	}
	return frames, busy, nil
}
