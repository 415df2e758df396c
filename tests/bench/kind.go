package main

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/sandbox"
	"github.com/msup/msup/sandbox/python"
	"github.com/msup/msup/sandbox/wasm"
	"github.com/msup/msup/supervisor/descriptor"
	"github.com/msup/msup/supervisor/pack"
)

// kind is one way to run the bench strategy: a language and walls.
type kind struct {
	kindRow
	pack     *pack.Package
	box      sandbox.Sandbox // starts every runner from nothing
	prepared sandbox.Sandbox // makes the next start in advance, as msup run does it; nil where there is no such thing
	walls    sandbox.Sandbox // in which a program of the same walls can be started
	spec     func(ipc.Address) sandbox.Spec
}

// kindRow is what is known of a kind before it is opened: its names, and its goals in the performance budget.
type kindRow struct {
	word     string // on the command line
	name     string // in figures
	p50, p99 string // event→intent ÷ echo
	research string // events/s on one processor
	cold     string // ms to the answer of on_init
	kill     string // ms to the next intent
}

var kindTable = []kindRow{
	{word: "python", name: "python", p50: "<= 1.6", p99: "<= 1.5", research: ">= 300000", cold: "<= 60"},
	{word: "container-host", name: "python container (host files)", p50: "<= 1.6", p99: "<= 1.5", research: ">= 300000", cold: "<= 150", kill: "<= 300"},
	{word: "container-image", name: "python container (base image)", p50: "<= 1.6", p99: "<= 1.5", research: ">= 300000", cold: "<= 150", kill: "<= 300"},
	{word: "wasm", name: "wasm", p50: "<= 1.4", p99: "<= 1.5", research: ">= 1000000", cold: "<= 15", kill: "<= 50"},
	{word: "native", name: "rust native", cold: "<= 60"},
}

func kindWords() []string {
	var words []string
	for _, row := range kindTable {
		words = append(words, row.word)
	}
	return words
}

// chooseKinds returns the words of a list, all of them without one.
func chooseKinds(list string) ([]string, error) {
	if list == "" {
		return kindWords(), nil
	}
	words := strings.Split(list, ",")
	for _, word := range words {
		if !slices.Contains(kindWords(), word) {
			return nil, fmt.Errorf("there is no kind of runner %q; there are %s", word, strings.Join(kindWords(), ", "))
		}
	}
	return words, nil
}

// kind returns an opened kind, nil when it was not chosen or cannot be had on this machine.
func (r *rig) kind(word string) *kind {
	i := slices.IndexFunc(r.kinds, func(k *kind) bool { return k.word == word })
	if i < 0 {
		return nil
	}
	return r.kinds[i]
}

// python returns the kind that sections use which are not about runners.
func (r *rig) plain() (*kind, error) {
	if k := r.kind("python"); k != nil {
		return k, nil
	}
	if len(r.kinds) > 0 {
		return r.kinds[0], nil
	}
	return nil, fmt.Errorf("no kind of runner can be had here")
}

// openKinds makes the packages and opens the sandboxes of the named kinds. hashes are packages of the store that were built before, by
// runtime; without them they are built.
func (r *rig) openKinds(ctx context.Context, words []string, hashes map[descriptor.RuntimeKind]string) error {
	built := packages{rig: r, hashes: hashes, known: map[descriptor.RuntimeKind]*pack.Package{}}
	for _, row := range kindTable {
		if !slices.Contains(words, row.word) {
			continue
		}
		k := &kind{kindRow: row}
		var err error
		switch row.word {
		case "python":
			err = r.openPython(ctx, k, &built)
		case "container-host", "container-image":
			err = r.openContainer(ctx, k, &built)
		case "wasm":
			err = r.openWasm(ctx, k, &built)
		case "native":
			err = r.openNative(ctx, k, &built)
		}
		if missing, ok := err.(*missingError); ok {
			r.say("%s: its figures are missing: %v", row.name, missing.err)
			continue
		}
		if err != nil {
			return fmt.Errorf("opening %s: %w", row.name, err)
		}
		r.kinds = append(r.kinds, k)
	}
	return nil
}

// missingError says what this machine lacks: the figures are left out, and the run says so.
type missingError struct{ err error }

func (e *missingError) Error() string { return e.err.Error() }
func (e *missingError) Unwrap() error { return e.err }

// base is the part of a spec that all kinds have.
func base(a ipc.Address, p *pack.Package) sandbox.Spec {
	return sandbox.Spec{Address: a, Lane: ipc.LaneLL, Limits: pack.SandboxLimits(p.Descriptor.Resources), NeedSocket: true,
		Log: func(l sandbox.LogLine) { fmt.Fprintf(os.Stderr, "%s| %s\n", a.Instance, l.Text) }}
}

