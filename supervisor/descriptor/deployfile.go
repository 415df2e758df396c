package descriptor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/msup/msup/ipc"
)

// maxSocketPath is what sun_path holds on Linux, without the final zero.
const maxSocketPath = 107

// DeploymentFile is a decoded deployment whose packages are not resolved yet: see Resolve.
type DeploymentFile struct {
	File        string
	Run         Run
	Policy      Policy
	Boundary    Boundary
	Bots        []Bot
	Secrets     map[string]SecretRef
	Instruments Instruments
	Entries     []Entry

	doc *document // nil for the short form
}

// Entry is one [[strategy]] of a deployment.
type Entry struct {
	Ref       string // as written
	Package   string // absolute path of a folder, or the hash of a package in the store
	Bot       ipc.BotID
	Hash      string // expected package hash; "" = any
	Isolation Isolation
	Globs     []string // on instruments; nil = all that the descriptor allows
	Shard     bool     // one instance per instrument
	Instances []EntryInstance
	override

	path  string // its key in the file
	short bool   // of the short form: shard only what is sharded
}

// EntryInstance is one [[strategy.instance]].
type EntryInstance struct {
	ID    ipc.InstanceID
	Globs []string
	override

	path string
}

// override is what an entry or an instance changes.
type override struct {
	config    map[string]any
	resources section
	risk      section
}

// IsHash reports whether a package is named by its hash instead of a folder.
func (e Entry) IsHash() bool { return reHash.MatchString(e.Package) }

// LoadDeployment reads a deployment and the instruments file that it names. The error is Findings.
func LoadDeployment(file string) (*DeploymentFile, error) {
	data, fs := readFile(file, "the deployment", "name an existing file: msup run -c "+DeploymentFileName)
	if fs != nil {
		return nil, fs
	}
	return ParseDeployment(file, data)
}

// ParseDeployment decodes and validates a deployment; paths in it are relative to the folder of file. The error is Findings.
func ParseDeployment(file string, data []byte) (*DeploymentFile, error) {
	doc, fs := parse(file, "the deployment", data)
	if fs != nil {
		return nil, fs
	}
	base, err := filepath.Abs(filepath.Dir(file))
	if err != nil {
		return nil, Findings{{Code: CodeFile, File: file, Problem: "its folder is not known: " + err.Error(), Remedy: "start msup in a folder that exists"}}
	}
	w := newWalker(doc)
	root := w.table("", doc.root, &deploymentTable)
	f := &DeploymentFile{File: file, doc: doc}
	f.Boundary = w.boundary(root.table("boundary"), base)
	f.Run = w.run(root.table("run"), base, f.Boundary)
	f.Policy = w.policy(root.table("policy"), base)
	f.Secrets = w.secrets(root, base)
	w.checkSecrets(f.Policy, f.Secrets)
	f.Bots = w.bots(root)
	f.Entries = w.entries(root, base, f.Bots)
	findings := w.findings
	f.Instruments, err = instrumentsOf(root.table("run").str("instruments"), base)
	findings = appendError(findings, err, file)
	if err := findings.sorted().Err(); err != nil {
		return nil, err
	}
	return f, nil
}

func instrumentsOf(file, base string) (Instruments, error) {
	if file == "" {
		return DefaultInstruments(), nil
	}
	return LoadInstruments(under(base, file))
}

// appendError adds what is in err, as findings, to fs.
func appendError(fs Findings, err error, file string) Findings {
	if err == nil {
		return fs
	}
	if more, ok := AsFindings(err); ok {
		return append(fs, more...)
	}
	return append(fs, Finding{Code: CodeFile, File: file, Problem: err.Error(), Remedy: "correct the cause and try again"})
}

// Short is the short form of a deployment: msup run DIR….
type Short struct {
	Bot         ipc.BotID // "" = DefaultBot
	Run         Run       // zero fields mean the defaults of the file form
	Instruments string    // instruments file; "" = the built-in table
	Globs       []string  // on instruments, for every strategy; nil = all
}

