package descriptor

import (
	"fmt"
	"slices"
	"strings"

	"github.com/msup/msup/ipc"
)

// subscriptions are the kinds that a strategy subscribes to (EV-1), with what conflation and congestion make of them.
var subscriptions = []struct{ kind, with ipc.EventKind }{
	{kind: ipc.KindQuote},
	{kind: ipc.KindTrade, with: ipc.KindTradeAggregate},
	{kind: ipc.KindBookDelta, with: ipc.KindBookSnapshot},
	{kind: ipc.KindBookSnapshot},
	{kind: ipc.KindBar},
	{kind: ipc.KindQuoteBar},
	{kind: ipc.KindTradingStatus},
	{kind: ipc.KindExecution},
	{kind: ipc.KindExecutionSnapshot},
	{kind: ipc.KindRisk},
	{kind: ipc.KindSafety},
	{kind: ipc.KindTimer},
	{kind: ipc.KindManualSignal},
	{kind: ipc.KindComputeResult, with: ipc.KindComputeUnavailable},
}

func subscriptionNames() []string {
	out := make([]string, len(subscriptions))
	for i, s := range subscriptions {
		out[i] = s.kind.String()
	}
	return out
}

// alwaysDelivered are the kinds that M addresses to the strategy itself; nobody subscribes to them.
var alwaysDelivered = []ipc.EventKind{
	ipc.KindConfigUpdate, ipc.KindRecovered, ipc.KindEventSkipped, ipc.KindIntentsDiscarded, ipc.KindShutdown,
}

var intentKinds = []ipc.IntentKind{
	ipc.IntentOrder, ipc.IntentCancel, ipc.IntentAmend, ipc.IntentPosition, ipc.IntentAlert, ipc.IntentNoOp, ipc.IntentRiskHint,
}

// orderTypeNames are the order types by their names in descriptors.
var orderTypeNames = []struct {
	name string
	kind ipc.OrderType
}{{"market", ipc.OrderMarket}, {"limit", ipc.OrderLimit}, {"stop", ipc.OrderStop}, {"stop_limit", ipc.OrderStopLimit}}

func orderTypeList() []string {
	out := make([]string, len(orderTypeNames))
	for i, o := range orderTypeNames {
		out[i] = o.name
	}
	return out
}

// Units are the units that a configuration value may have, besides assets ("USDT").
var Units = []string{
	"ticks", "lots", "fraction", "percent", "bp", "ms", "s", "min", "h", "days", "bars", "events", "steps", "base", "quote", "contracts", "count", "hz",
}

var reUnit = formOf(`^(` + strings.Join(Units, "|") + `|[A-Z][A-Z0-9]{1,11})$`)

func names[T any](items []T, name func(T) string) []string {
	out := make([]string, len(items))
	for i, it := range items {
		out[i] = name(it)
	}
	return out
}

// resourceRows are the rows of [resources], also of a deployment's overrides and of the host policy's ceilings.
func resourceRows() []prop {
	return []prop{
		{name: "cpu_cores", kind: aFloat, unit: "cores", doc: "Processor time per wall time (SB-2).", def: 1.0, min: 0.01, max: 256, ranged: true},
		integer("memory_mb", "MiB", "RAM and swap together (SB-2).", int64(256), 16, 262144),
		integer("threads", "", "Processes and threads together (SB-2).", int64(16), 1, 4096),
		integer("open_files", "", "Open file descriptors.", int64(128), 16, 960),
		integer("tmp_mb", "MiB", "Size of the runner's own /tmp, lost at every stop.", int64(16), 1, 4096),
		integer("deadline_soft_ms", "ms", "An answer that takes longer is late: its intents are discarded (SB-1).", int64(50), 1, 600000),
		integer("deadline_hard_ms", "ms", "A runner that takes longer is killed (SB-1).", int64(1000), 1, 3600000),
		integer("deadline_init_ms", "ms", "Import and on_init together.", int64(30000), 100, 3600000),
		integer("deadline_checkpoint_ms", "ms", "Answer to a checkpoint request.", int64(5000), 10, 600000),
		integer("deadline_stop_ms", "ms", "on_shutdown; then the runner is killed.", int64(3000), 10, 600000),
		integer("queue_events", "events", "Market events that may wait (BP-4).", int64(4096), 1, 1048576),
		integer("answer_bytes", "bytes", "Size of one answer.", int64(65536), 256, ipc.MaxAnswerBytes),
		integer("state_bytes", "bytes", "Size of the state.", int64(1<<20), 0, ipc.MaxStateBytes),
		integer("timers", "", "Timers pending at one time.", int64(64), 0, 4096),
		integer("intents_per_event", "", "Intents of one answer (SB-5).", int64(16), 0, ipc.MaxIntents),
		integer("intents_per_second", "", "Intents in any second, cancels not counted (SB-5).", int64(100), 0, 100000),
		integer("intents_per_run", "", "Intents from start to stop, cancels not counted (SB-5).", int64(1000000), 0, 1e12),
		integer("cancels_per_second", "", "Cancels in any second: they pass every mode, so they have a ceiling of their own.", int64(100), 0, 100000),
		integer("log_lines_per_second", "lines/s", "Lines printed; the rest is dropped and counted (SB-4).", int64(100), 1, 10000),
		integer("log_bytes_per_run", "bytes", "Bytes printed from start to stop; the rest is dropped and counted (SB-4).", int64(16<<20), 1024, 1<<30),
		integer("restarts_per_hour", "", "Restarts after a fault before the instance is halted.", int64(10), 0, 1000),
	}
}

