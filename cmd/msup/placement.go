package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/sandbox"
	"github.com/msup/msup/sandbox/container"
	"github.com/msup/msup/sandbox/image"
	"github.com/msup/msup/sandbox/python"
	"github.com/msup/msup/sandbox/thread"
	"github.com/msup/msup/sandbox/wasm"
	"github.com/msup/msup/supervisor/descriptor"
	"github.com/msup/msup/supervisor/pack"
)

// placementFlags say behind which walls runners are started on this host.
type placementFlags struct {
	isolation  string
	image      string
	containerd string
}

// The values of --image that are no file.
const (
	imageBase = "base"
	imageHost = "host"
)

func (f *placementFlags) register(c *cobra.Command) {
	c.Flags().StringVar(&f.isolation, "isolation", envOr("MSUP_ISOLATION", string(descriptor.IsolationAuto)),
		"walls for Python and native strategies: auto (the strongest this host offers), L1 (process) or L3 (container)")
	c.Flags().StringVar(&f.image, "image", envOr("MSUP_IMAGE", imageBase),
		`root file system of containers: "base" (made by msup image build), "host" (this host's Python, bound read-only), or your image's file`)
	c.Flags().StringVar(&f.containerd, "containerd", os.Getenv("MSUP_CONTAINERD"), "socket of a containerd to use (default: a private one, as a child)")
}

func envOr(name, otherwise string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return otherwise
}

// placement opens sandboxes when the first runner needs them: a container engine takes a tenth of a second, its first image ten.
type placement struct {
	host *host
	want descriptor.Isolation // of Python and native strategies

	mu       sync.Mutex
	wasm     *wasm.Sandbox
	runs     sandbox.Sandbox // where compiled modules run: wasm itself, or the helper's
	box      sandbox.Sandbox // containers
	boxErr   error           // why containers cannot be had; found out once
	image    image.Image
	compiled map[string]wasm.Compiled // by package hash
	told     bool
	shared   sandbox.Sandbox
	placed   map[ipc.Address]start // by placeAll
}

func newPlacement(h *host, f placementFlags) (*placement, error) {
	switch want := descriptor.Isolation(f.isolation); want {
	case descriptor.IsolationAuto, descriptor.IsolationL1, descriptor.IsolationL3:
		return &placement{host: h, want: want, compiled: map[string]wasm.Compiled{}, placed: map[ipc.Address]start{}}, nil
	}
	return nil, fmt.Errorf("%w: --isolation %q: write auto, L1 or L3", errUsage, f.isolation)
}

// start is what starts an instance's runners, and at which level of isolation.
type start struct {
	level sandbox.Level
	box   string // the sandbox's name
	run   func(context.Context) (sandbox.Runner, error)
	in    sandbox.Sandbox
	spec  sandbox.Spec
	lives int // how many runners of it there are at a time; known by placeAll
}

func startIn(box sandbox.Sandbox, level sandbox.Level, spec sandbox.Spec) start {
	return start{level: level, box: box.Name(), run: func(ctx context.Context) (sandbox.Runner, error) { return box.Start(ctx, spec) }, in: box, spec: spec}
}

// of chooses the sandbox of an instance: what its runtime needs, at least what descriptor and policy demand (SB-L1 … SB-L3). The spec
// has address, lane, limits and log already.
func (pl *placement) of(ctx context.Context, d descriptor.Instance, p *pack.Package, base sandbox.Spec) (start, error) {
	if s, ok := pl.placed[base.Address]; ok {
		return s, nil
	}
	switch d.Descriptor.Runtime {
	case descriptor.RuntimeRustWasm:
		return pl.module(ctx, d, p, base)
	case descriptor.RuntimeRustNative:
		return pl.native(ctx, d, p, base)
	}
	return pl.python(ctx, d, p, base)
}

// enough refuses a level below the demanded one (SB-7: nothing degrades silently).
func enough(d descriptor.Instance, level sandbox.Level, why string) error {
	if d.Isolation.Rank() <= int(level) {
		return nil
	}
	return exit(exitRefused, "%s: isolation %s is demanded, %s is what it would get: %s [%s]", d.Address, d.Isolation, level, why, ipc.ReasonPolicyExceeded)
}

func (pl *placement) module(ctx context.Context, d descriptor.Instance, p *pack.Package, base sandbox.Spec) (start, error) {
	if err := enough(d, sandbox.L2, "a Wasm module runs in a process of its own, not in a container; demand L2, or use runtime rust_native"); err != nil {
		return start{}, err
	}
	box, err := pl.openWasm()
	if err != nil {
		return start{}, err
	}
	c, err := pl.compile(ctx, box, p)
	if err != nil {
		return start{}, fmt.Errorf("%s: %w", d.Address, err)
	}
	base.Env = p.Env()
	spec := wasm.Spec(base, c)
	runs, err := pl.modules(ctx, box)
	if err != nil {
		return start{}, err
	}
	return startIn(runs, sandbox.L2, spec), nil
}