// pythonSpec runs the strategy under the interpreter of this host.
func (r *rig) pythonSpec(a ipc.Address, p *pack.Package) sandbox.Spec {
	s := base(a, p)
	s.Argv, s.Env = r.python.Argv(python.Runner()...), append(slices.Clone(r.python.Env), p.Env()...)
	s.Binds = append(slices.Clone(r.python.Binds), p.Binds()...)
	return s
}

func (r *rig) openPython(ctx context.Context, k *kind, built *packages) (err error) {
	if k.pack, err = built.of(ctx, descriptor.RuntimePython); err != nil {
		return err
	}
	k.box, k.walls = r.box, r.box
	k.spec = func(a ipc.Address) sandbox.Spec { return r.pythonSpec(a, k.pack) }
	return nil
}

func (r *rig) openWasm(ctx context.Context, k *kind, built *packages) (err error) {
	box, err := r.wasmBox()
	if err != nil {
		return err
	}
	if k.pack, err = built.of(ctx, descriptor.RuntimeRustWasm); err != nil {
		return err
	}
	module, err := os.ReadFile(filepath.Join(k.pack.CodeDir, filepath.FromSlash(k.pack.Descriptor.Entry)))
	if err != nil {
		return fmt.Errorf("reading the module: %w", err)
	}
	compiled, err := box.Compile(ctx, module)
	if err != nil {
		return err
	}
	k.box, k.walls = box, r.box
	k.spec = func(a ipc.Address) sandbox.Spec {
		s := base(a, k.pack)
		s.Env = k.pack.Env()
		return wasm.Spec(s, compiled)
	}
	return nil
}

// wasmBox opens the sandbox of modules; it starts nothing.
func (r *rig) wasmBox() (*wasm.Sandbox, error) {
	return wasm.Open(wasm.Config{Process: r.box, StoreDir: filepath.Join(r.store, "wasm"), Logger: r.log})
}

func (r *rig) openNative(ctx context.Context, k *kind, built *packages) (err error) {
	if k.pack, err = built.of(ctx, descriptor.RuntimeRustNative); err != nil {
		return err
	}
	k.box, k.walls = r.box, r.box
	k.spec = func(a ipc.Address) sandbox.Spec {
		s := base(a, k.pack)
		s.Argv, s.Env, s.Binds = []string{pack.StrategyDir + "/" + k.pack.Descriptor.Entry}, k.pack.Env(), k.pack.Binds()
		for _, dir := range []string{"/lib", "/lib64", "/usr/lib", "/usr/lib64"} { // a dynamically linked program of this machine
			s.Binds = append(s.Binds, sandbox.Bind{Source: dir, Optional: true})
		}
		return s
	}
	return nil
}

// packages builds the packages of the bench strategy, each once, or opens those that were built before.
type packages struct {
	rig    *rig
	hashes map[descriptor.RuntimeKind]string
	known  map[descriptor.RuntimeKind]*pack.Package
}

func (b *packages) of(ctx context.Context, runtime descriptor.RuntimeKind) (p *pack.Package, err error) {
	if p := b.known[runtime]; p != nil {
		return p, nil
	}
	options, err := b.rig.packOptions()
	if err != nil {
		return nil, err
	}
	if hash, ok := b.hashes[runtime]; ok {
		p, err = pack.Open(hash, options)
	} else {
		var source string
		if source, err = b.source(ctx, runtime); err == nil {
			p, err = pack.Build(ctx, source, options)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("the %s package of the bench strategy: %w", runtime, err)
	}
	b.known[runtime] = p
	return p, nil
}

// source makes the folder that a package is built from.
func (b *packages) source(ctx context.Context, runtime descriptor.RuntimeKind) (string, error) {
	dir := filepath.Join(b.rig.dir, "s-"+string(runtime))
	if runtime != descriptor.RuntimePython {
		return dir, b.rig.crate(ctx, runtime, dir)
	}
	files, err := fs.Sub(strategyFiles, "strategy")
	if err == nil {
		err = os.CopyFS(dir, files)
	}
	if err != nil {
		return "", fmt.Errorf("unpacking the bench strategy: %w", err)
	}
	return dir, nil
}

func (r *rig) packOptions() (pack.Options, error) {
	box, err := r.wasmBox()
	if err != nil {
		return pack.Options{}, err
	}
	return pack.Options{Store: r.store, Sandbox: r.box, Log: r.log, Describe: box.Describe, Python: &pack.Python{
		Interpreter: r.python.Interpreter, Args: r.python.Argv()[1:], Version: r.python.Version, SDK: r.sdk,
		Binds: r.python.Binds, Env: r.python.Env}}, nil
}
