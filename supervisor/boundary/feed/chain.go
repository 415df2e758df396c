package feed

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"sync/atomic"

	"github.com/msup/msup/ipc"
)

// parser turns the lines of one format into events. It fills everything but Seq and the flags that need a memory.
type parser interface {
	// begin is told of every file before its first line.
	begin(f *file) error
	// parse returns nil without an error for a line that holds no event. The line is not valid afterwards.
	parse(line []byte) (ipc.MarketEvent, numbering, error)
}

// remedied is a parser's error that knows what to do about it.
type remedied struct {
	cause  error
	remedy string
}

func (r *remedied) Error() string { return r.cause.Error() + "; " + r.remedy }

// refuse makes a parser's error from a cause and a remedy.
func refuse(remedy, format string, args ...any) error {
	return &remedied{fmt.Errorf(format, args...), remedy}
}

// chain is a Source over files that follow one another: the days of one recording. Numbers and flags run across the files.
type chain struct {
	paths   []string
	parser  parser
	tracker *Tracker
	seq     uint64
	current *file
	info    Info
	last    ipc.Market // whose instrument and source were met last
	read    atomic.Int64
}

func newChain(paths []string, total int64, p parser, info Info, o Options) *chain {
	info.Files, info.Bytes = len(paths), total
	return &chain{paths: paths, parser: p, tracker: NewTracker(o.ClockSkew), info: info}
}

// Next implements Source.
func (c *chain) Next() (ipc.MarketEvent, error) {
	for {
		if c.current == nil {
			if err := c.open(); err != nil {
				return nil, err
			}
		}
		line, whole, err := c.current.next()
		if err != nil {
			if err := c.ended(err); err != nil {
				return nil, err
			}
			continue
		}
		if len(line) == 0 {
			continue
		}
		ev, n, err := c.parser.parse(line)
		if err != nil {
			return nil, c.unreadable(err, whole)
		}
		if ev == nil {
			continue
		}
		c.seq++
		c.tracker.observe(ev, n)
		h := ev.Header()
		h.Seq = c.seq
		if h.Instrument != c.last.Instrument || h.Source != c.last.Source {
			c.meet(h)
		}
		return ev, nil
	}
}

func (c *chain) open() error {
	if len(c.paths) == 0 {
		return io.EOF
	}
	path := c.paths[0]
	c.paths = c.paths[1:]
	f, err := openFile(path, &c.read)
	if err != nil {
		c.tracker.Hole()
		return err
	}
	if err := c.parser.begin(f); err != nil {
		c.tracker.Hole()
		return errors.Join(err, f.close())
	}
	c.current = f
	return nil
}

// ended handles what next returned instead of a line: a line too long stays in the file, everything else ends it.
func (c *chain) ended(cause error) error {
	if errors.Is(cause, ErrMalformed) {
		c.tracker.Hole()
		return cause
	}
	err := c.current.close()
	c.current = nil
	if isEOF(cause) {
		return err
	}
	c.tracker.Hole()
	return errors.Join(cause, err)
}

// unreadable types a parser's error. Where the last line of a checked file has no end, it is the recorder that was cut off.
func (c *chain) unreadable(err error, whole bool) error {
	c.tracker.Hole()
	if !whole {
		return &FileError{File: c.current.path, Line: c.current.line - 1, Kind: ErrTruncated, Cause: err}
	}
	out := &LineError{File: c.current.path, Line: c.current.line, Cause: err, Remedy: "correct or remove the line"}
	var r *remedied
	if errors.As(err, &r) {
		out.Cause, out.Remedy = r.cause, r.remedy
	}
	return out
}

func (c *chain) meet(h *ipc.Market) {
	c.last = *h
	if !slices.Contains(c.info.Instruments, h.Instrument) && len(c.info.Instruments) < maxInterned {
		c.info.Instruments = append(c.info.Instruments, h.Instrument)
	}
	if !slices.Contains(c.info.Sources, h.Source) && len(c.info.Sources) < maxInterned {
		c.info.Sources = append(c.info.Sources, h.Source)
	}
}

// Progress implements Source.
func (c *chain) Progress() float64 {
	if c.info.Bytes == 0 {
		return 1
	}
	return min(1, float64(c.read.Load())/float64(c.info.Bytes))
}

// Info implements Source.
func (c *chain) Info() Info {
	out := c.info
	out.Instruments, out.Sources = slices.Clone(c.info.Instruments), slices.Clone(c.info.Sources)
	if s, ok := c.parser.(interface{ skipped() map[string]uint64 }); ok {
		out.Skipped = s.skipped()
	}
	return out
}

// Close implements Source.
func (c *chain) Close() error {
	c.paths = nil
	if c.current == nil {
		return nil
	}
	err := c.current.close()
	c.current = nil
	return err
}
