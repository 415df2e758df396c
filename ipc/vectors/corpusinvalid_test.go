package vectors

import (
	"bytes"
	"encoding/binary"
	"math"
	"strings"

	"github.com/msup/msup/ipc"
)

// invalid is one golden file that every reader refuses.
type invalid struct {
	name, about string
	from        ipc.Direction
	class       ipc.ErrorClass
	sdkMay      bool // an SDK, which reads only its own supervisor, may take it
	raw         []byte
}

const (
	fromR = ipc.FromRunner
	fromS = ipc.FromSupervisor
	fromP = ipc.FromPeer
)

func bad(name, about string, from ipc.Direction, class ipc.ErrorClass, v any) invalid {
	return invalid{name: name, about: about, from: from, class: class, raw: framed(tree(v))}
}

// lenient marks what generic msgpack libraries do not notice.
func lenient(v invalid) invalid {
	v.sdkMay = true
	return v
}

func frameInvalid() []invalid {
	at := func(name, about string, from ipc.Direction, class ipc.ErrorClass, b []byte) invalid {
		return invalid{name: name, about: about, from: from, class: class, raw: b}
	}
	head := func(n uint32, rest ...byte) []byte { return append(binary.BigEndian.AppendUint32(nil, n), rest...) }
	quote := framed(tree(deliverTree(quoteTree())))
	padded := plus(answerTree(), strings.Repeat("x", ipc.MaxAnswerBytes))
	return []invalid{
		at("frame-prefix-cut", "the stream ends inside the length prefix", fromS, ipc.ClassTruncated, []byte{0, 0, 0}),
		at("frame-cut", "the stream ends inside a frame", fromS, ipc.ClassTruncated, quote[:len(quote)-5]),
		at("frame-empty", "a length of 0", fromS, ipc.ClassFrameEmpty, head(0)),
		at("frame-16mib-and-one", "a length above 16 MiB, nothing behind it", fromS, ipc.ClassFrameTooLarge, head(16<<20+1, 0x96, 4)),
		at("frame-4gib", "the largest length that there is", fromR, ipc.ClassFrameTooLarge, head(math.MaxUint32, 0x99, 3)),
		at("frame-answer-too-large", "a runner promises an answer above 64 KiB: refused from its first bytes", fromR, ipc.ClassFrameTooLarge,
			head(64<<10+1, tree(answerTree())...)),
		at("frame-answer-padded", "a whole answer above 64 KiB, legal but for its size", fromR, ipc.ClassFrameTooLarge, framed(tree(padded))),
		at("frame-chunk-too-large", "a runner promises a chunk above its limit", fromR, ipc.ClassFrameTooLarge,
			head(1<<20+65, tree(arr(8, 12, 0, 3, 1, strings.Repeat("x", 20)))...)),
		at("frame-trailing-bytes", "a byte after the array", fromS, ipc.ClassTrailingBytes, framed(append(tree(arr(11, 78)), 0))),
		at("frame-not-an-array", "a map", fromS, ipc.ClassWrongType, framed([]byte{0x81, 1, 2})),
		at("frame-0xc1", "the one byte that is no msgpack", fromS, ipc.ClassInvalid, framed([]byte{0xc1, 0, 0})),
		at("frame-length-bomb", "an array of 2^32-1 elements", fromR, ipc.ClassTruncated, framed([]byte{0xdd, 0xff, 0xff, 0xff, 0xff, 3, 9, 7})),
		at("frame-no-type", "an empty array", fromS, ipc.ClassShortArray, framed([]byte{0x90})),
		at("frame-type-text", "a type that is no number", fromS, ipc.ClassWrongType, framed(tree(arr("deliver", 1)))),
		at("frame-type-unknown", "type 99", fromS, ipc.ClassUnknownType, framed(tree(arr(99, 1)))),
		at("frame-type-negative", "type -4", fromS, ipc.ClassRange, framed(tree(arr(-4, 1)))),
		at("frame-type-256-and-four", "260 is not 4", fromS, ipc.ClassUnknownType, framed(tree(arr(260, 1)))),
		at("direction-runner-sends-init", "a stop from a runner", fromR, ipc.ClassDirection, framed(tree(arr(11, 1)))),
		at("direction-boundary-in-session", "an ack from a runner", fromR, ipc.ClassDirection, framed(tree(arr(41, 1, nil, arr("", 0, 0))))),
		at("direction-peer-sends-offer", "a query from I", fromP, ipc.ClassDirection, framed(tree(arr(36, 1, arr("a", "b", "c"), 1, "k")))),
		at("direction-source-forges-config", "a source sends an event that only M makes", fromP, ipc.ClassDirection,
			framed(tree(arr(40, 1, nil, arr("x", 1, 1), 0, "", arr(32, "tick", 0))))),
	}
}

