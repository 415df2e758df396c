package vectors

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/msup/msup/ipc"
)

// messageJSON writes the JSON form of README.md.
func messageJSON(m ipc.Message) ([]byte, error) {
	var p printer
	p.message(m)
	if !json.Valid(p.Bytes()) {
		return nil, fmt.Errorf("%s gave invalid JSON: %s", m.Type(), p.String())
	}
	return p.Bytes(), nil
}

// printer writes compact JSON. The names of fields come from the Go names, which PROTOCOL.md and the Go types share.
type printer struct{ bytes.Buffer }

// renamed are the fields whose name in PROTOCOL.md is not the Go name in lower case.
var renamed = map[string]string{
	"PeriodNS": "period", "MaxDelayNS": "max_delay", "HoldingTimeNS": "holding_time",
	"Cursor.Epoch": "source_epoch", "BoundaryHello.Owner": "owner_nonce", "Answer.Updates": "state_updates",
}

func fieldName(owner, field string) string {
	for _, name := range []string{owner + "." + field, field} {
		if to, ok := renamed[name]; ok {
			return to
		}
	}
	var b strings.Builder
	runes := []rune(field)
	for i, r := range runes {
		newWord := i > 0 && unicode.IsUpper(r) &&
			(unicode.IsLower(runes[i-1]) || i+1 < len(runes) && unicode.IsLower(runes[i+1]))
		if newWord {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

func (p *printer) message(m ipc.Message) {
	fmt.Fprintf(p, `{"type":%q`, m.Type())
	if b, ok := m.(*ipc.BatchAnswer); ok {
		fmt.Fprintf(p, `,"consumed":%d`, b.Consumed)
		p.fields(reflect.ValueOf(b.Answer))
	} else {
		p.fields(reflect.ValueOf(m).Elem())
	}
	p.WriteByte('}')
}

// fields writes `,"name":value` for every field.
func (p *printer) fields(v reflect.Value) {
	t := v.Type()
	for i := range t.NumField() {
		if t.Field(i).Anonymous {
			p.fields(v.Field(i))
			continue
		}
		fmt.Fprintf(p, `,%q:`, fieldName(t.Name(), t.Field(i).Name))
		p.value(v.Field(i))
	}
}

func (p *printer) value(v reflect.Value) {
	switch x := v.Interface().(type) {
	case ipc.Decimal:
		p.text(x.String())
	case ipc.Lineage:
		p.text(hex.EncodeToString(x[:]))
	case ipc.Nonce:
		p.text(hex.EncodeToString(x[:]))
	case ipc.Digest:
		p.text(hex.EncodeToString(x[:]))
	case []byte:
		p.text(hex.EncodeToString(x))
	case ipc.Values:
		p.values(x)
	case map[string][]byte:
		p.delta(x)
	case ipc.Event:
		fmt.Fprintf(p, `{"kind":%q`, x.Kind())
		p.fields(reflect.ValueOf(x).Elem())
		p.WriteByte('}')
	case *ipc.Intent:
		fmt.Fprintf(p, `{"kind":%q`, x.Kind())
		p.fields(reflect.ValueOf(x).Elem())
		p.WriteByte('}')
	case ipc.Telemetry:
		fmt.Fprintf(p, `{"name":%s,"value":%s}`, quote(x.Name), telemetryValue(x))
	case ipc.Level, ipc.PositionRow, ipc.OpenOrder, ipc.OpenIntent, ipc.BatchEvent:
		p.row(v)
	default:
		p.plain(v)
	}
}

func (p *printer) plain(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			p.WriteString("null")
		} else {
			p.value(v.Elem())
		}
	case reflect.Struct:
		start := p.Len()
		p.fields(v)
		p.Bytes()[start] = '{' // in place of the first comma
		p.WriteByte('}')
	case reflect.Slice:
		p.WriteByte('[')
		for i := range v.Len() {
			if i > 0 {
				p.WriteByte(',')
			}
			p.value(v.Index(i))
		}
		p.WriteByte(']')
	case reflect.String:
		p.text(v.String())
	case reflect.Bool:
		p.WriteString(strconv.FormatBool(v.Bool()))
	default:
		fmt.Fprintf(p, "%d", v.Interface())
	}
}

// row writes a struct without field names, as PROTOCOL.md's [[a, b]].
func (p *printer) row(v reflect.Value) {
	p.WriteByte('[')
	for i := range v.NumField() {
		if i > 0 {
			p.WriteByte(',')
		}
		p.value(v.Field(i))
	}
	p.WriteByte(']')
}

func (p *printer) values(values ipc.Values) {
	p.WriteByte('{')
	for i, name := range slices.Sorted(maps.Keys(values)) {
		if i > 0 {
			p.WriteByte(',')
		}
		p.text(name)
		p.WriteByte(':')
		switch x := values[name].(type) {
		case nil:
			p.WriteString("null")
		case float64:
			p.WriteString(float(x))
		case ipc.Decimal:
			fmt.Fprintf(p, `{"dec":%q}`, x)
		default:
			p.plain(reflect.ValueOf(x))
		}
	}
	p.WriteByte('}')
}

func (p *printer) delta(delta map[string][]byte) {
	if delta == nil {
		p.WriteString("null")
		return
	}
	p.WriteByte('{')
	for i, name := range slices.Sorted(maps.Keys(delta)) {
		if i > 0 {
			p.WriteByte(',')
		}
		p.text(name)
		p.WriteByte(':')
		if delta[name] == nil {
			p.WriteString("null")
		} else {
			p.text(hex.EncodeToString(delta[name]))
		}
	}
	p.WriteByte('}')
}

func (p *printer) text(s string) { p.WriteString(quote(s)) }

func quote(s string) string {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(s); err != nil {
		panic(err) // a string always has a JSON form
	}
	return strings.TrimSuffix(b.String(), "\n")
}

func telemetryValue(t ipc.Telemetry) string {
	if t.IsTag {
		return quote(t.Tag)
	}
	return float(t.Value)
}

// float always shows that it is one, by a point or an exponent.
func float(f float64) string {
	s := strconv.FormatFloat(f, 'g', -1, 64)
	if !strings.ContainsAny(s, ".e") {
		s += ".0"
	}
	return s
}