func (pl *placement) openWasm() (*wasm.Sandbox, error) {
	pl.mu.Lock()
	defer pl.mu.Unlock()
	if pl.wasm != nil {
		return pl.wasm, nil
	}
	box, err := wasm.Open(wasm.Config{Process: pl.host.sandbox, StoreDir: pl.wasmStore(), Logger: pl.host.log})
	pl.wasm = box
	return box, err
}

func (pl *placement) compile(ctx context.Context, box *wasm.Sandbox, p *pack.Package) (wasm.Compiled, error) {
	pl.mu.Lock()
	defer pl.mu.Unlock()
	if c, ok := pl.compiled[p.Hash]; ok {
		return c, nil
	}
	module, err := os.ReadFile(filepath.Join(p.CodeDir, filepath.FromSlash(p.Descriptor.Entry)))
	if err != nil {
		return wasm.Compiled{}, fmt.Errorf("reading the module of package %.16s…: %w", p.Hash, err)
	}
	c, err := box.Compile(ctx, module)
	if err == nil {
		pl.compiled[p.Hash] = c
	}
	return c, err
}

// modules opens the sandbox in which compiled modules run: the helper's where there is one, since it is there when the supervisor cannot read
// the store any more.
func (pl *placement) modules(ctx context.Context, own *wasm.Sandbox) (sandbox.Sandbox, error) {
	pl.mu.Lock()
	defer pl.mu.Unlock()
	switch {
	case pl.runs != nil:
	case pl.host.helper == nil:
		pl.runs = own
	default:
		box, err := pl.host.helper.Open(ctx, kindWasm, wasmOrder{StoreDir: pl.wasmStore()})
		if err != nil {
			return nil, err
		}
		pl.host.onClose(box.Close)
		pl.runs = box
	}
	return pl.runs, nil
}

func (pl *placement) wasmStore() string { return filepath.Join(pl.host.options.Store, "wasm") }

// describeModule asks a module what it is, in the one-shot sandbox; msup build needs it.
func (pl *placement) describeModule(ctx context.Context, module []byte) ([]byte, error) {
	box, err := pl.openWasm()
	if err != nil {
		return nil, err
	}
	return box.Describe(ctx, module)
}

func (pl *placement) native(ctx context.Context, d descriptor.Instance, p *pack.Package, base sandbox.Spec) (start, error) {
	base.Argv, base.Env = []string{pack.StrategyDir + "/" + p.Descriptor.Entry}, p.Env()
	base.Binds = append(pack.NativeBinds(), p.Binds()...)
	level := sandbox.L1
	if pl.want == descriptor.IsolationL3 || d.Isolation == descriptor.IsolationL3 {
		level = sandbox.L3
	}
	return pl.started(ctx, d, level, base, func(i image.Image) (sandbox.Spec, error) {
		if i.Kind != image.KindHostRootfs {
			base.Binds = p.Binds() // the image has libraries of its own
		}
		return base, nil
	})
}

func (pl *placement) python(ctx context.Context, d descriptor.Instance, p *pack.Package, base sandbox.Spec) (start, error) {
	rt, err := pl.host.needPython(ctx)
	if err != nil {
		return start{}, err
	}
	base.Argv, base.Env = rt.Argv(python.Runner()...), append(append([]string(nil), rt.Env...), p.Env()...)
	base.Binds = append(append([]sandbox.Bind(nil), rt.Binds...), p.Binds()...)
	if d.Isolation == descriptor.IsolationL0 && pl.want == descriptor.IsolationAuto {
		base.Argv = rt.Argv("-m", "msup.shared")
		return pl.thread(ctx, base)
	}
	level := sandbox.L3
	if pl.want == descriptor.IsolationL1 {
		level = sandbox.L1
	}
	return pl.started(ctx, d, level, base, func(i image.Image) (sandbox.Spec, error) {
		if i.Kind == image.KindHostRootfs {
			return base, nil
		}
		if p.LayerDir != "" && minor(i.Python) != minor(rt.Version) {
			return base, exit(exitRefused, "%s: its dependencies were installed for Python %s, the image has %s; build with --python of the image's version, or use --image host",
				d.Address, minor(rt.Version), minor(i.Python))
		}
		base.Argv, base.Env = i.Argv(python.Runner()...), append(append([]string(nil), i.Env...), p.Env()...)
		base.Binds = p.Binds()
		return base, nil
	})
}

// thread is a place in a shared process (SB-L0): asked for by name, allowed by the host policy, and not overruled by --isolation.
func (pl *placement) thread(ctx context.Context, spec sandbox.Spec) (start, error) {
	pl.mu.Lock()
	defer pl.mu.Unlock()
	if pl.shared == nil {
		box, err := pl.openShared(ctx)
		if err != nil {
			return start{}, err
		}
		pl.shared = box
		pl.host.onClose(box.Close)
	}
	return startIn(pl.shared, sandbox.L0, spec), nil
}

func (pl *placement) openShared(ctx context.Context) (sandbox.Sandbox, error) {
	if h := pl.host.helper; h != nil {
		return h.Open(ctx, kindShared, nil)
	}
	return thread.Open(thread.Config{Process: pl.host.sandbox, Logger: pl.host.log})
}

