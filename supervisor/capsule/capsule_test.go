package capsule

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/supervisor"
	"github.com/msup/msup/supervisor/core"
)

var (
	address = ipc.Address{Bot: "bot", Strategy: "strat", Instance: "main"}
	lineage = ipc.Lineage{1, 2, 3}
	pkg     = ipc.Digest{9}
)

func start() *core.Start {
	return &core.Start{Epoch: 1, RunID: "run", PackageHash: pkg, Params: []byte(`{"Policy":{}}`), Init: []byte{1}}
}

func event(t testing.TB) []byte {
	t.Helper()
	b, err := ipc.AppendEvent(nil, &ipc.ManualSignal{Operator: "o"})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// parts makes a small capsule of steps 3 and 4, behind a checkpoint at step 2 or from the log's beginning.
func parts(t testing.TB, withCheckpoint bool) *Parts {
	t.Helper()
	p := &Parts{Descriptor: []byte("[strategy]\n"), Config: []byte("{}\n"), PackageManifest: []byte("{}"), Code: Bytes(bytes.Repeat([]byte("code"), 300)),
		LayerManifest: []byte("{}"), Layer: func(w io.Writer) error { _, err := io.WriteString(w, "layer"); return err }}
	m := &p.Manifest
	*m = Manifest{Bot: address.Bot, Strategy: address.Strategy, Instance: address.Instance, Lineage: lineage.String(), AskedFrom: 3, AskedTo: 4, ToStep: 4,
		FromStep: 1, FirstInput: 1, Package: PackageIdentity{Hash: pkg.String(), HasLayer: true}, RunID: "run",
		Versions: Versions{MSUP: "1", ABI: 1}, Environment: Environment{OS: "linux", CPUFeatures: []string{"avx"}}}
	step := ipc.Step(1)
	var inputs []byte
	if withCheckpoint {
		s := core.New(address, lineage)
		for _, in := range []core.Input{start(), &core.Delivery{Step: 1, Event: event(t)}, &core.Answer{Step: 1, Outcome: core.Applied},
			&core.Delivery{Step: 2, Event: event(t)}, &core.Answer{Step: 2, Outcome: core.Applied}} {
			if _, err := s.Step(in); err != nil {
				t.Fatal(err)
			}
		}
		var err error
		if p.CheckpointCore, err = s.Marshal(); err != nil {
			t.Fatal(err)
		}
		p.CheckpointState = []byte("state of step 2")
		m.Checkpoint = &CheckpointPlace{Step: 2, InputNo: 5, PackageHash: pkg.String(), ConfigHash: pkg.String(), StateVersion: 7}
		m.FirstInput, m.FromStep, step = 6, 3, 3
	} else {
		inputs = core.AppendInput(inputs, start())
		m.LastInput++
	}
	m.LastInput += m.FirstInput - 1
	for ; step <= 4; step++ {
		inputs = core.AppendInput(inputs, &core.Delivery{Step: step, Event: []byte{1, 2, 3}})
		inputs = core.AppendInput(inputs, &core.Answer{Step: step, Outcome: core.Applied})
		m.LastInput += 2
	}
	p.Inputs = EncodeInputs(m.FirstInput, m.LastInput, inputs)
	for n := range 3 {
		p.Intents = append(p.Intents, Intent{Key: ipc.Key(fmt.Sprintf("%032x", n)), Step: 4, Ordinal: uint32(n), Verdict: 1, RequestDigest: pkg.String(),
			Digest: ipc.Digest{byte(n)}.String(), Bytes: []byte{1}, Statuses: []StatusAt{{Status: "approved", CoreTS: 5}}})
	}
	return p
}

func write(t testing.TB, p *Parts) []byte {
	t.Helper()
	var b bytes.Buffer
	if _, err := Write(&b, p); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func reopen(b []byte) (*Capsule, error) { return Open(bytes.NewReader(b), int64(len(b))) }

// Proves: NN-7, BC-H
func TestSamePartsGiveTheSameBytesAndComeBack(t *testing.T) {
	for _, withCheckpoint := range []bool{false, true} {
		var b bytes.Buffer
		sum, err := Write(&b, parts(t, withCheckpoint))
		if err != nil {
			t.Fatal(err)
		}
		if again := write(t, parts(t, withCheckpoint)); !bytes.Equal(again, b.Bytes()) {
			t.Error("written twice, two capsules")
		}
		c, err := reopen(b.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		if c.SHA256 != sum || c.Manifest.Address() != address || (c.Core != nil) != withCheckpoint || (c.Start == nil) != withCheckpoint || len(c.Intents) != 3 {
			t.Errorf("got %+v", c)
		}
		log := c.Log()
		var got []byte
		first := ipc.InputNo(0)
		if err := log.ReadInputs(1, func(_, _ ipc.InputNo, _ []byte) error { return nil }); errors.Is(err, supervisor.ErrPruned) != withCheckpoint {
			t.Errorf("from input 1: %v", err)
		}
		err = log.ReadInputs(c.Manifest.FirstInput, func(f, l ipc.InputNo, payload []byte) error {
			if first, got = f, payload; l != c.Manifest.LastInput {
				t.Errorf("last input %d", l)
			}
			return nil
		})
		if err != nil || first != c.Manifest.FirstInput || !bytes.Equal(got, parts(t, withCheckpoint).Inputs[inputsHeader:]) {
			t.Errorf("inputs from %d: %v", first, err)
		}
		i, ok, err := log.Intent(ipc.Key(fmt.Sprintf("%032x", 2)))
		if want := (supervisor.RecordedIntent{Step: 4, Ordinal: 2, Verdict: 1, RequestDigest: pkg, Digest: ipc.Digest{2}}); err != nil || !ok || i != want {
			t.Errorf("intent %+v, %v, %v", i, ok, err)
		}
		if _, ok, err := log.Intent("0"); ok || err != nil {
			t.Errorf("an unknown key: %v, %v", ok, err)
		}
		slots, problems := log.Checkpoints()
		if len(problems) > 0 || (len(slots) == 1) != withCheckpoint || withCheckpoint && string(slots[0].State) != "state of step 2" {
			t.Errorf("checkpoints %+v, %v", slots, problems)
		}
		_, code, _, layer, err := c.Package()
		if text, rerr := io.ReadAll(layer); err != nil || rerr != nil || string(text) != "layer" || code == nil {
			t.Errorf("layer %q, %v, %v", text, err, rerr)
		}
		if _, err := log.NextEpoch(ipc.Nonce{}, 0); err == nil || log.SaveCheckpoint(supervisor.Checkpoint{}) == nil {
			t.Error("a capsule was written to")
		}
	}
}

// Every single byte of a capsule matters: changed, cut off or added, it is refused, with a place, a cause and a remedy.
//
// Proves: ST-4, BC-H
func TestEveryDamagedByteIsFound(t *testing.T) {
	whole := write(t, parts(t, true))
	if _, err := reopen(whole); err != nil {
		t.Fatal(err)
	}
	seed := rand.Uint64()
	if s := os.Getenv("CAPSULE_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("seed %d (repeat with CAPSULE_SEED=%d)", seed, seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	refuses := func(b []byte, what string, at int) {
		t.Helper()
		_, err := reopen(b)
		var e *Error
		if !errors.As(err, &e) || e.Place == "" || e.Cause == "" || e.Remedy == "" {
			t.Fatalf("%s at %d: %v", what, at, err)
		}
	}
	for at := range whole {
		b := bytes.Clone(whole)
		b[at] ^= byte(1 + rng.IntN(255))
		refuses(b, "flip", at)
		if at+8 <= len(whole) && at%7 == 0 {
			for i := range 8 {
				b[at+i] ^= byte(1 + rng.IntN(255))
			}
			b[at] = whole[at] ^ 0x80
			refuses(b, "flip of eight", at)
		}
		if at%13 == 0 {
			refuses(whole[:at], "cut", at)
		}
	}
	refuses(append(bytes.Clone(whole), 0), "longer", len(whole))
	refuses(append(bytes.Clone(whole), make([]byte, 1024)...), "longer", len(whole))
	t.Logf("%d bytes, each changed", len(whole))
}

// Who edits a part and writes a manifest that fits is still found where the parts do not fit each other.
//
// Proves: ST-4, NN-7
func TestPartsThatDoNotBelongTogetherAreRefused(t *testing.T) {
	for name, c := range map[string]struct {
		edit func(p *Parts)
		says string
	}{
		"another package":         {func(p *Parts) { p.Manifest.Package.Hash = ipc.Digest{8}.String() }, "answered by package"},
		"fewer steps":             {func(p *Parts) { p.Manifest.ToStep = 3 }, "ends at input"},
		"another first input":     {func(p *Parts) { p.Manifest.FirstInput = 7 }, "stands at input 5"},
		"inputs cut off":          {func(p *Parts) { p.Inputs = p.Inputs[:len(p.Inputs)-3] }, "inputs.bin at byte"},
		"inputs of others":        {func(p *Parts) { p.Inputs = EncodeInputs(1, 2, nil) }, "does not hold inputs 6 to"},
		"no checkpoint":           {func(p *Parts) { p.CheckpointCore, p.CheckpointState = nil, nil }, "a checkpoint that is not there"},
		"half a checkpoint":       {func(p *Parts) { p.CheckpointState = nil }, "does not list checkpoint"},
		"a foreign core":          {func(p *Parts) { p.CheckpointCore = []byte("{}") }, "checkpoint.core"},
		"another lineage":         {func(p *Parts) { p.Manifest.Lineage = ipc.Lineage{4}.String() }, "checkpoint.core"},
		"no lineage":              {func(p *Parts) { p.Manifest.Lineage = "x" }, "lineage"},
		"no address":              {func(p *Parts) { p.Manifest.Bot = "" }, "instance"},
		"an intent of later":      {func(p *Parts) { p.Intents[1].Step = 5 }, "intents.jsonl line 2"},
		"an intent twice":         {func(p *Parts) { p.Intents[1].Key = p.Intents[0].Key }, "intents.jsonl line 2"},
		"an intent's digest":      {func(p *Parts) { p.Intents[2].Digest = "00" }, "intents.jsonl line 3"},
		"a descriptor left out":   {func(p *Parts) { p.Code = nil }, "does not list package.tar"},
		"a layer without content": {func(p *Parts) { p.Layer = nil }, "does not list layer.tar"},
	} {
		p := parts(t, true)
		c.edit(p)
		_, err := reopen(write(t, p))
		var e *Error
		if !errors.As(err, &e) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: got %v, want %q", name, err, c.says)
		}
	}
	newer := bytes.Replace(write(t, parts(t, true)), []byte(`"format": 1`), []byte(`"format": 2`), 1)
	if _, err := reopen(newer); err == nil || !strings.Contains(err.Error(), "format 2, this msup reads 1") {
		t.Errorf("a newer format: %v", err)
	}
	if _, err := reopen([]byte("no capsule at all")); err == nil || !strings.Contains(err.Error(), "it is no capsule") {
		t.Errorf("no capsule: %v", err)
	}
}

// A part that changes while it is written must not become a capsule that nobody can open.
//
// Proves: NN-7
func TestContentThatChangesIsRefused(t *testing.T) {
	p := parts(t, false)
	n := 0
	p.Code = func(w io.Writer) error { n++; _, err := w.Write(make([]byte, n)); return err }
	if _, err := Write(io.Discard, p); err == nil {
		t.Error("it was written")
	}
}

// Proves: NN-7, BC-H
func TestMismatchesAreNamedWithTheFatalOnesFirst(t *testing.T) {
	m := Manifest{Versions: Versions{ABI: 1, EventContract: 1, IntentContract: 1, Python: "3.11.2", SDK: "a", Wasm: "v1", Recorded: "1"},
		Environment: Environment{OS: "linux", Arch: "amd64", CPU: "x", CPUFeatures: []string{"avx", "sse"}, Kernel: "6.1"}}
	same := m.Versions
	same.MSUP = "1"
	if got := m.Compare(same, m.Environment); len(got) > 0 {
		t.Errorf("nothing differs, got %v", got)
	}
	got := m.Compare(Versions{MSUP: "2", ABI: 2, EventContract: 1, IntentContract: 1, Python: "3.12.0", SDK: "b", Wasm: "v2"},
		Environment{OS: "linux", Arch: "arm64", CPU: "y", CPUFeatures: []string{"avx2", "sse"}, Kernel: "6.2"})
	var whats []string
	for i, d := range got {
		whats = append(whats, d.What)
		if d.Fatal != (i == 0) {
			t.Errorf("%s: fatal %v", d.What, d.Fatal)
		}
	}
	want := "the contract, the platform, Python, the SDK, the Wasm engine, msup, the processor, processor features, processor features, the kernel"
	if strings.Join(whats, ", ") != want {
		t.Errorf("got %v", got)
	}
	if text := got[7].String(); text != "processor features was with avx, is without" {
		t.Errorf("got %q", text)
	}
	m.Versions.Python, m.Versions.SDK, m.Versions.Wasm = "", "", "" // a package that needs no Python
	if got := m.Compare(Versions{MSUP: "1", ABI: 1, EventContract: 1, IntentContract: 1, Python: "3.12.0", SDK: "b", Wasm: "v2"}, m.Environment); len(got) > 0 {
		t.Errorf("what the package does not use was compared: %v", got)
	}
	here, err := Here()
	if err != nil || here.Kernel == "" || len(here.CPUFeatures) == 0 {
		t.Errorf("here is %+v, %v", here, err)
	}
}

// FuzzOpen gives the decoder anything, and anything behind a manifest that fits.
func FuzzOpen(f *testing.F) {
	f.Add(write(f, parts(f, true)), []byte(nil), []byte(nil))
	f.Add([]byte("manifest.json"), parts(f, false).Inputs, []byte("{}\n"))
	intents, err := json.Marshal(parts(f, false).Intents[0])
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte{}, parts(f, true).Inputs, intents)
	f.Fuzz(func(t *testing.T, raw, inputs, core []byte) {
		if c, err := reopen(raw); err == nil {
			if _, problems := c.Log().Checkpoints(); c.Core == nil && len(problems) > 0 {
				t.Error(problems)
			}
		}
		p := parts(t, true)
		p.Inputs, p.CheckpointCore = inputs, core
		var b bytes.Buffer
		if _, err := Write(&b, p); err != nil {
			t.Fatal(err)
		}
		c, err := reopen(b.Bytes())
		var e *Error
		if err != nil && !errors.As(err, &e) {
			t.Errorf("an error without place: %v", err)
		}
		if err == nil && c.Manifest.LastInput < c.Manifest.FirstInput {
			t.Error("no inputs")
		}
	})
}
