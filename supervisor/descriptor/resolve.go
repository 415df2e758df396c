package descriptor

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/msup/msup/ipc"
)

// CodeHash is given when a package is not the one that the deployment names (AD-3).
const CodeHash = ipc.ReasonPackageHashMismatch

// Resolve finds the package of every entry through open, makes the instances, and validates what only the packages
// can tell: configuration, ceilings, instruments. open gets an absolute folder or a package hash, each once. A package that
// cannot be opened refuses its own strategies only, as long as others remain: see Deployment.Refused. Everything else that is
// wrong refuses the whole deployment; the error is Findings: all there are, the refused packages' too.
func (f *DeploymentFile) Resolve(open func(ref string) (Package, error)) (*Deployment, error) {
	r := resolver{file: f, opened: map[string]Package{}, failed: map[string]bool{}, granted: map[string][]InstanceService{}, taken: map[ipc.Address]string{}}
	d := &Deployment{
		File: f.File, Run: f.Run, Policy: f.Policy, Boundary: f.Boundary, Secrets: maps.Clone(f.Secrets), Instruments: slices.Clone(f.Instruments),
	}
	d.Bots = r.bots()
	for _, e := range f.Entries {
		if p, ok := r.open(e, open); ok {
			d.Instances = append(d.Instances, r.entry(e, p, d.Bots)...)
		}
	}
	if n := int64(len(d.Instances)); n > f.Policy.MaxInstances {
		r.add(CodePolicy, "policy.max_instances", fmt.Sprintf("the deployment makes %d instances, allowed are %d", n, f.Policy.MaxInstances), "narrow the instruments of sharded strategies, or raise policy.max_instances")
	}
	if len(r.findings) > 0 || len(d.Instances) == 0 {
		for _, refused := range r.refused {
			r.findings = append(r.findings, refused.Findings...)
		}
		if err := r.findings.sorted().Err(); err != nil {
			return nil, err
		}
	}
	d.Refused = r.refused
	slices.SortFunc(d.Instances, func(a, b Instance) int {
		return cmp.Or(cmp.Compare(a.Address.Bot, b.Address.Bot), cmp.Compare(a.Address.Strategy, b.Address.Strategy), cmp.Compare(a.Address.Instance, b.Address.Instance))
	})
	return d, nil
}

type resolver struct {
	file     *DeploymentFile
	opened   map[string]Package
	failed   map[string]bool
	granted  map[string][]InstanceService
	taken    map[ipc.Address]string // place of the first use
	findings Findings
	refused  []Refusal
}

func (r *resolver) add(code Code, path, problem, remedy string) {
	r.findings = append(r.findings, r.finding(code, path, problem, remedy))
}

func (r *resolver) finding(code Code, path, problem, remedy string) Finding {
	f := Finding{Code: code, File: r.file.File, Key: path, Problem: problem, Remedy: remedy}
	if r.file.doc != nil {
		p := r.file.doc.place(path)
		f.Line, f.Column = p.line, p.column
	}
	return f
}

// bots are the listed ones, or those that the entries name.
func (r *resolver) bots() []Bot {
	out := slices.Clone(r.file.Bots)
	if len(out) == 0 {
		for _, e := range r.file.Entries {
			if !slices.ContainsFunc(out, func(b Bot) bool { return b.ID == e.Bot }) {
				out = append(out, Bot{ID: e.Bot, Approval: r.file.Run.Approval})
			}
		}
	}
	slices.SortFunc(out, func(a, b Bot) int { return cmp.Compare(a.ID, b.ID) })
	return out
}

func (r *resolver) open(e Entry, open func(string) (Package, error)) (Package, bool) {
	if r.failed[e.Package] {
		return Package{}, false
	}
	p, ok := r.opened[e.Package]
	if !ok {
		var err error
		if p, err = open(e.Package); err != nil {
			r.failed[e.Package] = true
			found, are := AsFindings(err)
			if !are {
				found = Findings{r.finding(CodePackage, e.at("package"), fmt.Sprintf("%s: %v", e.Ref, err), "correct the package, then run `msup build "+e.Ref+"`")}
			}
			r.refused = append(r.refused, Refusal{Ref: e.Ref, Findings: found.sorted()})
			return Package{}, false
		}
		if len(p.Descriptor.Services) > 0 {
			granted, fs := r.services(p)
			if len(fs) > 0 {
				r.failed[e.Package] = true
				r.refused = append(r.refused, Refusal{Ref: e.Ref, Findings: fs.sorted()})
				return Package{}, false
			}
			r.granted[e.Package] = granted
		}
		r.opened[e.Package] = p
	}
	if e.Hash != "" && e.Hash != p.Hash {
		r.add(CodeHash, e.at("hash"), fmt.Sprintf("the package %s has hash %s", e.Ref, p.Hash), "restore the expected code, or write the new hash after a review")
	}
	if r.file.Policy.RequireSignature && !p.Signed {
		r.add(CodePolicy, e.at("package"), e.Ref+" carries no signature of a trusted key", "sign it, or relax policy.require_signature")
	}
	return p, true
}

