package crash

import (
	"bytes"
	"cmp"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"

	_ "github.com/mattn/go-sqlite3" // reads what the simulated I knows

	"github.com/msup/msup/ipc"
)

// told is one intent as I came to know it.
type told struct {
	Strategy string
	Step     uint64
	Ordinal  uint32
	Digest   string
	Key      string
	Status   int
}

// book is what I was told, by strategy, step and ordinal, and what it holds.
type book struct {
	told      []told
	positions map[string]string // strategy and instrument → net quantity
}

func (w *world) book() (*book, error) {
	if w.python {
		return effectsIn(filepath.Join(w.i, "effects.jsonl"))
	}
	return simulatedIn(filepath.Join(w.state, "i", "sim.db"))
}

// compare finds the first difference.
func (b *book) compare(got *book) error {
	for at := range max(len(b.told), len(got.told)) {
		switch {
		case at >= len(got.told):
			return fmt.Errorf("I was told of %d intents, undisturbed of %d; %+v is the first that is missing", len(got.told), len(b.told), b.told[at])
		case at >= len(b.told):
			return fmt.Errorf("I was told of %d intents, undisturbed of %d; %+v is the first too many", len(got.told), len(b.told), got.told[at])
		case b.told[at] != got.told[at]:
			return fmt.Errorf("intent %d of %d differs:\nundisturbed %+v\nhere        %+v", at, len(b.told), b.told[at], got.told[at])
		}
	}
	if len(b.positions) != len(got.positions) {
		return fmt.Errorf("positions %v, undisturbed %v", got.positions, b.positions)
	}
	for what, quantity := range b.positions {
		if got.positions[what] != quantity {
			return fmt.Errorf("position %s is %q, undisturbed %q", what, got.positions[what], quantity)
		}
	}
	return nil
}

func (b *book) sort() *book {
	slices.SortFunc(b.told, func(x, y told) int {
		return cmp.Or(cmp.Compare(x.Strategy, y.Strategy), cmp.Compare(x.Step, y.Step), cmp.Compare(x.Ordinal, y.Ordinal), cmp.Compare(x.Key, y.Key))
	})
	return b
}

// effectsIn reads what the venue behind the Python I was told to do. A key that comes twice is a double effect.
func effectsIn(path string) (*book, error) {
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("reading the venue: %w", err)
	}
	b, seen, sum := &book{positions: map[string]string{}}, map[string]bool{}, ipc.Decimal{}
	for line := range bytes.Lines(text) {
		var row struct {
			told
			Quantity string
		}
		if err := json.Unmarshal(line, &row); err != nil {
			return nil, fmt.Errorf("the venue's line %q: %w", line, err)
		}
		if seen[row.Key] {
			return nil, fmt.Errorf("key %s had its effect twice", row.Key)
		}
		seen[row.Key] = true
		quantity, err := ipc.ParseDecimal(row.Quantity)
		if err != nil {
			return nil, fmt.Errorf("the venue's line %q: %w", line, err)
		}
		var whole bool
		if sum, whole = sum.Add(quantity); !whole {
			return nil, fmt.Errorf("the venue's quantities cannot be added up at %q", line)
		}
		b.told = append(b.told, row.told)
	}
	b.positions["net"] = sum.String()
	return b.sort(), nil
}

// simulatedIn reads the simulated I's own database.
func simulatedIn(path string) (b *book, err error) {
	db, err := sql.Open("sqlite3", (&url.URL{Scheme: "file", Path: path, RawQuery: "mode=ro"}).String())
	if err != nil {
		return nil, fmt.Errorf("opening what I knows: %w", err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	b = &book{positions: map[string]string{}}
	rows, err := db.Query(`SELECT strategy, step, ordinal, hex(digest), key, status FROM keys JOIN accounts ON accounts.id = account`)
	if err != nil {
		return nil, fmt.Errorf("reading I's keys: %w", err)
	}
	for rows.Next() {
		var t told
		if err := rows.Scan(&t.Strategy, &t.Step, &t.Ordinal, &t.Digest, &t.Key, &t.Status); err != nil {
			return nil, fmt.Errorf("reading I's keys: %w", err)
		}
		b.told = append(b.told, t)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("reading I's keys: %w", err)
	}
	rows, err = db.Query(`SELECT strategy, instrument, quantity FROM positions JOIN accounts ON accounts.id = account`)
	if err != nil {
		return nil, fmt.Errorf("reading I's positions: %w", err)
	}
	for rows.Next() {
		var strategy, instrument, quantity string
		if err := rows.Scan(&strategy, &instrument, &quantity); err != nil {
			return nil, fmt.Errorf("reading I's positions: %w", err)
		}
		if quantity != "0" {
			b.positions[strategy+" "+instrument] = quantity
		}
	}
	return b.sort(), rows.Err()
}
