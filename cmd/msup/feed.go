package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/supervisor/boundary/feed"
	"github.com/msup/msup/supervisor/boundary/feed/synthetic"
)

// feedFlags are the options that a file does not say about itself.
type feedFlags struct {
	format, instrument, source, timeZone, columns string
	period                                        time.Duration
}

func (f *feedFlags) register(c *cobra.Command) {
	c.Flags().StringVar(&f.format, "format", "", "format of the feed: jsonl, csv, lean, binance, ohlcv (default: found out)")
	c.Flags().StringVar(&f.instrument, "instrument", "", "instrument id, where the file names none")
	c.Flags().StringVar(&f.source, "source", "", "source id instead of the feed's own")
	c.Flags().StringVar(&f.timeZone, "time-zone", "", `time zone of the data: "UTC", "UTC-05:00" or an IANA name (LEAN, OHLCV)`)
	c.Flags().StringVar(&f.columns, "columns", "", `columns of a candle file without header, for example "time,open,close,high,low,volume"`)
	c.Flags().DurationVar(&f.period, "period", 0, "length of a candle (OHLCV; default: from the path)")
}

func (f *feedFlags) options() feed.Options {
	return feed.Options{Format: feed.Format(f.format), Instrument: ipc.InstrumentID(f.instrument), Source: ipc.SourceID(f.source),
		TimeZone: f.timeZone, Columns: f.columns, Period: f.period}
}

func (a *app) feedCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "feed", Short: "Make, inspect and convert feeds",
		Long: `A feed is a file or a directory of market events: msup's own .jsonl[.gz] or CSV, LEAN zips, Binance combined-stream
recordings, or plain OHLCV candles. docs/feeds.md describes them all.`,
		Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	c.AddCommand(a.feedGenerateCommand(), a.feedInfoCommand(), a.feedConvertCommand())
	return c
}

func (a *app) feedGenerateCommand() *cobra.Command {
	var o synthetic.Options
	var clean bool
	var instruments []string
	c := &cobra.Command{
		Use: "generate FILE.jsonl[.gz]", Short: "Write a seeded synthetic market with labelled faults",
		Long: `Writes a synthetic market: random walks with quotes, trades and bars, and injected faults (crossed quotes,
repeats, disorder, gaps, silences, skewed clocks, halts), each labelled in FILE.faults.jsonl. The same seed gives
the same bytes. It is made up: good for trying things out, no evidence of how a strategy would do.`,
		Example: "  msup feed generate market.jsonl.gz --seed 7 --events 100000",
		Args:    cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if !clean {
				o.Faults = synthetic.DefaultFaults()
			}
			for _, spec := range instruments {
				i, err := parseSyntheticInstrument(spec)
				if err != nil {
					return err
				}
				o.Instruments = append(o.Instruments, i)
			}
			s, err := synthetic.WriteFile(args[0], o)
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(s)
			}
			total := 0
			for _, n := range s.Faults {
				total += n
			}
			_, err = fmt.Fprintf(a.stdout, "%s: %d records, %d labelled faults in %s\n", s.Path, s.Records, total, s.Labels)
			return err
		},
	}
	c.Flags().Uint64Var(&o.Seed, "seed", 1, "seed of the market")
	c.Flags().IntVar(&o.Events, "events", 0, "records to make (default 60000, unless --duration is given)")
	c.Flags().DurationVar(&o.Duration, "duration", 0, "length of the market in its own time")
	c.Flags().StringSliceVar(&instruments, "synthetic-instrument", nil, "ID:PRICE:TICK:LOT, may be repeated (default SYN-A.SIM and SYN-B.SIM)")
	c.Flags().BoolVar(&clean, "clean", false, "inject no faults")
	return c
}

func parseSyntheticInstrument(spec string) (synthetic.Instrument, error) {
	parts := strings.Split(spec, ":")
	if len(parts) != 4 {
		return synthetic.Instrument{}, fmt.Errorf("%w: instrument %q: write ID:PRICE:TICK:LOT, for example SYN-C.SIM:50:0.01:1", errUsage, spec)
	}
	i := synthetic.Instrument{ID: ipc.InstrumentID(parts[0])}
	for n, into := range []*ipc.Decimal{&i.Price, &i.Tick, &i.Lot} {
		d, err := ipc.ParseDecimal(parts[n+1])
		if err != nil {
			return i, fmt.Errorf("%w: instrument %q: %w", errUsage, spec, err)
		}
		*into = d
	}
	return i, nil
}

