package main

import (
	"bytes"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/msup/msup/sandbox/process"
	"github.com/msup/msup/sandbox/wasm"
)

func TestMain(m *testing.M) {
	process.Init(wasm.Programs()...) // this binary is also the sandbox's second stage
	initVictim()                     // and the supervisor that is killed
	initHelper()                     // and the helper
	os.Exit(m.Run())
}

// wanted are the figures that a run must have, one for each line of the performance budget and of what is printed beside it.
var wanted = []string{
	"echo p50, one cpu", "durable event→intent released p50 ÷ (echo + fdatasync)",
	"durable orders ÷ SQLite's group commit, 1 writers", "durable orders ÷ SQLite's group commit, 8 writers",
	"durable orders ÷ SQLite's group commit, 64 writers", "durable orders ÷ SQLite's group commit, 512 writers",
	"persist p99 of 8 writers: emptied ÷ only grows", "ledger: insert of one order p50 at 100000 rows", "ledger: lookup of any intent p50 at 100000 rows",
	"wasm call, an event that is answered with an order, alone: runner ÷ bare", "wasm call, an event in a batch of 256: runner ÷ bare",
	"write amplification: bytes to disk ÷ bytes of inputs", "bytes to disk per day at 100000 delivered events/s",
	"lock step of two instances on the synthetic market",
}

// wantedOfKind are the figures that there must be for every kind of runner; %s is its name.
var wantedOfKind = []string{
	"%s event→intent p50 ÷ echo, one cpu", "%s event→intent p99 ÷ echo p99, one cpu", "%s publish→offer p50 ÷ echo, one cpu",
	"%s research throughput, batches of 256, no orders, one cpu", "%s research throughput, batches of 256, an order every 100 events, one cpu",
	"cold start of %s to the answer of on_init", "cold start of %s, spawn: the walls stand", "cold start of %s, connect: the program runs",
	"cold start of %s, hello: strategy loaded", "cold start of %s, init: on_init answered", "kill -9 of a %s runner → next intent",
	"kill -9 of the supervisor, 2 %s instances → first intent", "kill -9 of the supervisor, 2 %s instances → intents of all",
	"memory of an idle %s instance, 2 instances: runner", "memory of an idle %s instance, 3 instances: share of the supervisor",
}

// wantedOfLanguage are those of kinds that differ by more than how long their runner takes to start.
var wantedOfLanguage = []string{
	"checkpoint of 1 MB, %s: the pump waits for the state", "checkpoint of 1 MB, %s: written and verified beside the pump",
	"restore from a checkpoint of 1 MB, %s", "restore of %s by the replay of 300 steps",
}

// wantedOfContainer are those of kinds in containers.
var wantedOfContainer = []string{
	"kill -9 of a %s runner → next intent, nothing prepared", "memory of an idle %s instance, 3 instances: shim",
	"memory of an idle %s instance, 2 instances: runner, shim, and both again for the next start",
}

// wantedOfLanes are those of the kinds that are measured beside a compute lane that burns.
var wantedOfLanes = []string{
	"%s event→intent p99, alone", "%s event→intent p99 ÷ alone, beside 2 hogs a processor in the compute lane",
	"%s event→intent p99.9 ÷ alone, beside a compute runner that is killed and started",
}

// everyWanted are all of them.
func everyWanted() []string {
	all := slices.Clone(wanted)
	for _, row := range kindTable {
		lists := [][]string{wantedOfKind, wantedOfLanguage}
		if strings.HasPrefix(row.word, "container") {
			lists[1] = wantedOfContainer
		}
		if row.word == "python" || row.word == "wasm" {
			lists = append(lists, wantedOfLanes)
		}
		for _, name := range slices.Concat(lists...) {
			all = append(all, strings.ReplaceAll(name, "%s", row.name))
		}
	}
	return all
}

// Every section runs for real, in small; the figures of so few rounds mean nothing and are not looked at.
func TestQuickRunHasEveryFigure(t *testing.T) {
	dir := t.TempDir()
	out := filepath.Join(dir, "deep", "bench.json")
	var stdout, stderr bytes.Buffer
	if err := command(t.Context(), []string{"-quick", "-out", out, "-disk", dir}, &stdout, &stderr); err != nil {
		t.Fatalf("%v\n%s", err, &stderr)
	}
	data, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	var list []map[string]any
	if err := json.Unmarshal(data, &list); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, one := range list {
		if len(one) != 5 {
			t.Errorf("%v has %d keys, want name, value, unit, floor, goal", one, len(one))
		}
		name, _ := one["name"].(string)
		value, isNumber := one["value"].(float64)
		if unit, _ := one["unit"].(string); name == "" || unit == "" || !isNumber || value < 0 {
			t.Errorf("%v is no figure", one)
		}
		for _, key := range []string{"floor", "goal"} {
			if _, there := one[key]; !there {
				t.Errorf("%s lacks %s", name, key)
			}
		}
		names = append(names, name)
		if !strings.Contains(stdout.String(), name) {
			t.Errorf("%s is not in the table", name)
		}
	}
	for _, name := range everyWanted() {
		if !slices.Contains(names, name) {
			t.Errorf("%q was not measured", name)
		}
	}
	left, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(left) != 1 {
		t.Errorf("left behind: %v (%v)", left, err)
	}
}

func TestUnknownSectionIsRefused(t *testing.T) {
	err := command(t.Context(), []string{"-only", "latency,speed"}, &bytes.Buffer{}, &bytes.Buffer{})
	if err == nil || !strings.Contains(err.Error(), `"speed"`) || !strings.Contains(err.Error(), "latency") {
		t.Errorf("%v does not name the section and those that there are", err)
	}
}

func TestUnknownKindOfRunnerIsRefused(t *testing.T) {
	err := command(t.Context(), []string{"-runners", "wasm,jail"}, &bytes.Buffer{}, &bytes.Buffer{})
	if err == nil || !strings.Contains(err.Error(), `"jail"`) || !strings.Contains(err.Error(), "container-image") {
		t.Errorf("%v does not name the kind and those that there are", err)
	}
}

func TestFiguresThatAreNoneAreRefused(t *testing.T) {
	for _, value := range []float64{math.NaN(), math.Inf(1)} {
		f := &figures{}
		f.add("nothing", value, "µs", 0, "")
		if f.check() == nil {
			t.Errorf("%v was taken as a measurement", value)
		}
	}
	twice := &figures{}
	twice.add("same", 1, "µs", 0, "")
	twice.add("same", 2, "µs", 0, "")
	if twice.check() == nil {
		t.Error("two figures have one name")
	}
}

func TestQuantilesAndMedian(t *testing.T) {
	var s sample
	for i := range 100 {
		s = append(s, int64(100-i)*1000)
	}
	if s.p50() != 51 || s.p99() != 100 {
		t.Errorf("p50 %v, p99 %v of 1 to 100 µs", s.p50(), s.p99())
	}
	if m := median([]float64{9, 1, 3, 2}); m != 2.5 {
		t.Errorf("the median of 9 1 3 2 is %v", m)
	}
	if !math.IsNaN(sample(nil).p50()) || !math.IsNaN(median(nil)) {
		t.Error("nothing has a median")
	}
	if got := rounded(12345.678); got != 12350 {
		t.Errorf("12345.678 rounded to %v", got)
	}
}
