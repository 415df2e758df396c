package ipc

import (
	"bytes"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// goldenFrames gives the payload of every golden file of one side by name.
func goldenFrames(t testing.TB) map[string][]byte {
	t.Helper()
	names, err := filepath.Glob("vectors/*.bin")
	if err != nil || len(names) < 100 {
		t.Fatalf("%d golden files (%v); run go test ./ipc/vectors -update", len(names), err)
	}
	frames := make(map[string][]byte, len(names))
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		frames[filepath.Base(name)] = b[lengthBytes:]
	}
	return frames
}

// Proves: BC-F, NN-7
func TestCutFramesAreRefusedEverywhere(t *testing.T) {
	for name, frame := range goldenFrames(t) {
		if len(frame) > 2000 {
			continue // the long ones differ in length only
		}
		for n := range frame {
			if m, err := DecodeMessage(frame[:n], FromAnyone); err == nil {
				t.Fatalf("%s cut to %d of %d bytes reads as %+v", name, n, len(frame), m)
			}
		}
		if _, err := DecodeMessage(append(bytes.Clone(frame), 0xc0), FromAnyone); ClassOf(err) != ClassTrailingBytes {
			t.Errorf("%s with a byte more: %v", name, err)
		}
	}
}

// A frame with any bytes changed is refused, or reads as something that can be written again.
// Proves: BC-F, NN-7
func TestDamagedFramesNeverPanic(t *testing.T) {
	frames := goldenFrames(t)
	var names []string
	for name, frame := range frames {
		if len(frame) < 2000 {
			names = append(names, name)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		frame := bytes.Clone(frames[rapid.SampledFrom(names).Draw(t, "name")])
		for range rapid.IntRange(1, 4).Draw(t, "changes") {
			frame[rapid.IntRange(0, len(frame)-1).Draw(t, "at")] = rapid.Byte().Draw(t, "byte")
		}
		m, err := DecodeMessage(frame, FromAnyone)
		if err != nil {
			if ClassOf(err) == "" {
				t.Fatalf("an error without a class: %v", err)
			}
			return
		}
		checkStable(t, m)
	})
}

type fatal interface{ Fatalf(string, ...any) }

// checkStable holds what is read against itself: written, read and written again it is the same bytes.
func checkStable(t fatal, m Message) {
	first, err := AppendMessage(nil, m)
	if err != nil {
		t.Fatalf("%+v was read but cannot be written: %v", m, err)
	}
	back, err := DecodeMessage(first, FromAnyone)
	if err != nil {
		t.Fatalf("%x was written but cannot be read: %v", first, err)
	}
	second, err := AppendMessage(nil, back)
	if err != nil || !bytes.Equal(first, second) {
		t.Fatalf("written again %x differs from %x (%v)", second, first, err)
	}
}

// allocated is how many bytes f allocates.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// Proves: NN-7, SB-2
func TestLengthBombsCostNothing(t *testing.T) {
	bombs := [][]byte{
		{0xdd, 0xff, 0xff, 0xff, 0xff, 3},
		{0x99, 3, 1, 1, 0xdd, 0xff, 0xff, 0xff, 0xff},                                    // intents
		{0x99, 3, 1, 1, 0x90, 0xc0, 0xdd, 0xff, 0xff, 0xff, 0xff},                        // timers
		{0x99, 3, 1, 1, 0x90, 0x92, 0xc2, 0xdf, 0xff, 0xff, 0xff, 0xff},                  // delta
		{0x99, 3, 1, 1, 0x90, 0x92, 0xc2, 0x81, 0xdb, 0xff, 0xff, 0xff, 0xff},            // a key of it
		{0x99, 3, 1, 1, 0x90, 0x92, 0xc2, 0x81, 0xa1, 'a', 0xc6, 0xff, 0xff, 0xff, 0xff}, // a value of it
		{0x96, 8, 1, 0, 0, 1, 0xc6, 0xff, 0xff, 0xff, 0xff},                              // a chunk
		append([]byte{0x92, 10}, bytes.Repeat([]byte{0xdd, 0, 0, 0xff, 0xff}, 1000)...),  // nested
	}
	for _, bomb := range bombs {
		var err error
		spent := allocated(func() {
			for range 100 {
				_, err = DecodeMessage(bomb, FromRunner)
			}
		})
		if err == nil || spent > 100*4096 {
			t.Errorf("%x: %d bytes allocated for 100 readings, error %v", bomb[:min(len(bomb), 20)], spent, err)
		}
	}
	levels := append([]byte{0x96, 4, 1, 1, 0, 0xa0, 0x9c, 4, 0xa0, 0xa0, 0, 0, 0, 0, 0, 0, 0, 0xdd, 0, 1, 0, 0}, make([]byte, 100_000)...)
	if _, err := DecodeMessage(levels, FromSupervisor); ClassOf(err) != ClassTruncated {
		t.Errorf("65,536 levels in 100 kB: %v", err)
	}
}

