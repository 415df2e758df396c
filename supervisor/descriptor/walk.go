package descriptor

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/msup/msup/ipc"
	"github.com/pelletier/go-toml/v2"
)

// section is a table that was checked against its rows: every value has its type, absent ones have their default.
type section struct {
	path   string
	values map[string]any
	given  map[string]bool
}

func (s section) str(name string) string    { v, _ := s.values[name].(string); return v }
func (s section) num(name string) int64     { v, _ := s.values[name].(int64); return v }
func (s section) float(name string) float64 { v, _ := s.values[name].(float64); return v }
func (s section) flag(name string) bool     { v, _ := s.values[name].(bool); return v }
func (s section) dec(name string) ipc.Decimal {
	v, _ := s.values[name].(ipc.Decimal)
	return v
}
func (s section) table(name string) section { v, _ := s.values[name].(section); return v }
func (s section) millis(name string) time.Duration {
	return time.Duration(s.num(name)) * time.Millisecond
}
func (s section) at(name string) string { return join(s.path, name) }

// tables returns the elements of an array of tables.
func (s section) tables(name string) []section {
	items, _ := s.values[name].([]any)
	var out []section
	for _, it := range items {
		if t, ok := it.(section); ok {
			out = append(out, t)
		}
	}
	return out
}

// strs returns a list of strings; invalid items are left out.
func (s section) strs(name string) []string {
	items, _ := s.values[name].([]any)
	var out []string
	for _, it := range items {
		if v, ok := it.(string); ok {
			out = append(out, v)
		}
	}
	return out
}

// entries returns a map's entries sorted by key.
func (s section) entries(name string) []entry {
	m, _ := s.values[name].(map[string]any)
	var out []entry
	for _, k := range slices.Sorted(maps.Keys(m)) {
		out = append(out, entry{k, join(s.at(name), k), m[k]})
	}
	return out
}

type entry struct {
	key, path string
	value     any
}

// walker checks a document against rows and collects everything that is wrong.
type walker struct {
	doc      *document
	findings Findings
	bad      map[string]bool // paths whose value is not usable: cross checks leave them alone
}

func newWalker(d *document) *walker { return &walker{doc: d, bad: map[string]bool{}} }

// add reports a problem with the value at path.
func (w *walker) add(code Code, path, problem, remedy string) {
	w.addAt(code, w.doc.place(path), path, problem, remedy)
}

func (w *walker) addAt(code Code, p place, path, problem, remedy string) {
	w.bad[path] = true
	w.findings = append(w.findings, Finding{Code: code, File: w.doc.file, Line: p.line, Column: p.column, Key: path, Problem: problem, Remedy: remedy})
}

// ok tells that none of the paths has a finding of its own.
func (w *walker) ok(paths ...string) bool {
	return !slices.ContainsFunc(paths, func(p string) bool { return w.bad[p] })
}

func (w *walker) table(path string, raw map[string]any, t *prop) section {
	s := section{path: path, values: map[string]any{}, given: map[string]bool{}}
	for _, key := range slices.Sorted(maps.Keys(raw)) {
		if t.prop(key) == nil {
			at := join(path, key)
			w.addAt(CodeUnknown, w.doc.keyPlace(at), at, "there is no such key", suggest(key, t))
		}
	}
	for i := range t.props {
		p := &t.props[i]
		at := join(path, p.name)
		v, given := raw[p.name]
		if !given {
			w.absent(&s, at, path, p)
			continue
		}
		s.given[p.name] = true
		if out, ok := w.value(at, v, p); ok {
			s.values[p.name] = out
		} else {
			s.values[p.name] = defaultOf(p, path)
			w.bad[at] = true
		}
	}
	return s
}

func (w *walker) absent(s *section, at, path string, p *prop) {
	if p.required {
		what := "is required, but absent"
		if p.kind == aTable {
			what = "this table is required, but absent"
		}
		w.addAt(CodeMissing, w.doc.keyPlace(path), at, what, "add "+example(p))
	}
	s.values[p.name] = defaultOf(p, path)
}

