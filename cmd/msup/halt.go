package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/spf13/cobra"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/sandbox/process"
	"github.com/msup/msup/statedb"
	"github.com/msup/msup/supervisor"
	"github.com/msup/msup/supervisor/api"
	"github.com/msup/msup/supervisor/lease"
)

// haltFlags are those of msup halt beside the common ones.
type haltFlags struct {
	cancel, hedge, hard bool
	i                   reconcileFlags // how I is reached, for --hard
}

func (a *app) haltCommand() *cobra.Command {
	var f haltFlags
	c := &cobra.Command{
		Use: "halt --state DIR [--cancel-all | --hedge] [--hard] BOT/STRATEGY/INSTANCE…", Short: "Halt instances: no runner until resume",
		Long: `Stops the runner of instances at once, and starts none until msup resume; a halt outlives msup. Executions still move
positions, and risk and safety events still act.

What becomes of what is open:
  halt               orders that stand at I stay there; nothing new is offered
  halt --cancel-all  and msup itself cancels them (see msup cancel-all)
  halt --hedge       and closes the positions, too (see msup hedge)

--hard is for an msup that hangs. It is first asked in order, for two seconds. Where it does not answer, it is killed, with all of
its instances (not only those named; they are listed), its runners are killed through their control groups, the halt is
recorded, and a higher epoch is announced to I, which then refuses whatever may still be on its way from the one that was
killed. I is the socket that --execution-socket names; without it, the simulated one of the state directory. Nothing is lost: a
kill -9 is safe at any moment. The others go on with the next msup run.`,
		Example: `  msup halt --state ./state default/ema_cross/main
  msup halt --state ./state --cancel-all default/ema_cross/main
  msup halt --state ./state --hard --execution-socket /run/i.sock default/ema_cross/main`,
	}
	common := a.commandVerb(c, f.requests)
	soft := c.RunE
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if f.hard {
			return a.haltHard(cmd.Context(), &f, common, args)
		}
		return soft(cmd, args)
	}
	c.Flags().BoolVar(&f.cancel, "cancel-all", false, "also cancel every open order")
	c.Flags().BoolVar(&f.hedge, "hedge", false, "also cancel every open order and close every position")
	c.Flags().BoolVar(&f.hard, "hard", false, "kill an msup that does not answer, and have I bar its epoch")
	c.MarkFlagsMutuallyExclusive("cancel-all", "hedge")
	c.Flags().StringVar(&f.i.socket, "execution-socket", "", "with --hard: I's socket (default: the simulated I of the state directory)")
	f.i.lease.registerDir(c)
	return c
}

// requests are the commands of a halt. The halt comes first: an obligation does not need a runner.
func (f *haltFlags) requests() ([]api.Request, error) {
	out := []api.Request{{Op: "halt"}}
	switch {
	case f.cancel:
		out = append(out, api.Request{Op: "cancel_all"})
	case f.hedge:
		out = append(out, api.Request{Op: "hedge_to_flat"})
	}
	return out, nil
}

// inOrder is how long an msup is asked before --hard takes it for hung.
const inOrder = 2 * time.Second

// haltHard halts instances whether or not their supervisor answers.
func (a *app) haltHard(ctx context.Context, f *haltFlags, common *commandFlags, args []string) error {
	requests, err := f.requests()
	if err != nil {
		return err
	}
	if common.state == "" || len(args) == 0 {
		return a.command(ctx, common, args, requests) // it says what is missing
	}
	asked, cancel := context.WithTimeout(ctx, inOrder)
	defer cancel()
	if done, err := a.askedInOrder(asked, common, args, requests); done || err != nil {
		return err
	}
	var addresses []ipc.Address
	v, err := statedb.OpenView(common.state)
	if err != nil {
		return err
	}
	for _, name := range args {
		address, err := one(v, name)
		if err != nil {
			return errors.Join(err, v.Close())
		}
		addresses = append(addresses, address)
	}
	if err := v.Close(); err != nil {
		return err
	}
	for _, address := range addresses {
		if err := a.killOwner(ctx, f, address); err != nil {
			return err
		}
	}
	if err := a.reapRunners(ctx); err != nil {
		return err
	}
	if err := a.command(ctx, common, args, requests); err != nil {
		return err
	}
	f.i.state = common.state
	return a.barEpochs(ctx, &f.i, addresses)
}

