// Package feed reads market events from files: the workstation's stand-in for H.
//
// # What it is
//
// Open turns one file, or a directory of day files, into a Source: a stream of ipc.MarketEvent values in the order of the
// file. Merge joins several Sources by reception time. Five formats are read: msup's own .jsonl and .csv, LEAN zips, Binance
// combined-stream recordings, and plain OHLCV CSV; docs/feeds.md describes each. Writer writes msup's .jsonl.
//
// # What is guaranteed
//
//   - Constant memory: one line, one file at a time, whatever the length of the recording.
//   - Every event carries instrument, source, times in ns UTC and a Seq that is its record number within the source, from 1 (BC-H).
//   - RecvTS never decreases within a Source. Where the file's does, the later one is raised and the event is flagged
//     out_of_order; the order of the file is kept. Bars are received when they end.
//   - Quality flags are added, never events removed: dup, out_of_order, gap, crossed, clock_skew (DQ-1, DQ-3). Real recordings
//     hold thousands of crossed quotes; dropping them here would hide from the guard what it exists to judge.
//   - Damage is typed. A line that cannot be read is a *LineError (errors.Is ErrMalformed): Next may be called again and goes on
//     with the following line, whose event is flagged gap. A file that ends early gives all it holds, then a *FileError
//     (errors.Is ErrTruncated or ErrDamaged), then the next file or io.EOF.
//   - Sizes are checked before anything is allocated: lines, levels, identifiers.
//
// # What you may not assume
//
//   - That bid is below ask, that event times rise, that an event has an event time, sizes, or a venue number.
//   - That gap means silence. It is set only where the venue's or source's own numbering shows a hole, or where this package had to
//     leave out a line or the end of a file. A quiet market is not a gap.
//   - That a last line without a line end is whole. In an uncompressed file it may be half a number, so it is not delivered.
//   - That a Source may be used by several goroutines. Only Progress may be called from another one.
//
// # How to test against it
//
// Write lines to a file and Open it, or take events from feed/synthetic, whose faults are labelled.
package feed
