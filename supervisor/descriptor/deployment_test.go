package descriptor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/msup/msup/ipc"
)

// packages opens the samples: /p/single (one int, default 12), /p/sharded (testdata/good/full.toml).
func packages(t testing.TB) func(string) (Package, error) {
	single, err := Parse("single.toml", []byte(singleTOML))
	if err != nil {
		t.Fatal(err)
	}
	full, err := os.ReadFile("testdata/good/full.toml")
	if err != nil {
		t.Fatal(err)
	}
	sharded, err := Parse("full.toml", full)
	if err != nil {
		t.Fatal(err)
	}
	return func(ref string) (Package, error) {
		switch filepath.Base(ref) {
		case "single":
			return Package{Hash: strings.Repeat("1", 64), Dir: ref, Descriptor: single}, nil
		case "sharded":
			return Package{Hash: strings.Repeat("2", 64), Dir: ref, Descriptor: sharded, Signed: true}, nil
		case "findings":
			return Package{}, fmt.Errorf("build: %w", Findings{{Code: CodePackage, File: "findings/x", Problem: "is a symbolic link", Remedy: "remove it"}})
		}
		return Package{}, errors.New("there is no such package")
	}
}

const singleTOML = `[strategy]
id = "ema_cross"
version = "1.0.0"
runtime = "python"
entry = "s:Ema"
[capabilities]
events = ["quote"]
instruments = ["EURUSD.*"]
intents = ["order"]
[config.fast]
type = "int"
min = 1
max = 500
default = 12
`

func resolve(t testing.TB, text string) (*Deployment, error) {
	f, err := ParseDeployment("/etc/msup/msup.toml", []byte(text))
	if err != nil {
		return nil, err
	}
	return f.Resolve(packages(t))
}

