package descriptor

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/msup/msup/ipc"
)

// ConfigType is the type of a configuration value.
type ConfigType string

// The types of configuration values. In ipc.Values they are int64, float64, ipc.Decimal, string and bool.
const (
	ConfigInt     ConfigType = "int"
	ConfigFloat   ConfigType = "float"
	ConfigDecimal ConfigType = "decimal"
	ConfigString  ConfigType = "str"
	ConfigBool    ConfigType = "bool"
)

// Apply says how early a changed value may take effect (HR-2).
type Apply string

// The earliest moments of application.
const (
	ApplyTick       Apply = "tick"
	ApplyBar        Apply = "bar"
	ApplyCheckpoint Apply = "checkpoint"
	ApplyFlat       Apply = "flat"
)

// ConfigField describes one configuration value (HR-1). Min, Max, Default and Choices hold values of the field's type,
// as in ipc.Values; nil = none.
type ConfigField struct {
	Name      string     `json:"name"`
	Type      ConfigType `json:"type"`
	Unit      string     `json:"unit,omitempty"` // one of Units; "" = a pure number, or no number
	Doc       string     `json:"doc,omitempty"`
	Min       any        `json:"min,omitempty"`
	Max       any        `json:"max,omitempty"`
	Default   any        `json:"default,omitempty"`
	Choices   []any      `json:"choices,omitempty"`
	Required  bool       `json:"required,omitempty"` // must be given; a field that is neither required nor has a default may be absent
	Apply     Apply      `json:"apply"`
	MaxLength int        `json:"max_length,omitempty"` // strings only, bytes; 0 = maxConfigString
}

// maxConfigString bounds strings whose field has no max_length.
const maxConfigString = 4096

// ConfigSchema is the typed schema of a strategy's configuration: fields sorted by name. Never changed once made.
type ConfigSchema struct {
	Fields []ConfigField `json:"fields"`
}

// Field returns the field of that name.
func (s ConfigSchema) Field(name string) (ConfigField, bool) {
	i, ok := slices.BinarySearchFunc(s.Fields, name, func(f ConfigField, n string) int { return strings.Compare(f.Name, n) })
	if !ok {
		return ConfigField{}, false
	}
	return s.Fields[i], true
}

// Validate checks values against the schema and returns them complete, in their types, with defaults filled in. An
// optional value that is absent and has no default stays absent. Findings carry keys like config.fast, and no file.
func (s ConfigSchema) Validate(in map[string]any) (ipc.Values, Findings) {
	var fs Findings
	report := func(code Code, name, problem, remedy string) {
		fs = append(fs, Finding{Code: code, Key: join("config", name), Problem: problem, Remedy: remedy})
	}
	for _, name := range slices.Sorted(maps.Keys(in)) {
		if _, ok := s.Field(name); !ok {
			report(CodeConfig, name, "the strategy has no such configuration value", s.known(name))
		}
	}
	out := ipc.Values{}
	for _, f := range s.Fields {
		raw, given := in[f.Name]
		if !given || raw == nil {
			switch {
			case f.Default != nil:
				out[f.Name] = f.Default
			case f.Required:
				report(CodeConfig, f.Name, "is required, but absent", fmt.Sprintf("give it a value of type %s%s", f.Type, f.bounds()))
			}
			continue
		}
		v, problem := f.typed(raw)
		if problem == "" {
			problem = f.check(v)
		}
		if problem != "" {
			report(CodeConfig, f.Name, problem, fmt.Sprintf("give it a value of type %s%s", f.Type, f.bounds()))
			continue
		}
		out[f.Name] = v
	}
	return out, fs
}

func (s ConfigSchema) known(name string) string {
	if len(s.Fields) == 0 {
		return "remove it; this strategy takes no configuration"
	}
	all := names(s.Fields, func(f ConfigField) string { return f.Name })
	return "remove it; known: " + strings.Join(all, ", ") + nearest(name, all)
}