// Proves: DM-3
func TestDecodeErrorsNameThePlace(t *testing.T) {
	order := &Intent{Body: &OrderIntent{Side: SideBuy, Type: OrderMarket, Quantity: Decimal{M: 1}, TimeInForce: TIFDay}}
	frame, err := AppendMessage(nil, &Answer{Seq: 1, Step: 1, Intents: []*Intent{order, order}})
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.LastIndexByte(frame, codeExt8)
	frame[at] = 0xc0
	_, err = DecodeMessage(frame, FromRunner)
	const want = "answer.intents[1].quantity at byte "
	if err == nil || !strings.HasPrefix(err.Error(), want) || !strings.Contains(err.Error(), "wrong_type") {
		t.Errorf("the error is %v, expected it to start with %q", err, want)
	}
	if e, ok := err.(*DecodeError); !ok || e.Offset != at || e.Type != TypeAnswer {
		t.Errorf("the error is %#v, expected byte %d", err, at)
	}
}

// Proves: NN-5
func TestWritersRefuseWhatReadersWould(t *testing.T) {
	long := strings.Repeat("x", 1000)
	for name, m := range map[string]Message{
		"nothing":          nil,
		"no event":         &Deliver{},
		"bad decimal":      &Deliver{Event: &Trade{Price: Decimal{M: 10}}},
		"long id":          &Deliver{Event: &Quote{Market: Market{Instrument: InstrumentID(long)}}},
		"bad utf8":         &Deliver{Event: &Quote{Market: Market{Source: "\xff"}}},
		"bad side":         &Deliver{Event: &Trade{Side: 3}},
		"bad optional":     &Deliver{Event: &Quote{Bid: &Decimal{E: 1}}},
		"too many levels":  &Deliver{Event: &BookSnapshot{Bids: make([]Level, MaxLevels+1)}},
		"too many keys":    &Deliver{Event: &IntentsDiscarded{Keys: make([]Key, MaxRows+1)}},
		"too many events":  &Batch{Events: make([]BatchEvent, MaxBatchEvents+1)},
		"nil event":        &Batch{Events: make([]BatchEvent, 1)},
		"too many intents": &Answer{Intents: make([]*Intent, MaxIntents+1)},
		"nil intent":       &Answer{Intents: []*Intent{nil}},
		"no body":          &Answer{Intents: []*Intent{{}}},
		"too many timers":  &Answer{Timers: make([]TimerRequest, MaxTimers+1)},
		"bad timer":        &Answer{Timers: []TimerRequest{{}}},
		"nan":              &Answer{Telemetry: []Telemetry{{Value: math.NaN()}}},
		"infinity":         &Answer{Telemetry: []Telemetry{{Value: math.Inf(1)}}},
		"long tag":         &Answer{Telemetry: []Telemetry{{IsTag: true, Tag: long}}},
		"long message":     &Answer{Fault: &Fault{Message: strings.Repeat("m", MaxMessageBytes+1)}},
		"large chunk":      &Chunk{Data: make([]byte, MaxChunkBytes+1)},
		"bad hash":         &Hello{PackageHash: "abc"},
		"bad config":       &Init{Lane: LaneLL, Mode: ModeLive, Config: Values{"a": 1}},
		"bad lane":         &Init{Mode: ModeLive},
		"bad status":       &StatusReport{Status: 8},
		"bad instrument":   &Init{Lane: LaneLL, Mode: ModeLive, Instruments: []Instrument{{Tick: Decimal{M: 10}}}},
	} {
		b, err := AppendMessage([]byte("before"), m)
		if err == nil || string(b) != "before" {
			t.Errorf("%s was written as %x (%v)", name, b, err)
		}
	}
}

