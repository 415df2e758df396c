package descriptor

import (
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/Masterminds/semver/v3"
	"github.com/msup/msup/ipc"
)

// Load reads the descriptor of the package in folder dir. The error is Findings: everything that is wrong.
func Load(dir string) (*Descriptor, error) {
	file := filepath.Join(dir, FileName)
	data, fs := readFile(file, "the descriptor", "a package needs a "+FileName+"; `msup new NAME` makes one")
	if fs != nil {
		return nil, fs
	}
	return Parse(file, data)
}

// Parse decodes and validates a descriptor; file is for messages. The error is Findings.
func Parse(file string, data []byte) (*Descriptor, error) {
	doc, fs := parse(file, "the descriptor", data)
	if fs != nil {
		return nil, fs
	}
	w := newWalker(doc)
	root := w.table("", doc.root, &strategyTable)
	d := w.descriptor(root)
	d.File = file
	if err := w.findings.sorted().Err(); err != nil {
		return nil, err
	}
	return d, nil
}

// descriptor binds checked values to the type and makes the checks that concern several of them.
func (w *walker) descriptor(root section) *Descriptor {
	s := root.table("strategy")
	d := &Descriptor{
		Strategy:    ipc.StrategyID(s.str("id")),
		Version:     s.str("version"),
		Runtime:     RuntimeKind(s.str("runtime")),
		Entry:       s.str("entry"),
		Model:       InstanceModel(s.str("instance_model")),
		Lane:        laneOf(s.str("lane")),
		Isolation:   Isolation(s.str("isolation")),
		Description: s.str("description"),
		Resources:   resourcesOf(root.table("resources")),
		Risk:        riskOf(root.table("risk")),
		Contracts:   Contracts{uint32(root.table("contracts").num("events")), uint32(root.table("contracts").num("intents"))},
		Telemetry:   slices.Sorted(slices.Values(root.table("telemetry").strs("names"))),
		Python:      Python{Lock: root.table("python").str("lock")},
	}
	if w.ok(s.at("version")) && s.given["version"] {
		if _, err := semver.StrictNewVersion(d.Version); err != nil {
			w.add(CodeFormat, s.at("version"), fmt.Sprintf("%s is not a SemVer version: %v", quote(d.Version), err), `write version = "1.0.0"`)
		}
	}
	d.Capabilities = w.capabilities(root.table("capabilities"), d.Lane)
	d.Services = w.services(root, &d.Capabilities)
	d.Compute = w.compute(root, d)
	d.Ladders, d.Breaker, d.SLO = w.ladders(root), w.breaker(root.table("breaker")), w.slo(root.table("slo"))
	d.State = w.statePolicy(root.table("state"))
	d.Warmup = w.warmup(root.table("warmup"))
	d.Provenance = provenanceOf(root.table("provenance"))
	d.Config = w.configSchema(root)
	w.checkRuntime(s, d, root.table("python"))
	w.checkResources(root.table("resources"), d.Resources)
	return d
}

func laneOf(name string) ipc.Lane {
	if name == ipc.LaneCompute.String() {
		return ipc.LaneCompute
	}
	return ipc.LaneLL
}

func provenanceOf(s section) Provenance {
	return Provenance{Source: s.str("source"), Revision: s.str("revision"), Builder: s.str("builder")}
}

func (w *walker) capabilities(s section, lane ipc.Lane) Capabilities {
	c := Capabilities{
		Events:      eventKinds(s.strs("events")),
		Instruments: s.strs("instruments"),
		Venues:      s.strs("venues"),
		Assets:      s.strs("assets"),
		External:    s.strs("external"),
	}
	for _, k := range intentKinds {
		if slices.Contains(s.strs("intents"), k.String()) {
			c.Intents = append(c.Intents, k)
		}
	}
	for _, o := range orderTypeNames {
		if slices.Contains(s.strs("order_types"), o.name) {
			c.OrderTypes = append(c.OrderTypes, o.kind)
		}
	}
	if lane == ipc.LaneLL && len(c.External) > 0 && w.ok(s.at("external"), "strategy.lane") {
		w.add(CodeConflict, s.at("external"), "external services are forbidden on the ll lane", `remove them, and declare each as a [[service]]: it is asked on the compute lane; or set lane = "compute" in [strategy]`)
	}
	if slices.Contains(c.Intents, ipc.IntentOrder) && len(c.OrderTypes) == 0 && w.ok(s.at("order_types")) {
		w.add(CodeConflict, s.at("order_types"), "orders are allowed, but no order type is", `list order types, or remove "order" from intents`)
	}
	return c
}