// Proves: DM-2
func TestDeploymentMakesInstances(t *testing.T) {
	d, err := resolve(t, `
[run]
durability = "process"
state_dir = "state"
seed = 7
approval = "external"
[policy]
minimum_isolation = "L1"
[boundary]
execution = "x.sock"
[secrets]
venue = { env = "VENUE_KEY" }
other = { file = "secret" }
[[bot]]
id = "alpha"
[[bot]]
id = "beta"
approval = "auto"
[[strategy]]
package = "pkg/sharded"
bot = "beta"
shard = "instrument"
instruments = ["BTC*", "SYN-*"]
isolation = "L2"
[strategy.config]
size = "0.5"
window = 60
[strategy.resources]
memory_mb = 1024
[strategy.risk]
budget = "99"
[[strategy]]
package = "pkg/single"
bot = "alpha"
[[strategy.instance]]
id = "eur"
instruments = ["*.OANDA"]
config = { fast = 20 }
resources = { memory_mb = 64 }
risk = { max_delay_ms = 10 }
`)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, i := range d.Instances {
		var ids []string
		for _, x := range i.Instruments {
			ids = append(ids, string(x.ID))
		}
		got = append(got, fmt.Sprintf("%s %s %s %s %s fast=%v window=%v size=%v mem=%d line=%d %s", i.Address, i.Isolation, i.Lane, i.Approval, strings.Join(ids, ","),
			i.Config["fast"], i.Config["window"], i.Config["size"], i.Resources.MemoryMB, i.Line, i.Package.Dir))
	}
	want := []string{
		"alpha/ema_cross/eur L1 ll external EURUSD.OANDA fast=20 window=<nil> size=<nil> mem=64 line=35 /etc/msup/pkg/single",
		"beta/mean_reversion/BTCUSD.COINBASE L2 compute auto BTCUSD.COINBASE fast=<nil> window=60 size=0.5 mem=1024 line=19 /etc/msup/pkg/sharded",
		"beta/mean_reversion/SYN-A.SIM L2 compute auto SYN-A.SIM fast=<nil> window=60 size=0.5 mem=1024 line=19 /etc/msup/pkg/sharded",
		"beta/mean_reversion/SYN-B.SIM L2 compute auto SYN-B.SIM fast=<nil> window=60 size=0.5 mem=1024 line=19 /etc/msup/pkg/sharded",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("instances (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(Run{Durability: DurabilityProcess, StateDir: "/etc/msup/state", Seed: 7, Approval: ApprovalExternal}, d.Run); diff != "" {
		t.Errorf("run (-want +got):\n%s", diff)
	}
	if d.Boundary.Execution != "/etc/msup/x.sock" || d.Secrets["other"].File != "/etc/msup/secret" || d.Secrets["venue"].Env != "VENUE_KEY" {
		t.Errorf("boundary %+v, secrets %+v", d.Boundary, d.Secrets)
	}
	if r := d.Instances[1].Risk; r.Budget != ipc.MustDecimal("99") || r.MaxSlippage != ipc.MustDecimal("0.002") {
		t.Errorf("risk %+v: the budget is the entry's, the rest the descriptor's", r)
	}
	if r := d.Instances[0].Risk; r.MaxDelayNS != 10e6 {
		t.Errorf("risk %+v: the delay is the instance's", r)
	}
	if c := d.Instances[1]; c.Config["entry_z"] != 2.0 || c.Config["mode"] != "fade" || c.Config["hedge"] != false || c.ConfigHash != d.Instances[2].ConfigHash || c.ConfigHash == d.Instances[0].ConfigHash {
		t.Errorf("config %v: defaults must be filled in, and the hash name the values", c.Config)
	}
}

// Every broken deployment yields exactly these findings.
// Proves: DM-2, AD-1, HR-1
func TestBrokenDeployments(t *testing.T) {
	s := "[[strategy]]\npackage = \"single\"\n" // two lines
	long := strings.Repeat("d/", 60) + "x.sock"
	for name, c := range map[string]struct{ text, want string }{
		"no strategy":          {"[run]\nseed = 1\n", "0:strategy DESCRIPTOR_MISSING\n"},
		"empty list":           {"strategy = []\n", "1:strategy DESCRIPTOR_RANGE\n"},
		"a table":              {"[strategy]\npackage = \"single\"\n", "1:strategy DESCRIPTOR_TYPE\n"},
		"unknown":              {s + "pakage = 1\n[runs]\n", "3:strategy[0].pakage DESCRIPTOR_UNKNOWN\n4:runs DESCRIPTOR_UNKNOWN\n"},
		"durability":           {s + "[run]\ndurability = \"maybe\"\n", "4:run.durability DESCRIPTOR_RANGE\n"},
		"none with sink":       {s + "[run]\ndurability = \"none\"\n[boundary]\nexecution = \"x.sock\"\n", "4:run.durability DESCRIPTOR_CONFLICT\n"},
		"seed":                 {s + "[run]\nseed = -1\n", "4:run.seed DESCRIPTOR_RANGE\n"},
		"secret value":         {s + "[secrets]\nkey = \"hunter2\"\n", "4:secrets.key SECRET_VALUE\n"},
		"secret both":          {s + "[secrets]\nkey = { env = \"A\", file = \"b\" }\n", "4:secrets.key DESCRIPTOR_FORMAT\n"},
		"secret neither":       {s + "[secrets]\nkey = {}\n", "4:secrets.key DESCRIPTOR_FORMAT\n"},
		"long socket":          {s + "[boundary]\nmarket = \"" + long + "\"\n", "4:boundary.market DESCRIPTOR_RANGE\n"},
		"same socket":          {s + "[boundary]\nmarket = \"a\"\nrisk = \"./a\"\n", "5:boundary.risk DESCRIPTOR_CONFLICT\n"},
		"no trusted key":       {s + "[policy]\nrequire_signature = true\n", "4:policy.require_signature DESCRIPTOR_CONFLICT\n"},
		"bad key":              {s + "[policy]\ntrusted_keys = [\"abc\"]\n", "4:policy.trusted_keys[0] DESCRIPTOR_FORMAT\n"},
		"bot twice":            {"[[bot]]\nid = \"a\"\n[[bot]]\nid = \"a\"\n" + s + "bot = \"a\"\n", "4:bot[1].id DESCRIPTOR_DUPLICATE\n"},
		"bot unknown":          {"[[bot]]\nid = \"a\"\n" + s, "3:strategy[0].bot DESCRIPTOR_CONFLICT\n"},
		"instance twice":       {s + "[[strategy.instance]]\nid = \"x\"\n[[strategy.instance]]\nid = \"x\"\n", "6:strategy[0].instance[1].id DESCRIPTOR_DUPLICATE\n"},
		"instance id":          {s + "[[strategy.instance]]\nid = \"a/b\"\n", "4:strategy[0].instance[0].id DESCRIPTOR_FORMAT\n"},
		"shard and list":       {s + "shard = \"instrument\"\n[[strategy.instance]]\nid = \"x\"\n", "3:strategy[0].shard DESCRIPTOR_CONFLICT\n"},
		"instruments file":     {s + "[run]\ninstruments = \"/nonexistent/i.toml\"\n", "0: DESCRIPTOR_FILE /nonexistent/i.toml\n"},
		"no package":           {"[[strategy]]\npackage = \"nothing\"\n", "2:strategy[0].package PACKAGE_INVALID\n"},
		"bad package":          {"[[strategy]]\npackage = \"findings\"\n", "0: PACKAGE_INVALID findings/x\n"},
		"hash pinned":          {s + "hash = \"" + zeros64 + "\"\n", "3:strategy[0].hash PACKAGE_HASH_MISMATCH\n"},
		"unsigned":             {s + "[policy]\nrequire_signature = true\ntrusted_keys = [\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\"]\n", "2:strategy[0].package POLICY_EXCEEDED\n"},
		"config unknown":       {s + "config = { slow = 3 }\n", "3:strategy[0].config.slow CONFIG_INVALID\n"},
		"config range":         {s + "[strategy.config]\nfast = 0\n", "4:strategy[0].config.fast CONFIG_INVALID\n"},
		"config type":          {s + "[strategy.config]\nfast = 1.5\n", "4:strategy[0].config.fast CONFIG_INVALID\n"},
		"config table":         {s + "[strategy.config.fast]\nx = 1\n", "3:strategy[0].config.fast DESCRIPTOR_TYPE\n"},
		"config missing":       {"[[strategy]]\npackage = \"sharded\"\n[[strategy.instance]]\nid = \"x\"\n", "2:strategy[0].package CONFIG_INVALID\n"},
		"instance config":      {s + "[[strategy.instance]]\nid = \"x\"\nconfig = { fast = 501 }\n", "5:strategy[0].instance[0].config.fast CONFIG_INVALID\n"},
		"money float":          {"[[strategy]]\npackage = \"sharded\"\nconfig = { size = 0.5 }\n[[strategy.instance]]\nid = \"x\"\n", "3:strategy[0].config.size CONFIG_INVALID\n"},
		"policy by entry":      {s + "resources = { memory_mb = 999 }\n[policy.max]\nmemory_mb = 512\n", "3:strategy[0].resources.memory_mb POLICY_EXCEEDED\n"},
		"policy by descriptor": {s + "[policy.max]\nmemory_mb = 64\ncpu_cores = 0.5\n", "2:strategy[0].package POLICY_EXCEEDED\n2:strategy[0].package POLICY_EXCEEDED\n"},
		"deadlines":            {s + "resources = { deadline_hard_ms = 10 }\n", "3:strategy[0].resources.deadline_hard_ms DESCRIPTOR_CONFLICT\n"},
		"l0":                   {s + "isolation = \"L0\"\n", "3:strategy[0].isolation POLICY_EXCEEDED\n"},
		"single sharded":       {s + "shard = \"instrument\"\n", "3:strategy[0].shard DESCRIPTOR_CONFLICT\n"},
		"single twice":         {s + "[[strategy.instance]]\nid = \"a\"\n[[strategy.instance]]\nid = \"b\"\n", "6:strategy[0].instance[1].id DESCRIPTOR_CONFLICT\n"},
		"sharded unnamed":      {"[[strategy]]\npackage = \"sharded\"\n", "2:strategy[0].package DESCRIPTOR_CONFLICT\n"},
		"deployed twice":       {s + s, "4:strategy[1].package DESCRIPTOR_DUPLICATE\n"},
		"no instrument":        {s + "instruments = [\"XAUUSD.*\"]\n", "3:strategy[0].instruments DESCRIPTOR_CONFLICT\n"},
		"instance instrument":  {s + "[[strategy.instance]]\nid = \"x\"\ninstruments = [\"BTC*\"]\n", "5:strategy[0].instance[0].instruments DESCRIPTOR_CONFLICT\n"},
		"ladder by policy":     {s + "[policy.ladders]\nlog = { window_s = 600, halt = 9 }\nfaults = { degrade = 5 }\n", "2:strategy[0].package POLICY_EXCEEDED\n2:strategy[0].package POLICY_EXCEEDED\n"},
		"ladder of nothing":    {s + "[policy.ladders]\nheat = { halt = 9 }\n", "4:policy.ladders.heat DESCRIPTOR_FORMAT\n"},
		"too many":             {"[[strategy]]\npackage = \"sharded\"\nshard = \"instrument\"\nconfig = { size = 1 }\n[policy]\nmax_instances = 2\n", "6:policy.max_instances POLICY_EXCEEDED\n"},
		"several":              {s + "config = { fast = 0, x = 1 }\nhash = \"" + zeros64 + "\"\n[[strategy]]\npackage = \"nothing\"\n", "3:strategy[0].config.fast CONFIG_INVALID\n3:strategy[0].config.x CONFIG_INVALID\n4:strategy[0].hash PACKAGE_HASH_MISMATCH\n6:strategy[1].package PACKAGE_INVALID\n"},
	} {
		d, err := resolve(t, c.text)
		if err == nil {
			t.Errorf("%s: accepted as %+v", name, d)
			continue
		}
		fs, ok := AsFindings(err)
		if !ok {
			t.Errorf("%s: %T is not Findings", name, err)
			continue
		}
		var got strings.Builder
		for _, f := range fs {
			fmt.Fprintf(&got, "%d:%s %s", f.Line, f.Key, f.Code)
			if f.File != "/etc/msup/msup.toml" {
				got.WriteString(" " + f.File)
			}
			got.WriteString("\n")
			if f.Problem == "" || f.Remedy == "" {
				t.Errorf("%s: %+v lacks problem or remedy", name, f)
			}
		}
		if diff := cmp.Diff(c.want, got.String()); diff != "" {
			t.Errorf("%s (-want +got):\n%s%v", name, diff, err)
		}
		if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: the finding shows the secret", name)
		}
	}
}