func riskRows() []prop {
	slippage := decimal("max_slippage", "fraction of the price", "Largest tolerable slippage.", reFraction, "0.001")
	budget := decimal("budget", "quote currency", "Largest notional at stake.", reUnsigned, "10000")
	budget.positive = true
	return []prop{
		slippage,
		integer("max_delay_ms", "ms", "Tolerable delay from the step to the offer; a later intent expires.", int64(2000), 1, 86400000),
		integer("holding_time_s", "s", "Expected holding time.", int64(3600), 0, 315360000),
		budget,
	}
}

func glob(name, doc string) prop {
	p := list(name, doc, prop{kind: aString, pattern: reGlob, hint: "must be a glob of letters, digits, . _ : @ + / - and * or ?", example: `"*"`}, 1, 256)
	p.def = []string{"*"}
	return p
}

func chosen(name, doc string, values []string, minimum float64) prop {
	return list(name, doc, prop{kind: aString, enum: values, example: fmt.Sprintf("%q", values[0])}, minimum, float64(len(values)))
}

// scalarSchema is the JSON Schema rule that min, max, default and choices have the field's type.
func scalarSchema() map[string]any {
	typed := func(kind string, value map[string]any, more map[string]any) map[string]any {
		props := map[string]any{"default": value, "choices": map[string]any{"items": value}}
		if kind == "str" || kind == "bool" {
			props["min"], props["max"], props["unit"] = false, false, false
		} else {
			props["min"], props["max"] = value, value
		}
		if kind != "str" {
			props["max_length"] = false
		}
		for k, v := range more {
			props[k] = v
		}
		return map[string]any{
			"if":   map[string]any{"properties": map[string]any{"type": map[string]any{"const": kind}}},
			"then": map[string]any{"properties": props},
		}
	}
	money := decimalSchema(reDecimal, false)
	return map[string]any{"allOf": []any{
		typed("int", map[string]any{"type": "integer"}, nil),
		typed("float", map[string]any{"type": "number"}, nil),
		typed("decimal", money, nil),
		typed("str", map[string]any{"type": "string"}, nil),
		typed("bool", map[string]any{"type": "boolean"}, map[string]any{"choices": false}),
	}}
}

