package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/sandbox"
	"github.com/msup/msup/sandbox/process"
	"github.com/msup/msup/sandbox/python"
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
	execution   string     // I's socket; "" = as the deployment says, else a simulated I
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
	python   python.Runtime
	options  pack.Options
	packages map[string]*pack.Package
	placing  placementFlags
	place    *placement
	closers  []func() error
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

// openHost prepares the sandbox, removes what dead supervisors left behind, and finds the interpreter.
func (a *app) openHost(ctx context.Context, f *deploymentFlags) (_ *host, err error) {
	h := &host{app: a, log: a.logger(), packages: map[string]*pack.Package{}, placing: f.placing}
	defer func() {
		if err != nil {
			err = errors.Join(err, h.close())
		}
	}()
	if h.place, err = newPlacement(h, f.placing); err != nil {
		return nil, err
	}
	if h.python, err = findPython(ctx, f.python); err != nil {
		return nil, &exitError{exitSandbox, err}
	}
	box, err := process.New(process.Config{Logger: h.log})
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
	sdk, err := sdkVersion(ctx, h.python)
	if err != nil {
		return nil, err
	}
	h.options = pack.Options{Store: store, Sandbox: box, Log: h.log, Python: &pack.Python{Interpreter: h.python.Interpreter,
		Args: h.python.Argv()[1:], Version: h.python.Version, SDK: sdk, Binds: h.python.Binds, Env: h.python.Env}}
	return h, nil
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
	note := time.AfterFunc(2*time.Second, func() {
		if !h.app.quiet {
			fmt.Fprintf(h.app.stderr, "building the package of %s …\n", ref)
		}
	})
	defer note.Stop()
	p, err := pack.Build(ctx, ref, h.options)
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