// defaultOf is what an absent row holds: tables hold the defaults of their rows.
func defaultOf(p *prop, path string) any {
	switch {
	case p.kind == aTable:
		s := section{path: join(path, p.name), values: map[string]any{}, given: map[string]bool{}}
		for i := range p.props {
			s.values[p.props[i].name] = defaultOf(&p.props[i], s.path)
		}
		return s
	case p.kind == aDecimal && p.def != nil:
		d, err := parseDecimal(p.def.(string))
		if err != nil {
			panic("descriptor: default of " + p.name + ": " + err.Error())
		}
		return d
	case p.kind == aList && p.def != nil:
		var out []any
		for _, v := range p.def.([]string) {
			out = append(out, v)
		}
		return out
	}
	return p.def
}

func (w *walker) value(path string, v any, p *prop) (any, bool) {
	switch p.kind {
	case aString:
		return w.text(path, v, p)
	case anInt:
		return w.integer(path, v, p)
	case aFloat:
		return w.floating(path, v, p)
	case aBool:
		if b, ok := v.(bool); ok {
			return b, true
		}
		return w.wrong(path, v, p, "true or false")
	case aDecimal:
		return w.money(path, v, p)
	case aScalar:
		switch n := v.(type) {
		case string, bool, int64:
			return v, true
		case float64:
			if !math.IsNaN(n) && !math.IsInf(n, 0) {
				return v, true
			}
		}
		return w.wrong(path, v, p, "a string, a finite number, true or false")
	case aList:
		return w.list(path, v, p)
	case aTable:
		m, ok := v.(map[string]any)
		if !ok && p.secret {
			w.add(CodeSecret, path, "holds a value, but secrets are only referred to", `write { env = "NAME" } or { file = "PATH" }, and change the secret: it was written down`)
			return nil, false
		}
		if !ok {
			return w.wrong(path, v, p, "a table")
		}
		return w.table(path, m, p), true
	case aMap:
		return w.mapping(path, v, p)
	}
	panic(fmt.Sprintf("descriptor: row %s has no kind", p.name))
}

func (w *walker) wrong(path string, v any, p *prop, want string) (any, bool) {
	w.add(CodeType, path, fmt.Sprintf("is %s, but must be %s", typeName(v), want), "write "+example(p))
	return nil, false
}

func (w *walker) text(path string, v any, p *prop) (any, bool) {
	s, ok := v.(string)
	if !ok {
		return w.wrong(path, v, p, "a string")
	}
	if len(p.enum) > 0 && !slices.Contains(p.enum, s) {
		w.add(CodeRange, path, fmt.Sprintf("%s is not a choice", quote(s)), "choose one of "+strings.Join(p.enum, ", ")+nearest(s, p.enum))
		return nil, false
	}
	if p.pattern != nil && !p.pattern.MatchString(s) {
		w.add(CodeFormat, path, fmt.Sprintf("%s %s", quote(s), p.hint), "write "+example(p))
		return nil, false
	}
	return s, true
}

func (w *walker) integer(path string, v any, p *prop) (any, bool) {
	n, ok := v.(int64)
	if !ok {
		return w.wrong(path, v, p, "an integer")
	}
	if p.ranged && (float64(n) < p.min || float64(n) > p.max) {
		return w.outside(path, strconv.FormatInt(n, 10), p)
	}
	return n, true
}

func (w *walker) floating(path string, v any, p *prop) (any, bool) {
	var f float64
	switch n := v.(type) {
	case int64:
		f = float64(n)
	case float64:
		f = n
	default:
		return w.wrong(path, v, p, "a number")
	}
	if math.IsNaN(f) || math.IsInf(f, 0) || (p.ranged && (f < p.min || f > p.max)) {
		return w.outside(path, strconv.FormatFloat(f, 'g', -1, 64), p)
	}
	return f, true
}

func (w *walker) outside(path, value string, p *prop) (any, bool) {
	remedy := fmt.Sprintf("choose %s to %s", number(p.min), number(p.max))
	if p.unit != "" {
		remedy += " " + p.unit
	}
	w.add(CodeRange, path, value+" is out of range", remedy)
	return nil, false
}

