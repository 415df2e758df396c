package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/statedb"
	"github.com/msup/msup/supervisor/capsule"
	"github.com/msup/msup/supervisor/core"
)

// noPython makes a place a machine without an interpreter.
func (p *place) noPython() { p.env = append(p.env, "MSUP_PYTHON="+p.path("no-python3")) }

// trades makes the place's deployment one of another example, in a copy of its folder that holds the named files.
func (p *place) trades(example string, files map[string]string) {
	p.t.Helper()
	if err := os.MkdirAll(p.path(example), 0o700); err != nil {
		p.t.Fatal(err)
	}
	for name, from := range files {
		text, err := os.ReadFile(from)
		if err != nil {
			p.t.Fatal(err)
		}
		p.write(example+"/"+name, string(text))
	}
	p.write("msup.toml", fmt.Sprintf("[[bot]]\nid = \"desk\"\n[[strategy]]\npackage = %q\nbot = \"desk\"\n", example))
}

// module compiles an example to Wasm, as its README says, and returns the file.
func module(t *testing.T, example string) string {
	t.Helper()
	c := exec.CommandContext(t.Context(), "../../scripts/wasm-cargo", "--locked", "--quiet", "--manifest-path", "../../examples/"+example+"/Cargo.toml")
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("compiling %s: %v\n%s", example, err, out)
	}
	return "../../examples/" + example + "/target/wasm/wasm32-wasip1/release/" + example + ".wasm"
}

func (p *place) listed(state string) listing {
	p.t.Helper()
	var l listing
	if err := json.Unmarshal([]byte(p.msup(0, "state", "list", state, "--json")), &l); err != nil {
		p.t.Fatal(err)
	}
	return l
}

// A Wasm package runs, is packed into a capsule, and replays elsewhere, all on machines that have no Python.
//
// Proves: NN-1, NN-7, BC-H
func TestCapsuleOfAWasmPackageNeedsNoPython(t *testing.T) {
	p := newPlace(t)
	p.trades("ema_cross_rs", map[string]string{"strategy.toml": "../../examples/ema_cross_rs/strategy.toml", "strategy.wasm": module(t, "ema_cross_rs")})
	p.noPython()
	p.msup(0, "feed", "generate", "market.jsonl", "--seed", "7", "--events", "3000", "-q")
	p.run(0, "st", 1500)
	p.run(0, "st", 3000)
	p.says(p.msup(0, "replay", "--state", "st"), "identical")
	one := p.listed("st").Instances[0]
	for file, from := range map[string]ipc.Step{"early.capsule": 2, "late.capsule": one.Checkpoints[1].Step + 5} {
		p.msup(0, "capsule", one.Address, "--state", "st", "--from", fmt.Sprint(from), "--to", fmt.Sprint(one.Step), "-o", file)
		body, err := os.ReadFile(p.path(file))
		if err != nil {
			t.Fatal(err)
		}
		other := newPlace(t)
		other.noPython()
		other.write(file, string(body))
		out := other.msup(0, "replay", file)
		other.says(out, "identical: steps ", fmt.Sprintf(" to %d", one.Step))
		if strings.Contains(out, "environment:") {
			t.Errorf("the same machine is another one: %s", out)
		}
		if entries, err := os.ReadDir(other.path("store/packages")); err == nil && len(entries) > 0 {
			t.Errorf("the replay left %v in the store", entries)
		}
	}
	// A Python strategy says what is missing, where it is needed.
	python := newPlace(t)
	python.noPython()
	python.says(python.msup(6, "build", mustAbs(t, "../../examples/ema_cross")), "no-python3")
}

func mustAbs(t *testing.T, path string) string {
	t.Helper()
	abs, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return abs
}