// at names a row of the entry; the short form has no rows.
func (e Entry) at(name string) string {
	if e.path == "" {
		return ""
	}
	return join(e.path, name)
}

func (i EntryInstance) at(name string) string {
	if i.path == "" {
		return ""
	}
	return join(i.path, name)
}

// entry makes the instances of one [[strategy]].
func (r *resolver) entry(e Entry, p Package, bots []Bot) []Instance {
	allowed := r.instruments(e, p.Descriptor)
	r.checkLadders(e, p.Descriptor)
	base := Instance{
		Address: ipc.Address{Bot: e.Bot, Strategy: p.Descriptor.Strategy}, PackageRef: e.Ref, Package: p, Descriptor: p.Descriptor,
		Isolation: r.isolation(e, p.Descriptor), Lane: p.Descriptor.Lane, Approval: r.file.Run.Approval, Services: r.granted[e.Package],
	}
	for _, b := range bots {
		if b.ID == e.Bot {
			base.Approval = b.Approval
		}
	}
	if r.file.doc != nil {
		base.Line = r.file.doc.keyPlace(e.path).line
	}
	var out []Instance
	for _, i := range r.shards(e, p.Descriptor, allowed) {
		if in, ok := r.instance(e, i, base, allowed); ok {
			out = append(out, in)
		}
	}
	return out
}

// shards lists the instances of an entry: as written, one per instrument, or a single one.
func (r *resolver) shards(e Entry, d *Descriptor, allowed []ipc.Instrument) []EntryInstance {
	sharded := d.Model == ModelSharded
	switch {
	case e.Shard && sharded:
		var out []EntryInstance
		for _, i := range allowed {
			// An instance id is part of an address, whose parts are separated by a slash.
			id := strings.ReplaceAll(string(i.ID), "/", "-")
			out = append(out, EntryInstance{ID: ipc.InstanceID(id), Globs: []string{string(i.ID)}, path: e.path})
		}
		return out
	case e.Shard && !e.short:
		r.add(CodeConflict, e.at("shard"), fmt.Sprintf("%s is not made for shards: its instance_model is single", d.Strategy), "remove shard")
		return nil
	case sharded && len(e.Instances) == 0:
		r.add(CodeConflict, e.at("package"), fmt.Sprintf("%s is sharded, but no shard is named", d.Strategy), `add shard = "instrument" or [[strategy.instance]] tables`)
		return nil
	case !sharded && len(e.Instances) > 1:
		r.add(CodeConflict, e.Instances[1].at("id"), fmt.Sprintf("%s runs once per bot: its instance_model is single", d.Strategy), "keep one instance, or use several bots")
		return nil
	case len(e.Instances) > 0:
		return e.Instances
	}
	return []EntryInstance{{ID: DefaultInstance, path: e.path}}
}

// instruments are those that the descriptor allows and the entry selects.
func (r *resolver) instruments(e Entry, d *Descriptor) []ipc.Instrument {
	var out []ipc.Instrument
	for _, i := range r.file.Instruments {
		if d.Capabilities.Allows(i) && (e.Globs == nil || MatchAny(e.Globs, string(i.ID))) {
			out = append(out, i)
		}
	}
	if len(out) == 0 && d.needsInstruments() {
		r.add(CodeConflict, e.at("instruments"), fmt.Sprintf("no known instrument is left for %s: its capabilities allow %s at venues %s, with assets %s",
			d.Strategy, quoteAll(d.Capabilities.Instruments), quoteAll(d.Capabilities.Venues), quoteAll(d.Capabilities.Assets)),
			"add instruments to "+InstrumentsFileName+", or widen the globs")
	}
	return out
}

// needsInstruments reports whether a strategy without instruments could only sit idle.
func (d *Descriptor) needsInstruments() bool {
	for _, k := range d.Capabilities.Events {
		if k <= ipc.KindTradingStatus {
			return true
		}
	}
	return slices.Contains(d.Capabilities.Intents, ipc.IntentOrder) || slices.Contains(d.Capabilities.Intents, ipc.IntentPosition)
}

func quoteAll(list []string) string {
	quoted := make([]string, len(list))
	for i, s := range list {
		quoted[i] = quote(s)
	}
	return strings.Join(quoted, ", ")
}