func number(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }

func (w *walker) money(path string, v any, p *prop) (any, bool) {
	var s string
	switch n := v.(type) {
	case string:
		s = n
	case int64:
		s = strconv.FormatInt(n, 10)
	case float64:
		w.add(CodeType, path, "is a float, but money and quantities are never floats", fmt.Sprintf("put it in quotes: %s = %q", p.name, strconv.FormatFloat(n, 'f', -1, 64)))
		return nil, false
	default:
		return w.wrong(path, v, p, "a decimal in quotes or an integer")
	}
	if len(s) > maxDecimalChars || !p.pattern.MatchString(s) {
		w.add(CodeFormat, path, fmt.Sprintf("%s %s", quote(s), p.hint), "write "+example(p))
		return nil, false
	}
	if p.positive && reZero.MatchString(s) {
		w.add(CodeRange, path, "is zero, but must be above zero", "write "+example(p))
		return nil, false
	}
	d, err := parseDecimal(s)
	if err != nil {
		w.add(CodeFormat, path, fmt.Sprintf("%s: %v", quote(s), err), "write "+example(p))
		return nil, false
	}
	return d, true
}

func (w *walker) list(path string, v any, p *prop) (any, bool) {
	items, ok := v.([]any)
	if !ok {
		what := "an array"
		if p.elem.kind == aTable {
			what = fmt.Sprintf("an array of tables, each under [[%s]]", path)
		}
		return w.wrong(path, v, p, what)
	}
	if n := float64(len(items)); n < p.min || n > p.max {
		w.add(CodeRange, path, fmt.Sprintf("has %d items", len(items)), fmt.Sprintf("give it %s to %s", number(p.min), number(p.max)))
		return nil, false
	}
	out, seen := []any{}, map[any]bool{}
	for i, it := range items {
		at := index(path, i)
		item, ok := w.value(at, it, p.elem)
		if !ok {
			w.bad[path] = true
			continue
		}
		if p.unique && p.elem.kind != aTable {
			if seen[item] {
				w.add(CodeDuplicate, at, fmt.Sprintf("%s is listed twice", quote(fmt.Sprint(item))), "remove one")
				w.bad[path] = true
				continue
			}
			seen[item] = true
		}
		out = append(out, item)
	}
	return out, true
}

func (w *walker) mapping(path string, v any, p *prop) (any, bool) {
	m, ok := v.(map[string]any)
	if !ok {
		return w.wrong(path, v, p, "a table")
	}
	if p.ranged && float64(len(m)) > p.max {
		w.add(CodeRange, path, fmt.Sprintf("has %d entries", len(m)), fmt.Sprintf("at most %s are allowed", number(p.max)))
		return nil, false
	}
	out := map[string]any{}
	for _, key := range slices.Sorted(maps.Keys(m)) {
		at := join(path, key)
		if p.pattern != nil && !p.pattern.MatchString(key) {
			w.addAt(CodeFormat, w.doc.keyPlace(at), at, fmt.Sprintf("the name %s %s", quote(key), p.hint), "rename it")
			continue
		}
		item, ok := w.value(at, m[key], p.elem)
		if !ok {
			w.bad[path] = true
			continue
		}
		out[key] = item
	}
	return out, true
}

// typeName says what a TOML value is.
func typeName(v any) string {
	switch v.(type) {
	case string:
		return "a string"
	case int64:
		return "an integer"
	case float64:
		return "a float"
	case bool:
		return "a boolean"
	case []any:
		return "an array"
	case map[string]any:
		return "a table"
	case time.Time, toml.LocalDate, toml.LocalTime, toml.LocalDateTime:
		return "a date or time"
	}
	return fmt.Sprintf("a %T", v)
}

// quote shows a value from a file: escaped and short, so that it can neither flood nor move a terminal.
func quote(s string) string {
	const most = 80
	if len(s) > most {
		cut := most
		for cut > 0 && !utf8.RuneStart(s[cut]) {
			cut--
		}
		return strconv.Quote(s[:cut]) + "…"
	}
	return strconv.Quote(s)
}
