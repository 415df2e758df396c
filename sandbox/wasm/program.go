package wasm

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"

	"github.com/msup/msup/sandbox"
	"github.com/msup/msup/sandbox/process"
)

// The names of the built-in programs.
const (
	programRun      = sandbox.ProgramPrefix + "wasm"
	programCompile  = sandbox.ProgramPrefix + "wasm-compile"
	programDescribe = sandbox.ProgramPrefix + "wasm-describe"
)

// Programs are what main and TestMain hand to process.Init: process.Init(wasm.Programs()...).
func Programs() []process.Program {
	return []process.Program{
		{Name: programRun, Load: loadRunner},
		{Name: programCompile, Load: loadCompiler, Stores: true},
		{Name: programDescribe, Load: loadDescriber},
	}
}

// heapBytes is what Go's heap in a runner should stay below: frames of 16 MiB and the code of a module fit in.
const heapBytes = 48 << 20

// settle makes a Go runtime that was set up for a stage two of some ms, with its collector off, right for a long life.
func settle() {
	debug.SetMemoryLimit(heapBytes)
	debug.SetGCPercent(100)
}

// arguments of the programs: the ceiling of the memory in pages.
func parsePages(args []string) (uint32, error) {
	if len(args) != 1 {
		return 0, fmt.Errorf("arguments %q: one is wanted, the ceiling of the memory in pages", args)
	}
	pages, err := strconv.ParseUint(args[0], 10, 32)
	if err != nil || pages == 0 || pages > maxPages {
		return 0, fmt.Errorf("argument %q: the ceiling of the memory must be 1 to %d pages", args[0], maxPages)
	}
	return uint32(pages), nil
}

// loadGuest loads the package's module from its cache, for the runner and for describe.
func loadGuest(args, env []string) (*loaded, error) {
	pages, err := parsePages(args)
	if err != nil {
		return nil, err
	}
	module, err := readModule()
	if err != nil {
		return nil, err
	}
	cache, err := openCache(filepath.Join(moduleDir, cacheFile))
	if err != nil {
		return nil, err
	}
	env = slices.DeleteFunc(slices.Clone(env), func(kv string) bool { return strings.HasPrefix(kv, sandbox.SocketEnv+"=") })
	return load(module, cache, environment{env: env, stdout: os.Stdout, stderr: os.Stderr, pages: pages})
}

// loadRunner connects before it loads, so that the supervisor can tell "no connection" from "does not load".
func loadRunner(args, env []string) (func() int, error) {
	debug.SetMemoryLimit(heapBytes) // below it the collector, which takes a third of a start, waits until the module is loaded
	s, err := dial(sandbox.SocketPath)
	if err != nil {
		return nil, refused("connect the Wasm runner", err)
	}
	l, err := loadGuest(args, env)
	if err != nil {
		return nil, refused("load the Wasm module", err)
	}
	return func() int {
		g, err := l.start()
		settle()
		if err == nil {
			err = newPipe(g, s).run()
		}
		return finish(err)
	}, nil
}

// loadDescriber opens its output before files can no longer be opened.
func loadDescriber(args, env []string) (func() int, error) {
	settle()
	l, err := loadGuest(args, env)
	if err != nil {
		return nil, refused("load the Wasm module", err)
	}
	out, err := os.OpenFile(filepath.Join(outDir, describeFile), os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o600)
	if err != nil {
		return nil, refused("describe the Wasm module", err)
	}
	return func() int {
		g, err := l.start()
		if err != nil {
			return finish(err)
		}
		text, err := g.describe()
		if err != nil {
			return finish(err)
		}
		if len(text) > maxDescriptionBytes {
			return finish(&guestError{status: statusReturn, doing: "reading what msup_describe returned", err: fmt.Errorf("%d bytes, at most %d are allowed", len(text), maxDescriptionBytes)})
		}
		if _, err := out.Write(text); err != nil {
			return finish(&guestError{status: statusPipe, doing: "writing the description", err: err})
		}
		if err := out.Close(); err != nil {
			return finish(&guestError{status: statusPipe, doing: "writing the description", err: err})
		}
		return 0
	}, nil
}

// loadCompiler compiles into the output folder. The module is hostile until proven otherwise, and so is this process from
// then on: the supervisor believes nothing of what it leaves behind but the bytes it hashes itself.
func loadCompiler(args, _ []string) (func() int, error) {
	settle()
	debug.SetMemoryLimit(math.MaxInt64) // the control group is the ceiling, and the compiler needs its heap
	pages, err := parsePages(args)
	if err != nil {
		return nil, refused("compile the Wasm module", err)
	}
	module, err := readModule()
	if err != nil {
		return nil, refused("compile the Wasm module", err)
	}
	return func() int {
		cache, err := openCache(outDir)
		if err == nil {
			_, err = load(module, cache, environment{stdout: os.Stdout, stderr: os.Stderr, pages: pages})
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, oneLine(err))
			return statusInvalid
		}
		return 0
	}, nil
}

func refused(op string, err error) error {
	return &sandbox.Error{Reason: sandbox.ReasonSetupFailed, Op: op, Err: err, Remedy: "build the package again, which compiles the module anew"}
}

// finish says in one line why a guest ended, and gives the exit status.
func finish(err error) int {
	if err == nil {
		return 0
	}
	var ended *guestError
	if !errors.As(err, &ended) {
		ended = &guestError{status: statusPipe, doing: "running the module", err: err}
	}
	if ended.status >= statusTrap {
		fmt.Fprintf(os.Stderr, "wasm: %v\n", ended)
	}
	return ended.status
}
