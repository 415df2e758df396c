package descriptor

import (
	"github.com/msup/msup/ipc"
)

// Durability says what a persisted row survives.
type Durability string

// The durabilities.
const (
	DurabilityPower   Durability = "power"   // a power cut: fsync
	DurabilityProcess Durability = "process" // kill -9, not a power cut
	DurabilityNone    Durability = "none"    // nothing; research only, refused with a live sink
)

// Approval says who approves staged intents (GT-7).
type Approval string

// The approvals.
const (
	ApprovalAuto     Approval = "auto"     // policy approves
	ApprovalExternal Approval = "external" // J or E approves over the boundary
)

// Run holds the settings of one run of the supervisor. Paths are absolute, or relative to the file.
type Run struct {
	Durability Durability
	StateDir   string // "" = the caller's default
	Seed       uint64 // run seed of every instance's random numbers (NN-7)
	Approval   Approval
}

// Boundary names the unix sockets towards the neighbours; "" = not connected.
type Boundary struct {
	Market    string // H
	Execution string // I
	Risk      string // J and E
}

// Policy is the host's word on what a deployment may ask for (RS-4).
type Policy struct {
	MinimumIsolation Isolation
	AllowL0          bool
	RequireSignature bool
	TrustedKeys      []string // ed25519 public keys, base64 (BC-U)
	MaxInstances     int64
	Max              Resources        // largest allowed value of each
	Ladders          []LadderCeiling  // the most lenient allowed (SB-7)
	Services         []AllowedService // places that services may be at (SB-3)
}

// SecretRef points to a secret; exactly one of its fields is set. Values are never written into files.
type SecretRef struct {
	Env  string // name of an environment variable
	File string // path of a file with mode 0600 or stricter
}

// Bot is an account-level group of strategies.
type Bot struct {
	ID       ipc.BotID
	Approval Approval
}

// Package is what a deployment needs to know of a package; supervisor/pack makes it.
type Package struct {
	Hash       string // binary_hash, 64 hex characters
	Dir        string // the folder in the store that runners see, read-only
	Descriptor *Descriptor
	Signed     bool // carries a signature by a key that the host policy trusts (BC-U)
}

// Deployment is everything that a supervisor has to run: validated, with every package resolved.
type Deployment struct {
	File        string // "" = made from `msup run DIR…`
	Run         Run
	Policy      Policy
	Boundary    Boundary
	Bots        []Bot // sorted by id
	Secrets     map[string]SecretRef
	Instruments []ipc.Instrument // the whole table, sorted by id
	Instances   []Instance       // sorted by address
	Refused     []Refusal        // packages that cannot be opened, while others can
}

// Refusal is a package whose strategies do not run, and why (AD-5). One strategy's mistake does not stop the others.
type Refusal struct {
	Ref      string // as written: a path or a hash
	Findings Findings
}

// Instance is one shard of a strategy as deployed (DM-2).
type Instance struct {
	Address     ipc.Address
	PackageRef  string // as written: a path or a hash
	Package     Package
	Descriptor  *Descriptor // Package.Descriptor
	Config      ipc.Values  // complete: defaults filled in
	ConfigHash  ipc.Digest
	Instruments []ipc.Instrument // what the strategy may see and trade, sorted by id
	Resources   Resources
	Risk        ipc.RiskContext
	Isolation   Isolation // the strictest of descriptor, entry and host policy
	Lane        ipc.Lane
	Approval    Approval
	Services    []InstanceService // allowed by the host, with their schemas (EX-2)
	Line        int               // of its entry in the file; 0 = none
}
