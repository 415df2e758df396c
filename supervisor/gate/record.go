package gate

import (
	"fmt"
	"maps"
	"slices"

	"github.com/msup/msup/ipc"
)

// MaxNames bounds the named keys that a book remembers, about 160 bytes each in a record: every checkpoint holds all of them, and one of more
// than 16 MiB could not be written at all, so that the log would be replayed from ever further back.
const MaxNames = 40_000

// BookRecord is a Book in a form that can be written down; equal books give equal records.
type BookRecord struct {
	Positions []ipc.PositionRow `json:"positions"`
	Tracked   []TrackedRecord   `json:"tracked"`
	Named     []NamedRecord     `json:"named"`
	Unknown   ipc.ReasonCode    `json:"unknown"`
}

// TrackedRecord is a Tracked with its intent as bytes.
type TrackedRecord struct {
	Tracked
	Bytes []byte `json:"bytes"`
}

// NamedRecord is one named key.
type NamedRecord struct {
	Key    ipc.Key    `json:"key"`
	Digest ipc.Digest `json:"digest"`
	SeenTS ipc.Nanos  `json:"seen_ts"`
}

// Record returns the book in written form.
func (b *Book) Record() (BookRecord, error) {
	r := BookRecord{Positions: b.Positions(), Unknown: b.unknown}
	for _, t := range b.Open() {
		c := TrackedRecord{Tracked: *t}
		raw, err := ipc.AppendIntent(nil, t.Intent)
		if err != nil {
			return BookRecord{}, fmt.Errorf("intent %s: %w", t.Key, err)
		}
		c.Bytes, c.Intent = raw, nil
		r.Tracked = append(r.Tracked, c)
	}
	for _, k := range slices.Sorted(maps.Keys(b.named)) {
		r.Named = append(r.Named, NamedRecord{Key: k, Digest: b.named[k].Digest, SeenTS: b.named[k].SeenTS})
	}
	return r, nil
}

// Load replaces the book by a record.
func (b *Book) Load(r BookRecord) error {
	*b = *NewBook()
	for _, p := range r.Positions {
		b.set(p.Instrument, p.Quantity)
	}
	for i := range r.Tracked {
		t := r.Tracked[i].Tracked
		intent, err := ipc.DecodeIntent(r.Tracked[i].Bytes)
		if err != nil {
			return fmt.Errorf("intent %s: %w", t.Key, err)
		}
		t.Intent = intent
		b.insert(&t)
	}
	for _, n := range r.Named {
		b.named[n.Key] = Named{Digest: n.Digest, SeenTS: n.SeenTS}
	}
	b.unknown = r.Unknown
	return nil
}
