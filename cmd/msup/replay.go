package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/statedb"
	"github.com/msup/msup/supervisor"
	"github.com/msup/msup/supervisor/core"
	"github.com/msup/msup/supervisor/descriptor"
	"github.com/msup/msup/supervisor/pack"
)

func (a *app) replayCommand() *cobra.Command {
	var f deploymentFlags
	var sum string
	c := &cobra.Command{
		Use: "replay CAPSULE | replay --state DIR [BOT/STRATEGY/INSTANCE…]", Short: "Replay a ledger or a capsule and compare every answer, verdict and checkpoint",
		Long: `Starts a fresh runner for every instance of the state directory, gives it every recorded delivery again, and compares
each answer, each verdict of the gate and each checkpoint of the core with what was recorded. It says identical, or
names the first differing step field by field. Nothing is written, nothing is offered.

Instead of a state directory it takes a capsule (msup capsule): a file that holds some steps and all that they rested on.
Then it first says what is different on this machine: interpreter, SDK, processor, kernel.`,
		Example: "  msup run examples/ema_cross --state ./state\n  msup replay --state ./state\n  msup replay decision.capsule",
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case f.batch < 0:
				return fmt.Errorf("%w: --batch %d: choose a number above zero", errUsage, f.batch)
			case f.state == "" && len(args) == 1:
				return a.replayCapsule(cmd.Context(), &f, args[0], sum)
			case f.state == "":
				return fmt.Errorf("%w: name the state directory with --state, or a capsule", errUsage)
			}
			return a.replay(cmd.Context(), &f, args)
		},
	}
	c.Flags().StringVar(&f.state, "state", "", "state directory of the run")
	c.Flags().IntVar(&f.batch, "batch", 0, "deliveries a frame (default 256); the answers are the same at every size")
	c.Flags().StringVar(&sum, "sha256", "", "refuse a capsule that has another SHA-256")
	f.registerHost(c)
	return c
}

func (a *app) replay(ctx context.Context, f *deploymentFlags, only []string) (err error) {
	db, err := openState(a, f.state)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	h, err := a.openHost(ctx, f)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.close()) }()
	wanted, err := chosen(db, only)
	if err != nil {
		return err
	}
	var all []supervisor.Verification
	different := 0
	for _, address := range wanted {
		v, err := h.verify(ctx, db, address)
		if err != nil {
			return fmt.Errorf("%s: %w", address, err)
		}
		if !v.Identical {
			different++
		}
		all = append(all, v)
		if !a.json {
			printVerification(a, v)
		}
	}
	if a.json {
		if err := a.printJSON(all); err != nil {
			return err
		}
	}
	if different > 0 {
		return exit(exitDiverged, "%d of %d instances replay differently", different, len(all))
	}
	return nil
}

// openState opens the state directory of an earlier run; it never creates one.
func openState(a *app, dir string) (*statedb.DB, error) {
	return statedb.OpenExisting(dir, statedb.Options{Durability: statedb.Process, Logger: a.logger()})
}

func chosen(db *statedb.DB, only []string) ([]ipc.Address, error) {
	infos, err := db.Instances()
	if err != nil {
		return nil, err
	}
	var all []ipc.Address
	known := map[string]ipc.Address{}
	for _, i := range infos {
		all = append(all, i.Address)
		known[i.Address.String()] = i.Address
	}
	if len(only) == 0 {
		return all, nil
	}
	var out []ipc.Address
	for _, name := range only {
		address, ok := known[name]
		if !ok {
			return nil, fmt.Errorf("%w: the state directory has no instance %q; it has %v", errUsage, name, all)
		}
		out = append(out, address)
	}
	return out, nil
}

// verify replays one instance with the package that its log names.
func (h *host) verify(ctx context.Context, db *statedb.DB, address ipc.Address) (supervisor.Verification, error) {
	store, err := db.OpenInstance(address)
	if err != nil {
		return supervisor.Verification{}, err
	}
	start, err := h.lastStart(address, store)
	if err != nil {
		return supervisor.Verification{}, err
	}
	p, err := pack.Open(start.PackageHash.String(), h.options)
	if err != nil {
		return supervisor.Verification{}, fmt.Errorf("the package that answered: %w", err)
	}
	return h.verifyWith(ctx, address, start, p, ledger{store}, recordings{store})
}

