package descriptor

import (
	"fmt"
	"slices"
	"strings"

	"github.com/msup/msup/ipc"
)

// reSecretName finds configuration names that ask for a secret. Strategies get none.
var reSecretName = formOf(`(^|_)(password|passwd|passphrase|secret|api_?key|private_?key|access_?token)$`)

// configSchema binds the tables under [config].
func (w *walker) configSchema(root section) ConfigSchema {
	var s ConfigSchema
	for _, e := range root.entries("config") {
		t, ok := e.value.(section)
		if !ok {
			continue
		}
		if reSecretName.MatchString(e.key) {
			w.addAt(CodeSecret, w.doc.keyPlace(e.path), e.path, "asks for a secret, but strategies get none", "keep secrets with the execution or signal service, or rename it if it is none")
		}
		if !t.given["type"] || !w.ok(t.at("type")) {
			continue
		}
		s.Fields = append(s.Fields, w.configField(e.key, t))
	}
	slices.SortFunc(s.Fields, func(a, b ConfigField) int { return strings.Compare(a.Name, b.Name) })
	return s
}

func (w *walker) configField(name string, t section) ConfigField {
	f := ConfigField{
		Name: name, Type: ConfigType(t.str("type")), Unit: t.str("unit"), Doc: t.str("doc"),
		Required: t.flag("required"), Apply: Apply(t.str("apply")), MaxLength: int(t.num("max_length")),
	}
	if f.Type == ConfigString || f.Type == ConfigBool {
		for _, key := range []string{"min", "max", "unit"} {
			if t.given[key] {
				w.add(CodeFormat, t.at(key), fmt.Sprintf("a %s has no %s", f.Type, key), "remove it, or choose another type")
			}
		}
	}
	if f.Type != ConfigString && t.given["max_length"] {
		w.add(CodeFormat, t.at("max_length"), fmt.Sprintf("a value of type %s has no length", f.Type), "remove it")
	}
	if f.Type == ConfigBool && t.given["choices"] {
		w.add(CodeFormat, t.at("choices"), "a bool is true or false", "remove the choices")
	}
	f.Min = w.bound(t, "min", f)
	f.Max = w.bound(t, "max", f)
	if f.Min != nil && f.Max != nil && compare(f.Min, f.Max) > 0 {
		w.add(CodeConflict, t.at("max"), fmt.Sprintf("%s is below min %s", show(f.Max), show(f.Min)), "make max at least min")
		f.Min, f.Max = nil, nil // so that the default is not blamed as well
	}
	items, _ := t.values["choices"].([]any)
	var choices []any
	for i, it := range items {
		v, problem := f.typed(it)
		if problem != "" {
			w.add(codeOf(it, f), index(t.at("choices"), i), problem, "write values of type "+string(f.Type))
			continue
		}
		if problem = f.check(v); problem != "" {
			w.add(CodeConflict, index(t.at("choices"), i), problem, "keep choices within min, max and max_length")
		}
		choices = append(choices, v)
	}
	f.Choices = choices
	if f.Default = w.bound(t, "default", f); f.Default != nil {
		if problem := f.check(f.Default); problem != "" && w.ok(t.at("choices"), t.at("max_length")) {
			w.add(CodeConflict, t.at("default"), problem, "choose a default that the rest of this table allows"+f.bounds())
		}
		if f.Required {
			w.add(CodeConflict, t.at("required"), "a value that has a default is never missing", "remove required or default")
		}
	}
	return f
}

func (w *walker) bound(t section, key string, f ConfigField) any {
	raw := t.values[key]
	if raw == nil {
		return nil
	}
	if key != "default" && (f.Type == ConfigString || f.Type == ConfigBool) {
		return nil // reported already
	}
	v, problem := f.typed(raw)
	if problem != "" {
		w.add(codeOf(raw, f), t.at(key), problem, "write a value of type "+string(f.Type))
		return nil
	}
	return v
}