// Proves: NN-4
func TestOneEncodingServesAllInstances(t *testing.T) {
	e := &Shutdown{Reason: "FEED_ENDED"}
	encoded, err := AppendEvent(nil, e)
	if err != nil {
		t.Fatal(err)
	}
	want, err := AppendMessage(nil, &Deliver{Seq: 5, Step: 300, ProcessedTS: -7, TraceID: "t", Event: e})
	if err != nil {
		t.Fatal(err)
	}
	got, err := AppendDeliver(nil, 5, 300, -7, "t", encoded)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("AppendDeliver gives %x (%v), expected %x", got, err, want)
	}
	want, err = AppendMessage(nil, &Batch{Seq: 6, FirstStep: 7, Events: []BatchEvent{{1, "", e}, {2, "x", e}}})
	if err != nil {
		t.Fatal(err)
	}
	got, err = AppendBatch(nil, 6, 7, []EncodedEvent{{1, "", encoded}, {2, "x", encoded}})
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("AppendBatch gives %x (%v), expected %x", got, err, want)
	}
	if _, err := AppendDeliver(nil, 5, 300, -7, "t", nil); err == nil {
		t.Error("an event without bytes was delivered")
	}
	if _, err := AppendBatch(nil, 6, 7, []EncodedEvent{{}}); err == nil {
		t.Error("a batch with an event without bytes was made")
	}
}

// The hot path allocates nothing to write and one block to read.
// Proves: NN-4
func TestHotPathAllocations(t *testing.T) {
	bid, size := MustDecimal("65000.1"), MustDecimal("0.5")
	e := &Quote{Market: Market{Instrument: "BTCUSDT.BINANCE", Source: "binance", EventTS: 1, RecvTS: 2, Seq: 3}, Bid: &bid, BidSize: &size, Ask: &bid}
	event, err := AppendEvent(nil, e)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := AppendMessage(nil, &Answer{Seq: 1, Step: 1})
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 0, 1024)
	events, answers := NewReader(FromSupervisor), NewReader(FromRunner)
	for name, c := range map[string]struct {
		most float64
		run  func() error
	}{
		"encode a quote":         {0, func() (err error) { _, err = AppendEvent(buf, e); return err }},
		"deliver a quote":        {0, func() (err error) { _, err = AppendDeliver(buf, 1, 2, 3, "run-2", event); return err }},
		"decode a quote":         {1, func() (err error) { _, err = events.Event(event); return err }},
		"decode an empty answer": {1, func() (err error) { _, err = answers.Message(answer); return err }},
	} {
		got := testing.AllocsPerRun(100, func() {
			if err := c.run(); err != nil {
				t.Fatal(err)
			}
		})
		if got > c.most {
			t.Errorf("%s: %v allocations, at most %v are allowed", name, got, c.most)
		}
	}
}

// Proves: BC-F
func TestReaderKeepsNothingOfTheFrame(t *testing.T) {
	frame, err := AppendMessage(nil, &Answer{Updates: &StateUpdates{Delta: map[string][]byte{"k": []byte("value")}},
		Compute: []ComputeRequest{{Task: "task", Payload: []byte("payload")}}})
	if err != nil {
		t.Fatal(err)
	}
	m, err := NewReader(FromRunner).Message(frame)
	if err != nil {
		t.Fatal(err)
	}
	clear(frame)
	a := m.(*Answer)
	if string(a.Updates.Delta["k"]) != "value" || a.Compute[0].Task != "task" || string(a.Compute[0].Payload) != "payload" {
		t.Errorf("the answer changed with the buffer: %+v", a)
	}
}

