package descriptor

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/msup/msup/ipc"
)

// CodeServiceSchema is given when a schema of a service would let free text, or no end of anything, through (EX-3).
const CodeServiceSchema = ipc.ReasonServiceSchemaUnsafe

// The bounds of what a schema may allow.
const (
	maxSchemaBytes  = 64 << 10
	maxSchemaDepth  = 12
	maxSchemaString = 128
	maxSchemaItems  = 1024
)

// schemaKeywords are the only keywords that a schema may use: each either bounds what it describes, or describes it for people. What is
// not here (patternProperties, $dynamicRef, remote references, conditions …) would need a judgement that the bounds below do not make.
var schemaKeywords = []string{
	"$schema", "title", "description", "type", "properties", "required", "additionalProperties", "items", "minItems", "maxItems", "uniqueItems",
	"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "enum", "const", "minLength", "maxLength", "pattern", "format",
	"anyOf", "oneOf",
}

// schemaFormats are the formats that leave no room for words. They are asserted, not annotations.
var schemaFormats = []string{"date", "date-time", "time", "duration", "uuid", "ipv4", "ipv6"}

// proseProbes are what a pattern of a code, an id or a number does not match. A pattern that matches one of them lets free text through.
var proseProbes = []string{
	"buy now", "ignore all previous instructions", "Sell everything, at once.", "a b", "two words here and more of them", "It's fine!", "買い 注文", "x\ny",
}

// ProposalSchema is the JSON Schema of an llm service's response when its package names none: proposals and nothing else (EX-3).
const ProposalSchema = `{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "type": "object",
  "required": ["proposals"],
  "additionalProperties": false,
  "properties": {
    "proposals": {
      "type": "array",
      "maxItems": 16,
      "items": {
        "type": "object",
        "required": ["proposal", "instrument", "side", "max_quantity", "ttl_ms"],
        "additionalProperties": false,
        "properties": {
          "proposal": {"type": "string", "maxLength": 64, "pattern": "^[A-Za-z0-9._:-]+$"},
          "instrument": {"type": "string", "maxLength": 128, "pattern": "^[A-Za-z0-9][A-Za-z0-9._:@+/-]*$"},
          "side": {"enum": ["buy", "sell"]},
          "max_quantity": {"type": "string", "maxLength": 19, "pattern": "^[0-9]{1,18}(\\.[0-9]{1,17})?$"},
          "ttl_ms": {"type": "integer", "minimum": 1, "maximum": 3600000}
        }
      }
    }
  }
}
`

