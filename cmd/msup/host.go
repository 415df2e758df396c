package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/sandbox"
	"github.com/msup/msup/sandbox/process"
	"github.com/msup/msup/sandbox/python"
	"github.com/msup/msup/sandbox/warden"
	"github.com/msup/msup/supervisor/descriptor"
	"github.com/msup/msup/supervisor/pack"
)

// deploymentFlags say what to run and where its state lies.
type deploymentFlags struct {
	file        string
	bot         string
	instruments string
	globs       []string
	state       string
	store       string
	python      string
	durability  string
	seed        uint64
	keepLog     bool
	lease       leaseFlags // registered by those that start instances
	placing     placementFlags
	privileges  privilegeFlags // registered by those that run for long
	reads       string         // a feed that is read on the way; "" = none
	batch       int            // of a replay
	patience    time.Duration
	risk        string // socket of J and E; "" = as the deployment says, else none
	execution   string // I's socket; "" = as the deployment says, else a simulated I
	market      string // H's socket; "" = as the deployment says, else a feed
}

func (f *deploymentFlags) register(c *cobra.Command) {
	c.Flags().StringVarP(&f.file, "config", "c", "", "deployment file (msup.toml) instead of strategy folders")
	c.Flags().StringVar(&f.bot, "bot", "", "bot that the strategies belong to (short form)")
	c.Flags().StringVar(&f.instruments, "instruments-file", "", "instruments.toml (default: the built-in table)")
	c.Flags().StringSliceVar(&f.globs, "only", nil, "instruments, as globs, for every strategy (short form)")
	c.Flags().StringVar(&f.state, "state", "", "state directory; kept, and taken up by the next run")
	c.Flags().StringVar(&f.durability, "durability", "", "power (default), process or none (short form)")
	c.Flags().Uint64Var(&f.seed, "seed", 0, "run seed of the strategies' random numbers (short form)")
	c.Flags().BoolVar(&f.keepLog, "keep-log", false, "keep the whole log, for a replay from step 1; else what lies below the older checkpoint goes")
	f.registerHost(c)
}

// registerHost adds the flags that concern this host alone.
func (f *deploymentFlags) registerHost(c *cobra.Command) {
	c.Flags().StringVar(&f.store, "store", defaultStore(), "folder that packages are built into")
	f.placing.register(c)
	c.Flags().StringVar(&f.python, "python", os.Getenv("MSUP_PYTHON"), "Python interpreter with the SDK (default: .venv beside msup, then python3)")
}

func defaultStore() string {
	if dir := os.Getenv("MSUP_STORE"); dir != "" {
		return dir
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return filepath.Join(os.TempDir(), fmt.Sprintf("msup-store-%d", os.Geteuid()))
	}
	return filepath.Join(cache, "msup", "store")
}

// host is what this machine gives: sandbox, interpreter, package store.
type host struct {
	app      *app
	log      *slog.Logger
	sandbox  sandbox.Sandbox
	helper   *warden.Client // nil: the sandboxes are this process's own
	options  pack.Options
	named    string // interpreter that the flags name
	packages map[string]*pack.Package
	placing  placementFlags
	place    *placement
	batch    int // deliveries a frame in a replay
	closers  []func() error

	mu     sync.Mutex // guards what follows
	python *python.Runtime
}

func (h *host) onClose(f func() error) { h.closers = append(h.closers, f) }

// close closes every sandbox that was opened, the last one first.
func (h *host) close() error {
	var all error
	for i := len(h.closers) - 1; i >= 0; i-- {
		all = errors.Join(all, h.closers[i]())
	}
	return all
}

// openHost prepares the sandbox, and removes what dead supervisors left behind.
func (a *app) openHost(ctx context.Context, f *deploymentFlags) (_ *host, err error) {
	h := &host{app: a, log: a.logger(), packages: map[string]*pack.Package{}, placing: f.placing, named: f.python}
	defer func() {
		if err != nil {
			err = errors.Join(err, h.close())
		}
	}()
	if h.place, err = newPlacement(h, f.placing); err != nil {
		return nil, err
	}
	box, err := h.openProcess(ctx, f.privileges)
	if err != nil {
		return nil, err
	}
	h.sandbox = box
	h.onClose(box.Close)
	h.reap(ctx, box)
	store, err := filepath.Abs(f.store)
	if err != nil {
		return nil, fmt.Errorf("the store %s: %w", f.store, err)
	}
	h.options = pack.Options{Store: store, Sandbox: box, Log: h.log, Rust: rustSearch(), Describe: h.place.describeModule}
	return h, nil
}