// feedSummary is what msup feed info prints.
type feedSummary struct {
	Path        string             `json:"path"`
	Format      feed.Format        `json:"format"`
	Instruments []ipc.InstrumentID `json:"instruments"`
	Events      uint64             `json:"events"`
	ByKind      map[string]uint64  `json:"by_kind"`
	ByFlag      map[string]uint64  `json:"by_quality_flag"`
	FirstRecv   string             `json:"first_recv"`
	LastRecv    string             `json:"last_recv"`
	Skipped     map[string]uint64  `json:"skipped,omitempty"`
	Error       string             `json:"error,omitempty"`
}

var qualityNames = []struct {
	flag ipc.Quality
	name string
}{
	{ipc.QualityStale, "stale"}, {ipc.QualityGap, "gap"}, {ipc.QualityDup, "dup"}, {ipc.QualityOutOfOrder, "out_of_order"},
	{ipc.QualityClockSkew, "clock_skew"}, {ipc.QualityCrossed, "crossed"}, {ipc.QualityWarmup, "warmup"},
}

func (a *app) feedInfoCommand() *cobra.Command {
	var flags feedFlags
	c := &cobra.Command{
		Use: "info PATH", Short: "Count what is in a feed: events, kinds, quality flags, times",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			source, err := feed.Open(args[0], flags.options())
			if err != nil {
				return exit(exitFeed, "%w", err)
			}
			s, err := summarise(cmd, source)
			s.Path = args[0]
			err = errors.Join(err, source.Close())
			if err != nil {
				s.Error = err.Error()
			}
			if a.json {
				if printed := a.printJSON(s); printed != nil {
					return printed
				}
			} else {
				fmt.Fprintf(a.stdout, "%s (%s): %d events, %s to %s\n  kinds: %v\n  quality flags: %v\n  instruments: %v\n", s.Path, s.Format, s.Events,
					s.FirstRecv, s.LastRecv, s.ByKind, s.ByFlag, s.Instruments)
			}
			return err
		},
	}
	flags.register(c)
	return c
}

func summarise(cmd *cobra.Command, source feed.Source) (feedSummary, error) {
	s := feedSummary{ByKind: map[string]uint64{}, ByFlag: map[string]uint64{}}
	var first, last ipc.Nanos
	var failed error
	for cmd.Context().Err() == nil {
		event, err := source.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			failed = err
			break
		}
		h := event.Header()
		if s.Events++; s.Events == 1 {
			first = h.RecvTS
		}
		last = h.RecvTS
		s.ByKind[event.Kind().String()]++
		for _, q := range qualityNames {
			if h.Quality&q.flag != 0 {
				s.ByFlag[q.name]++
			}
		}
	}
	info := source.Info()
	s.Format, s.Instruments, s.Skipped = info.Format, info.Instruments, info.Skipped
	if s.Events > 0 {
		s.FirstRecv, s.LastRecv = utc(first), utc(last)
	}
	return s, failed
}

// utc prints a time of the wire for people.
func utc(t ipc.Nanos) string { return time.Unix(0, int64(t)).UTC().Format(time.RFC3339Nano) }

func (a *app) feedConvertCommand() *cobra.Command {
	var flags feedFlags
	c := &cobra.Command{
		Use: "convert PATH OUT.jsonl[.gz]", Short: "Write any feed as msup's own .jsonl",
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			source, err := feed.Open(args[0], flags.options())
			if err != nil {
				return exit(exitFeed, "%w", err)
			}
			defer func() { err = errors.Join(err, source.Close()) }()
			w, err := feed.Create(args[1])
			if err != nil {
				return err
			}
			n := 0
			err = feed.Drain(source, func(e ipc.MarketEvent) error {
				n++
				if err := cmd.Context().Err(); err != nil {
					return err
				}
				return w.Write(e)
			})
			if err != nil {
				return errors.Join(err, w.Abort())
			}
			if err := w.Close(); err != nil {
				return err
			}
			_, err = fmt.Fprintf(a.stdout, "%s: %d events\n", args[1], n)
			return err
		},
	}
	flags.register(c)
	return c
}