// L0 is asked for by name: what the policy allows, or calls the least, chooses it for nobody.
// Proves: SB-L0
func TestSharedProcessesAreAskedForByName(t *testing.T) {
	for _, c := range []struct{ policy, entry, want string }{
		{"allow_l0 = true", "", "auto"},
		{"allow_l0 = true", `isolation = "L0"`, "L0"},
		{"allow_l0 = true\nminimum_isolation = \"L0\"", "", "auto"},
		{"allow_l0 = true\nminimum_isolation = \"L0\"", `isolation = "L0"`, "L0"},
		{"allow_l0 = true\nminimum_isolation = \"L1\"", `isolation = "L0"`, "L1"},
		{"allow_l0 = true", `isolation = "L3"`, "L3"},
	} {
		d, err := resolve(t, "[[strategy]]\npackage = \"single\"\n"+c.entry+"\n[policy]\n"+c.policy+"\n")
		if err != nil {
			t.Errorf("%+v: %v", c, err)
			continue
		}
		if got := d.Instances[0].Isolation; string(got) != c.want {
			t.Errorf("%+v: isolation %s", c, got)
		}
	}
}

// The published schema of deployments agrees with the decoder on the same cases.
// Proves: DM-2
func TestDeploymentSchemaAgreesWithDecoder(t *testing.T) {
	schema := compileSchema(t, KindDeployment)
	s := "[[strategy]]\npackage = \"single\"\n"
	for _, text := range []string{
		s, s + "x = 1\n", s + "bot = \"A\"\n", s + "[run]\nseed = 1.5\n", s + "[run]\nseed = 3\n", s + "[secrets]\nk = \"v\"\n", s + "[secrets]\nk = {}\n", s + "[secrets]\nK = { env = \"A\" }\n",
		s + "[secrets]\nk = { env = \"A\" }\n", s + "config = { a = \"x\", b = 2, c = true, d = 0.5 }\n", s + "config = { a = [1] }\n", s + "config = { A = 1 }\n",
		s + "resources = { memory_mb = 1 }\n", s + "resources = { memory_mb = 100 }\n", s + "risk = { budget = \"0\" }\n", s + "risk = { budget = \"1.5\" }\n",
		s + "[[strategy.instance]]\nid = \"x\"\n", s + "[[strategy.instance]]\n", s + "shard = \"bot\"\n", "[[bot]]\nid = \"default\"\n" + s, "[[bot]]\n" + s, "strategy = []\n", "x = 1\n",
		s + "[policy]\nmax_instances = 0\n", s + "[policy.max]\nmemory_mb = 32\nthreads = 4\n", s + "instruments = []\n", s + "instruments = [\"*\"]\n", s + "hash = \"12\"\n",
	} {
		_, err := ParseDeployment("/x/msup.toml", []byte(text))
		decoder := err == nil
		if accepts, serr := schemaAccepts(t, schema, []byte(text)); accepts != decoder {
			t.Errorf("%q: decoder %v (%v), schema %v (%v)", text, decoder, err, accepts, serr)
		}
	}
}

