package e2e

import (
	"database/sql"
	"fmt"
	"net/url"
	"path/filepath"

	_ "github.com/mattn/go-sqlite3" // reads what I knows
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/statedb"
	"github.com/msup/msup/supervisor/core"
)

// doOnce: once STATE SUMMARY compares three books that were kept apart: the ledger's log, what I has on its own disk, and the summary.
// A decision that had reached I twice, or not at all, makes them differ.
func doOnce(ts *testscript.TestScript, args []string) {
	dir, summary := ts.MkAbs(args[0]), args[1]
	db, err := statedb.Open(dir, statedb.Options{Durability: statedb.Process})
	ts.Check(err)
	defer func() { ts.Check(db.Close()) }()
	infos, err := db.Instances()
	ts.Check(err)
	if len(infos) == 0 {
		ts.Fatalf("%s holds no instance", args[0])
	}
	for _, info := range infos {
		store, err := db.OpenInstance(info.Address)
		ts.Check(err)
		booked, err := readBook(store)
		ts.Check(err)
		if len(booked.ordered) == 0 || len(booked.filled) == 0 {
			ts.Fatalf("%s ordered %d times and was filled %d times: there is nothing to compare", info.Address, len(booked.ordered), len(booked.filled))
		}
		atI, err := readAccount(filepath.Join(dir, "i", "sim.db"), info.Address)
		ts.Check(err)
		ts.Check(booked.compare(atI))
		for instrument, quantity := range booked.positions() {
			if quantity.IsZero() {
				continue // the summary names what is held
			}
			doHolds(ts, []string{summary, fmt.Sprintf("instances/%s/positions/%s", info.Address.Strategy, instrument), "=", quantity.String()})
		}
	}
}

// fill is one execution report with a quantity.
type fill struct {
	key        ipc.Key
	instrument ipc.InstrumentID
	quantity   ipc.Decimal // signed
}

// book is what the ledger says.
type book struct {
	ordered map[ipc.Key]*ipc.OrderIntent // every order that I took
	filled  []fill
}

func readBook(store *statedb.Instance) (*book, error) {
	b := &book{ordered: map[ipc.Key]*ipc.OrderIntent{}}
	err := store.Intents(statedb.IntentFilter{}, func(row statedb.Intent) error {
		intent, err := ipc.DecodeIntent(row.Bytes)
		if err != nil {
			return err
		}
		if order, ok := intent.Body.(*ipc.OrderIntent); ok && row.Status == ipc.StatusCommitted {
			b.ordered[row.Key] = order
		}
		if row.Status != ipc.StatusNotSeen && !row.Status.Terminal() {
			return fmt.Errorf("intent %s of step %d was left %s", row.Key, row.Step, row.Status)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return b, store.ReadInputs(1, func(_, _ ipc.InputNo, payload []byte) error {
		for len(payload) > 0 {
			in, rest, err := core.ReadInput(payload)
			if err != nil {
				return err
			}
			payload = rest
			if a, ok := in.(*core.Arrival); ok {
				if err := b.arrived(a.Event); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

func (b *book) arrived(event []byte) error {
	e, err := ipc.DecodeEvent(event)
	if err != nil {
		return err
	}
	x, ok := e.(*ipc.Execution)
	if !ok || x.Quantity == nil {
		return nil
	}
	quantity := *x.Quantity
	if x.Side == ipc.SideSell {
		quantity = quantity.Neg()
	}
	b.filled = append(b.filled, fill{x.Key, x.Instrument, quantity})
	return nil
}

func (b *book) positions() map[ipc.InstrumentID]ipc.Decimal {
	sums := map[ipc.InstrumentID]ipc.Decimal{}
	for _, f := range b.filled {
		sum, _ := sums[f.instrument].Add(f.quantity)
		sums[f.instrument] = sum
	}
	return sums
}

// account is what I says.
type account struct {
	keys      map[ipc.Key]bool
	positions map[ipc.InstrumentID]ipc.Decimal
}

func readAccount(path string, a ipc.Address) (*account, error) {
	db, err := sql.Open("sqlite3", (&url.URL{Scheme: "file", Path: path, RawQuery: "mode=ro"}).String())
	if err != nil {
		return nil, fmt.Errorf("opening what I knows: %w", err)
	}
	defer func() { _ = db.Close() }() // read-only
	out := &account{keys: map[ipc.Key]bool{}, positions: map[ipc.InstrumentID]ipc.Decimal{}}
	const mine = ` JOIN accounts a ON a.id = account WHERE a.bot = ? AND a.strategy = ? AND a.instance = ?`
	rows, err := db.Query(`SELECT key FROM keys`+mine, a.Bot, a.Strategy, a.Instance)
	if err != nil {
		return nil, fmt.Errorf("reading I's keys: %w", err)
	}
	for rows.Next() {
		var key string
		if err := rows.Scan(&key); err != nil {
			return nil, fmt.Errorf("reading I's keys: %w", err)
		}
		out.keys[ipc.Key(key)] = true
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("reading I's keys: %w", err)
	}
	rows, err = db.Query(`SELECT instrument, quantity FROM positions`+mine, a.Bot, a.Strategy, a.Instance)
	if err != nil {
		return nil, fmt.Errorf("reading I's positions: %w", err)
	}
	for rows.Next() {
		var instrument, text string
		if err := rows.Scan(&instrument, &text); err != nil {
			return nil, fmt.Errorf("reading I's positions: %w", err)
		}
		quantity, err := ipc.ParseDecimal(text)
		if err != nil {
			return nil, fmt.Errorf("I's position in %s: %w", instrument, err)
		}
		out.positions[ipc.InstrumentID(instrument)] = quantity
	}
	return out, rows.Err()
}

// compare finds an order without its effect, an effect without its order, and one that happened twice.
func (b *book) compare(i *account) error {
	filled := map[ipc.Key]ipc.Decimal{}
	for _, f := range b.filled {
		sum, _ := filled[f.key].Add(f.quantity.Abs())
		filled[f.key] = sum
	}
	for key, quantity := range filled {
		order := b.ordered[key]
		if order == nil {
			return fmt.Errorf("key %s was filled, and the ledger has no order under it", key)
		}
		if order.Quantity.Less(quantity) {
			return fmt.Errorf("key %s: %s was ordered, %s was filled", key, order.Quantity, quantity)
		}
	}
	for key := range b.ordered {
		if !i.keys[key] {
			return fmt.Errorf("key %s is committed in the ledger, and I does not know it", key)
		}
	}
	for instrument, quantity := range b.positions() {
		if at := i.positions[instrument]; at.Cmp(quantity) != 0 {
			return fmt.Errorf("%s: the fills add up to %s, I has %s", instrument, quantity, at)
		}
	}
	return nil
}