func (r *resolver) instance(e Entry, i EntryInstance, base Instance, allowed []ipc.Instrument) (Instance, bool) {
	in := base
	in.Address.Instance = i.ID
	if r.file.doc != nil && i.path != "" {
		in.Line = r.file.doc.keyPlace(i.path).line
	}
	if first, twice := r.taken[in.Address]; twice {
		where := i.at("id")
		if i.path == e.path {
			where = e.at("package")
		}
		r.add(CodeDuplicate, where, fmt.Sprintf("the instance %s is deployed twice%s", in.Address, first), "use another bot, or name the instances differently")
		return Instance{}, false
	}
	r.taken[in.Address] = ""
	if in.Line > 0 {
		r.taken[in.Address] = fmt.Sprintf(", first at line %d", in.Line)
	}
	for _, x := range allowed {
		if i.Globs == nil || MatchAny(i.Globs, string(x.ID)) {
			in.Instruments = append(in.Instruments, x)
		}
	}
	if len(in.Instruments) == 0 && len(allowed) > 0 {
		r.add(CodeConflict, i.at("instruments"), fmt.Sprintf("no instrument that %s may have matches", in.Address.Strategy), "widen the globs, or add the instrument to "+InstrumentsFileName)
	}
	in.Resources = r.resources(e, i, base.Descriptor)
	r.checkCompute(e, base.Descriptor)
	in.Risk = riskOver(riskOver(base.Descriptor.Risk, e.risk), i.risk)
	in.Config, in.ConfigHash = r.config(e, i, base.Descriptor)
	return in, true
}

func (r *resolver) resources(e Entry, i EntryInstance, d *Descriptor) Resources {
	out := d.Resources.with(e.resources).with(i.resources)
	where := func(name string) (key, whose string) {
		switch {
		case i.resources.given[name]:
			return i.resources.at(name), ""
		case e.resources.given[name]:
			return e.resources.at(name), ""
		}
		return e.at("package"), fmt.Sprintf(" (by %s)", d.File)
	}
	for _, x := range out.Exceeds(r.file.Policy.Max) {
		key, whose := where(x.Name)
		r.add(CodePolicy, key, fmt.Sprintf("%s %s is asked for%s, but the host policy allows %s", x.Name, show(x.Asked), whose, show(x.Allowed)),
			"lower it in [strategy.resources], or raise policy.max."+x.Name)
	}
	if out.DeadlineSoft > out.DeadlineHard {
		key, _ := where("deadline_soft_ms")
		if !i.resources.given["deadline_soft_ms"] && !e.resources.given["deadline_soft_ms"] {
			key, _ = where("deadline_hard_ms")
		}
		r.add(CodeConflict, key, fmt.Sprintf("the soft deadline of %s is after the hard one of %s", out.DeadlineSoft, out.DeadlineHard), "make deadline_soft_ms at most deadline_hard_ms")
	}
	return out
}

func riskOver(base ipc.RiskContext, s section) ipc.RiskContext {
	over := riskOf(s)
	if s.given["max_slippage"] {
		base.MaxSlippage = over.MaxSlippage
	}
	if s.given["max_delay_ms"] {
		base.MaxDelayNS = over.MaxDelayNS
	}
	if s.given["holding_time_s"] {
		base.HoldingTimeNS = over.HoldingTimeNS
	}
	if s.given["budget"] {
		base.Budget = over.Budget
	}
	return base
}

func (r *resolver) config(e Entry, i EntryInstance, d *Descriptor) (ipc.Values, ipc.Digest) {
	merged := maps.Clone(e.config)
	if merged == nil {
		merged = map[string]any{}
	}
	maps.Copy(merged, i.config)
	values, fs := d.Config.Validate(merged)
	for _, f := range fs {
		name := strings.TrimPrefix(f.Key, "config.")
		key := e.at("package")
		if _, ok := i.config[name]; ok {
			key = join(i.at("config"), name)
		} else if _, ok := e.config[name]; ok {
			key = join(e.at("config"), name)
		}
		if key == e.at("package") {
			f.Problem = name + " " + f.Problem
		}
		r.add(f.Code, key, f.Problem, f.Remedy)
	}
	if len(fs) > 0 {
		return nil, ipc.Digest{}
	}
	hash, err := HashConfig(values)
	if err != nil {
		r.add(CodeConfig, e.at("package"), err.Error(), "use values that the wire can carry")
	}
	return values, hash
}

// isolation is the strictest demand. L0 is the weakest level, which policy only ever allows: what runs there says so itself, since auto takes
// the strongest that the host offers (SB-L0).
func (r *resolver) isolation(e Entry, d *Descriptor) Isolation {
	strictest := IsolationAuto
	for _, i := range []Isolation{r.file.Policy.MinimumIsolation, d.Isolation, e.Isolation} {
		if i.Rank() > strictest.Rank() && (i != IsolationL0 || d.Isolation == i || e.Isolation == i) {
			strictest = i
		}
	}
	if strictest == IsolationL0 && !r.file.Policy.AllowL0 {
		r.add(CodePolicy, e.at("isolation"), fmt.Sprintf("%s would share a process with others, which the host policy does not allow", d.Strategy), `set isolation = "auto", or policy.allow_l0 = true`)
	}
	return strictest
}