// openProcess opens the process sandbox: in a helper where this process is to give up root.
func (h *host) openProcess(ctx context.Context, f privilegeFlags) (sandbox.Sandbox, error) {
	separate, err := f.wanted()
	if err != nil {
		return nil, err
	}
	if !separate {
		return process.New(process.Config{Logger: h.log})
	}
	if h.helper, err = warden.Start(warden.Config{Logger: h.log, Verbose: h.app.verbose}); err != nil {
		return nil, exit(exitSandbox, "%w", err)
	}
	h.onClose(h.helper.Close)
	return h.helper.Open(ctx, kindProcess, nil)
}

// needPython finds the interpreter when the first Python package, or an image, needs it: a host that runs Rust alone need not have one.
func (h *host) needPython(ctx context.Context) (python.Runtime, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.python != nil {
		return *h.python, nil
	}
	found, err := findPython(ctx, h.named)
	if err != nil {
		return found, &exitError{exitSandbox, err}
	}
	sdk, err := sdkVersion(ctx, found)
	if err != nil {
		return found, err
	}
	h.python = &found
	h.options.Python = &pack.Python{Interpreter: found.Interpreter, Args: found.Argv()[1:], Version: found.Version, SDK: sdk, Binds: found.Binds, Env: found.Env}
	return found, nil
}

// reap removes what supervisors that are dead by now left behind.
func (h *host) reap(ctx context.Context, box sandbox.Sandbox) {
	reaped, err := box.Reap(ctx)
	if err != nil {
		h.log.Warn("removing leftovers of an earlier supervisor failed", "err", err)
	} else if !reaped.Empty() {
		h.log.Info("removed leftovers of an earlier supervisor", "processes", reaped.Processes, "cgroups", reaped.Cgroups,
			"mounts", reaped.Mounts, "dirs", reaped.Dirs)
	}
}

// resolve reads the deployment, builds or opens its packages, and validates everything together.
func (h *host) resolve(ctx context.Context, f *deploymentFlags, dirs []string) (*descriptor.Deployment, error) {
	file, err := f.read(dirs)
	if err != nil {
		return nil, err
	}
	h.options.TrustedKeys = file.Policy.TrustedKeys
	return file.Resolve(func(ref string) (descriptor.Package, error) {
		p, err := h.open(ctx, ref)
		if err != nil {
			return descriptor.Package{}, err
		}
		h.packages[p.Hash] = p
		return p.Resolved(), nil
	})
}

// open builds the package of a folder, or opens one of the store by its hash.
func (h *host) open(ctx context.Context, ref string) (*pack.Package, error) {
	if !filepath.IsAbs(ref) && !strings.ContainsRune(ref, filepath.Separator) {
		return pack.Open(ref, h.options)
	}
	began := time.Now()
	notes := h.app.startBuildNotes(ref)
	defer notes.stop()
	if d, err := descriptor.Load(ref); err == nil && d.Runtime == descriptor.RuntimePython { // what is wrong with it, Build says
		if _, err := h.needPython(ctx); err != nil {
			return nil, err
		}
	}
	opts := h.options
	opts.Progress = notes.doing
	p, err := pack.Build(ctx, ref, opts)
	if err == nil {
		h.log.Info("package ready", "dir", ref, "hash", p.Hash, "took", time.Since(began))
	}
	return p, err
}

func (f *deploymentFlags) read(dirs []string) (*descriptor.DeploymentFile, error) {
	if f.file != "" {
		if len(dirs) > 0 {
			return nil, fmt.Errorf("%w: give strategy folders or -c %s, not both", errUsage, f.file)
		}
		return descriptor.LoadDeployment(f.file)
	}
	if len(dirs) == 0 {
		return nil, fmt.Errorf("%w: name at least one strategy folder, or a deployment with -c; msup new NAME makes a strategy", errUsage)
	}
	switch d := descriptor.Durability(f.durability); d {
	case "", descriptor.DurabilityPower, descriptor.DurabilityProcess, descriptor.DurabilityNone:
	default:
		return nil, fmt.Errorf("%w: --durability %q: write power, process or none", errUsage, d)
	}
	return descriptor.NewDeployment(dirs, descriptor.Short{Bot: ipc.BotID(f.bot), Instruments: f.instruments, Globs: f.globs,
		Run: descriptor.Run{Durability: descriptor.Durability(f.durability), Seed: f.seed}})
}

// absolute makes a folder's path absolute; where the working folder is gone, the name stays as it is and opening it says why.
func absolute(dir string) string {
	if abs, err := filepath.Abs(dir); err == nil {
		return abs
	}
	return dir
}