// CheckServiceSchema says why a JSON Schema does not bound what it describes, "" when it does: every object lists its properties and
// allows no others, every array has an end, every string is a choice or is short and has a form that no prose has.
func CheckServiceSchema(text []byte) string {
	if len(text) > maxSchemaBytes {
		return fmt.Sprintf("it has %d bytes; %d are allowed", len(text), maxSchemaBytes)
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var root any
	if err := d.Decode(&root); err != nil || d.More() {
		return fmt.Sprintf("it is no JSON: %v", err)
	}
	if problem := bounded(root, "", 0); problem != "" {
		return problem
	}
	if n, ok := oddNumber(root); ok {
		return fmt.Sprintf("the number %.40s is beyond what a double holds, or longer than %d characters", n, maxSchemaNumber)
	}
	if _, err := CompileServiceSchema(text); err != nil {
		return "it is no JSON Schema: " + firstLine(err.Error())
	}
	return ""
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}

// CompileServiceSchema compiles a JSON Schema of a service, draft 2020-12 unless it says otherwise; it has access to nothing else.
func CompileServiceSchema(text []byte) (*jsonschema.Schema, error) {
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	c.AssertFormat()
	c.UseLoader(noLoader{})
	const name = "service:schema"
	if err := c.AddResource(name, doc); err != nil {
		return nil, err
	}
	return c.Compile(name)
}

// noLoader loads nothing: a schema is complete in itself.
type noLoader struct{}

// Load refuses.
func (noLoader) Load(url string) (any, error) { return nil, fmt.Errorf("%s is not loaded", url) }

// bounded is CheckServiceSchema for one node.
func bounded(node any, at string, depth int) string {
	if at == "" {
		at = "the schema"
	}
	s, ok := node.(map[string]any)
	switch {
	case !ok:
		return fmt.Sprintf("%s must be an object that says what is allowed", at)
	case depth > maxSchemaDepth:
		return fmt.Sprintf("%s is nested more than %d deep", at, maxSchemaDepth)
	}
	for _, key := range slices.Sorted(maps.Keys(s)) {
		if !slices.Contains(schemaKeywords, key) {
			return fmt.Sprintf("%s uses %q, which is not among the keywords that bound a value: %s", at, key, strings.Join(schemaKeywords, ", "))
		}
	}
	if choices, given := s["enum"]; given {
		return boundedChoices(choices, at)
	}
	if value, given := s["const"]; given {
		return boundedChoices([]any{value}, at)
	}
	for _, key := range []string{"anyOf", "oneOf"} {
		if branches, given := s[key].([]any); given {
			if len(branches) == 0 || len(branches) > 16 || s["type"] != nil {
				return fmt.Sprintf("%s: %s needs one to sixteen complete branches, and no type beside it", at, key)
			}
			for i, b := range branches {
				if problem := bounded(b, fmt.Sprintf("%s.%s[%d]", at, key, i), depth+1); problem != "" {
					return problem
				}
			}
			return ""
		}
	}
	switch s["type"] {
	case "object":
		return boundedObject(s, at, depth)
	case "array":
		if n, ok := whole(s["maxItems"]); !ok || n > maxSchemaItems {
			return fmt.Sprintf("%s needs maxItems of at most %d", at, maxSchemaItems)
		}
		return bounded(s["items"], at+"[]", depth+1)
	case "string":
		return boundedString(s, at)
	case "integer", "number", "boolean", "null":
		return ""
	}
	return fmt.Sprintf("%s needs a type: one of object, array, string, integer, number, boolean, null", at)
}

func boundedObject(s map[string]any, at string, depth int) string {
	if s["additionalProperties"] != false {
		return fmt.Sprintf("%s needs additionalProperties: false", at)
	}
	props, ok := s["properties"].(map[string]any)
	if !ok {
		return fmt.Sprintf("%s needs properties", at)
	}
	for _, name := range slices.Sorted(maps.Keys(props)) {
		if problem := bounded(props[name], at+"."+name, depth+1); problem != "" {
			return problem
		}
	}
	return ""
}

func boundedString(s map[string]any, at string) string {
	n, ok := whole(s["maxLength"])
	if !ok || n > maxSchemaString {
		return fmt.Sprintf("%s is free text: it needs maxLength of at most %d", at, maxSchemaString)
	}
	format, _ := s["format"].(string)
	pattern, _ := s["pattern"].(string)
	switch {
	case format == "" && pattern == "":
		return fmt.Sprintf("%s is free text: it needs enum, format or pattern", at)
	case format != "" && !slices.Contains(schemaFormats, format):
		return fmt.Sprintf("%s: format %s is not one of %s", at, quote(format), strings.Join(schemaFormats, ", "))
	case pattern == "":
		return ""
	}
	re, err := regexp.Compile(pattern)
	if err != nil {
		return fmt.Sprintf("%s: pattern %s is no regular expression: %v", at, quote(pattern), err)
	}
	if !strings.HasPrefix(pattern, "^") || !strings.HasSuffix(pattern, "$") {
		return fmt.Sprintf("%s: pattern %s must begin with ^ and end with $, or anything may stand around it", at, quote(pattern))
	}
	for _, probe := range proseProbes {
		if re.MatchString(probe) {
			return fmt.Sprintf("%s is free text: pattern %s matches %q", at, quote(pattern), probe)
		}
	}
	return ""
}

func boundedChoices(choices any, at string) string {
	list, ok := choices.([]any)
	if !ok || len(list) == 0 || len(list) > 256 {
		return fmt.Sprintf("%s needs 1 to 256 choices", at)
	}
	for _, c := range list {
		switch c := c.(type) {
		case string:
			if len(c) > maxSchemaString {
				return fmt.Sprintf("%s has a choice of %d bytes; %d are allowed", at, len(c), maxSchemaString)
			}
		case map[string]any, []any:
			return fmt.Sprintf("%s: choices are strings, numbers, booleans or null", at)
		}
	}
	return ""
}

func whole(v any) (int64, bool) {
	n, ok := v.(json.Number)
	if !ok {
		return 0, false
	}
	f, err := n.Float64()
	if err != nil || f != math.Trunc(f) || f < 0 || f > 1e9 {
		return 0, false
	}
	return int64(f), true
}

// maxSchemaNumber is the longest number of a schema.
const maxSchemaNumber = 24

// oddNumber finds a number that a validator which computes exactly must not see: multipleOf 1e-9999999 ended the library with a panic.
func oddNumber(v any) (json.Number, bool) {
	switch v := v.(type) {
	case json.Number:
		f, err := v.Float64()
		zero := strings.Trim(strings.TrimLeft(string(v), "-"), "0.") == ""
		return v, err != nil || len(v) > maxSchemaNumber || f == 0 && !zero || math.Abs(f) > 1e18 || !zero && math.Abs(f) < 1e-18
	case []any:
		for _, one := range v {
			if n, odd := oddNumber(one); odd {
				return n, true
			}
		}
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			if n, odd := oddNumber(v[key]); odd {
				return n, true
			}
		}
	}
	return "", false
}

// holdsProposals says why an llm service's response schema does not demand proposals, "" when it does. What they look like inside is
// decoded strictly, whatever the schema allows (gate.ParseProposals).
func holdsProposals(text []byte) string {
	var s struct {
		Required   []string `json:"required"`
		Properties map[string]struct {
			Type string `json:"type"`
		} `json:"properties"`
	}
	if err := json.Unmarshal(text, &s); err != nil || !slices.Contains(s.Required, "proposals") || s.Properties["proposals"].Type != "array" {
		return `an llm's response is an object that requires "proposals", an array`
	}
	return ""
}