// One strategy's mistake does not stop the others; where nothing is left, or the deployment itself is wrong, all of it is told.
// Proves: AD-5, NN-2
func TestOneBrokenPackageRefusesItsOwnStrategies(t *testing.T) {
	dir := t.TempDir()
	deploy := func(globs string, names ...string) (*Deployment, error) {
		for i, name := range names {
			names[i] = filepath.Join(dir, name)
		}
		short, err := NewDeployment(names, Short{Run: Run{Seed: 3}, Globs: []string{globs}})
		if err != nil {
			t.Fatal(err)
		}
		open := packages(t)
		return short.Resolve(func(ref string) (Package, error) {
			if filepath.Base(ref) == "broken" {
				return Package{}, errors.New("it does not import")
			}
			return open(ref)
		})
	}
	d, err := deploy("EURUSD.*", "broken", "single")
	if err != nil || len(d.Instances) != 1 || len(d.Refused) != 1 || !strings.Contains(d.Refused[0].Findings.Error(), "it does not import") {
		t.Fatalf("%+v, %v", d, err)
	}
	if _, err := deploy("EURUSD.*", "broken"); err == nil || !strings.Contains(err.Error(), "it does not import") {
		t.Errorf("with nothing left to run: %v", err)
	}
	_, err = deploy("BTCUSD.*", "broken", "sharded")
	if fs, ok := AsFindings(err); !ok || len(fs) != 2 {
		t.Errorf("with a mistake in the deployment too: %v", err)
	}
}

