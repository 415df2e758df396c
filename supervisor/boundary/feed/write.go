package feed

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/msup/msup/ipc"
)

// Writer writes events as msup's .jsonl: what Open reads back gives the same events.
type Writer struct {
	w   *bufio.Writer
	buf []byte
}

// NewWriter makes a Writer on w. Flush it at the end.
func NewWriter(w io.Writer) *Writer { return &Writer{w: bufio.NewWriterSize(w, readBuffer)} }

// Write writes one event as one line.
func (w *Writer) Write(ev ipc.MarketEvent) error {
	var err error
	if w.buf, err = AppendLine(w.buf[:0], ev); err != nil {
		return err
	}
	if _, err := w.w.Write(w.buf); err != nil {
		return fmt.Errorf("writing event %d: %w", ev.Header().Seq, err)
	}
	return nil
}

// Flush writes what is buffered.
func (w *Writer) Flush() error {
	if err := w.w.Flush(); err != nil {
		return fmt.Errorf("writing events: %w", err)
	}
	return nil
}

// FileWriter writes a .jsonl file, compressed when its name ends in .gz. It appears under its name only when Close has succeeded:
// half a feed must not pass for one.
type FileWriter struct {
	*Writer
	path string
	file *os.File
	gzip *gzip.Writer
}

// Create starts a file, replacing one of the same name on Close.
func Create(path string) (*FileWriter, error) {
	f, err := os.Create(path + ".partial")
	if err != nil {
		return nil, fmt.Errorf("creating feed: %w", err)
	}
	out := &FileWriter{path: path, file: f}
	if strings.HasSuffix(path, ".gz") {
		out.gzip = gzip.NewWriter(f) // no name, no time: equal events give equal bytes
		out.Writer = NewWriter(out.gzip)
	} else {
		out.Writer = NewWriter(f)
	}
	return out, nil
}

// Close completes the file and gives it its name.
func (w *FileWriter) Close() error {
	err := w.Flush()
	if err == nil && w.gzip != nil {
		err = w.gzip.Close()
	}
	if err == nil {
		err = w.file.Sync()
	}
	if err != nil {
		return fmt.Errorf("completing feed %s: %w", w.path, errors.Join(err, w.Abort()))
	}
	if err := w.file.Close(); err != nil {
		return fmt.Errorf("completing feed: %w", err)
	}
	if err := os.Rename(w.file.Name(), w.path); err != nil {
		return fmt.Errorf("completing feed: %w", err)
	}
	return nil
}

// Abort removes the unfinished file.
func (w *FileWriter) Abort() error {
	return errors.Join(w.file.Close(), os.Remove(w.file.Name()))
}

// AppendLine appends one event as a line of .jsonl: the fields of PROTOCOL.md in their order, those without a value left out.
func AppendLine(b []byte, ev ipc.MarketEvent) ([]byte, error) {
	l := line{b: append(b, '{')}
	l.word("kind", ev.Kind().String())
	l.market(ev.Header())
	switch e := ev.(type) {
	case *ipc.Quote:
		l.optional("bid", e.Bid)
		l.optional("bid_size", e.BidSize)
		l.optional("ask", e.Ask)
		l.optional("ask_size", e.AskSize)
	case *ipc.Trade:
		l.decimal("price", e.Price)
		l.decimal("quantity", e.Quantity)
		if int(e.Side) >= len(sideNames) {
			return b, fmt.Errorf("writing event %d: side %d", e.Seq, e.Side)
		}
		l.word("side", sideNames[e.Side])
		l.text("trade_id", e.TradeID)
	case *ipc.TradeAggregate:
		l.number("count", e.Count)
		for _, f := range [...]struct {
			name string
			d    ipc.Decimal
		}{{"buy_quantity", e.BuyQuantity}, {"sell_quantity", e.SellQuantity}, {"first", e.First}, {"last", e.Last}, {"high", e.High}, {"low", e.Low}, {"vwap", e.VWAP}} {
			l.decimal(f.name, f.d)
		}
		l.number("first_seq", e.FirstSeq)
		l.number("last_seq", e.LastSeq)
	case *ipc.BookDelta:
		l.number("first_seq", e.FirstSeq)
		l.number("last_seq", e.LastSeq)
		l.levels("bids", e.Bids)
		l.levels("asks", e.Asks)
	case *ipc.BookSnapshot:
		l.number("last_seq", e.LastSeq)
		l.levels("bids", e.Bids)
		l.levels("asks", e.Asks)
	case *ipc.Bar:
		l.number("period", uint64(e.PeriodNS))
		l.decimal("open", e.Open)
		l.decimal("high", e.High)
		l.decimal("low", e.Low)
		l.decimal("close", e.Close)
		l.decimal("volume", e.Volume)
	case *ipc.QuoteBar:
		l.number("period", uint64(e.PeriodNS))
		for _, f := range [...]struct {
			name string
			d    *ipc.Decimal
		}{{"bid_open", e.BidOpen}, {"bid_high", e.BidHigh}, {"bid_low", e.BidLow}, {"bid_close", e.BidClose}, {"bid_size", e.BidSize},
			{"ask_open", e.AskOpen}, {"ask_high", e.AskHigh}, {"ask_low", e.AskLow}, {"ask_close", e.AskClose}, {"ask_size", e.AskSize}} {
			l.optional(f.name, f.d)
		}
	case *ipc.TradingStatus:
		if int(e.Status) >= len(statusNames) {
			return b, fmt.Errorf("writing event %d: trading status %d", e.Seq, e.Status)
		}
		l.word("status", statusNames[e.Status])
		l.text("reason", e.Reason)
	default:
		return b, fmt.Errorf("writing event %d: a %T is no market event of msup's files", ev.Header().Seq, ev)
	}
	if l.err != nil {
		return b, fmt.Errorf("writing event %d: %w", ev.Header().Seq, l.err)
	}
	return append(l.b, '}', '\n'), nil
}

