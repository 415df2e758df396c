package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/statedb"
	"github.com/msup/msup/supervisor"
	"github.com/msup/msup/supervisor/core"
	"github.com/msup/msup/supervisor/gate"
)

// operateCommands are the verbs that look at, or command, the instances of a state directory that nobody runs at the moment.
func (a *app) operateCommands() []*cobra.Command {
	return []*cobra.Command{a.inspectCommand(), a.logsCommand(), a.haltCommand(), a.resumeCommand(), a.modeCommand()}
}

// offline opens the chosen instances of a state directory, one after the other.
func (a *app) offline(state string, only []string, f func(*supervisor.Instance, *statedb.Instance) error) (err error) {
	if state == "" {
		return fmt.Errorf("%w: name the state directory with --state", errUsage)
	}
	db, err := openState(a, state)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	wanted, err := chosen(db, only)
	if err != nil {
		return err
	}
	for _, address := range wanted {
		store, err := db.OpenInstance(address)
		if err != nil {
			return err
		}
		p := supervisor.NewInstance(supervisor.InstanceConfig{Address: address, Ledger: ledger{store}, Clock: &supervisor.FeedClock{},
			Observer: supervisor.NewStats(), Logger: a.logger(), QueueEvents: 1})
		if err := f(p, store); err != nil {
			return err
		}
	}
	return nil
}

func (a *app) inspectCommand() *cobra.Command {
	var state string
	c := &cobra.Command{
		Use: "inspect --state DIR [BOT/STRATEGY/INSTANCE…]", Short: "Health, restrictions, positions, open intents and cursors of instances",
		Long: `Recovers the core of each instance from its ledger, without starting a strategy, and shows what it is: health and reason,
restrictions in force, positions, open intents, timers, epochs and owners. The state directory must not be in use.`,
		RunE: func(_ *cobra.Command, args []string) error {
			return a.offline(state, args, func(p *supervisor.Instance, store *statedb.Instance) error {
				i, err := p.Inspect()
				if err != nil {
					return err
				}
				leases, err := store.Leases()
				if err != nil {
					return err
				}
				if a.json {
					return a.printJSON(map[string]any{"instance": i, "epochs": leases})
				}
				return a.printInspection(i, leases)
			})
		},
	}
	c.Flags().StringVar(&state, "state", "", "state directory")
	return c
}

func (a *app) printInspection(i *supervisor.Inspection, leases []statedb.Lease) error {
	health := string(i.Health)
	if i.Reason != "" {
		health += " (" + string(i.Reason) + ")"
	}
	w := a.stdout
	fmt.Fprintf(w, "%s  %s\n  epoch %d, run %s, step %d, input %d, processed %s\n  package %.16s…, config %.16s…, lineage %s\n", i.Address, health,
		i.Epoch, i.RunID, i.Step, i.InputNo, utc(i.ProcessedTS), i.PackageHash, i.ConfigHash, i.Lineage)
	for _, h := range i.Held {
		fmt.Fprintf(w, "  restricted by %s: %s (%s)\n", h.Origin, describeRestriction(h.Restriction), h.Reason)
	}
	for _, p := range i.Positions {
		fmt.Fprintf(w, "  position %s %s\n", p.Instrument, p.Quantity)
	}
	if i.Unknown != "" {
		fmt.Fprintf(w, "  positions are unknown: %s\n", i.Unknown)
	}
	if o := i.Obligation; o != nil {
		fmt.Fprintf(w, "  obligation %d: %s after %d attempts (%s)\n", o.No, o.Kind, o.Attempt, o.Reason)
	}
	if i.Recovering != nil {
		fmt.Fprintf(w, "  recovering: on_recovered answered %t, %d intents without a final status\n", i.Recovering.Answered, len(i.Recovering.Keys))
	}
	for _, o := range i.Open {
		fmt.Fprintf(w, "  open %s %s of step %d: %s, remaining %s\n", o.Kind, o.Key, o.Step, o.Status, o.Remaining)
	}
	for _, t := range i.Timers {
		fmt.Fprintf(w, "  timer %s at %s\n", t.ID, utc(t.DueTS))
	}
	for _, l := range leases {
		fmt.Fprintf(w, "  epoch %d: pid %d since %s\n", l.Epoch, l.PID, utc(l.WallTS))
	}
	return nil
}

func describeRestriction(r ipc.Restriction) string {
	var parts []string
	for _, p := range []struct {
		on   bool
		name string
	}{{r.NoTrade, "no_trade"}, {r.ReduceOnly, "reduce_only"}, {r.LimitOnly, "limit_only"}, {r.SizeFactor != gate.One, "size × " + r.SizeFactor.String()}} {
		if p.on {
			parts = append(parts, p.name)
		}
	}
	if len(parts) == 0 {
		return "nothing"
	}
	return strings.Join(parts, ", ")
}

