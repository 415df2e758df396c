package ipc

import (
	"encoding/hex"
	"fmt"
	"strings"
	"unicode/utf8"
)

// MaxIDBytes bounds every identifier that crosses a process boundary.
const MaxIDBytes = 128

// Identifiers are defined types so that a strategy id can never be passed where an instance id is meant.
type (
	// BotID names an account-level group of strategies.
	BotID string
	// StrategyID names a plugin, over all its versions.
	StrategyID string
	// InstanceID names one shard of a strategy within a bot.
	InstanceID string
	// InstrumentID names what is traded, for example "BTCUSDT.BINANCE".
	InstrumentID string
	// SourceID names a stream of events that is numbered on its own.
	SourceID string
	// RunID names one run of one supervisor process (BC-A).
	RunID string
	// TraceID follows one event through every domain (BC-A).
	TraceID string
)

// Numbers that must not be mixed up.
type (
	// InputNo numbers everything that can change an instance's state, from 1, for ever.
	InputNo uint64
	// Step numbers the deliveries to the strategy of one instance, from 1, for ever.
	Step uint64
	// Epoch counts the starts of one instance; a higher one bars every lower one (LS-3).
	Epoch uint64
	// Nanos is a time (ns since the Unix epoch, UTC) or a length of time in ns, as the field says.
	Nanos int64
)

// Lineage is the random identity that an instance receives when it is first created.
type Lineage [16]byte

// String returns the lineage as 32 lower-case hex characters.
func (l Lineage) String() string { return hex.EncodeToString(l[:]) }

// Nonce identifies one process start of an owner at I (LS-2).
type Nonce [16]byte

// Digest is a SHA-256 sum.
type Digest [32]byte

// String returns the digest as 64 lower-case hex characters.
func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// Key is an idempotency key: 32 lower-case hex characters, usable as a client order id at any venue (GT-5).
type Key string

// Valid reports whether the key has the canonical form.
func (k Key) Valid() bool {
	if len(k) != 32 {
		return false
	}
	for i := range len(k) {
		if c := k[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// Address names one instance everywhere: the unit of state, lease, sandbox and health (DM-2).
type Address struct {
	Bot      BotID
	Strategy StrategyID
	Instance InstanceID
}

// String returns "bot/strategy/instance".
func (a Address) String() string {
	return string(a.Bot) + "/" + string(a.Strategy) + "/" + string(a.Instance)
}

// Validate refuses an address that no peer could accept.
func (a Address) Validate() error {
	for _, p := range [...]struct{ what, id string }{
		{"bot", string(a.Bot)}, {"strategy", string(a.Strategy)}, {"instance", string(a.Instance)},
	} {
		if err := CheckID(p.id); err != nil {
			return fmt.Errorf("%s id: %w", p.what, err)
		}
	}
	return nil
}

// CheckID refuses an identifier that is empty, too long, not UTF-8, or holds control characters.
func CheckID(id string) error {
	switch {
	case id == "":
		return fmt.Errorf("empty; give it a name")
	case len(id) > MaxIDBytes:
		return fmt.Errorf("%d bytes long; at most %d are allowed", len(id), MaxIDBytes)
	case !utf8.ValidString(id):
		return fmt.Errorf("%q is not UTF-8", id)
	case strings.ContainsFunc(id, func(r rune) bool { return r < 0x20 || r == 0x7f }):
		return fmt.Errorf("%q holds control characters", id)
	}
	return nil
}

// Cursor says how far a source has been taken: I and J/E number per (instance, source epoch) from 1 without gaps (ST-1, BC-H).
type Cursor struct {
	Source SourceID
	Epoch  uint64
	Seq    uint64
}

// Lane is one of the two scheduling classes that never disturb each other (NN-4).
type Lane uint8

// The lanes.
const (
	LaneLL      Lane = 1
	LaneCompute Lane = 2
)

// String returns the name used in descriptors and metric labels.
func (l Lane) String() string {
	switch l {
	case LaneLL:
		return "ll"
	case LaneCompute:
		return "compute"
	}
	return fmt.Sprintf("lane(%d)", uint8(l))
}
