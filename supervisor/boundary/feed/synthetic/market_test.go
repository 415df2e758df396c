package synthetic

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/supervisor/boundary/feed"
)

func drain(t *testing.T, s feed.Source) []ipc.MarketEvent {
	t.Helper()
	var out []ipc.MarketEvent
	if err := feed.Drain(s, func(ev ipc.MarketEvent) error { out = append(out, ev); return nil }); err != nil {
		t.Fatal(err)
	}
	return out
}

func mustNew(t *testing.T, o Options) *Market {
	t.Helper()
	m, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// The bytes of a seed are pinned: a run, a bug report and a benchmark must mean the same market on every machine.
// Proves: NN-7
func TestSeedGivesTheSameBytesEverywhere_NN7(t *testing.T) {
	dir := t.TempDir()
	sum := func(name string, seed uint64) string {
		path := filepath.Join(dir, name)
		if _, err := WriteFile(path, Options{Seed: seed, Events: 20_000, Faults: DefaultFaults()}); err != nil {
			t.Fatal(err)
		}
		h := sha256.New()
		for _, p := range []string{path, LabelsPath(path)} {
			b, err := os.ReadFile(p)
			if err != nil {
				t.Fatal(err)
			}
			h.Write(b)
		}
		return hex.EncodeToString(h.Sum(nil)[:8])
	}
	const pinned = "4564b6f4b47f98a8"
	if got := sum("a.jsonl", 7); got != pinned {
		t.Errorf("seed 7 gives %s, pinned is %s", got, pinned)
	}
	if a, b := sum("b.jsonl.gz", 7), sum("c.jsonl.gz", 7); a != b {
		t.Errorf("compressed, the same seed gives %s and %s", a, b)
	}
	if sum("d.jsonl", 8) == pinned {
		t.Error("another seed gives the same bytes")
	}
}

// Reading the file of a market gives what the market gives directly.
// Proves: NN-7, EV-1
func TestFileAndSourceAreTheSameFeed_EV1(t *testing.T) {
	o := Options{Seed: 3, Events: 15_000, Faults: DefaultFaults()}
	direct := drain(t, mustNew(t, o))
	path := filepath.Join(t.TempDir(), "m.jsonl.gz")
	summary, err := WriteFile(path, o)
	if err != nil {
		t.Fatal(err)
	}
	s, err := feed.Open(path, feed.Options{})
	if err != nil {
		t.Fatal(err)
	}
	read := drain(t, s)
	if len(direct) != 15_000 || len(read) != 15_000 || summary.Records != 15_000 {
		t.Fatalf("%d direct, %d read, %d written", len(direct), len(read), summary.Records)
	}
	for i := range direct {
		if !reflect.DeepEqual(direct[i], read[i]) {
			t.Fatalf("record %d: direct %+v, read %+v", i+1, direct[i], read[i])
		}
	}
}

// Every labelled fault is noticed by the reader, and nothing else is.
// Proves: DQ-1, DQ-3
func TestLabelsAndFlagsAgree_DQ1(t *testing.T) {
	for seed := range uint64(5) {
		m := mustNew(t, Options{Seed: seed, Faults: DefaultFaults()})
		events := drain(t, m)
		if len(events) != DefaultEvents {
			t.Fatalf("%d records", len(events))
		}
		want := make(map[uint64]ipc.Quality)
		flag := map[FaultKind]ipc.Quality{FaultCrossed: ipc.QualityCrossed, FaultDup: ipc.QualityDup, FaultOutOfOrder: ipc.QualityOutOfOrder,
			FaultGap: ipc.QualityGap, FaultClockSkew: ipc.QualityClockSkew}
		count := make(map[FaultKind]int)
		for _, l := range m.Labels() {
			count[l.Fault]++
			want[l.Line] |= flag[l.Fault]
			ev := events[l.Line-1]
			if h := ev.Header(); h.Instrument != l.Instrument || h.RecvTS != l.RecvTS {
				t.Errorf("seed %d: label %+v is at record %+v", seed, l, h)
			}
			switch l.Fault {
			case FaultHalt:
				if s, ok := ev.(*ipc.TradingStatus); !ok || s.Status != ipc.TradingHalted {
					t.Errorf("seed %d: halt at %+v", seed, ev)
				}
				for _, later := range events[l.Line:] {
					if h := later.Header(); h.Instrument == l.Instrument && later.Kind() != ipc.KindBar {
						if s, ok := later.(*ipc.TradingStatus); !ok || s.Status != ipc.TradingOpen || h.EventTS-ev.Header().EventTS < l.LengthNS {
							t.Errorf("seed %d: the halt at %d ends with %+v", seed, l.Line, later)
						}
						break
					}
				}
			case FaultSilence:
				for i := int(l.Line) - 2; i >= 0; i-- {
					if h := events[i].Header(); h.Instrument == l.Instrument {
						if gap := ev.Header().RecvTS - h.RecvTS; gap < l.LengthNS-ipc.Nanos(time.Second) {
							t.Errorf("seed %d: silence of %d at record %d, labelled %d", seed, gap, l.Line, l.LengthNS)
						}
						break
					}
				}
			}
		}
		for kind, least := range map[FaultKind]int{FaultCrossed: 12, FaultDup: 12, FaultOutOfOrder: 12, FaultGap: 6, FaultSilence: 3, FaultClockSkew: 6, FaultHalt: 1} {
			if count[kind] < least-1 || count[kind] > least+2 || count[kind] == 0 {
				t.Errorf("seed %d: %d faults of kind %s, want about %d", seed, count[kind], kind, least)
			}
		}
		for i, ev := range events {
			if got := ev.Header().Quality; got != want[uint64(i+1)] {
				t.Errorf("seed %d: record %d has quality %07b, labelled %07b: %+v", seed, i+1, got, want[uint64(i+1)], ev)
			}
		}
	}
}

// Proves: EV-1
func TestMarketIsPlausible_EV1(t *testing.T) {
	events := drain(t, mustNew(t, Options{Seed: 1}))
	kinds := make(map[ipc.EventKind]int)
	ids := make(map[ipc.InstrumentID]int)
	low, high := ipc.MustDecimal("1E9"), ipc.MustDecimal("0")
	var last ipc.Nanos
	for i, ev := range events {
		h := ev.Header()
		kinds[ev.Kind()]++
		ids[h.Instrument]++
		if h.RecvTS <= last || h.Quality != 0 || h.Seq != uint64(i+1) || h.RecvTS < h.EventTS {
			t.Fatalf("record %d without faults: %+v", i+1, h)
		}
		last = h.RecvTS
		switch e := ev.(type) {
		case *ipc.Quote:
			if e.Bid.Cmp(*e.Ask) >= 0 || e.BidSize.Sign() <= 0 {
				t.Fatalf("quote %+v", e)
			}
			if h.Instrument == "SYN-A.SIM" {
				if e.Bid.Less(low) {
					low = *e.Bid
				}
				if high.Less(*e.Bid) {
					high = *e.Bid
				}
				if !e.Bid.IsMultipleOf(ipc.MustDecimal("0.01")) {
					t.Fatalf("bid %s is off the tick", e.Bid)
				}
			}
		case *ipc.Bar:
			if e.High.Less(e.Low) || e.High.Less(e.Close) || e.Close.Less(e.Low) || e.Volume.Sign() <= 0 || e.EventTS%60e9 != 0 || e.RecvTS < e.EventTS+60e9 {
				t.Fatalf("bar %+v", e)
			}
		}
	}
	if kinds[ipc.KindQuote] < 30_000 || kinds[ipc.KindTrade] < 10_000 || kinds[ipc.KindBar] < 40 || ids["SYN-A.SIM"] < 20_000 || ids["SYN-B.SIM"] < 20_000 {
		t.Errorf("kinds %v of %v", kinds, ids)
	}
	if span := high.Float64() - low.Float64(); span < 0.3 || span > 60 {
		t.Errorf("the price of SYN-A.SIM goes from %s to %s", low, high)
	}
}

// Proves: EV-1
func TestDurationEndsTheMarket_EV1(t *testing.T) {
	m := mustNew(t, Options{Seed: 1, Duration: 5 * time.Minute, StartTS: 1_000_000_000_000_000_000, BarNS: 1e9})
	events := drain(t, m)
	end := events[len(events)-1].Header().RecvTS
	if end > 1_000_000_000_000_000_000+301e9 || end < 1_000_000_000_000_000_000+290e9 || m.Progress() < 0.9 {
		t.Errorf("%d records to %d, progress %v", len(events), end, m.Progress())
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Next(); !errors.Is(err, io.EOF) {
		t.Errorf("after Close: %v", err)
	}
}

// Proves: BC-H
func TestOptionsAreRefusedWithRemedy_BCH(t *testing.T) {
	tick := ipc.MustDecimal("0.01")
	for name, o := range map[string]Options{
		"no instruments": {Instruments: []Instrument{}},
		"twice":          {Instruments: append(DefaultInstruments(), DefaultInstruments()...)},
		"no price":       {Instruments: []Instrument{{ID: "A", Tick: tick, Lot: tick}}},
		"off tick":       {Instruments: []Instrument{{ID: "A", Price: ipc.MustDecimal("100.005"), Tick: tick, Lot: tick}}},
		"no tick":        {Instruments: []Instrument{{ID: "A", Price: ipc.MustDecimal("100"), Lot: tick}}},
		"bad id":         {Instruments: []Instrument{{ID: "", Price: ipc.MustDecimal("100"), Tick: tick, Lot: tick}}},
		"negative":       {Events: -1},
		"rate":           {Faults: Faults{Dup: 1_000_000}},
		"bars":           {BarNS: 5},
	} {
		if _, err := New(o); err == nil || !strings.ContainsAny(err.Error(), ":;") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := WriteFile(filepath.Join(t.TempDir(), "x.csv"), Options{}); err == nil {
		t.Error("a .csv was written")
	}
}

// Proves: EV-1
func TestLabelsFileNamesEveryFault_EV1(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m.jsonl")
	summary, err := WriteFile(path, Options{Seed: 2, Events: 30_000, Faults: DefaultFaults()})
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(summary.Labels)
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[FaultKind]int)
	for _, line := range bytes.Split(bytes.TrimSpace(b), []byte("\n")) {
		var l Label
		if err := json.Unmarshal(line, &l); err != nil {
			t.Fatal(err)
		}
		got[l.Fault]++
	}
	if !reflect.DeepEqual(got, summary.Faults) || len(got) < 6 {
		t.Errorf("the file has %v, the summary %v", got, summary.Faults)
	}
}
