package descriptor

import (
	"encoding/json"
	"fmt"
)

// schemaDialect is the JSON Schema version that Schema writes.
const schemaDialect = "https://json-schema.org/draft/2020-12/schema"

// Kind names one of the files that people write.
type Kind string

// The kinds of files, as `msup schema KIND` knows them.
const (
	KindDescriptor  Kind = "descriptor"
	KindDeployment  Kind = "deployment"
	KindInstruments Kind = "instruments"
)

// Kinds lists every kind of file.
var Kinds = []Kind{KindDescriptor, KindDeployment, KindInstruments}

func tableOf(kind Kind) (*prop, error) {
	switch kind {
	case KindDescriptor:
		return &strategyTable, nil
	case KindDeployment:
		return &deploymentTable, nil
	case KindInstruments:
		return &instrumentsTable, nil
	}
	return nil, fmt.Errorf("there is no schema %q; choose descriptor, deployment or instruments", kind)
}

// Schema returns the JSON Schema (draft 2020-12) of a kind of file, made from the rows that the decoder uses. It says
// all that one value can be judged by; rules between values (a soft deadline after the hard one) are the decoder's.
func Schema(kind Kind) ([]byte, error) {
	t, err := tableOf(kind)
	if err != nil {
		return nil, err
	}
	s := t.schema()
	s["$schema"] = schemaDialect
	s["title"] = "msup " + t.name
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode the %s schema: %w", kind, err)
	}
	return append(b, '\n'), nil
}

// schema makes the JSON Schema of one row.
func (p *prop) schema() map[string]any {
	s := p.shape()
	if p.doc != "" {
		s["description"] = p.doc
		if p.unit != "" {
			s["description"] = p.doc + " Unit: " + p.unit + "."
		}
	}
	if p.def != nil {
		s["default"] = p.def
	}
	for k, v := range p.extra {
		s[k] = v
	}
	return s
}

func (p *prop) shape() map[string]any {
	switch p.kind {
	case aString:
		s := map[string]any{"type": "string"}
		if len(p.enum) > 0 {
			s["enum"] = p.enum
		}
		if p.pattern != nil {
			s["pattern"] = p.pattern.String()
		}
		return s
	case anInt, aFloat:
		s := map[string]any{"type": "integer"}
		if p.kind == aFloat {
			s["type"] = "number"
		}
		if p.ranged {
			s["minimum"], s["maximum"] = p.min, p.max
		}
		return s
	case aBool:
		return map[string]any{"type": "boolean"}
	case aDecimal:
		return decimalSchema(p.pattern, p.positive)
	case aScalar:
		return map[string]any{"type": []string{"string", "number", "boolean"}}
	case aList:
		s := map[string]any{"type": "array", "items": p.elem.schema()}
		if p.ranged {
			s["minItems"], s["maxItems"] = p.min, p.max
		}
		if p.unique && p.elem.kind != aTable {
			s["uniqueItems"] = true
		}
		return s
	case aMap:
		s := map[string]any{"type": "object", "additionalProperties": p.elem.schema()}
		if p.pattern != nil {
			s["propertyNames"] = map[string]any{"pattern": p.pattern.String()}
		}
		if p.ranged {
			s["maxProperties"] = p.max
		}
		return s
	}
	props, required := map[string]any{}, []string{}
	for i := range p.props {
		props[p.props[i].name] = p.props[i].schema()
		if p.props[i].required {
			required = append(required, p.props[i].name)
		}
	}
	s := map[string]any{"type": "object", "properties": props, "additionalProperties": false}
	if len(required) > 0 {
		s["required"] = required
	}
	return s
}

// decimalSchema describes money: digits in quotes, or an integer.
func decimalSchema(re *form, positive bool) map[string]any {
	text := map[string]any{"type": "string", "pattern": re.String(), "maxLength": maxDecimalChars}
	whole := map[string]any{"type": "integer", "minimum": -999999999999999999, "maximum": 999999999999999999}
	switch re {
	case reUnsigned:
		whole["minimum"] = 0
	case reFraction:
		whole["minimum"], whole["maximum"] = 0, 1
	}
	if positive {
		text["not"] = map[string]any{"pattern": reZero.String()}
		whole["minimum"] = 1
	}
	return map[string]any{"anyOf": []any{text, whole}}
}