func configRow() prop {
	scalar := func(name, doc string) prop { return prop{name: name, kind: aScalar, doc: doc, example: "12"} }
	choices := scalar("", "")
	field := prop{kind: aTable, extra: scalarSchema(), props: []prop{
		need(choice("type", "Type of the value; decimal is for money and quantities.", nil, "int", "float", "decimal", "str", "bool")),
		withExample(str("unit", "What the number counts: one of "+strings.Join(Units, ", ")+", or an asset in capitals.", reUnit, "is no unit"), `"bars"`),
		str("doc", "One line for operators.", reText, "must be one line of at most 512 characters"),
		scalar("min", "Smallest allowed value, of the field's type."),
		scalar("max", "Largest allowed value, of the field's type."),
		scalar("default", "Value when none is given, of the field's type."),
		list("choices", "The only values allowed.", choices, 1, 256),
		integer("max_length", "bytes", "Longest allowed string.", nil, 1, 4096),
		boolean("required", "Whether a value must be given; not together with a default.", false),
		choice("apply", "Earliest moment at which a change takes effect (HR-2).", "tick", "tick", "bar", "checkpoint", "flat"),
	}}
	return prop{name: "config", kind: aMap, elem: &field, pattern: reConfigName, example: `{ fast = { type = "int", min = 1, max = 500, default = 12 } }`,
		hint: "must be of the form [a-z][a-z0-9_]*, at most 64 characters", doc: "Typed configuration values, a table each (HR-1). Python strategies may leave them out: they are derived from the Config class."}.with(0, ipc.MaxConfigEntries)
}

// strategyTable is the schema of strategy.toml.
var strategyTable = prop{kind: aTable, name: FileName, props: []prop{
	need(prop{name: "strategy", kind: aTable, doc: "What the strategy is.", props: []prop{
		need(withExample(str("id", "Names the strategy over all its versions.", reStrategyID, "must be of the form [a-z][a-z0-9_-]*, at most 64 characters"), `"ema_cross"`)),
		need(withExample(str("version", "SemVer of this version.", reSemVer, "is not a SemVer version"), `"1.0.0"`)),
		need(choice("runtime", "What executes it (runtime_kind).", nil, string(RuntimePython), string(RuntimeRustWasm), string(RuntimeRustNative))),
		need(withExample(str("entry", "Python: module:Class. Rust: the file of the module or binary inside the package.", reEntry, "must be module:Class or a file inside the package"), `"strategy:EmaCross"`)),
		choice("instance_model", "single: one instance per bot. sharded: as many as the deployment lists.", string(ModelSingle), string(ModelSingle), string(ModelSharded)),
		choice("lane", "ll: short deadlines. compute: slow work that never disturbs ll (NN-4).", "ll", "ll", "compute"),
		choice("isolation", "Least isolation that is demanded; auto takes the strongest of the host.", "auto", isolationNames...),
		str("description", "One line for operators.", reText, "must be one line of at most 512 characters"),
	}}),
	need(prop{name: "capabilities", kind: aTable, doc: "What it may receive and ask for; everything else is refused.", props: []prop{
		need(chosen("events", "Subscribed kinds of events. trade includes aggregates, book_delta includes snapshots, compute_result includes compute_unavailable; config_update, recovered, event_skipped, intents_discarded and shutdown always come.",
			subscriptionNames(), 1)),
		glob("instruments", "Globs on instrument ids."),
		need(chosen("intents", "Kinds of intents it may return; [] = none.", names(intentKinds, ipc.IntentKind.String), 0)),
		defaulted(chosen("order_types", "Types of orders.", orderTypeList(), 0), []string{"market", "limit"}),
		glob("venues", "Globs on the venue of the instrument."),
		glob("assets", "Globs on the base and the quote asset of the instrument."),
		defaulted(list("external", "Hosts that its services may be at, as host or host:port; compute lane only (EX-2). Absent = those that [[service]] names.",
			prop{kind: aString, pattern: reHost, hint: "must be a host name, optionally with a port", example: `"signals.example:443"`}, 0, 64), []string{}),
	}}),
	{name: "resources", kind: aTable, doc: "Ceilings of one instance; a deployment may set others, within the host policy.", props: resourceRows()},
	ladderRow("How many violations of one kind within a window warn, open the breaker, halt (SB-7). Absent, as window: warn, degrade, halt: " + defaultsInWords() +
		". Killed deliveries: resources.restarts_per_hour. quality counts market events flagged stale, gap, dup, out_of_order or clock_skew, and is off unless set."),
	breakerRow(),
	sloRow(),
	{name: "risk", kind: aTable, doc: "Default risk_context of every intent (BC-J); the strategy may set another one per intent.", props: riskRows()},
	{name: "state", kind: aTable, doc: "How state is kept.", props: []prop{
		integer("schema_version", "", "Raise it when the form of the state changes (ST-5).", int64(1), 1, 1e9),
		defaulted(list("migrates_from", "Older schema versions that the migrate hook accepts.", prop{kind: anInt, min: 1, max: 1e9, ranged: true, example: "1"}, 0, 64), []string{}),
		integer("checkpoint_steps", "steps", "A checkpoint at least every so many steps (ST-2).", int64(10000), 1, 1e9),
		integer("checkpoint_seconds", "s", "A checkpoint at least this often (ST-2).", int64(30), 1, 86400),
		choice("recovery", "replay: run the recorded inputs again, comparing. inform: checkpoint and on_recovered.", string(RecoveryReplay), string(RecoveryReplay), string(RecoveryInform)),
	}},
	{name: "contracts", kind: aTable, doc: "Versions of the contracts it was written for (io_contracts).", props: []prop{
		integer("events", "", "Version of the event contract.", int64(ipc.EventContractVersion), 1, ipc.EventContractVersion),
		integer("intents", "", "Version of the intent contract.", int64(ipc.IntentContractVersion), 1, ipc.IntentContractVersion),
	}},
	computeRow(),
	serviceRow(),
	configRow(),
	{name: "telemetry", kind: aTable, doc: "What telemetry it may send (DM-3).", props: []prop{
		defaulted(list("names", "Declared names; any other is refused.", prop{kind: aString, pattern: reTag, hint: "must be of the form [a-z][a-z0-9_.]*, at most 64 characters", example: `"spread"`}, 0, 256), []string{}),
	}},
	{name: "warmup", kind: aTable, doc: "History that is delivered, flagged, before going live; intents are suppressed and counted. Bars or seconds, not both.", props: []prop{
		integer("bars", "bars", "So many bars.", int64(0), 0, 1e6),
		integer("seconds", "s", "So much time.", int64(0), 0, 31536000),
	}},
	{name: "python", kind: aTable, doc: "Python strategies only.", props: []prop{
		withExample(str("lock", "Requirements with hashes (pip freeze with --hash=sha256:…); wheels only. Absent = no dependencies.", reInside, "must be a file inside the package"), `"requirements.lock"`),
	}},
	{name: "provenance", kind: aTable, doc: "Where the code comes from; covered by the package hash, and so by its signature (BC-U).", props: []prop{
		str("source", "Address of the source repository.", reText, "must be one line of at most 512 characters"),
		str("revision", "Commit or tag.", reText, "must be one line of at most 512 characters"),
		str("builder", "Who or what built it.", reText, "must be one line of at most 512 characters"),
	}},
}}