// The short form gives the same as the file that says the same.
func TestShortFormIsTheSameDeployment(t *testing.T) {
	dir := t.TempDir()
	short, err := NewDeployment([]string{filepath.Join(dir, "single"), filepath.Join(dir, "sharded")}, Short{Run: Run{Seed: 3}, Globs: []string{"EURUSD.*", "BTCUSD.*"}})
	if err != nil {
		t.Fatal(err)
	}
	open := packages(t)
	_, err = short.Resolve(open)
	if fs, ok := AsFindings(err); !ok || len(fs) != 1 || fs[0].Code != CodeConfig || !strings.Contains(fs[0].Problem, "size is required") {
		t.Fatalf("a required value that the short form cannot give: %v", err)
	}
	short, err = NewDeployment([]string{filepath.Join(dir, "single")}, Short{Run: Run{Seed: 3}, Globs: []string{"EURUSD.*"}})
	if err != nil {
		t.Fatal(err)
	}
	a, err := short.Resolve(open)
	if err != nil {
		t.Fatal(err)
	}
	file, err := ParseDeployment(filepath.Join(dir, "msup.toml"), []byte("[run]\nseed = 3\n[[strategy]]\npackage = \"single\"\ninstruments = [\"EURUSD.*\"]\n"))
	if err != nil {
		t.Fatal(err)
	}
	b, err := file.Resolve(open)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range []*Deployment{a, b} {
		d.File = ""
		for i := range d.Instances {
			d.Instances[i].Line, d.Instances[i].PackageRef = 0, ""
		}
	}
	if diff := cmp.Diff(b, a); diff != "" {
		t.Errorf("(-file +short):\n%s", diff)
	}
	if a.Instances[0].Address.String() != "default/ema_cross/main" || a.Run.Durability != DurabilityPower {
		t.Errorf("%+v", a.Instances[0].Address)
	}
	if _, err := NewDeployment(nil, Short{Bot: "NO"}); err == nil {
		t.Error("no folder and a bad bot were accepted")
	}
}

func TestSecretsAreReadFromTheirReference(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "s")
	if err := os.WriteFile(file, []byte("hunter2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("MSUP_TEST_SECRET", "hunter3")
	if v, err := (SecretRef{File: file}).Value(); err != nil || v != "hunter2" {
		t.Errorf("file: %q, %v", v, err)
	}
	if v, err := (SecretRef{Env: "MSUP_TEST_SECRET"}).Value(); err != nil || v != "hunter3" {
		t.Errorf("env: %q, %v", v, err)
	}
	if err := os.Chmod(file, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, r := range []SecretRef{{File: file}, {File: file + "x"}, {Env: "MSUP_TEST_NO_SECRET"}} {
		if v, err := r.Value(); err == nil || strings.Contains(err.Error(), "hunter") {
			t.Errorf("%+v: %q, %v", r, v, err)
		}
	}
}
