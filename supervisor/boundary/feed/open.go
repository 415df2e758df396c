package feed

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/msup/msup/ipc"
)

// datePattern finds the date in the name of a day file; files that differ in nothing else follow one another.
var datePattern = regexp.MustCompile(`[_-]?\d{4}-?\d{2}-?\d{2}[_-]?`)

// binancePattern is the start of a line of a Binance recording.
var binancePattern = regexp.MustCompile(`^\d{16,19} [{\[]`)

// maxFiles bounds what a directory may hold.
const maxFiles = 100_000

// Open opens a file, or a directory: day files that differ in their date only follow one another, series that differ in more
// (quotes and trades, several instruments) are merged by reception time.
func Open(path string, o Options) (Source, error) {
	if o.Format != FormatAuto && !slices.Contains(Formats(), o.Format) {
		return nil, fmt.Errorf("feed format %q: %w: use one of %v", o.Format, ErrFormat, Formats())
	}
	for _, id := range []string{string(o.Instrument), string(o.Source)} {
		if id != "" {
			if err := ipc.CheckID(id); err != nil {
				return nil, fmt.Errorf("feed option: %w", err)
			}
		}
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("opening feed: %w", err)
	}
	stat, err := os.Stat(abs)
	if err != nil {
		return nil, fmt.Errorf("opening feed: %w; give a file or a directory of day files", err)
	}
	if !stat.IsDir() {
		return openGroup([]string{abs}, path, o, "")
	}
	groups, ignored, err := walk(abs, o.Format)
	if err != nil {
		return nil, err
	}
	if len(groups) == 0 {
		return nil, formatError(path, "no file in it has a known name", "known are .jsonl, .csv, .zip, .gz")
	}
	var sources []Source
	for _, g := range groups {
		suffix := ""
		if len(groups) > 1 {
			suffix = "/" + g.name
		}
		s, err := openGroup(g.paths, path, o, suffix)
		if err != nil {
			for _, s := range sources {
				err = errors.Join(err, s.Close())
			}
			return nil, err
		}
		sources = append(sources, s)
	}
	m := Merge(sources...)
	m.path, m.ignored = path, ignored
	return m, nil
}

// group is one series of day files.
type group struct {
	name  string
	paths []string
}

func walk(root string, format Format) (groups []group, ignored []string, err error) {
	byName := make(map[string]int)
	files := 0
	err = filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if strings.HasPrefix(d.Name(), ".") && p != root {
				return fs.SkipDir
			}
			return nil
		}
		if files++; files > maxFiles {
			return fmt.Errorf("more than %d files; name a smaller directory", maxFiles)
		}
		if !d.Type().IsRegular() || !knownName(d.Name(), format) {
			ignored = append(ignored, p)
			return nil
		}
		rel, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		dir, base := filepath.Split(filepath.ToSlash(rel))
		base, _, _ = strings.Cut(datePattern.ReplaceAllString(base, ""), ".")
		name := dir + base
		i, ok := byName[name]
		if !ok {
			i = len(groups)
			byName[name] = i
			groups = append(groups, group{name: name})
		}
		groups[i].paths = append(groups[i].paths, p) // WalkDir goes in lexical order: dates rise
		return nil
	})
	if err != nil {
		return nil, nil, fmt.Errorf("reading feed directory %s: %w", root, err)
	}
	return groups, ignored, nil
}

func knownName(name string, format Format) bool {
	name = strings.ToLower(name)
	if strings.HasPrefix(name, ".") || strings.HasSuffix(name, ".faults.jsonl") {
		return false
	}
	zip := strings.HasSuffix(name, ".zip")
	switch format {
	case FormatLEAN:
		return zip
	case FormatAuto:
		return zip || strings.HasSuffix(name, ".gz") || strings.HasSuffix(name, ".csv") || strings.HasSuffix(name, ".jsonl")
	}
	return !zip
}

