package descriptor

import ()

// kind is the shape of a value in a file.
type kind uint8

const (
	aString kind = iota
	anInt
	aFloat   // integers are taken too
	aBool    //
	aDecimal // a string like "0.001", or an integer; never a float
	aScalar  // any value that a configuration may hold: string, integer, float, boolean
	aList    // of elem
	aTable   // with the given props
	aMap     // free keys, each an elem; keys must match pattern
)

// prop is one row of a schema: the decoder, the JSON Schema and the reference page are all made from it.
type prop struct {
	name     string
	kind     kind
	doc      string
	unit     string
	example  string // as written in TOML, for the reference page
	required bool
	def      any // default: string, int64, float64, bool; nil = none
	min, max float64
	ranged   bool // min and max count: values of numbers, number of list items and map entries
	enum     []string
	pattern  *form          // of strings and decimals written as strings, of keys of maps
	hint     string         // what pattern means, in words: "must be …"
	positive bool           // decimals: above zero
	unique   bool           // lists: no item twice
	elem     *prop          // of lists and maps
	props    []prop         // of tables
	secret   bool           // tables: a value in their place is a secret that somebody wrote down
	extra    map[string]any // more JSON Schema keywords, for rules that the decoder checks in code
}

// prop finds a row of a table by name.
func (p *prop) prop(name string) *prop {
	for i := range p.props {
		if p.props[i].name == name {
			return &p.props[i]
		}
	}
	return nil
}

// with sets the range of a row.
func (p prop) with(minimum, maximum float64) prop {
	p.min, p.max, p.ranged = minimum, maximum, true
	return p
}

// The forms of strings. They are anchored, and legal in RE2 and ECMA 262 alike, because JSON Schema uses the latter.
var (
	reStrategyID   = formOf(`^[a-z][a-z0-9_-]{0,63}$`)
	reInstanceID   = formOf(`^[A-Za-z0-9][A-Za-z0-9._:@+-]{0,127}$`)
	reInstrumentID = formOf(`^[A-Za-z0-9][A-Za-z0-9._:@+/-]{0,127}$`)
	reGlob         = formOf(`^[A-Za-z0-9._:@+/*?-]{1,128}$`)
	reAsset        = formOf(`^[A-Za-z0-9][A-Za-z0-9._-]{0,31}$`)
	reTag          = formOf(`^[a-z][a-z0-9_.]{0,63}$`)
	reConfigName   = formOf(`^[a-z][a-z0-9_]{0,63}$`)
	reEnvName      = formOf(`^[A-Za-z_][A-Za-z0-9_]{0,127}$`)
	rePath         = formOf(`^[^\x00-\x1f\x7f]{1,1000}$`)
	reText         = formOf(`^[^\x00-\x1f\x7f]{0,512}$`)
	reSemVer       = formOf(`^(0|[1-9][0-9]{0,8})\.(0|[1-9][0-9]{0,8})\.(0|[1-9][0-9]{0,8})` +
		`(-((0|[1-9][0-9]{0,8}|[0-9]{0,16}[A-Za-z-][0-9A-Za-z-]{0,31})(\.(0|[1-9][0-9]{0,8}|[0-9]{0,16}[A-Za-z-][0-9A-Za-z-]{0,31})){0,7}))?` +
		`(\+[0-9A-Za-z-]{1,32}(\.[0-9A-Za-z-]{1,32}){0,7})?$`)
	reDecimal    = formOf(`^-?[0-9]{1,18}(\.[0-9]{1,17})?$`)
	reUnsigned   = formOf(`^[0-9]{1,18}(\.[0-9]{1,17})?$`)
	reFraction   = formOf(`^(0(\.[0-9]{1,17})?|1(\.0{1,17})?)$`)
	reZero       = formOf(`^0+(\.0+)?$`)
	reEntry      = formOf(`^([A-Za-z_][A-Za-z0-9_]{0,63}(\.[A-Za-z_][A-Za-z0-9_]{0,63}){0,7}:[A-Za-z_][A-Za-z0-9_]{0,63}|[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}(/[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}){0,7})$`)
	reInside     = formOf(`^[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}(/[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}){0,7}$`)
	reHost       = formOf(`^[a-z0-9][a-z0-9-]{0,62}(\.[a-z0-9][a-z0-9-]{0,62}){0,7}(:[0-9]{1,5})?$`)
	reHash       = formOf(`^[0-9a-f]{64}$`)
	reEd25519Key = formOf(`^[A-Za-z0-9+/]{43}=$`)
)

// maxDecimalChars keeps every mantissa within 18 digits, so that it always fits an i64.
const maxDecimalChars = 19

func str(name, doc string, re *form, hint string) prop {
	return prop{name: name, kind: aString, doc: doc, pattern: re, hint: hint}
}

func choice(name, doc string, def any, values ...string) prop {
	return prop{name: name, kind: aString, doc: doc, enum: values, def: def}
}

func list(name, doc string, elem prop, minimum, maximum float64) prop {
	return prop{name: name, kind: aList, doc: doc, elem: &elem, unique: true}.with(minimum, maximum)
}

func integer(name, unit, doc string, def any, minimum, maximum float64) prop {
	return prop{name: name, kind: anInt, doc: doc, unit: unit, def: def}.with(minimum, maximum)
}

func boolean(name, doc string, def bool) prop {
	return prop{name: name, kind: aBool, doc: doc, def: def}
}

func decimal(name, unit, doc string, re *form, def any) prop {
	hint := "must be a decimal of at most 18 digits in quotes, not below zero"
	if re == reFraction {
		hint = "must be a fraction from 0 to 1 in quotes"
	}
	return prop{name: name, kind: aDecimal, doc: doc, unit: unit, pattern: re, def: def, hint: hint}
}

// need makes a row required.
func need(p prop) prop {
	p.required = true
	return p
}

// defaulted gives a row a default.
func defaulted(p prop, def any) prop {
	p.def = def
	return p
}