// NewDeployment makes the deployment of `msup run DIR…`: every folder one strategy, all in one bot. A sharded strategy
// gets one instance per instrument. The error is Findings.
func NewDeployment(dirs []string, s Short) (*DeploymentFile, error) {
	base, err := os.Getwd()
	if err != nil {
		return nil, fmt.Errorf("find the working folder: %w", err)
	}
	d := defaultOf(&deploymentTable, "").(section)
	w := newWalker(&document{})
	f := &DeploymentFile{Run: w.run(d.table("run"), base, Boundary{}), Policy: w.policy(d.table("policy"), base), Secrets: map[string]SecretRef{}}
	if s.Run.Durability != "" {
		f.Run.Durability = s.Run.Durability
	}
	if s.Run.Approval != "" {
		f.Run.Approval = s.Run.Approval
	}
	f.Run.StateDir, f.Run.Seed = s.Run.StateDir, s.Run.Seed
	bot := s.Bot
	if bot == "" {
		bot = DefaultBot
	}
	var fs Findings
	if !reStrategyID.MatchString(string(bot)) {
		fs = append(fs, Finding{Code: CodeFormat, Key: "--bot", Problem: quote(string(bot)) + " must be of the form [a-z][a-z0-9_-]*, at most 64 characters", Remedy: "choose another name"})
	}
	if len(dirs) == 0 {
		fs = append(fs, Finding{Code: CodeMissing, Problem: "no strategy is named", Remedy: "name at least one folder with a " + FileName})
	}
	f.Bots = []Bot{{ID: bot, Approval: f.Run.Approval}}
	for _, dir := range dirs {
		f.Entries = append(f.Entries, Entry{Ref: dir, Package: under(base, dir), Bot: bot, Isolation: IsolationAuto, Globs: s.Globs, Shard: true, short: true})
	}
	f.Instruments, err = instrumentsOf(s.Instruments, base)
	if err := appendError(fs, err, s.Instruments).Err(); err != nil {
		return nil, err
	}
	return f, nil
}

// under makes a path of a file absolute; a package hash stays as it is.
func under(base, path string) string {
	if path == "" || filepath.IsAbs(path) || reHash.MatchString(path) {
		return path
	}
	return filepath.Join(base, path)
}

func (w *walker) boundary(s section, base string) Boundary {
	socket := func(name string) string {
		p := under(base, s.str(name))
		if len(p) > maxSocketPath {
			w.add(CodeRange, s.at(name), fmt.Sprintf("the socket's path has %d bytes: %s", len(p), quote(p)), fmt.Sprintf("use a path of at most %d bytes, for example under /run/msup", maxSocketPath))
		}
		return p
	}
	b := Boundary{Market: socket("market"), Execution: socket("execution"), Risk: socket("risk")}
	seen := map[string]string{}
	for _, role := range []struct{ name, path string }{{"market", b.Market}, {"execution", b.Execution}, {"risk", b.Risk}} {
		if other, twice := seen[role.path]; twice && role.path != "" {
			w.add(CodeConflict, s.at(role.name), "is the socket of "+other+" as well", "give every role a socket of its own")
		}
		seen[role.path] = role.name
	}
	return b
}

func (w *walker) run(s section, base string, b Boundary) Run {
	r := Run{
		Durability: Durability(s.str("durability")), StateDir: under(base, s.str("state_dir")), Seed: uint64(s.num("seed")), Approval: Approval(s.str("approval")),
	}
	if r.Durability == DurabilityNone && b.Execution != "" {
		w.add(CodeConflict, s.at("durability"), "nothing would be durable, yet an execution socket is connected", `set durability = "power", or remove boundary.execution`)
	}
	return r
}

func (w *walker) policy(s section, base string) Policy {
	p := Policy{
		MinimumIsolation: Isolation(s.str("minimum_isolation")), AllowL0: s.flag("allow_l0"), RequireSignature: s.flag("require_signature"),
		TrustedKeys: s.strs("trusted_keys"), MaxInstances: s.num("max_instances"), Max: LargestResources().with(s.table("max")), Services: w.allowedServices(s, base),
		Ladders: ladderCeilings(s),
	}
	if p.RequireSignature && len(p.TrustedKeys) == 0 && w.ok(s.at("trusted_keys")) {
		w.add(CodeConflict, s.at("require_signature"), "no key is trusted, so no package could ever start", "add trusted_keys")
	}
	if p.MinimumIsolation == IsolationL0 && !p.AllowL0 {
		w.add(CodeConflict, s.at("minimum_isolation"), "is L0, but allow_l0 is false", "set allow_l0 = true, or demand more")
	}
	return p
}

