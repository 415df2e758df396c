package vectors

import (
	"bytes"
	"encoding/binary"
	"math"
	"strings"

	"github.com/tinylib/msgp/msgp"

	"github.com/msup/msup/ipc"
)

// raw is msgpack that is written as it stands, in tree.
type raw []byte

// tree writes nested Go values as msgpack with the plain primitives: []any as arrays, numbers in their shortest form. It is
// independent of the codec under test.
func tree(v any) []byte {
	switch v := v.(type) {
	case raw:
		return v
	case []any:
		b := msgp.AppendArrayHeader(nil, uint32(len(v)))
		for _, x := range v {
			b = append(b, tree(x)...)
		}
		return b
	case nil:
		return msgp.AppendNil(nil)
	case bool:
		return msgp.AppendBool(nil, v)
	case int:
		if v < 0 {
			return msgp.AppendInt64(nil, int64(v))
		}
		return msgp.AppendUint64(nil, uint64(v))
	case uint64:
		return msgp.AppendUint64(nil, v)
	case float64:
		return msgp.AppendFloat64(nil, v)
	case string:
		return msgp.AppendString(nil, v)
	case []byte:
		return msgp.AppendBytes(nil, v)
	}
	panic("tree: unknown type")
}

func arr(v ...any) []any { return v }

// with returns list with element i replaced.
func with(list []any, i int, v any) []any {
	out := append([]any(nil), list...)
	out[i] = v
	return out
}

func plus(list []any, more ...any) []any { return append(append([]any(nil), list...), more...) }

// framed puts a length prefix in front.
func framed(body []byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...)
}

// nested is n arrays of one element around a nil: n levels.
func nested(n int) raw { return append(bytes.Repeat([]byte{0x91}, n), 0xc0) }

func rawDec(m int64, e int8) raw {
	b := binary.BigEndian.AppendUint64([]byte{0xc7, 9, 1}, uint64(m))
	return append(b, byte(e))
}

// The same quote, trade and order as trees.
func quoteTree() []any {
	return arr(1, "BTCUSDT.BINANCE", "binance", int(ts), int(recvTS), 42, 5_000_000_000, 0,
		rawDec(650001, -1), rawDec(5, -1), rawDec(650002, -1), rawDec(125, -2))
}

func deltaTree(bids ...any) []any {
	return arr(4, "BTCUSDT.BINANCE", "binance", int(ts), int(recvTS), 42, 5_000_000_000, 0, 100, 105, arr(bids...), arr())
}

func deliverTree(event any) []any { return arr(4, 9, 7, int(procTS), "run-0001-7", event) }

func metaTree() []any {
	return arr("alpha", "ema_cross", "1.2.3", "btc", "run-0001", "run-0001-7", string(stepKey),
		arr(rawDec(1, -3), 250_000_000, 3_600_000_000_000, rawDec(1, 4)), "", "")
}

func orderTree() []any {
	return arr("BTCUSDT.BINANCE", 1, 2, rawDec(25, -2), rawDec(650001, -1), nil, 1, false, true)
}

func answerTree(intents ...any) []any {
	return arr(3, 9, 7, arr(intents...), nil, arr(), arr(), arr(), nil)
}

