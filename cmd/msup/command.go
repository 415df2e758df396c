package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"time"

	"github.com/spf13/cobra"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/statedb"
	"github.com/msup/msup/supervisor"
	"github.com/msup/msup/supervisor/api"
	"github.com/msup/msup/supervisor/core"
	"github.com/msup/msup/supervisor/gate"
)

// commandVerbs are the verbs that give an operator's command.
func (a *app) commandVerbs() []*cobra.Command {
	return []*cobra.Command{a.haltCommand(), a.resumeCommand(), a.modeCommand(), a.cancelAllCommand(), a.hedgeCommand(), a.abandonCommand()}
}

// wherever says of every commanding verb how it reaches its instances.
const wherever = `

Where an msup runs on the state directory, it carries the command out at once, also while a strategy hangs, and "durable"
means that the command is on the disk. Otherwise it is recorded in the ledger, and the next run begins with it. The log
keeps who gave it (--who); msup inspect shows the last commands.`

// commandFlags are those of every commanding verb.
type commandFlags struct {
	state, who string
}

// commandVerb is a verb that gives commands, one after the other, to the instances that are named.
func (a *app) commandVerb(c *cobra.Command, requests func() ([]api.Request, error)) *commandFlags {
	f := &commandFlags{}
	c.Long += wherever
	c.RunE = func(cmd *cobra.Command, args []string) error {
		rs, err := requests()
		if err != nil {
			return err
		}
		return a.command(cmd.Context(), f, args, rs)
	}
	a.stateFlag(c, &f.state)
	c.Flags().StringVar(&f.who, "who", currentUser(), "who gives the command, for the log")
	return f
}

func currentUser() string {
	u, err := user.Current()
	if err != nil {
		return fmt.Sprintf("uid %d", os.Getuid())
	}
	return u.Username
}

// commanded is what became of one command, as --json prints it.
type commanded struct {
	api.Result
	Running bool `json:"running"` // an msup carried it out; else the next run begins with it
}

// command gives the requests to an msup that runs, or records them.
func (a *app) command(ctx context.Context, f *commandFlags, args []string, requests []api.Request) error {
	if f.state == "" {
		return errNoState
	}
	if len(args) == 0 {
		return fmt.Errorf("%w: name at least one instance, as BOT/STRATEGY/INSTANCE (msup inspect lists them)", errUsage)
	}
	out := []commanded{}
	for i := range requests {
		requests[i].Instances, requests[i].Who = args, f.who
		if _, err := requests[i].Command(); err != nil {
			return fmt.Errorf("%w: %w", errUsage, err)
		}
	}
	err := a.runningOr(ctx, f.state, func(c *api.Client) error {
		for _, r := range requests {
			results, err := c.Command(ctx, r)
			if err != nil {
				return refusedByRunning(err)
			}
			for _, one := range results {
				out = append(out, commanded{Result: one, Running: true})
			}
		}
		return nil
	}, func() error {
		return a.offline(f.state, args, func(p *supervisor.Instance, _ *statedb.Instance) error {
			for _, r := range requests {
				one, err := record(p, r)
				if err != nil {
					return err
				}
				out = append(out, commanded{Result: one})
			}
			return nil
		})
	})
	if err != nil && len(out) == 0 {
		return err
	}
	return errors.Join(a.printCommanded(out), err)
}

// record makes a command durable for an instance that does not run.
func record(p *supervisor.Instance, r api.Request) (api.Result, error) {
	c, err := r.Command()
	if err != nil {
		return api.Result{}, err
	}
	before, err := p.Inspect()
	if err != nil {
		return api.Result{}, err
	}
	out := api.Result{Instance: p.Address().String(), Op: r.Op, Who: r.Who, Was: before.Health}
	if c.Op == core.OpAbandon && before.Obligation == nil {
		out.Error = "no obligation is under way: there is nothing to abandon"
		return out, nil
	}
	if err := p.Record(c); err != nil {
		return out, err
	}
	after, err := p.Inspect()
	if err != nil {
		return out, err
	}
	out.Durable, out.Health, out.Reason, out.Obligation = true, after.Health, after.Reason, after.Obligation
	return out, nil
}

func (a *app) printCommanded(all []commanded) error {
	failed := 0
	for _, r := range all {
		if r.Error != "" {
			failed++
		}
	}
	if a.json {
		if err := a.printJSON(map[string]any{"results": all}); err != nil {
			return err
		}
	} else {
		for _, r := range all {
			fmt.Fprintln(a.stdout, describeCommanded(r))
		}
	}
	if failed > 0 {
		return exit(exitFailed, "%d of %d commands were not carried out", failed, len(all))
	}
	return nil
}

func describeCommanded(r commanded) string {
	if r.Error != "" {
		return fmt.Sprintf("%s: %s by %s: %s", r.Instance, r.Op, r.Who, r.Error)
	}
	how := "recorded; the next run begins with it"
	if r.Running {
		how = "durable"
	}
	text := fmt.Sprintf("%s: %s by %s: %s; it was %s, is %s", r.Instance, r.Op, r.Who, how, r.Was, r.Health)
	if r.Reason != "" {
		text += " (" + string(r.Reason) + ")"
	}
	if o := r.Obligation; o != nil {
		text += fmt.Sprintf("; obligation %d: %s", o.No, o.Kind)
	}
	return text
}

// startWait is how long an msup that has its state directory and does not listen yet is waited for: it is starting.
const startWait = 3 * time.Second