func (w *walker) secrets(root section, base string) map[string]SecretRef {
	out := map[string]SecretRef{}
	for _, e := range root.entries("secrets") {
		s, ok := e.value.(section)
		if !ok {
			continue
		}
		if s.given["env"] == s.given["file"] {
			w.add(CodeFormat, e.path, "needs exactly one of env and file", `write { env = "NAME" } or { file = "PATH" }`)
			continue
		}
		out[e.key] = SecretRef{Env: s.str("env"), File: under(base, s.str("file"))}
	}
	return out
}

func (w *walker) bots(root section) []Bot {
	var out []Bot
	for _, s := range root.tables("bot") {
		b := Bot{ID: ipc.BotID(s.str("id")), Approval: Approval(s.str("approval"))}
		if b.Approval == "" {
			b.Approval = Approval(root.table("run").str("approval"))
		}
		if b.ID == "" {
			continue
		}
		if slices.ContainsFunc(out, func(o Bot) bool { return o.ID == b.ID }) {
			w.add(CodeDuplicate, s.at("id"), fmt.Sprintf("bot %s is defined twice", quote(string(b.ID))), "remove one")
			continue
		}
		out = append(out, b)
	}
	return out
}

func overrideOf(s section) override {
	config, _ := s.values["config"].(map[string]any)
	return override{config: config, resources: s.table("resources"), risk: s.table("risk")}
}

func (w *walker) entries(root section, base string, bots []Bot) []Entry {
	var out []Entry
	for _, s := range root.tables("strategy") {
		e := Entry{
			Ref: s.str("package"), Package: under(base, s.str("package")), Bot: ipc.BotID(s.str("bot")), Hash: s.str("hash"),
			Isolation: Isolation(s.str("isolation")), Globs: s.strs("instruments"), Shard: s.given["shard"], override: overrideOf(s), path: s.path,
		}
		if len(bots) > 0 && w.ok(s.at("bot"), "bot") && !slices.ContainsFunc(bots, func(b Bot) bool { return b.ID == e.Bot }) {
			w.add(CodeConflict, s.at("bot"), fmt.Sprintf("there is no [[bot]] with id %s", quote(string(e.Bot))), "add it, or name one of those that exist")
		}
		if e.IsHash() && e.Hash != "" && e.Hash != e.Package {
			w.add(CodeConflict, s.at("hash"), "differs from the hash in package", "remove it")
		}
		seen := map[ipc.InstanceID]bool{}
		for _, is := range s.tables("instance") {
			i := EntryInstance{ID: ipc.InstanceID(is.str("id")), Globs: is.strs("instruments"), override: overrideOf(is), path: is.path}
			if seen[i.ID] && i.ID != "" {
				w.add(CodeDuplicate, is.at("id"), fmt.Sprintf("instance %s is listed twice", quote(string(i.ID))), "remove one")
			}
			seen[i.ID] = true
			e.Instances = append(e.Instances, i)
		}
		if e.Shard && len(e.Instances) > 0 {
			w.add(CodeConflict, s.at("shard"), "instances are listed as well", "keep shard or the [[strategy.instance]] tables")
		}
		out = append(out, e)
	}
	return out
}

// Value fetches the secret. The error never holds it.
func (r SecretRef) Value() (string, error) {
	if r.Env != "" {
		v, ok := os.LookupEnv(r.Env)
		if !ok {
			return "", fmt.Errorf("the environment variable %s is not set; set it before starting msup", r.Env)
		}
		return v, nil
	}
	info, err := os.Stat(r.File)
	if err != nil {
		return "", fmt.Errorf("read the secret file %s: %w", r.File, errors.Unwrap(err))
	}
	if info.Mode().Perm()&0o077 != 0 {
		return "", fmt.Errorf("the secret file %s has mode %04o, so others can read it; chmod 600 it", r.File, info.Mode().Perm())
	}
	data, fs := readFile(r.File, "the secret", "create it with mode 0600")
	if fs != nil {
		return "", fs
	}
	if len(data) > 64<<10 {
		return "", fmt.Errorf("the secret file %s is larger than 64 KiB; name the right file", r.File)
	}
	return string(trimNewline(data)), nil
}

func trimNewline(b []byte) []byte {
	if n := len(b); n > 0 && b[n-1] == '\n' {
		b = b[:n-1]
	}
	return b
}
