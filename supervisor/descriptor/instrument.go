package descriptor

import (
	_ "embed"
	"fmt"
	"slices"
	"strings"

	"github.com/msup/msup/ipc"
)

// InstrumentsFileName is the usual name of the instruments file.
const InstrumentsFileName = "instruments.toml"

//go:embed instruments.toml
var defaultInstruments []byte

func instrumentRow() prop {
	step := func(name, unit, doc string, required bool) prop {
		p := decimal(name, unit, doc, reUnsigned, nil)
		p.required, p.positive, p.example = required, true, `"0.01"`
		return p
	}
	limit := func(name, unit, doc string) prop {
		p := decimal(name, unit, doc, reUnsigned, "0")
		p.example = `"0.001"`
		return p
	}
	asset := func(name, doc string) prop {
		return need(withExample(str(name, doc, reAsset, "must be of letters, digits, . _ and -, at most 32 characters"), `"USD"`))
	}
	return prop{kind: aTable, props: []prop{
		need(withExample(str("id", "Names the instrument everywhere.", reInstrumentID, "must be of letters, digits and . _ : @ + / -, at most 128 characters"), `"BTCUSDT.BINANCE"`)),
		asset("base", "What is bought."),
		asset("quote", "What it is priced in."),
		asset("venue", "Where it is traded."),
		step("tick", "quote currency", "Step of prices (GT-1).", true),
		step("lot", "base or contracts", "Step of quantities (GT-1).", true),
		limit("min_quantity", "base or contracts", "Smallest quantity of an order; 0 = no such limit."),
		limit("max_quantity", "base or contracts", "Largest quantity of an order; 0 = no such limit."),
		limit("min_notional", "quote currency", "Smallest price times quantity of an order; 0 = no such limit."),
	}}
}

// instrumentsTable is the schema of instruments.toml.
var instrumentsTable = prop{kind: aTable, name: InstrumentsFileName, props: []prop{
	boolean("defaults", "Start from the instruments that msup knows; those of the file replace them by id.", true),
	list("instrument", "One table per instrument.", instrumentRow(), 0, 65536),
}}

// Instruments is a table of instruments, sorted by id. Never changed once made.
type Instruments []ipc.Instrument

// Find returns the instrument of that id. Unknown instruments have no default: the gate refuses them.
func (t Instruments) Find(id ipc.InstrumentID) (ipc.Instrument, bool) {
	i, ok := slices.BinarySearchFunc(t, id, func(x ipc.Instrument, id ipc.InstrumentID) int {
		return strings.Compare(string(x.ID), string(id))
	})
	if !ok {
		return ipc.Instrument{}, false
	}
	return t[i], true
}

// DefaultInstruments are the instruments that msup knows by itself: those of the public recordings that it is tested
// with, and the synthetic ones of `msup feed generate`.
func DefaultInstruments() Instruments {
	t, err := ParseInstruments("built-in instruments.toml", defaultInstruments)
	if err != nil {
		panic("descriptor: " + err.Error()) // a test reads the same bytes
	}
	return t
}

// DefaultInstrumentsFile returns the text of the built-in table, as an example to start from.
func DefaultInstrumentsFile() []byte { return slices.Clone(defaultInstruments) }

// LoadInstruments reads an instruments file. The error is Findings.
func LoadInstruments(file string) (Instruments, error) {
	data, fs := readFile(file, "the instruments file", "write it, or leave it out to use the built-in instruments")
	if fs != nil {
		return nil, fs
	}
	return ParseInstruments(file, data)
}

// ParseInstruments decodes and validates an instruments file; file is for messages. The error is Findings.
func ParseInstruments(file string, data []byte) (Instruments, error) {
	doc, fs := parse(file, "the instruments file", data)
	if fs != nil {
		return nil, fs
	}
	w := newWalker(doc)
	root := w.table("", doc.root, &instrumentsTable)
	var own Instruments
	first := map[ipc.InstrumentID]string{}
	for _, s := range root.tables("instrument") {
		i := w.instrument(s)
		if i.ID == "" {
			continue
		}
		if at, twice := first[i.ID]; twice {
			w.add(CodeDuplicate, s.at("id"), fmt.Sprintf("%s is defined twice, first at line %d", quote(string(i.ID)), w.doc.place(at).line), "remove one")
			continue
		}
		first[i.ID] = s.at("id")
		own = append(own, i)
	}
	if err := w.findings.sorted().Err(); err != nil {
		return nil, err
	}
	if root.flag("defaults") { // false in the built-in table itself
		for _, i := range DefaultInstruments() {
			if _, replaced := first[i.ID]; !replaced {
				own = append(own, i)
			}
		}
	}
	slices.SortFunc(own, func(a, b ipc.Instrument) int { return strings.Compare(string(a.ID), string(b.ID)) })
	return own, nil
}

func (w *walker) instrument(s section) ipc.Instrument {
	i := ipc.Instrument{
		ID: ipc.InstrumentID(s.str("id")), Tick: s.dec("tick"), Lot: s.dec("lot"),
		MinQuantity: s.dec("min_quantity"), MaxQuantity: s.dec("max_quantity"), MinNotional: s.dec("min_notional"),
		Base: s.str("base"), Quote: s.str("quote"), Venue: s.str("venue"),
	}
	lowest := i.MinQuantity
	if lowest.IsZero() {
		lowest = i.Lot
	}
	if w.ok(s.at("min_quantity"), s.at("max_quantity"), s.at("lot")) && !i.MaxQuantity.IsZero() && i.MaxQuantity.Less(lowest) {
		w.add(CodeConflict, s.at("max_quantity"), fmt.Sprintf("%s is below the smallest quantity %s: nothing could be traded", i.MaxQuantity, lowest), "raise max_quantity, or leave it out")
	}
	if w.ok(s.at("min_quantity"), s.at("lot")) && !i.MinQuantity.IsZero() && !i.MinQuantity.IsMultipleOf(i.Lot) {
		w.add(CodeConflict, s.at("min_quantity"), fmt.Sprintf("%s is not a multiple of lot %s", i.MinQuantity, i.Lot), "make it a multiple of lot")
	}
	if w.ok(s.at("max_quantity"), s.at("lot")) && !i.MaxQuantity.IsZero() && !i.MaxQuantity.IsMultipleOf(i.Lot) {
		w.add(CodeConflict, s.at("max_quantity"), fmt.Sprintf("%s is not a multiple of lot %s", i.MaxQuantity, i.Lot), "make it a multiple of lot")
	}
	return i
}