// askedInOrder asks a running msup. It reports false when that does not answer, or when nobody listens.
func (a *app) askedInOrder(ctx context.Context, common *commandFlags, args []string, requests []api.Request) (bool, error) {
	c, err := api.Dial(ctx, common.state)
	if err != nil {
		return false, nil // whatever the cause: what follows does not need it
	}
	defer c.Close()
	out := []commanded{}
	for _, r := range requests {
		r.Instances, r.Who = args, common.who
		results, err := c.Command(ctx, r)
		var refused *api.RefusedError
		switch {
		case errors.As(err, &refused):
			return true, refusedByRunning(err)
		case err != nil:
			return false, nil
		}
		for _, one := range results {
			if !one.Durable {
				return false, nil
			}
			out = append(out, commanded{Result: one, Running: true})
		}
	}
	if !a.json {
		fmt.Fprintln(a.stdout, "the running msup answered: nothing was killed")
	}
	return true, a.printCommanded(out)
}

// killOwner kills the process that owns an instance, and names the others that end with it.
func (a *app) killOwner(ctx context.Context, f *haltFlags, address ipc.Address) error {
	before, err := lease.Kill(ctx, f.i.lease.dir, address)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // it never ran on this host
	}
	if err != nil || before.State.Free() {
		return err
	}
	fmt.Fprintf(a.stderr, "msup: process %d, which owned %s, was killed\n", before.Owner.PID, address)
	all, err := lease.List(f.i.lease.dir)
	if err != nil {
		return err
	}
	for _, s := range all {
		if s.Owner == before.Owner && s.Address != address {
			fmt.Fprintf(a.stderr, "msup: %s ended with it, is not halted, and goes on with the next msup run\n", s.Address)
		}
	}
	return nil
}

// reapRunners kills through their control groups what a killed supervisor has left. Containers are the next run's to remove: their engine went
// with it, and without its socket a runner ends by itself.
func (a *app) reapRunners(ctx context.Context) (err error) {
	box, err := process.New(process.Config{Logger: a.logger()})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, box.Close()) }()
	reaped, err := box.Reap(ctx)
	if err != nil {
		return fmt.Errorf("killing the runners that were left: %w", err)
	}
	if !a.json && reaped.Processes > 0 {
		fmt.Fprintf(a.stderr, "msup: %d processes of its runners were killed\n", reaped.Processes)
	}
	return nil
}

// barEpochs announces the next epoch of every instance to I: from then on it refuses those that were before.
func (a *app) barEpochs(ctx context.Context, f *reconcileFlags, addresses []ipc.Address) error {
	return a.withI(ctx, f, func(s *session) error {
		for _, address := range addresses {
			store, err := s.db.OpenInstance(address)
			if err != nil {
				return err
			}
			p := supervisor.NewInstance(supervisor.InstanceConfig{Address: address, Ledger: ledger{store}, Clock: &supervisor.FeedClock{},
				Observer: supervisor.NewStats(), Logger: a.logger(), QueueEvents: 1})
			m, err := p.Inspect()
			if err != nil {
				return err
			}
			timed, cancel := context.WithTimeout(ctx, reconcileWait)
			_, _, epoch, err := s.announce(timed, f, store, m)
			cancel()
			if err != nil {
				return fmt.Errorf("%s: the halt is recorded, but I was not told to bar its earlier epochs: %w; give the command again when I can be reached", address, err)
			}
			s.client.Forget(address)
			if !a.json {
				fmt.Fprintf(a.stdout, "%s: I refuses epochs below %d now\n", address, epoch)
			}
		}
		return nil
	})
}
