package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/statedb"
	"github.com/msup/msup/supervisor"
	"github.com/msup/msup/supervisor/api"
	"github.com/msup/msup/supervisor/gate"
)

// operateCommands are the verbs that look at, or command, the instances of a state directory, whether an msup runs on it or not.
func (a *app) operateCommands() []*cobra.Command {
	return append([]*cobra.Command{a.inspectCommand(), a.logsCommand()}, a.commandVerbs()...)
}

// offline opens the chosen instances of a state directory, one after the other.
func (a *app) offline(state string, only []string, f func(*supervisor.Instance, *statedb.Instance) error) (err error) {
	if state == "" {
		return errNoState
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
		Long: `Shows what an instance is: health and reason, restrictions in force, positions, open intents, timers, and the last commands
with who gave them. Where an msup runs on the state directory, it is asked, and answers also while a strategy hangs. Otherwise
the core of each instance is recovered from its ledger, without starting a strategy; then epochs and owners are shown, too.`,
		Example: "  msup inspect --state ./state\n  msup inspect --state ./state default/ema_cross/main --json",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.inspect(cmd.Context(), state, args)
		},
	}
	a.stateFlag(c, &state)
	return c
}

// inspection is one instance as msup inspect --json prints it.
type inspection struct {
	Instance *supervisor.Inspection `json:"instance"`
	Epochs   []statedb.Lease        `json:"epochs"` // empty while it runs
	Running  bool                   `json:"running"`
}

func (a *app) inspect(ctx context.Context, state string, args []string) error {
	if state == "" {
		return errNoState
	}
	tell := func(i inspection) error {
		if a.json {
			return a.printJSON(i)
		}
		return a.printInspection(i.Instance, i.Epochs)
	}
	running := func(c *api.Client) error {
		shown, err := c.Instances(ctx, args...)
		if err != nil {
			return refusedByRunning(err)
		}
		for _, s := range shown {
			if s.Error != "" {
				return exit(exitFailed, "%s", s.Error)
			}
			if err := tell(inspection{Instance: s.Inspection, Epochs: []statedb.Lease{}, Running: true}); err != nil {
				return err
			}
		}
		return nil
	}
	return a.runningOr(ctx, state, running, func() error {
		return a.offline(state, args, func(p *supervisor.Instance, store *statedb.Instance) error {
			i, err := p.Inspect()
			if err != nil {
				return err
			}
			leases, err := store.Leases()
			if err != nil {
				return err
			}
			return tell(inspection{Instance: i, Epochs: leases})
		})
	})
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
	for _, o := range i.Orders {
		fmt.Fprintf(w, "  commanded %s by %s at %s (%s), input %d\n", o.Op, o.Who, utc(o.WallTS), o.Reason, o.InputNo)
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
	a.stateFlag(c, &state)
	return c
}
