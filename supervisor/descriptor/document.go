package descriptor

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// MaxFileBytes bounds every file that this package reads.
const MaxFileBytes = 1 << 20

// maxPathParts bounds how deep positions are remembered; no schema here is deeper than six.
const maxPathParts = 16

// place is where a key or value stands.
type place struct{ line, column int }

// document is a TOML file as plain values, with the place of everything in it. The values come from go-toml, which
// stops at the first thing that it cannot decode into a struct; the places come from its syntax tree, so that a
// reader can go on and report everything at once.
type document struct {
	file   string
	root   map[string]any
	keys   map[string]place // by dotted path
	values map[string]place
}

// readFile reads a file that people write, without following it beyond MaxFileBytes.
func readFile(file, what, remedy string) ([]byte, Findings) {
	refuse := func(problem, remedy string) ([]byte, Findings) {
		return nil, Findings{{Code: CodeFile, File: file, Problem: problem, Remedy: remedy}}
	}
	info, err := os.Stat(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return refuse(what+" does not exist", remedy)
	case err != nil:
		return refuse(what+" cannot be read: "+reason(err), "check the path and its permissions")
	case info.IsDir():
		return refuse(what+" is a folder", "name the file itself")
	case !info.Mode().IsRegular():
		// Opening a FIFO would wait for a writer that may never come.
		return refuse(what+" is not a regular file", "name a regular file")
	}
	f, err := os.Open(file)
	if err != nil {
		return refuse(what+" cannot be opened: "+reason(err), "check its permissions")
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, MaxFileBytes+1))
	if err != nil {
		return refuse(what+" cannot be read: "+reason(err), "check the disk")
	}
	return data, nil
}

// reason takes the path out of an error whose path is said elsewhere.
func reason(err error) string {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err.Error()
	}
	return err.Error()
}

// parse turns bytes into a document, or says why they are none.
func parse(file, what string, data []byte) (*document, Findings) {
	refuse := func(code Code, p place, key, problem, remedy string) (*document, Findings) {
		return nil, Findings{{Code: code, File: file, Line: p.line, Column: p.column, Key: key, Problem: problem, Remedy: remedy}}
	}
	if len(data) > MaxFileBytes {
		return refuse(CodeFile, place{}, "", fmt.Sprintf("%s is larger than %d bytes", what, MaxFileBytes), "this cannot be meant; name the right file")
	}
	if !utf8.Valid(data) {
		return refuse(CodeFile, badUTF8(data), "", what+" is not UTF-8", "save it as UTF-8")
	}
	if bytes.HasPrefix(data, []byte("\xef\xbb\xbf")) {
		return refuse(CodeFile, place{1, 1}, "", what+" starts with a byte-order mark", "save it as UTF-8 without a byte-order mark")
	}
	if len(bytes.TrimSpace(data)) == 0 {
		return refuse(CodeFile, place{}, "", what+" is empty", "write it; `msup new NAME` makes an example")
	}
	d := &document{file: file, root: map[string]any{}, keys: map[string]place{}, values: map[string]place{}}
	if err := toml.Unmarshal(data, &d.root); err != nil {
		var de *toml.DecodeError
		if errors.As(err, &de) {
			line, column := de.Position()
			return refuse(CodeSyntax, place{line, column}, strings.Join(de.Key(), "."), strings.TrimPrefix(de.Error(), "toml: "), "correct the TOML there")
		}
		return refuse(CodeSyntax, place{}, "", err.Error(), "correct the TOML")
	}
	d.locate(data)
	return d, nil
}

func badUTF8(data []byte) place {
	line, column := 1, 1
	for i := 0; i < len(data); {
		r, n := utf8.DecodeRune(data[i:])
		if r == utf8.RuneError && n == 1 {
			break
		}
		if r == '\n' {
			line, column = line+1, 0
		}
		i, column = i+n, column+n
	}
	return place{line, column}
}