// openGroup opens one series.
func openGroup(paths []string, shown string, o Options, suffix string) (Source, error) {
	format := o.Format
	var total int64
	for _, p := range paths {
		stat, err := os.Stat(p)
		if err != nil {
			return nil, fmt.Errorf("opening feed: %w", err)
		}
		total += stat.Size()
	}
	if total == 0 {
		return nil, formatError(paths[0], "the file is empty", "give a file with events")
	}
	if format == FormatAuto {
		var err error
		if format, err = detect(paths[0]); err != nil {
			return nil, err
		}
	}
	p, info, err := newParser(format, paths[0], o, suffix)
	if err != nil {
		return nil, err
	}
	info.Path = shown
	return newChain(paths, total, p, info, o), nil
}

func newParser(format Format, first string, o Options, suffix string) (parser, Info, error) {
	switch format {
	case FormatLEAN:
		p, info, err := newLEAN(first, o)
		if err != nil {
			return nil, Info{}, err
		}
		err = setSource(&p.source, &info, o, suffix)
		return p, info, err
	case FormatBinance:
		p, info, err := newBinance(first, o)
		if err != nil {
			return nil, Info{}, err
		}
		err = setSource(&p.source, &info, o, suffix)
		return p, info, err
	case FormatOHLCV:
		p, info, err := newOHLCV(first, o)
		if err != nil {
			return nil, Info{}, err
		}
		err = setSource(&p.source, &info, o, suffix)
		return p, info, err
	}
	p, info, err := newOwn(first, o, format == FormatCSV)
	if err != nil {
		return nil, Info{}, err
	}
	err = setSource(&p.source, &info, o, suffix)
	return p, info, err
}

// setSource applies the option and refuses a source id that no peer would take.
func setSource(id *ipc.SourceID, info *Info, o Options, suffix string) error {
	if o.Source != "" {
		*id = o.Source + ipc.SourceID(suffix)
	}
	if err := ipc.CheckID(string(*id)); err != nil {
		return fmt.Errorf("source id %q made from the file's name: %w; set the source option", *id, err)
	}
	if info.Format != FormatJSONL && info.Format != FormatCSV { // those may name others, line by line
		info.Sources = []ipc.SourceID{*id}
	}
	return nil
}

// detect tells the format from name and content.
func detect(path string) (Format, error) {
	name := strings.TrimSuffix(strings.ToLower(filepath.Base(path)), ".gz")
	if strings.HasSuffix(name, ".jsonl") {
		return FormatJSONL, nil
	}
	f, err := openFile(path, new(atomic.Int64))
	if err != nil {
		return "", err
	}
	kind := f.kind
	line, _, err := f.next()
	for err == nil && len(line) == 0 {
		line, _, err = f.next()
	}
	line = bytes.TrimPrefix(bytes.Clone(line), []byte("\xef\xbb\xbf"))
	cut := errors.Is(err, ErrTruncated) // what there is of the first line still tells the format
	empty := isEOF(err)
	if err := f.close(); err != nil {
		return "", err
	}
	switch {
	case kind == zipped:
		return FormatLEAN, nil
	case err != nil && !cut && !empty:
		return "", err
	case empty:
		return "", formatError(path, "the file is empty", "give a file with events")
	case binancePattern.Match(line):
		return FormatBinance, nil
	case bytes.HasPrefix(line, []byte("{")):
		return FormatJSONL, nil
	}
	header := "," + strings.ToLower(string(line)) + ","
	for _, own := range []string{",event_ts,", ",recv_ts,", ",kind,"} {
		if strings.Contains(header, own) {
			return FormatCSV, nil
		}
	}
	if bytes.Count(line, []byte(",")) >= 5 {
		return FormatOHLCV, nil
	}
	return "", formatError(path, fmt.Sprintf("its first line %q is of no known format", clip(line)),
		fmt.Sprintf("force one of %v", Formats()))
}
