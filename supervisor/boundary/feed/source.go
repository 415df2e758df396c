package feed

import (
	"fmt"
	"time"

	"github.com/msup/msup/ipc"
)

// Format names how events are written in a file.
type Format string

// The formats.
const (
	FormatAuto    Format = ""        // by name and content
	FormatJSONL   Format = "jsonl"   // msup's own, one event per line
	FormatCSV     Format = "csv"     // msup's own, a header row names the fields
	FormatLEAN    Format = "lean"    // QuantConnect LEAN: one zip per instrument and day
	FormatBinance Format = "binance" // lines of receive time and combined-stream message
	FormatOHLCV   Format = "ohlcv"   // plain candles
)

// Formats lists every format that Options.Format may force.
func Formats() []Format {
	return []Format{FormatJSONL, FormatCSV, FormatLEAN, FormatBinance, FormatOHLCV}
}

// DefaultClockSkew is how far recv_ts may lie before event_ts without a flag (DQ-3): ten times what a machine that keeps its
// clock by NTP shows, less than half of the 1.27 s by which the Binance recordings of 2024-08 are off.
const DefaultClockSkew = 500 * time.Millisecond

// Options say what a file does not say about itself. The zero value lets Open find out.
type Options struct {
	Format     Format
	Instrument ipc.InstrumentID // overrides the instrument; required where the file names none
	Source     ipc.SourceID     // overrides the source id; for several groups of files the group's name is appended
	TimeZone   string           // of the data, for LEAN and OHLCV: "UTC", "UTC-05:00" or an IANA name
	Columns    string           // OHLCV without header: for example "time,open,close,high,low,volume"
	Period     time.Duration    // OHLCV: length of a candle; 0 = from the path ("Candles_1m")
	ClockSkew  time.Duration    // tolerance before clock_skew is flagged; 0 = DefaultClockSkew
}

// Info describes a Source. What is found out while reading (instruments of .jsonl files, skipped messages) grows with it.
type Info struct {
	Path        string
	Format      Format
	Sources     []ipc.SourceID     // of .jsonl and .csv files those seen so far
	Instruments []ipc.InstrumentID // those seen so far, in order of appearance
	Files       int
	Bytes       int64             // on disk
	Skipped     map[string]uint64 // messages that are no market event msup knows, by name
	Ignored     []string          // files of a directory that are in no known format
}

// Source is a stream of market events (EV-1, BP-1). Next returns io.EOF after the last one; doc.go lists the other errors.
type Source interface {
	Next() (ipc.MarketEvent, error)
	Close() error
	// Progress is the fraction of bytes read, 0 to 1. It may be called from another goroutine.
	Progress() float64
	Info() Info
}

// Drain reads a source to its end and hands every event to fn, stopping at the first error other than io.EOF.
func Drain(s Source, fn func(ipc.MarketEvent) error) error {
	for {
		ev, err := s.Next()
		if isEOF(err) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := fn(ev); err != nil {
			return fmt.Errorf("taking event %d of %s: %w", ev.Header().Seq, ev.Header().Source, err)
		}
	}
}