func supervisorInvalid() []invalid {
	bomb := func(code byte) raw { return raw{code, 0xff, 0xff, 0xff, 0xff} }
	q := quoteTree()
	values := func(v ...byte) []any { return deliverTree(arr(33, 0, 0, "ada", "bias", raw(v))) }
	nan := binary.BigEndian.AppendUint64([]byte{0x81, 0xa1, 'a', 0xcb}, math.Float64bits(math.NaN()))
	inf := binary.BigEndian.AppendUint64([]byte{0x81, 0xa1, 'a', 0xcb}, math.Float64bits(math.Inf(-1)))
	events := make([]any, 4097)
	for i := range events {
		events[i] = arr(0, "", arr(40, ""))
	}
	whole := tree(q)
	cut := raw(whole[:len(whole)-3*12-6]) // inside the bid
	return []invalid{
		bad("short-deliver", "the event is missing", fromS, ipc.ClassShortArray, deliverTree(q)[:5]),
		bad("short-quote", "the last field of the event is missing", fromS, ipc.ClassShortArray, deliverTree(q[:11])),
		bad("short-level", "a level without a quantity", fromS, ipc.ClassShortArray, deliverTree(deltaTree(arr(rawDec(1, 0)), strings.Repeat("pad", 15)))),
		bad("short-event", "an event without a kind", fromS, ipc.ClassShortArray, deliverTree(arr())),
		bad("kind-unknown", "an event of kind 9", fromS, ipc.ClassUnknownType, deliverTree(with(q, 0, 9))),
		bad("kind-unknown-200", "an event of kind 200", fromS, ipc.ClassUnknownType, deliverTree(with(q, 0, 200))),
		bad("kind-nil", "no event at all", fromS, ipc.ClassWrongType, deliverTree(nil)),
		bad("type-seq-text", "seq as a string", fromS, ipc.ClassWrongType, with(deliverTree(q), 1, "9")),
		bad("type-seq-negative", "a negative seq", fromS, ipc.ClassRange, with(deliverTree(q), 1, -1)),
		bad("type-seq-float", "seq as a float", fromS, ipc.ClassWrongType, with(deliverTree(q), 1, 9.0)),
		bad("type-step-nil", "nil where no nil may be", fromS, ipc.ClassWrongType, with(deliverTree(q), 2, nil)),
		bad("type-ts-too-large", "a time above i64", fromS, ipc.ClassRange, with(deliverTree(q), 3, uint64(1)<<63)),
		bad("type-trace-nil", "a string is never nil", fromS, ipc.ClassWrongType, with(deliverTree(q), 4, nil)),
		bad("type-id-bin", "an id as bin", fromS, ipc.ClassWrongType, deliverTree(with(q, 1, []byte("BTC")))),
		bad("type-quality-256", "quality above u8", fromS, ipc.ClassRange, deliverTree(with(q, 7, 256))),
		bad("type-price-float", "a price as a float", fromS, ipc.ClassWrongType, deliverTree(with(q, 8, 65000.1))),
		bad("type-price-string", "a price as a string", fromS, ipc.ClassWrongType, deliverTree(with(q, 8, "65000.100000"))),
		bad("type-price-int", "a price as an integer", fromS, ipc.ClassWrongType, deliverTree(with(q, 8, 65000))),
		bad("type-levels-map", "a map in place of a list", fromS, ipc.ClassWrongType, deliverTree(with(deltaTree(), 10, raw{0x80}))),
		lenient(bad("enum-side", "side 3", fromS, ipc.ClassRange, deliverTree(arr(2, "B", "b", 0, 0, 1, 0, 0, rawDec(1, 0), rawDec(1, 0), 3, "")))),
		lenient(bad("too-long-id", "an instrument of 129 bytes", fromS, ipc.ClassTooLong, deliverTree(with(q, 1, strings.Repeat("i", 129))))),
		bad("lineage-15-bytes", "a fixed bin that is too short", ipc.FromM, ipc.ClassTooLong, arr(32, 1, arr("a", "b", "c"), make([]byte, 15), 1, make([]byte, 16), 0)),
		bad("utf8-id", "an id that is not UTF-8", fromS, ipc.ClassUTF8, deliverTree(with(q, 1, "BTC\xff\xfe"))),
		bad("utf8-surrogate", "a surrogate is not UTF-8", fromS, ipc.ClassUTF8, deliverTree(with(q, 1, "\xed\xa0\x80"))),
		bad("utf8-overlong", "an overlong form is not UTF-8", fromS, ipc.ClassUTF8, deliverTree(with(q, 1, "\xc0\xaf"))),
		bad("decimal-trailing-zero", "10·10^0 is 1·10^1", fromS, ipc.ClassDecimal, deliverTree(with(q, 8, rawDec(10, 0)))),
		bad("decimal-zero-with-exponent", "zero is (0, 0)", fromS, ipc.ClassDecimal, deliverTree(with(q, 8, rawDec(0, -2)))),
		bad("decimal-min-int64", "-2^63 has no negation", fromS, ipc.ClassDecimal, deliverTree(with(q, 8, rawDec(math.MinInt64, 0)))),
		bad("decimal-other-extension", "extension type 2", fromS, ipc.ClassDecimal, deliverTree(with(q, 8, append(raw{0xc7, 9, 2}, rawDec(1, 0)[3:]...)))),
		bad("decimal-8-bytes", "extension type 1 of 8 bytes", fromS, ipc.ClassDecimal, deliverTree(with(q, 8, append(raw{0xd7, 1}, make([]byte, 8)...)))),
		bad("decimal-cut", "the frame ends inside a decimal", fromS, ipc.ClassTruncated, deliverTree(cut)),
		bad("bomb-event", "an event of 2^32-1 elements", fromS, ipc.ClassTruncated, deliverTree(bomb(0xdd))),
		bad("bomb-levels", "2^32-1 levels", fromS, ipc.ClassTruncated, deliverTree(with(deltaTree(), 10, bomb(0xdd)))),
		bad("bomb-string", "an id of 4 GiB", fromS, ipc.ClassTruncated, deliverTree(with(q, 1, bomb(0xdb)))),
		bad("bomb-bin", "data of 4 GiB", fromS, ipc.ClassTruncated, arr(8, 1, 0, 3, 1, bomb(0xc6))),
		bad("bomb-map", "2^32-1 values", fromS, ipc.ClassTruncated, values(bomb(0xdf)...)),
		bad("bomb-unknown-array", "an unknown field of 2^32-1 elements", fromS, ipc.ClassTruncated, plus(arr(11, 78), bomb(0xdd))),
		bad("bomb-unknown-map", "an unknown field of 2^32-1 entries", fromS, ipc.ClassTruncated, plus(arr(11, 78), bomb(0xdf))),
		bad("bomb-unknown-ext", "an unknown field of 4 GiB", fromS, ipc.ClassTruncated, plus(arr(11, 78), bomb(0xc9))),
		bad("unknown-0xc1", "an unknown field that is no msgpack", fromS, ipc.ClassInvalid, plus(arr(11, 78), raw{0xc1})),
		lenient(bad("too-deep", "an unknown field at level 17", fromS, ipc.ClassTooDeep, plus(arr(9, 77), nested(16)))),
		bad("too-deep-bomb", "a hundred thousand levels", fromS, ipc.ClassTooDeep, plus(arr(9, 77), nested(100_000))),
		lenient(bad("too-many-events", "a batch of 4,097", fromS, ipc.ClassTooMany, arr(5, 3, 1, arr(events...)))),
		lenient(bad("float-nan", "NaN among the values", fromS, ipc.ClassFloat, values(nan...))),
		lenient(bad("float-infinity", "minus infinity among the values", fromS, ipc.ClassFloat, values(inf...))),
		lenient(bad("duplicate-value", "the same key twice", fromS, ipc.ClassDuplicateKey, values(0x82, 0xa1, 'a', 1, 0xa1, 'a', 2))),
		bad("value-list", "a list among the values", fromS, ipc.ClassWrongType, values(0x81, 0xa1, 'a', 0x91, 1)),
		bad("value-key-int", "a key that is no string", fromS, ipc.ClassWrongType, values(0x81, 1, 1)),
		bad("value-int-too-large", "an integer above i64", fromS, ipc.ClassRange, values(0x81, 0xa1, 'a', 0xcf, 0x80, 0, 0, 0, 0, 0, 0, 0)),
	}
}