// runningOr asks the msup that runs on a state directory, or does without where there is none.
func (a *app) runningOr(ctx context.Context, state string, running func(*api.Client) error, without func() error) error {
	for begin := time.Now(); ; {
		c, err := api.Dial(ctx, state)
		if err == nil {
			defer c.Close()
			return running(c)
		}
		if !errors.Is(err, api.ErrNobody) {
			return exit(exitState, "%w", err)
		}
		err = without()
		switch {
		case !errors.Is(err, statedb.ErrLocked):
			return err
		case time.Since(begin) > startWait:
			return exit(exitState, "%w; it takes no commands: it is starting, is no msup run, or hangs (msup lease list; msup halt --hard does not need it)", err)
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// refusedByRunning makes a refusal by the running msup a usage error: nothing was done.
func refusedByRunning(err error) error {
	var refused *api.RefusedError
	if errors.As(err, &refused) {
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	return exit(exitState, "%w", err)
}

func (a *app) resumeCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "resume --state DIR BOT/STRATEGY/INSTANCE…", Short: "End a halt",
		Long: `Ends a halt: a new runner is started, and the ladders that led to the halt begin anew. Look up the reason first: msup inspect,
msup explain. After INIT_FAILED on_init is called again, with what was mended meanwhile; where it fails again, the instance halts
again.`,
		Example: "  msup resume --state ./state default/ema_cross/main",
	}
	a.commandVerb(c, func() ([]api.Request, error) { return []api.Request{{Op: "resume"}}, nil })
	return c
}

func (a *app) modeCommand() *cobra.Command {
	r := gate.Unrestricted()
	var factor string
	c := &cobra.Command{
		Use:     "mode --state DIR [--no-trade] [--reduce-only] [--limit-only] [--size-factor F] BOT/STRATEGY/INSTANCE…",
		Short:   "Replace the operator's restriction of instances",
		Long:    "Sets the operator's own restriction in place of the last one; without any flag it is lifted. Restrictions of others stay.",
		Example: "  msup mode --state ./state --reduce-only default/ema_cross/main\n  msup mode --state ./state default/ema_cross/main",
	}
	a.commandVerb(c, func() ([]api.Request, error) {
		d, err := ipc.ParseDecimal(factor)
		if err != nil || d.Sign() < 0 || d.Cmp(gate.One) > 0 {
			return nil, fmt.Errorf("%w: --size-factor %q: write a number from 0 to 1", errUsage, factor)
		}
		restriction := r
		restriction.SizeFactor = d
		return []api.Request{{Op: "mode", Restriction: &restriction}}, nil
	})
	c.Flags().BoolVar(&r.NoTrade, "no-trade", false, "only cancels and messages pass")
	c.Flags().BoolVar(&r.ReduceOnly, "reduce-only", false, "only orders that lower the position pass")
	c.Flags().BoolVar(&r.LimitOnly, "limit-only", false, "no market or stop orders")
	c.Flags().StringVar(&factor, "size-factor", "1", "scale the part of orders that increases risk, 0 to 1")
	return c
}

func (a *app) cancelAllCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "cancel-all --state DIR BOT/STRATEGY/INSTANCE…", Short: "Have msup itself cancel every open order of instances",
		Long: `Orders the obligation cancel_all: what I never had is withdrawn, the rest is canceled, and canceled again, ever more slowly, until
every order has its final status. The strategy may not trade meanwhile, and goes on when it is done. Positions stay. No runner
is needed: it begins while the strategy hangs, and goes on while the instance is halted, and after a crash.

msup inspect shows the obligation and its attempts; msup hedge also closes the positions; msup abandon ends an obligation that
cannot be met.`,
		Example: "  msup cancel-all --state ./state default/ema_cross/main",
	}
	a.commandVerb(c, func() ([]api.Request, error) { return []api.Request{{Op: "cancel_all"}}, nil })
	return c
}

func (a *app) hedgeCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "hedge --state DIR BOT/STRATEGY/INSTANCE…", Aliases: []string{"hedge-to-flat"}, Short: "Have msup itself cancel every order and close every position of instances",
		Long: `Orders the obligation hedge_to_flat: first everything that cancel-all does; then what is left of the positions is closed by
reduce-only market orders, attempt after attempt, until nothing is. The strategy may not trade meanwhile, and goes on when it
is flat: halt the instance as well if it should not (msup halt --hedge). Under unknown positions it waits for I's snapshot. Less
than the instrument's smallest quantity is left, and said. A freeze by E stops it until the unfreeze.`,
		Example: "  msup hedge --state ./state default/ema_cross/main\n  msup halt --hedge --state ./state default/ema_cross/main",
	}
	a.commandVerb(c, func() ([]api.Request, error) { return []api.Request{{Op: "hedge_to_flat"}}, nil })
	return c
}

func (a *app) abandonCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "abandon --state DIR BOT/STRATEGY/INSTANCE…", Short: "End an obligation that cannot be met",
		Long: `Ends the obligation under way (cancel_all or hedge_to_flat, ordered by an operator or by E): what it has not done stays undone, and
the strategy may trade again unless something else forbids it. For an order that the venue will never end, or a position that
cannot be closed there; bring both into order by hand, then msup reconcile. Cancels and hedges that I has already been offered
are not taken back.`,
		Example: "  msup inspect --state ./state default/ema_cross/main\n  msup abandon --state ./state default/ema_cross/main --who alice",
	}
	a.commandVerb(c, func() ([]api.Request, error) { return []api.Request{{Op: "abandon"}}, nil })
	return c
}