// A capsule that was recorded elsewhere says what was different there before it says that an answer is.
//
// Proves: NN-7, BC-H, OB-9
func TestADifferentEnvironmentIsNamedBeforeADivergence(t *testing.T) {
	p := newPlace(t)
	p.trades("ema_cross_rs", map[string]string{"strategy.toml": "../../examples/ema_cross_rs/strategy.toml", "strategy.wasm": module(t, "ema_cross_rs")})
	p.noPython()
	p.msup(0, "feed", "generate", "market.jsonl", "--seed", "7", "--events", "1500", "-q")
	p.run(0, "st", 1500)
	v, err := statedb.OpenView(p.path("st"))
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	r, err := v.OpenInstance(v.Addresses()[0])
	if err != nil {
		t.Fatal(err)
	}
	// made writes a capsule of all steps as another machine would have; forge changes the recorded inputs.
	made := func(name string, forge func(in core.Input)) {
		t.Helper()
		parts, err := collect(r, 1, p.listed("st").Instances[0].Step)
		if err == nil {
			err = addPackage(parts, &capsuleFlags{store: p.path("store")})
		}
		if err != nil {
			t.Fatal(err)
		}
		m := &parts.Manifest
		m.Environment.CPU, m.Versions.Wasm, m.Versions.Recorded = "Another Processor", "v0.9.0", "0.0.1"
		m.Environment.CPUFeatures = append(m.Environment.CPUFeatures, "zz_fma9")
		var inputs []byte
		last := m.LastInput
		no := m.FirstInput
		err = walkInputs(r, m.FirstInput, func(in core.Input, _ []byte) error {
			if no > last {
				return errDone
			}
			no++
			forge(in)
			inputs = core.AppendInput(inputs, in)
			return nil
		})
		if err != nil && !errors.Is(err, errDone) {
			t.Fatal(err)
		}
		parts.Inputs = capsule.EncodeInputs(m.FirstInput, last, inputs)
		var b bytes.Buffer
		if _, err := capsule.Write(&b, parts); err != nil {
			t.Fatal(err)
		}
		p.write(name, b.String())
	}
	made("same.capsule", func(core.Input) {})
	named := []string{"environment: the Wasm engine was v0.9.0", "environment: msup was 0.0.1", "environment: the processor was Another Processor",
		"environment: processor features was with zz_fma9"}
	p.says(p.msup(0, "replay", "same.capsule"), append(named, "identical")...)
	changed := false
	made("other.capsule", func(in core.Input) {
		if a, ok := in.(*core.Answer); ok && len(a.Body) > 0 && !changed {
			a.Digest[0] ^= 1
			changed = true
		}
	})
	out := p.msup(8, "replay", "other.capsule")
	p.says(out, append(named, "DIFFERENT", "the environment is another one (the Wasm engine was v0.9.0", "look there first")...)
	if strings.Index(out, "environment:") > strings.Index(out, "DIFFERENT") {
		t.Errorf("the divergence comes first:\n%s", out)
	}
	var said capsuleReplay
	if err := json.NewDecoder(strings.NewReader(p.msup(8, "replay", "other.capsule", "--json"))).Decode(&said); err != nil {
		t.Fatal(err)
	}
	if len(said.Mismatches) < 4 || said.Verification == nil || said.Verification.Identical {
		t.Errorf("it says %+v", said)
	}
}

// Installed dependencies come along where that is asked for; else the capsule says by their hash what is missing.
//
// Proves: NN-7, BC-H, BC-U
func TestCapsuleWithItsLayer(t *testing.T) {
	p := newPlace(t)
	p.trades("mean_reversion", map[string]string{"strategy.toml": "../../examples/mean_reversion/strategy.toml", "strategy.py": "../../examples/mean_reversion/strategy.py",
		"requirements.lock": "../../examples/mean_reversion/requirements.lock"})
	p.msup(0, "feed", "generate", "market.jsonl", "--seed", "7", "--events", "2000", "-q")
	p.run(0, "st", 2000)
	one := p.listed("st").Instances[0]
	pack := []string{"capsule", one.Address, "--state", "st", "--from", "2", "--to", fmt.Sprint(one.Step), "-o"}
	p.says(p.msup(0, append(pack, "bare.capsule")...), "are not in it", "--with-layer")
	p.msup(0, append(pack, "full.capsule", "--with-layer")...)
	other := newPlace(t)
	for _, name := range []string{"bare.capsule", "full.capsule"} {
		if err := os.Rename(p.path(name), other.path(name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.RemoveAll(p.dir); err != nil { // nothing of the first machine is left
		t.Fatal(err)
	}
	other.says(other.msup(3, "replay", "bare.capsule"), "its layer", "neither here nor did it come along", "bring the layer too")
	other.says(other.msup(0, "replay", "full.capsule"), "identical: steps 1 to ")
	if entries, err := os.ReadDir(other.path("store/packages")); err == nil && len(entries) > 0 {
		t.Errorf("the replay left %v in the store", entries)
	}
}
