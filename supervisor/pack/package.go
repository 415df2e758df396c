package pack

import (
	"fmt"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/sandbox"
	"github.com/msup/msup/supervisor/descriptor"
)

// Where runners see a package.
const (
	StrategyDir = "/strategy"
	LayerDir    = "/layer"
)

// Package is a package in the store, verified when it was opened.
type Package struct {
	Hash       string // binary_hash, 64 hex characters
	CodeHash   ipc.Digest
	LayerHash  string // "" = no dependencies
	CodeDir    string // bound at StrategyDir
	LayerDir   string // bound at LayerDir; "" = none
	Descriptor *descriptor.Descriptor
	Interface  Interface
	Files      []File // of the code, sorted by path
	Signed     bool   // by a key that the caller trusts
	Signer     string // base64 public key of that signature
}

// Resolved is what a deployment wants to know of the package.
func (p *Package) Resolved() descriptor.Package {
	return descriptor.Package{Hash: p.Hash, Dir: p.CodeDir, Descriptor: p.Descriptor, Signed: p.Signed}
}

// Binds shows the package inside a sandbox, read-only. The caller adds the runtime's.
func (p *Package) Binds() []sandbox.Bind {
	binds := []sandbox.Bind{{Source: p.CodeDir, Target: StrategyDir}}
	if p.LayerDir != "" {
		binds = append(binds, sandbox.Bind{Source: p.LayerDir, Target: LayerDir})
	}
	return binds
}

// Env tells a runner where its package is, and its hash, which it repeats in the handshake.
func (p *Package) Env() []string {
	env := []string{"MSUP_PACKAGE_HASH=" + p.Hash, "MSUP_ENTRY=" + p.Descriptor.Entry, "MSUP_STRATEGY_DIR=" + StrategyDir}
	if p.LayerDir != "" {
		env = append(env, "MSUP_LAYER="+LayerDir)
	}
	return env
}

// SandboxLimits turns a descriptor's ceilings into a sandbox's walls.
func SandboxLimits(r descriptor.Resources) sandbox.Limits {
	return sandbox.Limits{
		MemoryBytes: r.MemoryMB << 20, CPUQuota: r.CPUCores, PIDs: r.Threads, OpenFiles: uint64(r.OpenFiles),
		FileSizeBytes: uint64(r.TmpMB) << 20, TmpBytes: r.TmpMB << 20,
		LogLinesPerSecond: float64(r.LogLinesPerSecond), LogBurstLines: int(2 * r.LogLinesPerSecond), LogBytesPerRun: r.LogBytesPerRun,
	}
}

// HashMismatch says that a package in the store is not what its hash says (AD-3).
type HashMismatch struct {
	Hash    string // of the package or layer
	File    string // the file that differs
	Problem string
}

// Code is the reason code of a HashMismatch.
func (*HashMismatch) Code() descriptor.Code { return descriptor.CodeHash }

// Error returns place, cause and remedy.
func (e *HashMismatch) Error() string {
	return fmt.Sprintf("%s: package %.16s…: %s: %s; keep the folder as evidence, find out who writes to the store, then move it away and build again with `msup build DIR`",
		descriptor.CodeHash, e.Hash, e.File, e.Problem)
}