// Proves: GT-4
func TestMissingMetadataIsNoDecodingError(t *testing.T) {
	b, err := AppendIntent(nil, &Intent{Body: &NoOpIntent{}})
	if err != nil {
		t.Fatal(err)
	}
	i, err := DecodeIntent(b)
	if err != nil || i.Meta != (IntentMeta{}) {
		t.Errorf("read as %+v (%v)", i, err)
	}
}

// Proves: HR-1
func TestValuesRoundTrip(t *testing.T) {
	v := Values{"a": nil, "b": true, "c": int64(-5), "d": 1.5, "e": "text", "f": MustDecimal("0.1")}
	b, err := AppendValues(nil, v)
	if err != nil {
		t.Fatal(err)
	}
	back, err := DecodeValues(b)
	if err != nil || len(back) != len(v) {
		t.Fatalf("%v (%v)", back, err)
	}
	for name := range v {
		if back[name] != v[name] {
			t.Errorf("%s reads as %#v, expected %#v", name, back[name], v[name])
		}
	}
	if _, err := DecodeValues(append(b, 0)); ClassOf(err) != ClassTrailingBytes {
		t.Errorf("a byte more: %v", err)
	}
	if _, err := DecodeValues(nil); ClassOf(err) != ClassTruncated {
		t.Errorf("no bytes: %v", err)
	}
}

// Proves: BC-F
func TestNamesAreFoundBothWays(t *testing.T) {
	for kind := EventKind(0); kind < 255; kind++ {
		name := kind.String()
		found, ok := EventKindByName(name)
		if known := !strings.HasPrefix(name, "event("); ok != known || known && found != kind {
			t.Errorf("kind %d is named %s, found is %d, %t", kind, name, found, ok)
		}
		if known := int(kind) < len(eventCodecs) && eventCodecs[kind].read != nil; known == strings.HasPrefix(name, "event(") {
			t.Errorf("kind %d is named %s, but is known: %t", kind, name, known)
		}
	}
	for kind := IntentKind(0); kind < 20; kind++ {
		found, ok := IntentKindByName(kind.String())
		if known := kind >= IntentOrder && kind <= IntentRiskHint; ok != known || known && found != kind {
			t.Errorf("intent %d: found %d, %t", kind, found, ok)
		}
	}
	if got := MessageType(200).String(); got != "message(200)" {
		t.Errorf("an unknown type is named %s", got)
	}
}

// Proves: BC-F
func TestStoredBytesAreRead(t *testing.T) {
	answer, err := AppendMessage(nil, &Answer{Seq: 1, Step: 2})
	if err != nil {
		t.Fatal(err)
	}
	if a, err := DecodeAnswer(answer); err != nil || a.Step != 2 {
		t.Errorf("a stored answer reads as %v (%v)", a, err)
	}
	stop, err := AppendMessage(nil, &Stop{})
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range [][]byte{stop, answer[:5], nil} {
		if a, err := DecodeAnswer(b); err == nil {
			t.Errorf("%x reads as the answer %v", b, a)
		}
	}
	event, err := AppendEvent(nil, &Shutdown{})
	if err != nil {
		t.Fatal(err)
	}
	if kind, err := PeekEventKind(event); err != nil || kind != KindShutdown {
		t.Errorf("the kind is %v (%v)", kind, err)
	}
	for _, b := range [][]byte{nil, {0xc0}, {0x90}, {0x91}, {0x91, 0xa0}, {0x91, 0xcd, 1, 0}} {
		if kind, err := PeekEventKind(b); err == nil {
			t.Errorf("%x is an event of kind %v", b, kind)
		}
	}
}

// Proves: SB-2
func TestLongDataIsRefusedWhereTheFrameMayBeLong(t *testing.T) {
	w := writer{}
	w.open(TypeChunk, 1)
	w.uint(0)
	w.uint(0)
	w.uint(1)
	w.bin("data", make([]byte, MaxChunkBytes+1), MaxFrameBytes)
	if _, err := DecodeMessage(w.b, FromSupervisor); ClassOf(err) != ClassTooLong {
		t.Errorf("a chunk above its limit: %v", err)
	}
}