func (w *walker) statePolicy(s section) StatePolicy {
	p := StatePolicy{
		SchemaVersion:    uint32(s.num("schema_version")),
		CheckpointSteps:  uint64(s.num("checkpoint_steps")),
		CheckpointPeriod: time.Duration(s.num("checkpoint_seconds")) * time.Second,
		Recovery:         Recovery(s.str("recovery")),
	}
	items, _ := s.values["migrates_from"].([]any)
	for i, it := range items {
		from, ok := it.(int64)
		if !ok {
			continue
		}
		if uint32(from) >= p.SchemaVersion && w.ok(s.at("schema_version")) {
			w.add(CodeConflict, index(s.at("migrates_from"), i), fmt.Sprintf("%d is not older than schema_version %d", from, p.SchemaVersion), "list only older versions")
		}
		p.MigratesFrom = append(p.MigratesFrom, uint32(from))
	}
	slices.Sort(p.MigratesFrom)
	return p
}

func (w *walker) warmup(s section) Warmup {
	v := Warmup{Bars: uint64(s.num("bars")), Duration: time.Duration(s.num("seconds")) * time.Second}
	if v.Bars > 0 && v.Duration > 0 {
		w.add(CodeConflict, s.at("seconds"), "bars and seconds are both given", "keep one of them")
	}
	return v
}

// checkRuntime refuses an entry that the runtime cannot start.
func (w *walker) checkRuntime(s section, d *Descriptor, python section) {
	if !w.ok(s.at("runtime"), s.at("entry")) || !s.given["runtime"] || !s.given["entry"] {
		return
	}
	isClass := strings.Contains(d.Entry, ":")
	switch {
	case d.Runtime == RuntimePython && !isClass:
		w.add(CodeConflict, s.at("entry"), fmt.Sprintf("%s names no class", quote(d.Entry)), `write entry = "module:Class"`)
	case d.Runtime != RuntimePython && isClass:
		w.add(CodeConflict, s.at("entry"), fmt.Sprintf("%s is for Python; runtime is %s", quote(d.Entry), d.Runtime), `write the file inside the package, for example entry = "strategy.wasm"`)
	case d.Runtime == RuntimeRustWasm && !strings.HasSuffix(d.Entry, ".wasm"):
		w.add(CodeConflict, s.at("entry"), fmt.Sprintf("%s is not a .wasm file", quote(d.Entry)), `write entry = "strategy.wasm"`)
	}
	if d.Runtime != RuntimePython && d.Python.Lock != "" {
		w.add(CodeConflict, python.at("lock"), "only Python strategies have Python dependencies", "remove [python]")
	}
}

func (w *walker) checkResources(s section, r Resources) {
	if w.ok(s.at("deadline_soft_ms"), s.at("deadline_hard_ms")) && r.DeadlineSoft > r.DeadlineHard {
		at := "deadline_soft_ms"
		if !s.given[at] {
			at = "deadline_hard_ms"
		}
		w.add(CodeConflict, s.at(at), fmt.Sprintf("the soft deadline of %s is after the hard one of %s", r.DeadlineSoft, r.DeadlineHard), "make deadline_soft_ms at most deadline_hard_ms")
	}
}

func resourcesOf(s section) Resources {
	return Resources{
		CPUCores:           s.float("cpu_cores"),
		MemoryMB:           s.num("memory_mb"),
		Threads:            s.num("threads"),
		OpenFiles:          s.num("open_files"),
		TmpMB:              s.num("tmp_mb"),
		DeadlineSoft:       s.millis("deadline_soft_ms"),
		DeadlineHard:       s.millis("deadline_hard_ms"),
		DeadlineInit:       s.millis("deadline_init_ms"),
		DeadlineCheckpoint: s.millis("deadline_checkpoint_ms"),
		DeadlineStop:       s.millis("deadline_stop_ms"),
		QueueEvents:        s.num("queue_events"),
		AnswerBytes:        s.num("answer_bytes"),
		StateBytes:         s.num("state_bytes"),
		Timers:             s.num("timers"),
		IntentsPerEvent:    s.num("intents_per_event"),
		IntentsPerSecond:   s.num("intents_per_second"),
		IntentsPerRun:      s.num("intents_per_run"),
		CancelsPerSecond:   s.num("cancels_per_second"),
		LogLinesPerSecond:  s.num("log_lines_per_second"),
		LogBytesPerRun:     s.num("log_bytes_per_run"),
		RestartsPerHour:    s.num("restarts_per_hour"),
	}
}

func riskOf(s section) ipc.RiskContext {
	return ipc.RiskContext{
		MaxSlippage:   s.dec("max_slippage"),
		MaxDelayNS:    ipc.Nanos(s.num("max_delay_ms")) * ipc.Nanos(time.Millisecond),
		HoldingTimeNS: ipc.Nanos(s.num("holding_time_s")) * ipc.Nanos(time.Second),
		Budget:        s.dec("budget"),
	}
}

// DefaultResources are the ceilings of a descriptor without a [resources] table.
func DefaultResources() Resources {
	return resourcesOf(defaultOf(strategyTable.prop("resources"), "").(section))
}

// LargestResources are the ceilings that no descriptor can exceed; a host policy lowers them.
func LargestResources() Resources {
	s := section{values: map[string]any{}}
	for _, p := range resourceRows() {
		if p.kind == aFloat {
			s.values[p.name] = p.max
		} else {
			s.values[p.name] = int64(min(p.max, math.MaxInt64/2))
		}
	}
	return resourcesOf(s)
}
