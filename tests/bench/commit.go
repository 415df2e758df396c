package main

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	sqlite3 "github.com/mattn/go-sqlite3"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/statedb"
)

// Sizes of what one order leaves in the ledger, in bytes: the inputs of its step (delivery and answer), the intent, two statuses.
const (
	orderInputBytes  = 620
	orderIntentBytes = 330
	rowsPerOrder     = 4
)

// groupCommit measures durable orders per second of n concurrent instances against SQLite writing rows of the same sizes, one transaction
// and one sync for every n orders.
func groupCommit(ctx context.Context, r *rig, p plan, f *figures) error {
	for _, n := range p.writers {
		ledger, err := r.newCommitter(fmt.Sprintf("commit%d", n), n, statedb.Options{})
		if err != nil {
			return err
		}
		floor, err := newFloor(filepath.Join(r.state, fmt.Sprintf("floor%d.db", n)), n)
		if err != nil {
			return errors.Join(err, ledger.close())
		}
		var ratios, rates, floors []float64
		for range p.rounds {
			rate, lerr := ledger.run(ctx, p.turn)
			base, ferr := floor.run(ctx, p.turn, ledger.rowBytes())
			if err := errors.Join(lerr, ferr); err != nil {
				return errors.Join(err, ledger.close(), floor.close())
			}
			ratios, rates, floors = append(ratios, rate/base), append(rates, rate), append(floors, base)
		}
		if err := errors.Join(ledger.close(), floor.close()); err != nil {
			return err
		}
		goal := ""
		if n == 64 {
			goal = ">= 0.5"
		}
		at := fmt.Sprintf(", %d writers", n)
		f.add("durable orders"+at, median(rates), "1/s", median(floors), "")
		f.add("durable orders ÷ SQLite's group commit"+at, median(ratios), "×", median(floors), goal)
	}
	return nil
}

// committer is a ledger with n instances.
type committer struct {
	db    *statedb.DB
	dir   string
	each  []*statedb.Instance
	steps []ipc.Step
}

func (r *rig) newCommitter(name string, n int, o statedb.Options) (*committer, error) {
	db, err := r.openStateWith(name, o)
	if err != nil {
		return nil, err
	}
	c := &committer{db: db, dir: filepath.Join(r.state, name), steps: make([]ipc.Step, n)}
	for range n {
		in, err := db.OpenInstance(r.address())
		if err == nil {
			_, err = in.NextEpoch(statedb.LeaseRow{PID: os.Getpid(), BootID: "bench"})
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("opening an instance's ledger: %w", err), c.close())
		}
		c.each = append(c.each, in)
	}
	return c, nil
}

func (c *committer) close() error { return errors.Join(c.db.Close(), os.RemoveAll(c.dir)) }

// rowBytes is the mean size of what the ledger wrote as one row: payload, chain head, key.
func (c *committer) rowBytes() int {
	s := c.db.Stats()
	return int(s.LogicalBytes / max(1, s.Rows))
}

// run lets every instance persist one order after the other and returns orders per second.
func (c *committer) run(ctx context.Context, turn time.Duration) (float64, error) {
	took, err := c.persist(ctx, turn)
	return float64(len(took)) / turn.Seconds(), err
}

// persist is run, and returns what every order took.
func (c *committer) persist(ctx context.Context, turn time.Duration) (sample, error) {
	took := make([]sample, len(c.each))
	var wg sync.WaitGroup
	errs := make([]error, len(c.each))
	begin := time.Now()
	for i, in := range c.each {
		wg.Go(func() {
			done := make(chan error, 1)
			for time.Since(begin) < turn && ctx.Err() == nil {
				c.steps[i]++
				asked := time.Now()
				in.Persist(order(in, c.steps[i], done))
				if err := <-done; err != nil {
					errs[i] = fmt.Errorf("persisting order %d: %w", c.steps[i], err)
					return
				}
				took[i] = append(took[i], int64(time.Since(asked)))
			}
		})
	}
	wg.Wait()
	return slices.Concat(took...), errors.Join(append(errs, ctx.Err())...)
}

// order is the batch of one step with one limit order.
func order(in *statedb.Instance, step ipc.Step, done chan<- error) *statedb.Batch {
	key := ipc.Owner{Address: in.Address(), Lineage: in.Lineage()}.StepKey(step, 0)
	return &statedb.Batch{FirstInput: ipc.InputNo(2*step - 1), LastInput: ipc.InputNo(2 * step), Inputs: make([]byte, orderInputBytes),
		Intents:  []statedb.IntentRow{{Key: key, Step: step, Bytes: make([]byte, orderIntentBytes), Verdict: 1}},
		Statuses: []statedb.StatusRow{{Key: key, Status: ipc.StatusStaged}, {Key: key, Status: ipc.StatusApproved}},
		Urgent:   true, Done: func(_ statedb.Head, err error) { done <- err }}
}

// floor is SQLite alone: one connection, one prepared statement, a table of blobs.
type floor struct {
	conn   *sqlite3.SQLiteConn
	insert *sqlite3.SQLiteStmt
	file   string
	group  int
	next   int64
}

func newFloor(file string, group int) (*floor, error) {
	c, err := (&sqlite3.SQLiteDriver{}).Open((&url.URL{Scheme: "file", Path: file}).String() + "?_mutex=no")
	if err != nil {
		return nil, fmt.Errorf("opening the floor's database: %w", err)
	}
	conn, ok := c.(*sqlite3.SQLiteConn)
	if !ok {
		return nil, fmt.Errorf("opening the floor's database: the driver gave a %T", c)
	}
	x := &floor{conn: conn, file: file, group: group}
	for _, sql := range []string{"PRAGMA journal_mode = WAL", "PRAGMA synchronous = FULL", "CREATE TABLE rows (id INTEGER PRIMARY KEY, payload BLOB NOT NULL)"} {
		if err := x.exec(sql); err != nil {
			return nil, errors.Join(err, x.close())
		}
	}
	statement, err := conn.Prepare("INSERT INTO rows VALUES (?, ?)")
	if err != nil {
		return nil, errors.Join(fmt.Errorf("preparing the floor: %w", err), x.close())
	}
	if x.insert, ok = statement.(*sqlite3.SQLiteStmt); !ok {
		return nil, errors.Join(fmt.Errorf("preparing the floor: the driver gave a %T", statement), x.close())
	}
	return x, nil
}

func (x *floor) exec(sql string) error {
	if _, err := x.conn.Exec(sql, nil); err != nil {
		return fmt.Errorf("floor: %s: %w", sql, err)
	}
	return nil
}

func (x *floor) close() error {
	var errs []error
	if x.insert != nil {
		errs = append(errs, x.insert.Close())
	}
	errs = append(errs, x.conn.Close())
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := os.Remove(x.file + suffix); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// run commits groups of orders, each of rows of the given size, and returns orders per second.
func (x *floor) run(ctx context.Context, turn time.Duration, rowBytes int) (float64, error) {
	payload := make([]byte, rowBytes)
	n := 0
	begin := time.Now()
	for time.Since(begin) < turn && ctx.Err() == nil {
		if err := x.exec("BEGIN IMMEDIATE"); err != nil {
			return 0, err
		}
		for range x.group * rowsPerOrder {
			x.next++
			if _, err := x.insert.Exec([]driver.Value{x.next, payload}); err != nil {
				return 0, fmt.Errorf("floor: inserting: %w", err)
			}
		}
		n += x.group
		if err := x.exec("COMMIT"); err != nil {
			return 0, err
		}
	}
	return float64(n) / time.Since(begin).Seconds(), ctx.Err()
}
