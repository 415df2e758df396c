package ipc

import (
	"fmt"
	"maps"
	"slices"

	"github.com/tinylib/msgp/msgp"
)

// Values is a map of names to scalars, as in a configuration or a manual signal: nil, bool, int64, float64, string or Decimal.
type Values map[string]any

// AppendValues appends the canonical msgpack form of v, keys sorted bytewise.
func AppendValues(b []byte, v Values) ([]byte, error) {
	w := writer{b: b}
	w.values("values", v)
	return w.done(b)
}

// DecodeValues reads what AppendValues wrote.
func DecodeValues(b []byte) (Values, error) {
	var r Reader
	r.reset(b)
	v := r.values("values")
	if err := r.finish(); err != nil {
		return nil, err
	}
	return v, nil
}

func (w *writer) values(field string, v Values) {
	if len(v) > MaxConfigEntries {
		w.fail(field, "%d entries; at most %d are allowed", len(v), MaxConfigEntries)
	}
	w.b = msgp.AppendMapHeader(w.b, uint32(len(v)))
	for _, name := range slices.Sorted(maps.Keys(v)) {
		w.id(field, name)
		w.value(field, name, v[name])
	}
}

func (w *writer) value(field, name string, v any) {
	switch v := v.(type) {
	case nil:
		w.null()
	case bool:
		w.bool(v)
	case int64:
		w.int(v)
	case float64:
		w.float(field+"."+name, v)
	case string:
		w.str(field+"."+name, v, MaxTextBytes)
	case Decimal:
		w.dec(field+"."+name, v)
	default:
		w.fail(field+"."+name, "%T is not among nil, bool, int64, float64, string and Decimal", v)
	}
}

func (r *Reader) values(field string) Values {
	n := r.table(field, MaxConfigEntries, 2)
	if r.err != nil {
		return nil
	}
	v := make(Values, n)
	for range n {
		name := r.id(field)
		if _, twice := v[name]; twice && r.err == nil {
			r.fail(ClassDuplicateKey, field, fmt.Sprintf("%q comes twice", name))
		}
		if r.err != nil {
			return nil
		}
		v[name] = r.value(name)
		if r.err != nil {
			r.within(field, -1)
			return nil
		}
	}
	r.endList()
	return v
}

func (r *Reader) value(name string) any {
	if len(r.rest) == 0 {
		r.fail(ClassTruncated, name, "no bytes left")
		return nil
	}
	switch t := msgp.NextType(r.rest); t {
	case msgp.NilType:
		r.null()
		return nil
	case msgp.BoolType:
		return r.bool(name)
	case msgp.IntType, msgp.UintType:
		return r.int(name)
	case msgp.Float64Type:
		return r.float(name)
	case msgp.StrType:
		return r.str(name, MaxTextBytes)
	case msgp.InvalidType:
		r.fail(ClassInvalid, name, "0xc1 is no msgpack value")
		return nil
	default:
		if isExt(r.rest[0]) {
			return r.dec(name)
		}
		r.fail(ClassWrongType, name, fmt.Sprintf("%v is not among nil, bool, int, float64, str and decimal", t))
		return nil
	}
}