// codeOf tells a malformed decimal from a value of another type.
func codeOf(v any, f ConfigField) Code {
	if _, ok := v.(string); ok && f.Type == ConfigDecimal {
		return CodeFormat
	}
	return CodeType
}

// ParseConfigSchema validates a schema that came from elsewhere, as a map of field tables: what the SDK derives from a
// strategy's Config class inside a sandbox. It is not trusted. from names the origin in findings.
func ParseConfigSchema(from string, fields map[string]any) (ConfigSchema, error) {
	root := prop{kind: aTable, props: []prop{configRow()}}
	w := newWalker(&document{file: from})
	tables, _ := normal(fields).(map[string]any)
	for _, t := range tables {
		plainDecimals(t)
	}
	s := w.configSchema(w.table("", map[string]any{"config": tables}, &root))
	if err := w.findings.sorted().Err(); err != nil {
		return ConfigSchema{}, err
	}
	return s, nil
}

// normal turns decoded JSON into the types that TOML decodes to.
func normal(v any) any {
	switch n := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(n))
		for k, e := range n {
			if e != nil { // null is how JSON says absent
				out[k] = normal(e)
			}
		}
		return out
	case []any:
		out := make([]any, len(n))
		for i, e := range n {
			out[i] = normal(e)
		}
		return out
	case ipc.Decimal:
		return n.String()
	}
	return plain(v)
}

// plainDecimals rewrites the decimals of a field without exponents: Python writes Decimal("100") as 1E+2.
func plainDecimals(field any) {
	t, ok := field.(map[string]any)
	if !ok || t["type"] != string(ConfigDecimal) {
		return
	}
	rewrite := func(v any) any {
		if s, ok := v.(string); ok {
			if d, err := ipc.ParseDecimal(s); err == nil {
				return d.String()
			}
		}
		return v // the walker says what is wrong with it
	}
	for _, key := range []string{"min", "max", "default"} {
		if v, given := t[key]; given {
			t[key] = rewrite(v)
		}
	}
	if choices, ok := t["choices"].([]any); ok {
		for i := range choices {
			choices[i] = rewrite(choices[i])
		}
	}
}

// Tables returns the schema in the form that ParseConfigSchema reads, for manifests.
func (s ConfigSchema) Tables() map[string]any {
	out := map[string]any{}
	for _, f := range s.Fields {
		t := map[string]any{"type": string(f.Type), "apply": string(f.Apply)}
		set := func(key string, v any, given bool) {
			if given {
				t[key] = v
			}
		}
		set("unit", f.Unit, f.Unit != "")
		set("doc", f.Doc, f.Doc != "")
		set("required", true, f.Required)
		set("max_length", int64(f.MaxLength), f.MaxLength > 0)
		set("min", tableValue(f.Min), f.Min != nil)
		set("max", tableValue(f.Max), f.Max != nil)
		set("default", tableValue(f.Default), f.Default != nil)
		set("choices", choiceValues(f.Choices), len(f.Choices) > 0)
		out[f.Name] = t
	}
	return out
}

func tableValue(v any) any {
	if d, ok := v.(ipc.Decimal); ok {
		return d.String()
	}
	return v
}

func choiceValues(choices []any) []any {
	out := make([]any, len(choices))
	for i, c := range choices {
		out[i] = tableValue(c)
	}
	return out
}

// Diff says how two schemas differ, field by field; empty = they agree. Docs may differ.
func (s ConfigSchema) Diff(other ConfigSchema) []string {
	var out []string
	for _, f := range s.Fields {
		o, ok := other.Field(f.Name)
		if !ok {
			out = append(out, f.Name+": only on one side")
			continue
		}
		f.Doc, o.Doc = "", ""
		if a, b := fmt.Sprintf("%+v", f), fmt.Sprintf("%+v", o); a != b {
			out = append(out, fmt.Sprintf("%s: %s against %s", f.Name, a, b))
		}
	}
	for _, o := range other.Fields {
		if _, ok := s.Field(o.Name); !ok {
			out = append(out, o.Name+": only on the other side")
		}
	}
	return out
}