// typed converts a value as TOML, JSON or ipc.Values hold it to the field's type; problem says why it cannot.
func (f ConfigField) typed(v any) (out any, problem string) {
	v = plain(v)
	switch f.Type {
	case ConfigInt:
		if n, ok := v.(int64); ok {
			return n, ""
		}
	case ConfigFloat:
		switch n := v.(type) {
		case int64:
			return float64(n), ""
		case float64:
			if math.IsNaN(n) || math.IsInf(n, 0) {
				return nil, "is not a finite number"
			}
			return n, ""
		}
	case ConfigDecimal:
		switch n := v.(type) {
		case ipc.Decimal:
			return n, ""
		case int64:
			v = fmt.Sprint(n)
		}
		if s, ok := v.(string); ok {
			d, err := parseDecimal(s)
			if err != nil {
				return nil, err.Error()
			}
			return d, ""
		}
	case ConfigString:
		if s, ok := v.(string); ok {
			return s, ""
		}
	case ConfigBool:
		if b, ok := v.(bool); ok {
			return b, ""
		}
	}
	what := typeName(v)
	if _, ok := v.(ipc.Decimal); ok {
		what = "a decimal"
	}
	return nil, fmt.Sprintf("is %s, but must be of type %s", what, f.Type)
}

// plain reduces the number types of decoders to int64 and float64.
func plain(v any) any {
	switch n := v.(type) {
	case int:
		return int64(n)
	case json.Number:
		if i, err := n.Int64(); err == nil {
			return i
		}
		if f, err := n.Float64(); err == nil {
			return f
		}
	}
	return v
}

// parseDecimal reads what people write for money and quantities: at most 18 digits, no exponent.
func parseDecimal(s string) (ipc.Decimal, error) {
	if len(s) > maxDecimalChars || !reDecimal.MatchString(s) {
		return ipc.Decimal{}, fmt.Errorf("%s is not a decimal of at most 18 digits", quote(s))
	}
	d, err := ipc.ParseDecimal(s)
	if err != nil {
		return ipc.Decimal{}, fmt.Errorf("%s is not a decimal: %w", quote(s), err)
	}
	return d, nil
}

// check says what is wrong with a value of the right type; "" = nothing.
func (f ConfigField) check(v any) string {
	if f.Min != nil && compare(v, f.Min) < 0 || f.Max != nil && compare(v, f.Max) > 0 {
		return show(v) + " is out of range"
	}
	if s, ok := v.(string); ok {
		most := f.MaxLength
		if most == 0 {
			most = maxConfigString
		}
		if len(s) > most {
			return fmt.Sprintf("has %d bytes; at most %d are allowed", len(s), most)
		}
	}
	if len(f.Choices) > 0 && !slices.ContainsFunc(f.Choices, func(c any) bool { return compare(c, v) == 0 }) {
		return show(v) + " is not a choice"
	}
	return ""
}

// bounds describes what is allowed, for remedies.
func (f ConfigField) bounds() string {
	var b strings.Builder
	if f.Unit != "" {
		b.WriteString(" in " + f.Unit)
	}
	if f.Min != nil {
		b.WriteString(", at least " + show(f.Min))
	}
	if f.Max != nil {
		b.WriteString(", at most " + show(f.Max))
	}
	if len(f.Choices) > 0 {
		b.WriteString(", one of " + strings.Join(names(f.Choices, show), ", "))
	}
	return b.String()
}

func show(v any) string {
	switch n := v.(type) {
	case string:
		return quote(n)
	case ipc.Decimal:
		return n.String()
	}
	return fmt.Sprint(v)
}

// compare orders two values of the same configuration type.
func compare(a, b any) int {
	switch x := a.(type) {
	case int64:
		if y, ok := b.(int64); ok {
			return cmpOrdered(x, y)
		}
	case float64:
		if y, ok := b.(float64); ok {
			return cmpOrdered(x, y)
		}
	case ipc.Decimal:
		if y, ok := b.(ipc.Decimal); ok {
			return x.Cmp(y)
		}
	case string:
		if y, ok := b.(string); ok {
			return strings.Compare(x, y)
		}
	case bool:
		if y, ok := b.(bool); ok && x == y {
			return 0
		}
	}
	return -1
}

func cmpOrdered[T int64 | float64](a, b T) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// HashConfig returns the digest that names a configuration: SHA-256 over its canonical msgpack (HR-3).
func HashConfig(values ipc.Values) (ipc.Digest, error) {
	b, err := ipc.AppendValues(nil, values)
	if err != nil {
		return ipc.Digest{}, fmt.Errorf("encode the configuration: %w", err)
	}
	return sha256.Sum256(b), nil
}
