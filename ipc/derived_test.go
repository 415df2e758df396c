package ipc

import (
	"bytes"
	"slices"
	"testing"
)

// The first numbers of xoshiro256++ from the state 1, 2, 3, 4, as its authors' implementation gives them.
// Proves: RS-2
func TestRNGIsXoshiro256PlusPlus(t *testing.T) {
	g := RNG{s: [4]uint64{1, 2, 3, 4}}
	want := []uint64{
		41943041, 58720359, 3588806011781223, 3591011842654386, 9228616714210784205,
		9973669472204895162, 14011001112246962877, 12406186145184390807, 15849039046786891736, 10450023813501588000,
	}
	var got []uint64
	for range want {
		got = append(got, g.Uint64())
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, expected %v", got, want)
	}
	g = NewRNG(1, "i", 1)
	for range 10_000 {
		if f := g.Float64(); f < 0 || f >= 1 {
			t.Fatalf("random() gave %v", f)
		}
	}
	a, b, c, d := NewRNG(1, "i", 1), NewRNG(2, "i", 1), NewRNG(1, "j", 1), NewRNG(1, "i", 2)
	if x := a.Uint64(); x == b.Uint64() || x == c.Uint64() || x == d.Uint64() {
		t.Error("another seed, instance or step gives the same numbers")
	}
}

// Proves: GT-5
func TestKeysDifferInEverythingTheyAreMadeOf(t *testing.T) {
	owner := Owner{Address: Address{Bot: "b", Strategy: "s", Instance: "i"}, Lineage: Lineage{1}}
	others := []Owner{
		{Address: Address{Bot: "x", Strategy: "s", Instance: "i"}, Lineage: Lineage{1}},
		{Address: Address{Bot: "b", Strategy: "x", Instance: "i"}, Lineage: Lineage{1}},
		{Address: Address{Bot: "b", Strategy: "s", Instance: "x"}, Lineage: Lineage{1}},
		{Address: Address{Bot: "b", Strategy: "s", Instance: "i"}, Lineage: Lineage{2}},
		{Address: Address{Bot: "bs", Strategy: "", Instance: "i"}, Lineage: Lineage{1}},
	}
	keys := []Key{
		owner.StepKey(1, 0), owner.StepKey(1, 1), owner.StepKey(2, 0), owner.NamedKey("a"), owner.NamedKey("b"),
		owner.ObligationKey(1, 0, 0), owner.ObligationKey(1, 1, 0), owner.ObligationKey(1, 0, 1), owner.ObligationKey(2, 0, 0),
		owner.Shadow(1).StepKey(1, 0), owner.Shadow(2).StepKey(1, 0), owner.Shadow(1).NamedKey("a"), owner.Shadow(1).ObligationKey(1, 0, 0),
	}
	for _, o := range others {
		keys = append(keys, o.StepKey(1, 0))
	}
	seen := map[Key]int{}
	for i, k := range keys {
		if before, twice := seen[k]; twice || !k.Valid() {
			t.Errorf("key %d is %s, as key %d; valid: %t", i, k, before, k.Valid())
		}
		seen[k] = i
	}
	if owner.IntentKey(1, 0, "") != owner.StepKey(1, 0) || owner.IntentKey(1, 0, "a") != owner.NamedKey("a") ||
		owner.Shadow(1).IntentKey(1, 0, "") != owner.Shadow(1).StepKey(1, 0) || owner.Shadow(1).IntentKey(1, 0, "a") != owner.Shadow(1).NamedKey("a") {
		t.Error("IntentKey does not choose by the name")
	}
	for _, bad := range []Key{"", "0123456789abcdef0123456789abcde", "0123456789ABCDEF0123456789ABCDEF", "0123456789abcdef0123456789abcdeg"} {
		if bad.Valid() {
			t.Errorf("%q counts as a key", bad)
		}
	}
}

