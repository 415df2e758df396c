package feed

import (
	"errors"
	"io"

	"github.com/msup/msup/ipc"
)

// Merged is a Source that joins several by reception time. Events of equal time come in the order in which the sources were
// given, so that the same files always give the same stream.
type Merged struct {
	sources []Source
	heads   []ipc.MarketEvent // nil = to be read
	done    []bool
	sizes   []float64 // bytes of each source, for Progress, which runs beside Next
	path    string
	ignored []string
}

// Merge joins sources. It holds one event of each. The sources are closed with it.
func Merge(sources ...Source) *Merged {
	m := &Merged{sources: sources, heads: make([]ipc.MarketEvent, len(sources)), done: make([]bool, len(sources))}
	for _, s := range sources {
		m.sizes = append(m.sizes, float64(max(1, s.Info().Bytes)))
	}
	return m
}

// Next implements Source. An error of one source is returned at once; the next call goes on with all of them.
func (m *Merged) Next() (ipc.MarketEvent, error) {
	// Feeds are merged by the handful, so looking at every head beats keeping a heap.
	best := -1
	for i := range m.sources {
		if m.heads[i] == nil && !m.done[i] {
			ev, err := m.sources[i].Next()
			if isEOF(err) {
				m.done[i] = true
				continue
			}
			if err != nil {
				return nil, err
			}
			m.heads[i] = ev
		}
		if !m.done[i] && (best < 0 || m.heads[i].Header().RecvTS < m.heads[best].Header().RecvTS) {
			best = i
		}
	}
	if best < 0 {
		return nil, io.EOF
	}
	ev := m.heads[best]
	m.heads[best] = nil
	return ev, nil
}

// Close closes every source.
func (m *Merged) Close() error {
	var errs []error
	for _, s := range m.sources {
		errs = append(errs, s.Close())
	}
	return errors.Join(errs...)
}

// Progress is the fraction of all bytes.
func (m *Merged) Progress() float64 {
	var read, total float64
	for i, s := range m.sources {
		read += s.Progress() * m.sizes[i]
		total += m.sizes[i]
	}
	if total == 0 {
		return 1
	}
	return read / total
}

// Info joins what the sources say.
func (m *Merged) Info() Info {
	out := Info{Path: m.path, Ignored: m.ignored}
	known := make(map[ipc.InstrumentID]bool)
	for i, s := range m.sources {
		in := s.Info()
		if i == 0 {
			out.Format = in.Format
		} else if out.Format != in.Format {
			out.Format = FormatAuto
		}
		if out.Path == "" {
			out.Path = in.Path
		}
		out.Sources = append(out.Sources, in.Sources...)
		for _, id := range in.Instruments {
			if !known[id] {
				known[id] = true
				out.Instruments = append(out.Instruments, id)
			}
		}
		out.Files += in.Files
		out.Bytes += in.Bytes
		for name, n := range in.Skipped {
			if out.Skipped == nil {
				out.Skipped = make(map[string]uint64)
			}
			out.Skipped[name] += n
		}
		out.Ignored = append(out.Ignored, in.Ignored...)
	}
	return out
}