func runnerInvalid() []invalid {
	order := arr(1, metaTree(), orderTree())
	intents := make([]any, 257)
	for i := range intents {
		intents[i] = arr(6, arr("", "", "", "", "", "", "", nil, "", ""), arr(""))
	}
	a := answerTree()
	many := func(n int, v any) []any { return arr(bytesOf(n, v)...) }
	delta := func(b ...byte) []any { return with(a, 4, arr(false, raw(b))) }
	nan := append(raw{0xcb}, 0x7f, 0xf8, 0, 0, 0, 0, 0, 1)
	return []invalid{
		bad("answer-short", "the fault is missing", fromR, ipc.ClassShortArray, a[:8]),
		bad("answer-257-intents", "one too many", fromR, ipc.ClassTooMany, answerTree(intents...)),
		bad("answer-257-timers", "one too many", fromR, ipc.ClassTooMany, with(a, 5, many(257, arr(1, "t", 0)))),
		bad("answer-65-computes", "one too many", fromR, ipc.ClassTooMany, with(a, 6, many(65, arr("t", []byte{}, 0)))),
		bad("answer-65-telemetry", "one too many", fromR, ipc.ClassTooMany, with(a, 7, many(65, arr("t", 1.0)))),
		bad("answer-intents-nil", "nil in place of a list", fromR, ipc.ClassWrongType, with(a, 3, nil)),
		bad("answer-bomb-intents", "2^32-1 intents", fromR, ipc.ClassTruncated, with(a, 3, raw{0xdd, 0xff, 0xff, 0xff, 0xff})),
		bad("intent-kind-0", "no such kind", fromR, ipc.ClassUnknownType, answerTree(with(order, 0, 0))),
		bad("intent-kind-8", "no such kind", fromR, ipc.ClassUnknownType, answerTree(with(order, 0, 8))),
		bad("intent-no-body", "an intent of two elements", fromR, ipc.ClassShortArray, answerTree(plus(order[:2]), "a string that is long enough to fill the list")),
		bad("intent-meta-nil", "no metadata array", fromR, ipc.ClassWrongType, answerTree(with(order, 1, nil), strings.Repeat("x", 15))),
		bad("intent-meta-short", "metadata of nine elements", fromR, ipc.ClassShortArray, answerTree(with(order, 1, metaTree()[:9]))),
		bad("intent-order-short", "an order of eight elements", fromR, ipc.ClassShortArray, answerTree(with(order, 2, orderTree()[:8]))),
		bad("intent-side-0", "an order without a side", fromR, ipc.ClassRange, answerTree(with(order, 2, with(orderTree(), 1, 0)))),
		bad("intent-order-type-5", "no such type", fromR, ipc.ClassRange, answerTree(with(order, 2, with(orderTree(), 2, 5)))),
		bad("intent-quantity-nil", "an order without a quantity", fromR, ipc.ClassWrongType, answerTree(with(order, 2, with(orderTree(), 3, nil)))),
		bad("intent-tif-0", "no such time in force", fromR, ipc.ClassRange, answerTree(with(order, 2, with(orderTree(), 6, 0)))),
		bad("intent-flag-int", "1 is not true", fromR, ipc.ClassWrongType, answerTree(with(order, 2, with(orderTree(), 7, 1)))),
		bad("intent-key-too-long", "a key of 129 bytes", fromR, ipc.ClassTooLong, answerTree(with(order, 1, with(metaTree(), 6, strings.Repeat("k", 129))))),
		bad("intent-alert-code-too-long", "free text in a code", fromR, ipc.ClassTooLong, answerTree(arr(5, metaTree(), arr(1, strings.Repeat("c", 65), "")))),
		bad("timer-op-3", "no such operation", fromR, ipc.ClassRange, with(a, 5, arr(arr(3, "t", 0)))),
		bad("telemetry-nan", "NaN as telemetry", fromR, ipc.ClassFloat, with(a, 7, arr(arr("t", nan)))),
		bad("telemetry-int", "an integer as telemetry", fromR, ipc.ClassWrongType, with(a, 7, arr(arr("t", 1, "pad")))),
		bad("telemetry-tag-too-long", "free text as telemetry", fromR, ipc.ClassTooLong, with(a, 7, arr(arr("t", strings.Repeat("x", 65))))),
		bad("delta-duplicate-key", "the same key twice", fromR, ipc.ClassDuplicateKey, delta(0x82, 0xa1, 'a', 0xc0, 0xa1, 'a', 0xc4, 0)),
		bad("delta-value-string", "a value that is no bin", fromR, ipc.ClassWrongType, delta(0x81, 0xa1, 'a', 0xa1, 'b')),
		bad("fault-message-too-long", "1,025 bytes", fromR, ipc.ClassTooLong, with(a, 8, arr("exception", strings.Repeat("m", 1025), ""))),
		bad("fault-traceback-too-long", "16 KiB and one byte", fromR, ipc.ClassTooLong, with(a, 8, arr("exception", "", strings.Repeat("t", 16<<10+1)))),
		bad("batch_answer-consumed-0", "an event must be taken", fromR, ipc.ClassRange, plus(arr(6, 9, 0), a[2:]...)),
		bad("hello-hash", "a package hash that is no hash", fromR, ipc.ClassRange, arr(1, 0, 1, "python", "0.1.0", 1, 1, "abc", arr(), 2)),
		bad("health-3", "no such health", fromR, ipc.ClassRange, arr(10, 77, 3, "")),
		bad("status-8", "no such status", fromP, ipc.ClassRange, arr(37, 1, arr("a", "b", "c"), "k", 8, nil, "")),
		bad("status-digest-31-bytes", "a digest that is too short", fromP, ipc.ClassTooLong, arr(37, 1, arr("a", "b", "c"), "k", 4, bytes.Repeat([]byte{1}, 31), "")),
	}
}

func bytesOf(n int, v any) []any {
	list := make([]any, n)
	for i := range list {
		list[i] = v
	}
	return list
}
