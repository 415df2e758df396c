package core

import (
	"bytes"
	"errors"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/supervisor/gate"
)

// everyInput has one input of each kind, with everything in it that can be.
func everyInput() []Input {
	at := At{CoreTS: 77}
	digest := ipc.Digest{9}
	r := ipc.Restriction{SizeFactor: ipc.Decimal{M: 5, E: -1}, LimitOnly: true}
	return []Input{
		&Start{At: at, Epoch: 3, RunID: "run", StrategyVersion: "1.2.3", PackageHash: digest, ConfigHash: ipc.Digest{8}, WallTS: -5, MSUPVersion: "v",
			Params: []byte("{}"), Init: []byte{1}},
		&Delivery{At: at, Step: 4, ProcessedTS: 5, TraceID: "t", Queued: true, Event: []byte{1, 2}},
		&Answer{At: at, Step: 4, Outcome: Late, Digest: digest, DurationNS: 6, Reason: ipc.ReasonDeadlineSoft, Body: []byte{3}},
		&Arrival{At: at, Cursor: ipc.Cursor{Source: "i", Epoch: 1, Seq: 2}, TraceID: "t", Event: []byte{4}},
		&Status{At: at, Key: "k", Status: ipc.StatusRejected, Digest: &digest, Reason: "NO_MARGIN"},
		&Status{At: at, Key: "k", Status: ipc.StatusNotSeen},
		&Approval{At: at, Key: "k", Approved: true, Reason: "OK"},
		&Release{At: at, Upto: 12, WallTS: 13},
		&Guard{At: at, Lift: true, Held: gate.Held{ID: "queue", Origin: gate.OriginQueue, Restriction: r, Reason: ipc.ReasonQueueCeiling,
			Release: gate.ReleaseCooldown, Since: 1, Until: 2}},
		&Command{At: at, Op: OpMode, Who: "op", Reason: ipc.ReasonOperatorMode, Restriction: r},
		&Config{At: at, Event: []byte{5}, Init: []byte{6}},
		&Tick{At: at, WallTS: 14},
		&Inform{At: at, Step: 9, Event: []byte{7}},
		&Computed{At: at, Step: 9, Ordinal: 2, Payload: []byte{8}},
		&Computed{At: at, Step: 9, Reason: ipc.ReasonComputeCongested},
		&Violation{At: at, Reason: ipc.ReasonLogCeiling, Limit: -1, Observed: 1 << 40, Unit: "lines"},
	}
}

// Proves: NN-7
func TestRecordsRoundTrip(t *testing.T) {
	var log []byte
	kinds := map[InputKind]bool{}
	for _, in := range everyInput() {
		log = AppendInput(log, in)
		kinds[in.InputKind()] = true
	}
	for k := KindStart; k <= KindViolation; k++ {
		if !kinds[k] {
			t.Errorf("input kind %d is not tried", k)
		}
	}
	for _, want := range everyInput() {
		got, rest, err := ReadInput(log)
		if err != nil {
			t.Fatalf("%T: %v", want, err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%T: %s", want, d)
		}
		log = rest
	}
	if len(log) != 0 {
		t.Errorf("%d bytes are left", len(log))
	}
	rapid.Check(t, func(t *rapid.T) {
		want := &Delivery{At: At{CoreTS: ipc.Nanos(rapid.Int64().Draw(t, "core_ts"))}, Step: ipc.Step(rapid.Uint64().Draw(t, "step")),
			ProcessedTS: ipc.Nanos(rapid.Int64().Draw(t, "processed_ts")), TraceID: ipc.TraceID(rapid.String().Draw(t, "trace")),
			Event: rapid.SliceOf(rapid.Byte()).Draw(t, "event")}
		got, _, err := ReadInput(AppendInput(nil, want))
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got, cmpopts.EquateEmpty()); d != "" {
			t.Fatal(d)
		}
	})
}

// Proves: NN-7
func TestBrokenRecordsAreRefused(t *testing.T) {
	for _, in := range everyInput() {
		whole := AppendInput(nil, in)
		for n := range whole {
			if _, _, err := ReadInput(whole[:n]); !errors.Is(err, ErrRecord) {
				t.Fatalf("%T cut to %d of %d bytes: %v", in, n, len(whole), err)
			}
		}
	}
	tick := AppendInput(nil, &Tick{})
	for what, b := range map[string][]byte{
		"unknown kind":       {0x93, 99, 0, 0},
		"too few fields":     append([]byte{0x92}, tick[1:]...),
		"no array":           {0xc0},
		"length bomb":        {0x97, byte(KindDelivery), 0, 1, 0, 0xa0, 0xc2, 0xc6, 0xff, 0xff, 0xff, 0xff},
		"digest of 3 bytes":  {0x96, byte(KindStatus), 0, 0xa0, 0, 0xc4, 3, 1, 2, 3, 0xa0},
		"exponent out of 8":  {0x96, byte(KindCommand), 0, 3, 0xa0, 0xa0, 0x95, 1, 0xd1, 0x01, 0x00, 0xc2, 0xc2, 0xc2},
		"factor with zeros":  {0x96, byte(KindCommand), 0, 3, 0xa0, 0xa0, 0x95, 10, 0, 0xc2, 0xc2, 0xc2},
		"restriction of two": {0x96, byte(KindCommand), 0, 3, 0xa0, 0xa0, 0x92, 1, 0},
	} {
		if in, _, err := ReadInput(b); !errors.Is(err, ErrRecord) {
			t.Errorf("%s: %+v, %v", what, in, err)
		}
	}
}

// What reads back is written as it was read: one input has one meaning, whoever wrote it.
// Proves: NN-7
func FuzzReadInput(f *testing.F) {
	for _, in := range everyInput() {
		f.Add(AppendInput(nil, in))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		in, rest, err := ReadInput(b)
		if err != nil {
			if !errors.Is(err, ErrRecord) {
				t.Fatal(err)
			}
			return
		}
		if len(rest) >= len(b) || !bytes.HasSuffix(b, rest) {
			t.Fatalf("%d of %d bytes are left", len(rest), len(b))
		}
		again, rest, err := ReadInput(AppendInput(nil, in))
		if err != nil || len(rest) != 0 || !reflect.DeepEqual(in, again) {
			t.Fatalf("%+v was written and read as %+v, %v", in, again, err)
		}
	})
}
