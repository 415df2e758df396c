package wasm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
	"github.com/tetratelabs/wazero/sys"
)

// Where a runner sees its package.
const (
	moduleDir  = "/module"
	moduleFile = "module.wasm"
	cacheFile  = "cache" // the folder that wazero keeps its own folders in
)

// guest is one instance of a module. It is used by one goroutine only.
type guest struct {
	ctx     context.Context
	runtime wazero.Runtime
	module  api.Module
	clock   stepClock
	memory  api.Memory
	buffer  api.Function
	handle  api.Function
	stack   [1]uint64
}

// environment is what the guest may see of the outside.
type environment struct {
	env            []string // KEY=value
	stdout, stderr io.Writer
	pages          uint32 // ceiling of the memory
}

// plain hides that a writer is a file, about which wazero would ask the kernel questions that the runner may not ask.
type plain struct{ io.Writer }

// features is what Rust's wasm32-wasip1 uses and wazero checks: WebAssembly 2.0, without threads.
const features = api.CoreFeaturesV2

func runtimeConfig(cache wazero.CompilationCache, pages uint32) wazero.RuntimeConfig {
	c := wazero.NewRuntimeConfigCompiler().WithCoreFeatures(features).WithMemoryLimitPages(pages).
		WithDebugInfoEnabled(false).WithCustomSections(false)
	if cache != nil {
		c = c.WithCompilationCache(cache)
	}
	return c
}

// loaded is a compiled module with all that has to be made before executable pages are forbidden.
type loaded struct {
	guest    *guest
	compiled wazero.CompiledModule
	config   wazero.ModuleConfig
}

// load compiles module, or takes it from the cache. No byte of the guest runs.
func load(module []byte, cache wazero.CompilationCache, e environment) (*loaded, error) {
	g := &guest{}
	g.ctx = experimental.WithMemoryAllocator(context.Background(), experimental.MemoryAllocatorFunc(reserveMemory))
	g.runtime = wazero.NewRuntimeWithConfig(g.ctx, runtimeConfig(cache, e.pages))
	if _, err := wasi_snapshot_preview1.Instantiate(g.ctx, g.runtime); err != nil {
		return nil, fmt.Errorf("prepare WASI: %w", err)
	}
	compiled, err := g.runtime.CompileModule(g.ctx, module)
	if err != nil {
		return nil, fmt.Errorf("compile the module: %w", err)
	}
	config := wazero.NewModuleConfig().WithName("strategy").WithStartFunctions().WithStdout(plain{e.stdout}).WithStderr(plain{e.stderr}).
		WithWalltime(g.clock.walltime, 1).WithNanotime(g.clock.nanotime, 1).WithRandSource(&g.clock)
	for _, kv := range e.env {
		k, v, _ := strings.Cut(kv, "=")
		config = config.WithEnv(k, v)
	}
	return &loaded{guest: g, compiled: compiled, config: config}, nil
}

// start instantiates the module and calls _initialize and msup_abi.
func (l *loaded) start() (*guest, error) {
	g := l.guest
	if err := l.instantiate(); err != nil {
		return nil, &guestError{status: statusInvalid, doing: "instantiating the module", err: err}
	}
	g.memory = g.module.Memory()
	g.buffer, g.handle = g.module.ExportedFunction(exportBuffer), g.module.ExportedFunction(exportHandle)
	if g.memory == nil || g.buffer == nil || g.handle == nil {
		return nil, &guestError{status: statusInvalid, doing: "looking for the exports", err: errors.New("the memory or a function of the guest ABI is missing")}
	}
	if initialize := g.module.ExportedFunction(exportInitialize); initialize != nil {
		if err := g.call(initialize, exportInitialize); err != nil {
			return nil, err
		}
	}
	if err := g.call(g.module.ExportedFunction(exportABI), exportABI); err != nil {
		return nil, err
	}
	if got := api.DecodeI32(g.stack[0]); got != GuestABI {
		return nil, &guestError{status: statusABI, doing: "calling msup_abi", err: fmt.Errorf("the module speaks version %d of the guest ABI, this msup version %d", got, GuestABI)}
	}
	return g, nil
}

// instantiate makes the module's memory, globals and tables. wazero panics where the memory cannot be had.
func (l *loaded) instantiate() (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("no room for its memory: %v", r)
		}
	}()
	l.guest.module, err = l.guest.runtime.InstantiateModule(l.guest.ctx, l.compiled, l.config)
	return err
}

// GuestABI is the version of the guest ABI that runners speak (AD-3).
const GuestABI = 1

// call calls a function whose parameter, if any, is in the stack, where its result will be.
func (g *guest) call(f api.Function, name string) error {
	if f == nil {
		return &guestError{status: statusInvalid, doing: "calling " + name, err: errors.New("it is missing")}
	}
	if err := f.CallWithStack(g.ctx, g.stack[:]); err != nil {
		return g.trapped(name, err)
	}
	return nil
}

// trapped turns the error of a call into the end of the guest.
func (g *guest) trapped(name string, err error) error {
	var exit *sys.ExitError
	if errors.As(err, &exit) {
		return &guestError{status: guestStatus(exit.ExitCode()), doing: "calling " + name, err: fmt.Errorf("it exited with status %d", exit.ExitCode())}
	}
	return &guestError{status: statusTrap, doing: fmt.Sprintf("calling %s in step %d", name, g.clock.step), err: errors.New(oneLine(err))}
}

// result splits what msup_handle and msup_describe return and checks it against the memory. The bytes are the guest's own,
// valid until the next call.
func (g *guest) result(name string) ([]byte, error) {
	address, length := uint32(g.stack[0]>>32), uint32(g.stack[0])
	if length == 0 {
		return nil, nil
	}
	b, ok := g.memory.Read(address, length)
	if !ok {
		return nil, &guestError{status: statusReturn, doing: "reading what " + name + " returned",
			err: fmt.Errorf("%d bytes at address %d lie outside of its memory of %d bytes", length, address, g.memory.Size())}
	}
	return b, nil
}

// describe calls msup_describe.
func (g *guest) describe() ([]byte, error) {
	if err := g.call(g.module.ExportedFunction(exportDescribe), exportDescribe); err != nil {
		return nil, err
	}
	return g.result(exportDescribe)
}

// oneLine puts an error with its stack trace on one line that fits into the log.
func oneLine(err error) string {
	const room, frames = 900, 12
	lines := strings.Split(err.Error(), "\n")
	var kept []string
	for _, l := range lines {
		if l = strings.TrimSpace(l); l != "" && l != "wasm stack trace:" {
			kept = append(kept, l)
		}
	}
	if len(kept) > frames {
		kept = append(kept[:frames], "…")
	}
	text := strings.TrimPrefix(strings.Join(kept, " < "), "wasm error: ")
	if len(text) > room {
		text = text[:room]
	}
	return text
}

// openCache gives the compilation cache below dir.
func openCache(dir string) (wazero.CompilationCache, error) {
	cache, err := wazero.NewCompilationCacheWithDir(dir)
	if err != nil {
		return nil, fmt.Errorf("open the compilation cache: %w", err)
	}
	return cache, nil
}

func readModule() ([]byte, error) {
	module, err := os.ReadFile(filepath.Join(moduleDir, moduleFile))
	if err != nil {
		return nil, fmt.Errorf("read the module: %w", err)
	}
	return module, nil
}