// Proves: RS-2
func TestAnswerDigestLeavesOutWhatDiffersBetweenRuns(t *testing.T) {
	make2 := func(change func(*Answer)) Digest {
		a := &Answer{
			Seq: 1, Step: 2, Intents: []*Intent{{Meta: IntentMeta{RunID: "r", TraceID: "t", Key: "k"}, Body: &NoOpIntent{Reason: "x"}}},
			Updates: &StateUpdates{Delta: map[string][]byte{"a": {1}, "b": nil}}, Timers: []TimerRequest{{Op: TimerSet, TimerID: "t"}},
			Compute: []ComputeRequest{{Task: "c"}}, Telemetry: []Telemetry{{Name: "n", Value: 1}}, Fault: &Fault{Kind: "exception", Message: "m"},
		}
		change(a)
		d, err := AnswerDigest(a)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	base := make2(func(*Answer) {})
	for name, change := range map[string]func(*Answer){
		"seq": func(a *Answer) { a.Seq = 9 }, "step": func(a *Answer) { a.Step = 9 },
		"run_id": func(a *Answer) { a.Intents[0].Meta.RunID = "x" }, "trace_id": func(a *Answer) { a.Intents[0].Meta.TraceID = "x" },
		"message": func(a *Answer) { a.Fault.Message = "x" }, "traceback": func(a *Answer) { a.Fault.Traceback = "x" },
	} {
		if make2(change) != base {
			t.Errorf("another %s changes the digest", name)
		}
	}
	for name, change := range map[string]func(*Answer){
		"key": func(a *Answer) { a.Intents[0].Meta.Key = "x" }, "body": func(a *Answer) { a.Intents[0].Body = &NoOpIntent{} },
		"delta": func(a *Answer) { a.Updates.Delta["b"] = []byte{} }, "checkpoint": func(a *Answer) { a.Updates.Checkpoint = true },
		"timer": func(a *Answer) { a.Timers[0].DueTS = 1 }, "compute": func(a *Answer) { a.Compute[0].TTL = 1 },
		"telemetry": func(a *Answer) { a.Telemetry[0].Value = 2 }, "fault": func(a *Answer) { a.Fault.Kind = "state" },
	} {
		if make2(change) == base {
			t.Errorf("another %s does not change the digest", name)
		}
	}
	if d, err := AnswerDigest(&Answer{Seq: 5, Step: 6}); err != nil || d != EmptyAnswerDigest {
		t.Errorf("the empty answer's digest is %s (%v)", d, err)
	}
	if d, err := AnswerDigest(&Answer{Intents: []*Intent{nil}}); err == nil {
		t.Errorf("an answer with a nil intent has the digest %s", d)
	}
}

// Proves: GT-5
func TestIntentDigestIsOfTheContent(t *testing.T) {
	intent := func(change func(*Intent)) Digest {
		i := &Intent{Meta: IntentMeta{Bot: "b", RunID: "r", TraceID: "t", Key: "k"}, Body: &CancelIntent{Instrument: "i", TargetKey: "k"}}
		change(i)
		d, err := IntentDigest(i)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	base := intent(func(*Intent) {})
	if intent(func(i *Intent) { i.Meta.RunID, i.Meta.TraceID, i.Meta.Key = "x", "y", "z" }) != base {
		t.Error("run, trace or key change the digest")
	}
	if intent(func(i *Intent) { i.Meta.Bot = "x" }) == base || intent(func(i *Intent) { i.Body.(*CancelIntent).TargetKey = "x" }) == base {
		t.Error("the content does not change the digest")
	}
	if d, err := IntentDigest(nil); err == nil {
		t.Errorf("no intent has the digest %s", d)
	}
}

// Proves: RS-2
func TestChainDependsOnEveryRow(t *testing.T) {
	start := ChainStart(Lineage{1})
	head := ChainNext(start, 1, 2, []byte("payload"))
	for name, other := range map[string]Digest{
		"lineage": ChainNext(ChainStart(Lineage{2}), 1, 2, []byte("payload")), "row number": ChainNext(start, 2, 2, []byte("payload")),
		"kind": ChainNext(start, 1, 3, []byte("payload")), "payload": ChainNext(start, 1, 2, []byte("Payload")),
	} {
		if other == head || bytes.Equal(other[:], start[:]) {
			t.Errorf("another %s gives the same head", name)
		}
	}
}