var isolationNames = []string{string(IsolationAuto), string(IsolationL0), string(IsolationL1), string(IsolationL2), string(IsolationL3)}

func withExample(p prop, example string) prop {
	p.example = example
	return p
}

// eventKinds closes a list of names over what comes with them, ascending.
func eventKinds(list []string) []ipc.EventKind {
	var out []ipc.EventKind
	for _, s := range subscriptions {
		if slices.Contains(list, s.kind.String()) {
			out = append(out, s.kind)
			if s.with != 0 {
				out = append(out, s.with)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Subscribes reports whether events of this kind are delivered to the strategy.
func (c Capabilities) Subscribes(kind ipc.EventKind) bool {
	return slices.Contains(c.Events, kind) || slices.Contains(alwaysDelivered, kind)
}

// MatchGlob reports whether s matches the pattern, in which * stands for any run of characters and ? for any one byte.
// It takes at most len(pattern)·len(s) steps, whatever the pattern.
func MatchGlob(pattern, s string) bool {
	p, i, star, mark := 0, 0, -1, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, i
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == s[i]):
			p, i = p+1, i+1
		case star >= 0:
			mark++
			p, i = star+1, mark
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}

// MatchAny reports whether s matches one of the patterns.
func MatchAny(patterns []string, s string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return MatchGlob(p, s) })
}

// Allows reports whether a strategy with these capabilities may see and trade the instrument.
func (c Capabilities) Allows(i ipc.Instrument) bool {
	return MatchAny(c.Instruments, string(i.ID)) && MatchAny(c.Venues, i.Venue) &&
		(MatchAny(c.Assets, i.Base) && MatchAny(c.Assets, i.Quote))
}
