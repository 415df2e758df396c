package synthetic

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/msup/msup/supervisor/boundary/feed"
)

// Summary says what was written.
type Summary struct {
	Records uint64
	Faults  map[FaultKind]int
	Path    string
	Labels  string // path of the labels
}

// LabelsPath is where the labels of a feed lie: day.jsonl.gz has day.faults.jsonl beside it.
func LabelsPath(path string) string {
	return strings.TrimSuffix(strings.TrimSuffix(path, ".gz"), ".jsonl") + ".faults.jsonl"
}

// WriteFile makes a market and writes it to path (.jsonl or .jsonl.gz), its labels beside it.
func WriteFile(path string, o Options) (Summary, error) {
	if !strings.HasSuffix(path, ".jsonl") && !strings.HasSuffix(path, ".jsonl.gz") {
		return Summary{}, fmt.Errorf("synthetic market %s: name a file that ends in .jsonl or .jsonl.gz", path)
	}
	m, err := New(o)
	if err != nil {
		return Summary{}, err
	}
	w, err := feed.Create(path)
	if err != nil {
		return Summary{}, err
	}
	if err := m.write(w.Writer); err != nil {
		return Summary{}, errors.Join(err, w.Abort())
	}
	out := Summary{Records: m.records.Load(), Faults: make(map[FaultKind]int), Path: path, Labels: LabelsPath(path)}
	for _, l := range m.Labels() {
		out.Faults[l.Fault]++
	}
	if err := m.writeLabels(out.Labels); err != nil {
		return Summary{}, errors.Join(err, w.Abort())
	}
	return out, w.Close()
}

func (m *Market) write(w *feed.Writer) error {
	for {
		ev, err := m.raw()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = w.Write(ev)
		}
		if err != nil {
			return err
		}
	}
}

func (m *Market) writeLabels(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("writing fault labels: %w", err)
	}
	w := bufio.NewWriter(f)
	encoder := json.NewEncoder(w)
	for _, l := range m.Labels() {
		if err := encoder.Encode(l); err != nil {
			return errors.Join(fmt.Errorf("writing fault labels: %w", err), f.Close())
		}
	}
	if err := errors.Join(w.Flush(), f.Close()); err != nil {
		return fmt.Errorf("writing fault labels: %w", err)
	}
	return nil
}
