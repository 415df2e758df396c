package descriptor

import (
	"fmt"
	"strings"
)

// Reference returns the rows of a kind of file as Markdown tables, for the documentation. It is made from the rows that
// the decoder uses.
func Reference(kind Kind) (string, error) {
	t, err := tableOf(kind)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	if kind == KindInstruments {
		b.WriteString("### Top of the file\n\n")
		writeRows(&b, t)
	}
	for i := range t.props {
		writeTable(&b, "", &t.props[i])
	}
	return b.String(), nil
}

// writeTable writes one table, then those inside it.
func writeTable(b *strings.Builder, prefix string, p *prop) {
	row, heading := p, ""
	switch p.kind {
	case aTable:
		heading = "[" + join(prefix, p.name) + "]"
	case aMap:
		if p.elem.kind != aTable {
			return
		}
		row, heading = p.elem, "["+join(prefix, p.name)+".NAME]"
	case aList:
		if p.elem.kind != aTable {
			return
		}
		row, heading = p.elem, "[["+join(prefix, p.name)+"]]"
	default:
		return
	}
	fmt.Fprintf(b, "### `%s`%s\n\n%s\n\n", heading, map[bool]string{true: ", required"}[p.required], p.doc)
	writeRows(b, row)
	for i := range row.props {
		writeTable(b, join(prefix, p.name), &row.props[i])
	}
}

func writeRows(b *strings.Builder, t *prop) {
	b.WriteString("| key | type | default | |\n|---|---|---|---|\n")
	for i := range t.props {
		p := &t.props[i]
		if p.kind == aTable || (p.kind == aList && p.elem.kind == aTable) || (p.kind == aMap && p.elem.kind == aTable) {
			continue
		}
		def := "none"
		switch {
		case p.required:
			def = "**required**"
		case p.def != nil:
			def = "`" + tomlValue(p.def) + "`"
		}
		fmt.Fprintf(b, "| `%s` | %s | %s | %s |\n", p.name, describe(p), def, p.doc)
	}
	b.WriteString("\n")
}

// describe says in words what a row takes.
func describe(p *prop) string {
	var s string
	switch p.kind {
	case aString:
		s = "string"
		if len(p.enum) > 0 {
			s = "one of `" + strings.Join(p.enum, "` `") + "`"
		}
	case anInt:
		s = "integer"
	case aFloat:
		s = "number"
	case aBool:
		s = "true or false"
	case aDecimal:
		s = "decimal in quotes"
	case aScalar:
		s = "string, number or boolean"
	case aList:
		s = "array: " + describe(p.elem)
	case aMap:
		s = "table: " + describe(p.elem)
	case aTable:
		s = "table"
	}
	if p.ranged && (p.kind == anInt || p.kind == aFloat) {
		s += fmt.Sprintf(", %s to %s", number(p.min), number(p.max))
	}
	if p.unit != "" {
		s += ", " + p.unit
	}
	return s
}
