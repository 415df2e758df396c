package feed

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/valyala/fastjson"

	"github.com/msup/msup/ipc"
)

// ownParser reads msup's own files: one event per line, as a JSON object or as a row under a header.
type ownParser struct {
	json    fastjson.Parser
	options Options
	source  ipc.SourceID
	csv     bool
	columns []string      // CSV: field of each column
	kind    ipc.EventKind // CSV without a kind column
	cells   [64][]byte
	names   map[string]string // interned ids: a file has few of them, and one string per event would be garbage
	rec     record
}

const maxInterned = 4096

func newOwn(first string, o Options, csv bool) (*ownParser, Info, error) {
	base, _, _ := strings.Cut(filepath.Base(first), ".")
	format := FormatJSONL
	if csv {
		format = FormatCSV
	}
	p := &ownParser{options: o, csv: csv, source: ipc.SourceID("file/" + base), names: make(map[string]string)}
	return p, Info{Format: format}, nil
}

func (p *ownParser) begin(*file) error {
	p.columns = nil
	return nil
}

func (p *ownParser) parse(line []byte) (ipc.MarketEvent, numbering, error) {
	p.rec.reset()
	r := &p.rec
	if p.csv {
		if p.columns == nil {
			return nil, numbering{}, p.header(bytes.TrimPrefix(line, []byte("\xef\xbb\xbf")))
		}
		if err := p.row(line); err != nil {
			return nil, numbering{}, err
		}
	} else if err := p.object(line); err != nil {
		return nil, numbering{}, err
	}
	if p.options.Instrument != "" {
		r.market.Instrument = p.options.Instrument
	}
	recorded := string(r.market.Source)
	if r.market.Source == "" || p.options.Source != "" {
		r.market.Source = p.source
	}
	if err := r.check(); err != nil {
		return nil, numbering{}, err
	}
	r.market.Instrument = ipc.InstrumentID(p.intern(string(r.market.Instrument)))
	r.market.Source = ipc.SourceID(p.intern(string(r.market.Source)))
	return r.event(), numbering{source: r.market.Seq, sourceName: p.intern(recorded)}, nil
}

func (p *ownParser) intern(s string) string {
	if known, ok := p.names[s]; ok {
		return known
	}
	if len(p.names) < maxInterned {
		p.names[s] = s
	}
	return s
}

// object reads one line of .jsonl.
func (p *ownParser) object(line []byte) error {
	v, err := p.json.ParseBytes(line)
	if err != nil {
		return refuse("write one JSON object per line", "bad JSON: %s", clip([]byte(err.Error())))
	}
	o, err := v.Object()
	if err != nil {
		return refuse("write one JSON object per line", "the line is a JSON %s", v.Type())
	}
	var bad error
	o.Visit(func(key []byte, v *fastjson.Value) {
		if bad == nil {
			bad = p.member(string(key), v)
		}
	})
	return bad
}

func (p *ownParser) member(name string, v *fastjson.Value) error {
	r := &p.rec
	if slices.Contains(r.given, name) {
		return refuse("give every field once", "field %q comes twice", clip([]byte(name)))
	}
	if v.Type() == fastjson.TypeNull {
		return nil // an optional value that is not there
	}
	r.given = append(r.given, name)
	switch v.Type() {
	case fastjson.TypeString:
		return r.setText(name, v.GetStringBytes())
	case fastjson.TypeNumber:
		if _, isDecimal := decimalIndex[name]; isDecimal {
			return refuse(`write decimals as strings, "1.25": a JSON number is a float to most readers`, "field %q is a JSON number", name)
		}
		var digits [32]byte
		return r.setText(name, v.MarshalTo(digits[:0]))
	case fastjson.TypeArray:
		return p.array(name, v)
	}
	return fmt.Errorf("field %q is a JSON %s", clip([]byte(name)), v.Type())
}

func (p *ownParser) array(name string, v *fastjson.Value) error {
	var err error
	switch name {
	case "bids":
		p.rec.bids, err = levels(v)
	case "asks":
		p.rec.asks, err = levels(v)
	case "quality":
		var words []string
		for _, w := range v.GetArray() {
			words = append(words, string(w.GetStringBytes()))
		}
		if len(words) > len(qualityNames) {
			return fmt.Errorf("%d quality flags; there are %d", len(words), len(qualityNames))
		}
		p.rec.market.Quality, err = qualityFlags(words)
	default:
		return fmt.Errorf("field %q is a JSON array", clip([]byte(name)))
	}
	if err != nil {
		return fmt.Errorf("field %q: %w", name, err)
	}
	return nil
}

// header learns what each column holds. Where no column names the kind, the columns tell it.
func (p *ownParser) header(line []byte) error {
	cells, err := p.split(line)
	if err != nil {
		return err
	}
	columns := make([]string, len(cells))
	for i, c := range cells {
		columns[i] = strings.ToLower(strings.TrimSpace(string(c)))
		if slices.Contains(columns[:i], columns[i]) {
			return refuse("name every column once", "column %q comes twice", clip(c))
		}
		if columns[i] == "bids" || columns[i] == "asks" {
			return refuse("write books as .jsonl", "a CSV row holds no levels")
		}
		if _, ok := decimalIndex[columns[i]]; !ok && !knownField(columns[i]) {
			return refuse("use the field names of docs/feeds.md", "unknown column %q", clip(c))
		}
	}
	has := func(name string) bool { return slices.Contains(columns, name) }
	switch {
	case has("kind"):
		p.kind = 0
	case has("price") && has("quantity"):
		p.kind = ipc.KindTrade
	case has("period") && has("open"):
		p.kind = ipc.KindBar
	case has("period") && (has("bid_close") || has("ask_close")):
		p.kind = ipc.KindQuoteBar
	case has("bid") || has("ask"):
		p.kind = ipc.KindQuote
	default:
		return refuse("add a column kind", "the columns %q do not tell what the rows are", columns)
	}
	p.columns = columns
	return nil
}

func knownField(name string) bool {
	if slices.Contains(marketFields, name) {
		return true
	}
	for _, fields := range kindFields {
		if slices.Contains(fields, name) || slices.Contains(fields, "!"+name) {
			return true
		}
	}
	return false
}

func (p *ownParser) row(line []byte) error {
	cells, err := p.split(line)
	if err != nil {
		return err
	}
	if len(cells) != len(p.columns) {
		return refuse("give every row the columns of the header", "%d columns, the header has %d", len(cells), len(p.columns))
	}
	r := &p.rec
	r.kind = p.kind
	for i, c := range cells {
		if len(c) == 0 {
			continue // not there
		}
		r.given = append(r.given, p.columns[i])
		if err := r.setText(p.columns[i], c); err != nil {
			return err
		}
	}
	return nil
}

func (p *ownParser) split(line []byte) ([][]byte, error) {
	if bytes.IndexByte(line, '"') < 0 {
		return splitFields(line, p.cells[:0]), nil
	}
	row, err := csv.NewReader(bytes.NewReader(line)).Read()
	if err != nil {
		return nil, refuse("close every quote on its line", "quoted row: %w", err)
	}
	if len(row) > len(p.cells) {
		return nil, fmt.Errorf("%d columns; at most %d are read", len(row), len(p.cells))
	}
	out := p.cells[:0]
	for _, c := range row {
		out = append(out, []byte(c))
	}
	return out, nil
}
