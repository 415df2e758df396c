package descriptor

import (
	"fmt"
	"slices"
	"time"

	"github.com/msup/msup/ipc"
)

// Congestion says what becomes of a compute request that is not answered in time (LN-5).
type Congestion string

// The congestion policies.
const (
	CongestionNoOp     Congestion = "noop"     // it is counted, and the strategy hears nothing
	CongestionFallback Congestion = "fallback" // the strategy gets compute_unavailable and decides
	CongestionNoTrade  Congestion = "no_trade" // the same, and no trading until a result comes in time, or the cooldown is over
)

// Compute is the compute lane of an instance: its compute part, if it has one, and what waits for it (LN-2).
type Compute struct {
	Entry        string // "module:Class" in Python; "" = no compute part, only services are asked
	Congestion   Congestion
	Queue        int64 // requests without an answer
	Runners      int64 // tasks carried out at one time
	Deadline     time.Duration
	DeadlineInit time.Duration
	Resources    Resources // walls of one compute runner; of the deadlines only those of a stop count
}

// Asks reports whether somebody answers compute requests of the strategy.
func (d *Descriptor) Asks() bool { return d.Compute.Entry != "" || len(d.Services) > 0 }

var reClass = formOf(`^[A-Za-z_][A-Za-z0-9_]{0,63}(\.[A-Za-z_][A-Za-z0-9_]{0,63}){0,7}:[A-Za-z_][A-Za-z0-9_]{0,63}$`)

// computeResourceNames are the rows of [resources] that [compute] has too.
var computeResourceNames = []string{"cpu_cores", "memory_mb", "threads", "open_files", "tmp_mb", "log_lines_per_second", "log_bytes_per_run", "restarts_per_hour"}

// computeRow is [compute] of strategy.toml.
func computeRow() prop {
	rows := []prop{
		withExample(str("entry", "The compute part, module:Class, derived from msup.ComputePart. Python strategies only; absent = only services are asked.", reClass, "must be module:Class"), `"volatility:Volatility"`),
		choice("congestion", "What becomes of a request without a result in time. noop: it is counted. fallback: compute_unavailable is delivered and the strategy decides. no_trade: the same, and no trading until a result comes in time, or a cooldown is over (LN-5).",
			string(CongestionFallback), string(CongestionNoOp), string(CongestionFallback), string(CongestionNoTrade)),
		integer("queue", "requests", "Requests that may be without an answer; more are refused with COMPUTE_CONGESTED.", int64(64), 1, 4096),
		integer("runners", "", "Tasks carried out at one time, each in a runner of its own.", int64(1), 1, 16),
		integer("deadline_ms", "ms", "A task of the compute part that takes longer ends its runner; the ttl of the request may be shorter, and is the strategy's.", int64(5000), 1, 3600000),
		integer("deadline_init_ms", "ms", "Import and on_init of the compute part together.", int64(30000), 100, 3600000),
	}
	for _, r := range resourceRows() {
		if slices.Contains(computeResourceNames, r.name) {
			rows = append(rows, r)
		}
	}
	return prop{name: "compute", kind: aTable, doc: "The compute lane: what ctx.submit_compute asks for is carried out in runners of its own, which never disturb the strategy's (LN-2, NN-4). Ceilings are those of one compute runner.", props: rows}
}

// compute binds [compute] and refuses what could never be answered.
func (w *walker) compute(root section, d *Descriptor) Compute {
	s := root.table("compute")
	c := computeOf(s)
	if !root.given["compute"] {
		return c
	}
	switch {
	case c.Entry == "" && len(d.Services) == 0 && w.ok(s.at("entry")):
		w.add(CodeConflict, "compute", "there is neither a compute part nor a service, so nobody would answer a request", `write entry = "module:Class", declare a [[service]], or remove [compute]`)
	case c.Entry != "" && d.Runtime != RuntimePython && w.ok(s.at("entry"), "strategy.runtime"):
		w.add(CodeConflict, s.at("entry"), fmt.Sprintf("a compute part is Python; runtime is %s", d.Runtime), "ask a [[service]] instead, or use runtime python")
	case c.Entry != "" && c.Entry == d.Entry && w.ok(s.at("entry")):
		w.add(CodeConflict, s.at("entry"), "it is the strategy itself", "name a class derived from msup.ComputePart")
	}
	if c.Entry != "" && !slices.Contains(d.Capabilities.Events, ipc.KindComputeResult) && w.ok("capabilities.events") {
		w.add(CodeConflict, "capabilities.events", "compute_result is not subscribed to, so no result of the compute part would ever arrive", `add "compute_result"`)
	}
	return c
}

func computeOf(s section) Compute {
	return Compute{
		Entry: s.str("entry"), Congestion: Congestion(s.str("congestion")), Queue: s.num("queue"), Runners: s.num("runners"),
		Deadline: s.millis("deadline_ms"), DeadlineInit: s.millis("deadline_init_ms"),
		Resources: DefaultResources().with(section{values: s.values, given: computeGiven}),
	}
}

// computeGiven makes every ceiling of [compute] count, given or by default.
var computeGiven = func() map[string]bool {
	given := map[string]bool{}
	for _, name := range computeResourceNames {
		given[name] = true
	}
	return given
}()

// DefaultCompute is the compute lane of a descriptor without a [compute] table.
func DefaultCompute() Compute {
	return computeOf(defaultOf(strategyTable.prop("compute"), "").(section))
}

// checkCompute holds the ceilings of a compute runner against the host policy (AD-5).
func (r *resolver) checkCompute(e Entry, d *Descriptor) {
	if d.Compute.Entry == "" {
		return
	}
	for _, x := range d.Compute.Resources.Exceeds(r.file.Policy.Max) {
		if slices.Contains(computeResourceNames, x.Name) {
			r.add(CodePolicy, e.at("package"), fmt.Sprintf("%s %s is asked for in [compute] (by %s), but the host policy allows %s", x.Name, show(x.Asked), d.File, show(x.Allowed)),
				"lower it there, or raise policy.max."+x.Name)
		}
	}
}