// verifyWith replays a recorded log with a package; start is the last one in it.
func (h *host) verifyWith(ctx context.Context, address ipc.Address, start *core.Start, p *pack.Package, log supervisor.Ledger,
	recorded supervisor.Recordings) (supervisor.Verification, error) {
	r := p.Descriptor.Resources
	w := &wiring{app: h.app, log: h.log}
	// A replay answers the same behind any walls; the descriptor's demand is for the strategy that trades.
	d := descriptor.Instance{Address: address, Descriptor: p.Descriptor, Resources: r, Lane: p.Descriptor.Lane, Isolation: descriptor.IsolationAuto}
	started, err := h.place.of(ctx, d, p, w.spec(d))
	if err != nil {
		return supervisor.Verification{}, err
	}
	instance := supervisor.NewInstance(supervisor.InstanceConfig{
		Address: address, StrategyVersion: start.StrategyVersion, PackageHash: start.PackageHash, ConfigHash: start.ConfigHash,
		Lane: d.Lane, Mode: ipc.ModeReplay, RunID: start.RunID, Version: version, QueueEvents: 1,
		Deadlines: supervisor.Deadlines{Soft: r.DeadlineSoft, Hard: r.DeadlineHard, Init: replayDeadline, Checkpoint: r.DeadlineCheckpoint,
			Stop: r.DeadlineStop},
		MaxAnswerBytes: uint64(r.AnswerBytes), MaxStateBytes: uint64(r.StateBytes),
		StartRunner: started.run, ReplayBatch: h.batch, Ledger: log, Clock: &supervisor.FeedClock{}, Observer: supervisor.NewStats(), Logger: h.log,
	})
	return instance.Verify(ctx, recorded)
}

// lastStart is the start that the log ends under: it names the package and the configuration.
func (h *host) lastStart(address ipc.Address, store *statedb.Instance) (*core.Start, error) {
	return supervisor.NewInstance(supervisor.InstanceConfig{Address: address, Ledger: ledger{store}, Clock: &supervisor.FeedClock{},
		Observer: supervisor.NewStats(), Logger: h.log, QueueEvents: 1}).LastStart()
}

// recordings lets the ledger answer what was decided.
type recordings struct{ store *statedb.Instance }

func (r recordings) Intent(k ipc.Key) (supervisor.RecordedIntent, bool, error) {
	i, err := r.store.IntentRow(k)
	if errors.Is(err, statedb.ErrUnknownKey) {
		return supervisor.RecordedIntent{}, false, nil
	}
	return supervisor.RecordedIntent{Step: i.Step, Ordinal: i.Ordinal, Verdict: i.Verdict, RequestDigest: i.RequestDigest, Digest: i.Digest}, err == nil, err
}

func printVerification(a *app, v supervisor.Verification) {
	if v.Identical {
		fmt.Fprintf(a.stdout, "%s: identical: steps %d to %d, %d inputs, %d intents, log %.16s…, %.1f s\n", v.Address, v.FromStep, v.ToStep,
			v.Inputs, v.Intents, v.Head, v.Took)
		if v.Unasked != "" {
			fmt.Fprintf(a.stdout, "  verdicts and the core's state were compared throughout; answers of %d steps: %s\n", v.Steps, v.Unasked)
		}
		return
	}
	fmt.Fprintf(a.stdout, "%s: DIFFERENT: %s\n", v.Address, v.Difference)
	if v.Divergence == nil {
		return
	}
	differences, err := v.Divergence.Differences()
	if err != nil {
		return // the line above says why the answers cannot be compared
	}
	for _, d := range differences {
		fmt.Fprintf(a.stdout, "  %s\n    recorded: %s\n    now:      %s\n", d.Field, d.Recorded, d.Got)
	}
	fmt.Fprintf(a.stdout, "  msup explain DIVERGED says what to look for\n")
}
