package pack

import (
	"context"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"sync"

	"github.com/msup/msup/sandbox"
	"github.com/msup/msup/supervisor/descriptor"
)

// NativeBinds show a native binary the loader and libraries of this machine, read-only (NN-1). Those that a machine lacks are left out: a
// static binary needs none.
func NativeBinds() []sandbox.Bind {
	return []sandbox.Bind{{Source: "/lib", Optional: true}, {Source: "/lib64", Optional: true}, {Source: "/usr/lib", Optional: true}, {Source: "/usr/lib64", Optional: true},
		{Source: "/etc/ld.so.cache", Optional: true}}
}

var machines = map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}

// The places in an ELF header of 64 bits.
const (
	elfHeaderBytes = 64
	elfType        = 16
	elfMachine     = 18
	elfEntry       = 24
)

// checkNative refuses what this machine cannot execute. It reads the header alone.
func checkNative(binaryFile []byte) (problem, remedy string) {
	const rebuild = "name the program that cargo build --release made for this machine"
	le := binary.LittleEndian
	switch {
	case len(binaryFile) < elfHeaderBytes || string(binaryFile[:len(elf.ELFMAG)]) != elf.ELFMAG:
		return "is not executable: it is no ELF program", rebuild
	case elf.Class(binaryFile[elf.EI_CLASS]) != elf.ELFCLASS64 || elf.Data(binaryFile[elf.EI_DATA]) != elf.ELFDATA2LSB:
		return fmt.Sprintf("is a program of another architecture (%v, %v)", elf.Class(binaryFile[elf.EI_CLASS]), elf.Data(binaryFile[elf.EI_DATA])), rebuild
	}
	machine, kind := elf.Machine(le.Uint16(binaryFile[elfMachine:])), elf.Type(le.Uint16(binaryFile[elfType:]))
	switch {
	case machine != machines[runtime.GOARCH]:
		return fmt.Sprintf("is a program for %v; this machine is %s (%v)", machine, runtime.GOARCH, machines[runtime.GOARCH]),
			"build it on a machine of this architecture, or let msup build compile it here from its sources"
	case (kind != elf.ET_EXEC && kind != elf.ET_DYN) || le.Uint64(binaryFile[elfEntry:]) == 0:
		return fmt.Sprintf("is not executable: it is an ELF file of type %v without a program in it", kind), rebuild
	}
	return "", ""
}

// maxDescriptionLine is the longest line that a sandbox passes on.
const maxDescriptionLine = 64 << 10

// describeRust asks a Rust strategy for its interface, inside the sandbox: the module's own export, or the program's argument.
func (b *builder) describeRust(ctx context.Context, code string) (Interface, error) {
	artifact, err := readPlain(filepath.Join(code, b.descriptor.Entry), maxArtifactBytes)
	if err != nil {
		return Interface{}, b.refuseCode("strategy.entry", "cannot be used: "+err.Error(), fmt.Sprintf("name a module or program of at most %d MiB", maxArtifactBytes>>20))
	}
	var text []byte
	if b.descriptor.Runtime == descriptor.RuntimeRustWasm {
		text, err = b.describeModule(ctx, artifact)
	} else {
		text, err = b.describeNative(ctx, code, artifact)
	}
	if err != nil {
		return Interface{}, err
	}
	i, err := parseInterface(text)
	if fs, ok := descriptor.AsFindings(err); ok {
		return Interface{}, fs
	}
	if err != nil {
		return Interface{}, b.refuseCode("strategy.entry", "the description of the strategy's code is not usable: "+err.Error(), "use the crate msup unchanged")
	}
	return i, nil
}

// moduleFaults are the reasons for which the module is to blame, not the host.
var moduleFaults = []sandbox.ReasonCode{sandbox.ReasonWasmInvalid, sandbox.ReasonWasmCompile, sandbox.ReasonWasmTrap, sandbox.ReasonWasmReturn, sandbox.ReasonABI}

func (b *builder) describeModule(ctx context.Context, module []byte) ([]byte, error) {
	if b.opts.Describe == nil {
		return nil, fmt.Errorf("build %s: a sandbox for Wasm modules is needed; see `msup doctor`", b.descriptor.Strategy)
	}
	text, err := b.opts.Describe(ctx, module)
	var refused *sandbox.Error
	if !errors.As(err, &refused) || !slices.Contains(moduleFaults, refused.Reason) {
		return text, err
	}
	return nil, b.refuseCode("strategy.entry", fmt.Sprintf("the module %s is not usable: %s: %v (%s)", b.descriptor.Entry, refused.Op, refused.Err, refused.Reason), refused.Remedy)
}

func (b *builder) describeNative(ctx context.Context, code string, program []byte) ([]byte, error) {
	if problem, remedy := checkNative(program); problem != "" {
		return nil, b.refuseCode("strategy.entry", b.descriptor.Entry+" "+problem, remedy)
	}
	if b.opts.Sandbox == nil {
		return nil, fmt.Errorf("build %s: this needs a sandbox; see `msup doctor`", b.descriptor.Strategy)
	}
	var mu sync.Mutex
	var first string
	cut := false
	limits := SandboxLimits(b.descriptor.Resources)
	limits.LogLineBytes, limits.LogLinesPerSecond, limits.LogBurstLines, limits.LogBytesPerRun = maxDescriptionLine, 100, 100, 1<<20
	err := b.runSpec(ctx, "describe "+b.descriptor.Entry, sandbox.Spec{
		Argv: []string{path.Join(StrategyDir, b.descriptor.Entry), "describe"}, Limits: limits,
		Binds: append([]sandbox.Bind{{Source: code, Target: StrategyDir}}, NativeBinds()...),
		Log: func(l sandbox.LogLine) {
			mu.Lock()
			defer mu.Unlock()
			if l.Stream == sandbox.Stdout && first == "" {
				first, cut = l.Text, l.Truncated
			}
		},
	}, b.descriptor.Resources.DeadlineInit, zero)
	var late *lateError
	if errors.As(err, &late) {
		return nil, b.refuseCode("strategy.entry", "the program could not say what it is: "+late.Error(), "let msup::native_main! be all that main does")
	}
	var je *JobError
	if errors.As(err, &je) && je.Exit.Cause != sandbox.CauseSetupFailed {
		return nil, b.refuseCode("strategy.entry", fmt.Sprintf("the program could not say what it is: %s", oneLine(je)),
			"write msup::native_main!(your_crate::YourStrategy); in src/main.rs; the program's argument describe must print its interface")
	}
	if err != nil {
		return nil, err
	}
	mu.Lock()
	defer mu.Unlock()
	if cut {
		return nil, b.refuseCode("strategy.entry", fmt.Sprintf("the program's description has more than %d bytes", maxDescriptionLine), "shorten the docs of its configuration")
	}
	return []byte(first), nil
}