// locate remembers where every key and value stands.
func (d *document) locate(data []byte) {
	l := locator{document: d, lines: lineStarts(data), tables: map[string]int{}}
	l.parser.Reset(data)
	prefix := ""
	for l.parser.NextExpression() {
		e := l.parser.Expression()
		switch e.Kind {
		case unstable.Table:
			prefix = l.walkKey("", e.Key(), false)
		case unstable.ArrayTable:
			prefix = l.walkKey("", e.Key(), true)
		case unstable.KeyValue:
			l.keyValue(prefix, e)
		}
	}
}

type locator struct {
	*document
	parser unstable.Parser
	lines  []int          // offsets of line starts
	tables map[string]int // how many [[tables]] a path has
}

func lineStarts(data []byte) []int {
	starts := []int{0}
	for i, c := range data {
		if c == '\n' {
			starts = append(starts, i+1)
		}
	}
	return starts
}

func (l *locator) at(r unstable.Range) place {
	offset := int(r.Offset)
	lo, hi := 0, len(l.lines)
	for hi-lo > 1 {
		if mid := (lo + hi) / 2; l.lines[mid] <= offset {
			lo = mid
		} else {
			hi = mid
		}
	}
	return place{lo + 1, offset - l.lines[lo] + 1}
}

// walkKey records the parts of a dotted key below prefix and returns the whole path. The last part of an array
// table's key gets the index of the new element, any other part the index of the newest one.
func (l *locator) walkKey(prefix string, key unstable.Iterator, array bool) string {
	path, parts := prefix, strings.Count(prefix, ".")
	for key.Next() {
		node := key.Node()
		if parts++; parts > maxPathParts {
			return path
		}
		path = join(path, string(node.Data))
		p := l.at(node.Raw)
		l.note(path, p)
		if array && key.IsLast() {
			l.tables[path]++
		}
		if n := l.tables[path]; n > 0 {
			path = index(path, n-1)
			l.note(path, p)
		}
	}
	return path
}

func (l *locator) note(path string, p place) {
	if _, ok := l.keys[path]; !ok {
		l.keys[path] = p
	}
}

func (l *locator) keyValue(prefix string, e *unstable.Node) {
	path := l.walkKey(prefix, e.Key(), false)
	l.value(path, e.Value(), l.keys[path], 0)
}

func (l *locator) value(path string, n *unstable.Node, parent place, depth int) {
	if depth > maxPathParts {
		return
	}
	p := parent
	if n.Raw.Length > 0 {
		p = l.at(n.Raw)
	}
	l.values[path] = p
	switch n.Kind {
	case unstable.Array:
		children := n.Children()
		for i := 0; children.Next(); i++ {
			l.value(index(path, i), children.Node(), p, depth+1)
		}
	case unstable.InlineTable:
		children := n.Children()
		for children.Next() {
			if c := children.Node(); c.Kind == unstable.KeyValue {
				l.keyValue(path, c)
			}
		}
	}
}

// place finds the best place for a path: its value, its key, or that of the nearest parent that has one.
func (d *document) place(path string) place {
	for {
		if p, ok := d.values[path]; ok {
			return p
		}
		if p, ok := d.keys[path]; ok {
			return p
		}
		cut := strings.LastIndexAny(path, ".[")
		if cut < 0 {
			return place{}
		}
		path = path[:cut]
	}
}

// keyPlace finds the place of a key itself.
func (d *document) keyPlace(path string) place {
	if p, ok := d.keys[path]; ok {
		return p
	}
	return d.place(path)
}

// join appends a key to a dotted path, quoted when TOML would need quotes.
func join(path, key string) string {
	if !bareKey(key) {
		if len(key) > 64 {
			key = key[:64]
		}
		key = strconv.QuoteToASCII(key)
	}
	if path == "" {
		return key
	}
	return path + "." + key
}

func bareKey(key string) bool {
	if key == "" || len(key) > 64 {
		return false
	}
	for i := range len(key) {
		c := key[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_' && c != '-' {
			return false
		}
	}
	return true
}

func index(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }

// Locate finds line and column of a key such as state.recovery, or of the nearest table around it, for findings that
// somebody makes later. They are zero when data is no TOML or holds nothing of the key.
func Locate(data []byte, key string) (line, column int) {
	doc, fs := parse("", "", data)
	if fs != nil {
		return 0, 0
	}
	p := doc.place(key)
	return p.line, p.column
}
