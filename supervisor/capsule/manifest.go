package capsule

import (
	"fmt"

	"github.com/msup/msup/ipc"
)

// Format is the version of the file.
const Format = 1

// The files of a capsule, in their order.
const (
	fileManifest   = "manifest.json"
	fileDescriptor = "strategy.toml"
	fileConfig     = "config.json"
	filePackage    = "package.json"
	fileCode       = "package.tar"
	fileLayer      = "layer.json"
	fileLayerCode  = "layer.tar"
	fileCore       = "checkpoint.core"
	fileState      = "checkpoint.state"
	fileInputs     = "inputs.bin"
	fileIntents    = "intents.jsonl"
)

// order lists the files behind the manifest; those of optional ones may be absent together.
var order = []string{fileDescriptor, fileConfig, filePackage, fileCode, fileLayer, fileLayerCode, fileCore, fileState, fileInputs, fileIntents}

// Largest sizes in bytes, checked before anything is read.
const (
	maxManifest   = 1 << 20
	maxDescriptor = 1 << 20
	maxConfig     = 4 << 20
	maxMemory     = 64 << 20 // package.json, layer.json
	maxCheckpoint = 16 << 20 // of either part
	maxInputs     = 1 << 30
	maxIntents    = 256 << 20
	maxArchive    = 6 << 30
)

var largest = map[string]int64{fileDescriptor: maxDescriptor, fileConfig: maxConfig, filePackage: maxMemory, fileCode: maxArchive, fileLayer: maxMemory,
	fileLayerCode: maxArchive, fileCore: maxCheckpoint, fileState: maxCheckpoint, fileInputs: maxInputs, fileIntents: maxIntents}

// Manifest says what a capsule holds.
type Manifest struct {
	Format      int              `json:"format"`
	Bot         ipc.BotID        `json:"bot"`
	Strategy    ipc.StrategyID   `json:"strategy"`
	Instance    ipc.InstanceID   `json:"instance"`
	Lineage     string           `json:"lineage"`
	AskedFrom   ipc.Step         `json:"asked_from_step"`
	AskedTo     ipc.Step         `json:"asked_to_step"`
	FromStep    ipc.Step         `json:"from_step"` // first step that can be replayed: the one after the checkpoint
	ToStep      ipc.Step         `json:"to_step"`
	FirstInput  ipc.InputNo      `json:"first_input"`
	LastInput   ipc.InputNo      `json:"last_input"`
	Package     PackageIdentity  `json:"package"`
	ConfigHash  string           `json:"config_hash"`
	RunID       ipc.RunID        `json:"run_id"`
	Checkpoint  *CheckpointPlace `json:"checkpoint,omitempty"`
	Versions    Versions         `json:"versions"`
	Environment Environment      `json:"environment"`
	Files       []File           `json:"files"`
	SHA256      string           `json:"sha256"` // of this manifest with an empty one here
}

// Address names the instance.
func (m *Manifest) Address() ipc.Address {
	return ipc.Address{Bot: m.Bot, Strategy: m.Strategy, Instance: m.Instance}
}

// PackageIdentity says which code answered.
type PackageIdentity struct {
	Hash      string `json:"hash"`
	CodeHash  string `json:"code_hash"`
	LayerHash string `json:"layer_hash,omitempty"`
	HasLayer  bool   `json:"layer_included"`
	Runtime   string `json:"runtime"`
	Version   string `json:"strategy_version"`
}

// CheckpointPlace says where the replay begins.
type CheckpointPlace struct {
	Step         ipc.Step    `json:"step"`
	InputNo      ipc.InputNo `json:"input_no"`
	RowNo        uint64      `json:"row"`
	Head         string      `json:"head"` // of the ledger's chain, to compare with the ledger itself
	CoreTS       ipc.Nanos   `json:"core_ts"`
	StateVersion uint32      `json:"state_schema_version"`
	PackageHash  string      `json:"package_hash"`
	ConfigHash   string      `json:"config_hash"`
}

// Versions are those of the programs and contracts.
type Versions struct {
	MSUP           string `json:"msup"`          // that made the capsule
	Recorded       string `json:"msup_recorded"` // that recorded the last start
	ABI            uint64 `json:"abi"`
	EventContract  uint64 `json:"event_contract"`
	IntentContract uint64 `json:"intent_contract"`
	SDK            string `json:"sdk,omitempty"`    // fingerprint of what the package was looked at with
	Python         string `json:"python,omitempty"` // of Python packages
	Wasm           string `json:"wasm,omitempty"`   // engine, of Wasm packages
}

// File is one file of the capsule.
type File struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

// Error is a capsule that is refused: what, where, why, and what to do.
type Error struct {
	Place  string // file within the capsule, with the byte where one can be named
	Cause  string
	Remedy string
	Err    error
}

// Error puts everything into one line.
func (e *Error) Error() string {
	text := fmt.Sprintf("capsule: %s: %s", e.Place, e.Cause)
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text + "; " + e.Remedy
}

// Unwrap gives the underlying error.
func (e *Error) Unwrap() error { return e.Err }

const remedyAgain = "fetch it again from where it was made, or make it again with msup capsule; nothing was run"

func refused(place, format string, args ...any) error {
	return &Error{Place: place, Cause: fmt.Sprintf(format, args...), Remedy: remedyAgain}
}