// oddVectors are legal but not canonical: readers take them, writers never make them.
func oddVectors() []valid {
	const R, S, P = ipc.FromRunner, ipc.FromSupervisor, ipc.FromPeer
	odd := func(name, about string, from ipc.Direction, v any) valid {
		return valid{"odd-" + name, about, from, nil, framed(tree(v))}
	}
	wide := func(n uint64) raw { return binary.BigEndian.AppendUint64([]byte{0xcf}, n) }
	signed := func(n int64) raw { return binary.BigEndian.AppendUint64([]byte{0xd3}, uint64(n)) }
	str32 := func(s string) raw {
		return append(binary.BigEndian.AppendUint32([]byte{0xdb}, uint32(len(s))), s...)
	}
	str8 := func(s string) raw { return append([]byte{0xd9, byte(len(s))}, s...) }
	array32 := func(elements ...any) raw {
		b := binary.BigEndian.AppendUint32([]byte{0xdd}, uint32(len(elements)))
		for _, x := range elements {
			b = append(b, tree(x)...)
		}
		return b
	}
	bin32 := func(data []byte) raw {
		return append(binary.BigEndian.AppendUint32([]byte{0xc6}, uint32(len(data))), data...)
	}
	// Every msgpack type that exists, as fields of the future.
	future := arr(nil, true, false, 1, -1, 200, -200, 70_000, -70_000, uint64(math.MaxUint64), math.MinInt64, 1.5,
		raw{0xca, 0x3f, 0xc0, 0, 0}, "new", strings.Repeat("s", 300), []byte("bin"), bytes.Repeat([]byte{7}, 300),
		raw{0xd4, 5, 1}, raw{0xd5, 5, 1, 2}, raw{0xd6, 5, 1, 2, 3, 4}, raw{0xd7, 5, 1, 2, 3, 4, 5, 6, 7, 8},
		append(raw{0xd8, 5}, make([]byte, 16)...), raw{0xc7, 3, 5, 1, 2, 3}, raw{0xc8, 0, 1, 5, 1}, raw{0xc9, 0, 0, 0, 1, 5, 1},
		raw{0x82, 0xa1, 'a', 1, 0xa1, 'b', 0x91, 2}, raw{0xde, 0, 1, 0xa1, 'a', 1}, raw{0xdf, 0, 0, 0, 0}, raw{0xdc, 0, 1, 5},
		rawDec(15, -1))
	hello := arr(1, 0, 1, "python", "0.1.0", 1, 1, hash64, arr(), 2)
	values := append(raw{0x82, 0xa1, 'b', 1, 0xa1, 'a'}, signed(2)...)
	return []valid{
		odd("trailing-message", "an unknown field after the message's", S, plus(deliverTree(quoteTree()), "new")),
		odd("trailing-every-type", "unknown fields of every msgpack type", S, plus(arr(11, 78), future...)),
		odd("trailing-event", "an unknown field after the event's", S, deliverTree(plus(quoteTree(), arr(1, 2, 3)))),
		odd("trailing-level", "an unknown field in a level", S, deliverTree(deltaTree(arr(rawDec(1, 0), rawDec(2, 0), 3)))),
		odd("trailing-intent", "unknown fields in intent, metadata, risk_context and body", R, answerTree(
			plus(arr(1, with(plus(metaTree(), nil), 7, plus(metaTree()[7].([]any), "x")), plus(orderTree(), true)), 9))),
		odd("trailing-answer", "an unknown field after the fault", R, plus(answerTree(), arr(), raw{0x80})),
		odd("trailing-hello", "a newer SDK says more", R, plus(hello, "features", arr("a", "b"))),
		odd("trailing-address", "unknown fields in address and cursor", P, arr(33, 1, arr("alpha", "ema_cross", "btc", "x"), 7, arr("sim", 3, 1<<33, "x"))),
		odd("trailing-depth-16", "an unknown field at the deepest level that is allowed, the frame's array being the first", S, plus(arr(9, 77), nested(15))),
		odd("wide-integers", "integers in nine bytes", S, with(with(with(deliverTree(quoteTree()), 0, wide(4)), 1, wide(9)), 2, wide(7))),
		odd("signed-integers", "unsigned fields in signed formats", S, with(with(deliverTree(quoteTree()), 1, signed(9)), 2, raw{0xd1, 0, 7})),
		odd("uint-as-int8", "42 as int8, 0 as uint8 and uint16", S, deliverTree(with(with(with(quoteTree(), 5, raw{0xd0, 42}), 6, raw{0xcc, 0}), 7, raw{0xcd, 0, 0}))),
		odd("negative-wide", "-1 in nine bytes", S, deliverTree(arr(32, "tick", signed(-1)))),
		odd("long-strings", "short strings with long lengths", S, deliverTree(with(with(quoteTree(), 1, str32("BTCUSDT.BINANCE")), 2, str8("binance")))),
		odd("long-arrays", "arrays with four-byte counts", S, array32(4, 9, 7, int(procTS), "run-0001-7", array32(quoteTree()...))),
		odd("long-lists", "an empty and a filled list with long counts", R, arr(3, 9, 7, array32(array32(6, metaTree(), array32("wait"))), nil, array32(), raw{0xdc, 0, 0}, arr(), nil)),
		odd("long-bin", "data with a four-byte length", R, arr(8, 12, 0, 3, 1, bin32([]byte{1, 2, 3}))),
		odd("unsorted-values", "values whose keys are not sorted, a wide integer", S, deliverTree(arr(33, 0, 0, "ada", "bias", values))),
		odd("long-map", "values with a four-byte count", S, deliverTree(arr(33, 0, 0, "ada", "bias", raw{0xdf, 0, 0, 0, 1, 0xd9, 1, 'a', 0xcc, 5}))),
	}
}
