package descriptor

import (
	"fmt"
	"strconv"
	"strings"
)

// example shows how a row is written.
func example(p *prop) string {
	if p.kind == aTable {
		return fmt.Sprintf("[%s]", p.name)
	}
	if p.name == "" { // the element of a list or map
		return literal(p)
	}
	return p.name + " = " + literal(p)
}

func literal(p *prop) string {
	switch {
	case p.example != "":
		return p.example
	case p.def != nil && p.kind != aList:
		return tomlValue(p.def)
	case len(p.enum) > 0:
		return strconv.Quote(p.enum[0])
	}
	switch p.kind {
	case anInt, aFloat:
		return number(p.min)
	case aBool:
		return "true"
	case aDecimal:
		return `"0.01"`
	case aList:
		if d, ok := p.def.([]string); ok {
			return tomlValue(d)
		}
		return "[" + literal(p.elem) + "]"
	case aTable:
		return "{ … }"
	case aMap:
		return "{ name = " + literal(p.elem) + " }"
	}
	return `"…"`
}

func tomlValue(v any) string {
	switch d := v.(type) {
	case string:
		return strconv.Quote(d)
	case []string:
		quoted := make([]string, len(d))
		for i, s := range d {
			quoted[i] = strconv.Quote(s)
		}
		return "[" + strings.Join(quoted, ", ") + "]"
	}
	return fmt.Sprint(v)
}

// suggest names the keys that exist, and the one that was probably meant.
func suggest(key string, t *prop) string {
	names := make([]string, len(t.props))
	for i := range t.props {
		names[i] = t.props[i].name
	}
	return "remove it; known here: " + strings.Join(names, ", ") + nearest(key, names)
}

// nearest finds the name that differs by at most two letters.
func nearest(s string, names []string) string {
	best, least := "", 3
	for _, n := range names {
		if d := distance(s, n, least); d < least {
			best, least = n, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf(" (did you mean %s?)", best)
}

// distance is Levenshtein's, or limit when it is at least that.
func distance(a, b string, limit int) int {
	if len(a)-len(b) >= limit || len(b)-len(a) >= limit || len(a) > 64 {
		return limit
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j+1]+1, row[j]+1)
		}
	}
	return min(row[len(b)], limit)
}