// line builds one JSON object.
type line struct {
	b   []byte
	err error
}

func (l *line) name(name string) {
	if l.b[len(l.b)-1] != '{' {
		l.b = append(l.b, ',')
	}
	l.b = append(append(append(l.b, '"'), name...), '"', ':')
}

func (l *line) market(h *ipc.Market) {
	l.word("instrument", string(h.Instrument))
	l.word("source", string(h.Source))
	l.number("event_ts", uint64(h.EventTS))
	l.number("recv_ts", uint64(h.RecvTS))
	l.number("seq", h.Seq)
	l.number("venue_seq", h.VenueSeq)
	if h.Quality == 0 {
		return
	}
	l.name("quality")
	l.b = append(l.b, '[')
	for i, name := range qualityNames {
		if h.Quality&(1<<i) == 0 {
			continue
		}
		if l.b[len(l.b)-1] != '[' {
			l.b = append(l.b, ',')
		}
		l.b = append(append(append(l.b, '"'), name...), '"')
	}
	l.b = append(l.b, ']')
}

func (l *line) number(name string, n uint64) {
	if n == 0 && name != "count" {
		return
	}
	l.name(name)
	l.b = strconv.AppendUint(l.b, n, 10)
}

func (l *line) decimal(name string, d ipc.Decimal) {
	l.name(name)
	l.b = append(l.b, '"')
	b, err := d.AppendText(l.b)
	if err != nil && l.err == nil {
		l.err = fmt.Errorf("field %q: %w", name, err)
	}
	l.b = append(b, '"')
}

func (l *line) optional(name string, d *ipc.Decimal) {
	if d != nil {
		l.decimal(name, *d)
	}
}

func (l *line) text(name, s string) {
	if s != "" {
		l.word(name, s)
	}
}

func (l *line) word(name, s string) {
	l.name(name)
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c == '"' || c == '\\' || c >= 0x7f {
			quoted, err := json.Marshal(s)
			if err != nil && l.err == nil {
				l.err = fmt.Errorf("field %q: %w", name, err)
			}
			l.b = append(l.b, quoted...)
			return
		}
	}
	l.b = append(append(append(l.b, '"'), s...), '"')
}

func (l *line) levels(name string, levels []ipc.Level) {
	l.name(name)
	l.b = append(l.b, '[')
	for i, v := range levels {
		if i > 0 {
			l.b = append(l.b, ',')
		}
		price, err := v.Price.AppendText(append(l.b, '[', '"'))
		if err == nil {
			l.b, err = v.Quantity.AppendText(append(price, '"', ',', '"'))
		}
		if err != nil && l.err == nil {
			l.err = fmt.Errorf("level %d of %q: %w", i, name, err)
		}
		l.b = append(l.b, '"', ']')
	}
	l.b = append(l.b, ']')
}