// logFile is where a run keeps what an instance prints, within the descriptor's ceilings.
func logFile(state string, a ipc.Address) string {
	return filepath.Join(state, "logs", strings.ReplaceAll(a.String(), "/", "-")+".log")
}

func (a *app) logsCommand() *cobra.Command {
	var state string
	c := &cobra.Command{
		Use: "logs --state DIR [BOT/STRATEGY/INSTANCE…]", Short: "What strategies printed",
		RunE: func(_ *cobra.Command, args []string) error {
			return a.offline(state, args, func(p *supervisor.Instance, _ *statedb.Instance) error {
				f, err := os.Open(logFile(state, p.Address()))
				if errors.Is(err, os.ErrNotExist) {
					return nil // it never printed anything
				}
				if err != nil {
					return exit(exitState, "%w", err)
				}
				_, err = io.Copy(a.stdout, f)
				return errors.Join(err, f.Close())
			})
		},
	}
	c.Flags().StringVar(&state, "state", "", "state directory")
	return c
}

// commandVerb is a verb that records an operator's command.
func (a *app) commandVerb(use, short, long string, command func() (core.Command, error)) *cobra.Command {
	var state, who string
	c := &cobra.Command{
		Use: use, Short: short, Long: long,
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return fmt.Errorf("%w: name at least one instance, as BOT/STRATEGY/INSTANCE (msup inspect lists them)", errUsage)
			}
			return a.offline(state, args, func(p *supervisor.Instance, _ *statedb.Instance) error {
				cmd, err := command()
				if err != nil {
					return err
				}
				cmd.Who = who
				if err := p.Record(cmd); err != nil {
					return err
				}
				_, err = fmt.Fprintf(a.stdout, "%s: recorded; the next run begins with it\n", p.Address())
				return err
			})
		},
	}
	c.Flags().StringVar(&state, "state", "", "state directory")
	c.Flags().StringVar(&who, "who", currentUser(), "who gives the command, for the log")
	return c
}

func currentUser() string {
	u, err := user.Current()
	if err != nil {
		return fmt.Sprintf("uid %d", os.Getuid())
	}
	return u.Username
}

func (a *app) haltCommand() *cobra.Command {
	return a.commandVerb("halt --state DIR BOT/STRATEGY/INSTANCE…", "Halt instances: no runner is started until resume",
		"Records a halt in the ledger of instances that do not run at the moment. Executions still move their positions.",
		func() (core.Command, error) {
			return core.Command{Op: core.OpHalt, Reason: ipc.ReasonOperatorHalt, Restriction: gate.Unrestricted()}, nil
		})
}

func (a *app) resumeCommand() *cobra.Command {
	return a.commandVerb("resume --state DIR BOT/STRATEGY/INSTANCE…", "End a halt",
		"Records the end of a halt; the ladders that led to it begin anew. Look up the reason first: msup inspect, msup explain.",
		func() (core.Command, error) {
			return core.Command{Op: core.OpResume, Reason: ipc.ReasonOperatorResume, Restriction: gate.Unrestricted()}, nil
		})
}

func (a *app) modeCommand() *cobra.Command {
	r := gate.Unrestricted()
	var factor string
	c := a.commandVerb("mode --state DIR [--no-trade] [--reduce-only] [--limit-only] [--size-factor F] BOT/STRATEGY/INSTANCE…",
		"Replace the operator's restriction of instances",
		"Records the operator's own restriction; without any flag it is lifted. Restrictions of others stay.",
		func() (core.Command, error) {
			d, err := ipc.ParseDecimal(factor)
			if err != nil || d.Sign() < 0 || d.Cmp(gate.One) > 0 {
				return core.Command{}, fmt.Errorf("%w: --size-factor %q: write a number from 0 to 1", errUsage, factor)
			}
			r.SizeFactor = d
			return core.Command{Op: core.OpMode, Reason: ipc.ReasonOperatorMode, Restriction: r}, nil
		})
	c.Flags().BoolVar(&r.NoTrade, "no-trade", false, "only cancels and messages pass")
	c.Flags().BoolVar(&r.ReduceOnly, "reduce-only", false, "only orders that lower the position pass")
	c.Flags().BoolVar(&r.LimitOnly, "limit-only", false, "no market or stop orders")
	c.Flags().StringVar(&factor, "size-factor", "1", "scale the part of orders that increases risk, 0 to 1")
	return c
}