// minor is the part of a Python version that decides what can be loaded: 3.11 of 3.11.7.
func minor(version string) string {
	parts := strings.SplitN(version, ".", 3)
	return strings.Join(parts[:min(2, len(parts))], ".")
}

// named is the flag that asks for containers by what it names; "" where none does.
func (f *placementFlags) named() string {
	switch {
	case f.containerd != "":
		return "--containerd " + f.containerd
	case f.image != imageBase && f.image != imageHost:
		return "--image " + f.image
	}
	return ""
}

// started takes the container where that is wanted and to be had, else the process sandbox. Whoever names a containerd or an image wants
// it and nothing else: falling back would run the strategy behind other walls, or in another Python, than was asked for (SB-7).
func (pl *placement) started(ctx context.Context, d descriptor.Instance, level sandbox.Level, base sandbox.Spec, inside func(image.Image) (sandbox.Spec, error)) (start, error) {
	why := "--isolation L1 asks for no more"
	if level == sandbox.L3 {
		box, i, err := pl.containers(ctx)
		if err == nil {
			spec, err := inside(i)
			return startIn(box, sandbox.L3, spec), err
		}
		if ctx.Err() != nil || pl.want == descriptor.IsolationL3 {
			return start{}, err
		}
		if flag := pl.host.placing.named(); flag != "" {
			return start{}, fmt.Errorf("%s: %s asks for a container: %w", d.Address, flag, err)
		}
		why = err.Error()
		pl.tell(why)
	}
	if err := enough(d, sandbox.L1, why); err != nil {
		return start{}, err
	}
	box := pl.host.sandbox
	return startIn(box, sandbox.L1, base), nil
}

// tell says once that the host offers less than containers. Without root that is how msup works, and no news.
func (pl *placement) tell(why string) {
	pl.mu.Lock()
	defer pl.mu.Unlock()
	if pl.told || os.Geteuid() != 0 {
		return
	}
	pl.told = true
	pl.host.log.Warn("no containers on this host; strategies run in the process sandbox (L1)", "why", why, "see", "msup doctor")
}

// containers opens the container sandbox, with its image, once.
func (pl *placement) containers(ctx context.Context) (sandbox.Sandbox, image.Image, error) {
	pl.mu.Lock()
	defer pl.mu.Unlock()
	if pl.box != nil || pl.boxErr != nil {
		return pl.box, pl.image, pl.boxErr
	}
	pl.box, pl.image, pl.boxErr = pl.openContainers(ctx)
	return pl.box, pl.image, pl.boxErr
}

func (pl *placement) openContainers(ctx context.Context) (_ sandbox.Sandbox, i image.Image, err error) {
	h := pl.host
	for _, f := range container.Examine(ctx, container.DaemonConfig{Address: h.placing.containerd, Logger: h.log}) {
		if f.Severity == container.SeverityBlocks {
			return nil, i, &sandbox.Error{Reason: sandbox.ReasonSetupFailed, Op: "open the container sandbox", Err: fmt.Errorf("%s: %s", f.Component, f.Detail), Remedy: f.Remedy}
		}
	}
	if i, err = pl.openImage(ctx); err != nil {
		return nil, i, err
	}
	o := containerOrder{Address: h.placing.containerd}
	if i.Kind != image.KindHostRootfs {
		o.Digest, o.Archive = i.Digest, i.ArchivePath
	}
	var box sandbox.Sandbox
	if h.helper != nil {
		box, err = h.helper.Open(ctx, kindContainer, o)
	} else {
		box, err = o.open(ctx, os.Getpid(), h.log)
	}
	if err != nil {
		return nil, i, err
	}
	h.onClose(box.Close)
	h.reap(ctx, box)
	return box, i, nil
}

// openImage finds or makes the root file system. Where the base image cannot be made (no Debian in reach, say), the host's files do.
func (pl *placement) openImage(ctx context.Context) (image.Image, error) {
	h := pl.host
	rt, err := h.needPython(ctx)
	if err != nil {
		return image.Image{}, err
	}
	host := image.HostRootfs(rt, h.options.Python.SDK)
	switch name := h.placing.image; name {
	case imageHost:
		return host, nil
	case imageBase:
		i, err := h.app.buildImage(ctx, &imageFlags{dir: image.DefaultDir(), python: rt.Interpreter, suite: image.DefaultSuite})
		if err == nil || ctx.Err() != nil || errors.Is(err, errUsage) {
			return i, err
		}
		h.log.Warn("the base image cannot be made; containers show this host's Python instead", "err", err, "see", "msup image build")
		return host, nil
	default:
		sdk, err := sdkFolder(ctx, rt)
		if err != nil {
			return image.Image{}, err
		}
		o := image.Options{SDK: sdk, Python: rt.Interpreter}
		if !h.app.quiet {
			o.Progress = h.app.stderr
		}
		return image.Open(ctx, name, o)
	}
}
