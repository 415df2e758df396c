package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/supervisor"
	"github.com/msup/msup/supervisor/lease"
)

// leaseFlags say where the host's leases lie and what to do about an owner that hangs.
type leaseFlags struct {
	dir      string
	ttl      time.Duration
	takeover bool
}

func (f *leaseFlags) registerDir(c *cobra.Command) {
	c.Flags().StringVar(&f.dir, "lease-dir", lease.DefaultDir(), "directory of the leases, the same for every msup of this host")
}

func (f *leaseFlags) register(c *cobra.Command) {
	f.registerDir(c)
	c.Flags().DurationVar(&f.ttl, "lease-ttl", lease.DefaultTTL, "silence after which others may take this msup for hung")
	c.Flags().BoolVar(&f.takeover, "takeover", false, "kill an owner that is silent beyond its ttl, and go on in its place")
}

// leases takes the lease of every instance of the run, or says who has one (LS-1). It comes before the state directory: a hung owner that
// is killed for its lease gives that back, too.
func (r *runner) leases(ctx context.Context, f *leaseFlags, w *wiring) error {
	if f.ttl < lease.LeastTTL || f.ttl > lease.MostTTL {
		return fmt.Errorf("%w: --lease-ttl %s: write a duration from %s to %s, for example %s", errUsage, f.ttl, lease.LeastTTL, lease.MostTTL, lease.DefaultTTL)
	}
	k, err := lease.Open(lease.Options{Dir: f.dir, TTL: f.ttl, Nonce: w.owner, Takeover: f.takeover, Logger: w.log})
	if err != nil {
		return err
	}
	r.onClose(k.Close)
	w.leases = map[ipc.Address]*lease.Lease{}
	for _, d := range r.deployment.Instances {
		if w.leases[d.Address], err = k.Acquire(ctx, d.Address); err != nil {
			return err
		}
	}
	return nil
}

// lease is the port of one instance; nil where the run took none.
func (w *wiring) lease(a ipc.Address) supervisor.Lease {
	if l := w.leases[a]; l != nil {
		return l
	}
	return nil
}

func (a *app) leaseCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "lease", Short: "Who runs which instance on this host",
		Long: `An instance (bot/strategy/instance) runs once per host, whatever state directories its starts name. Its owner holds a
lock file in the lease directory and writes a heartbeat into it; the kernel gives the lock back when the owner dies, however it dies.

A lease is one of
  live      its owner runs; a second start is refused with LEASE_HELD
  hung      its owner runs and was silent for longer than its ttl (stopped, starved, stuck); a second start is refused with
            LEASE_HUNG, or kills and replaces it with msup run --takeover
  released  free; the last owner stopped in order
  dead      free; the last owner was killed. The next start takes over at once: nothing needs clearing away
  damaged   free; the record cannot be read. The next start writes a new one
  unknown   the lock is held by a process that has not written who it is; it is never killed
  foreign   something that is no lease lies in the directory

The file stays when an owner ends: it keeps the epoch, so that two state directories of one instance count together.`,
	}
	c.AddCommand(a.leaseListCommand(), a.leaseShowCommand(), a.leaseBreakCommand())
	return c
}

func (a *app) leaseListCommand() *cobra.Command {
	var f leaseFlags
	c := &cobra.Command{
		Use: "list", Short: "All leases of this host", Args: cobra.NoArgs,
		Example: "  msup lease list\n  msup lease list --json",
		RunE: func(*cobra.Command, []string) error {
			all, err := lease.List(f.dir)
			if err != nil {
				return err
			}
			if a.json {
				out := make([]leaseView, 0, len(all))
				for i := range all {
					out = append(out, viewLease(&all[i]))
				}
				return a.printJSON(map[string]any{"dir": f.dir, "leases": out})
			}
			return a.printLeases(f.dir, all)
		},
	}
	f.registerDir(c)
	return c
}

func (a *app) printLeases(dir string, all []lease.Status) error {
	if len(all) == 0 {
		_, err := fmt.Fprintf(a.stdout, "no leases in %s\n", dir)
		return err
	}
	t := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "INSTANCE\tSTATE\tEPOCH\tPID\tHEARD\tTTL\tSINCE")
	for i := range all {
		v := viewLease(&all[i])
		name, pid, heard := v.Instance, "-", "-"
		if name == "" {
			name = v.File
		}
		if v.PID != 0 {
			pid = fmt.Sprint(v.PID)
		}
		if v.HeardMS != nil {
			heard = (time.Duration(*v.HeardMS) * time.Millisecond).String() + " ago"
		}
		fmt.Fprintf(t, "%s\t%s\t%d\t%s\t%s\t%s\t%s\n", name, v.State, v.Epoch, pid, heard, time.Duration(v.TTLMS)*time.Millisecond, v.Since)
	}
	return t.Flush()
}

func (a *app) leaseShowCommand() *cobra.Command {
	var f leaseFlags
	c := &cobra.Command{
		Use: "show BOT/STRATEGY/INSTANCE", Short: "One lease: its owner, heartbeat and epoch", Args: cobra.ExactArgs(1),
		Example: "  msup lease show default/ema_cross/BTCUSDT.BINANCE",
		RunE: func(_ *cobra.Command, args []string) error {
			address, err := f.address(args[0])
			if err != nil {
				return err
			}
			s, err := lease.Show(f.dir, address)
			if err != nil {
				return err
			}
			v := viewLease(s)
			if a.json {
				return a.printJSON(v)
			}
			w := a.stdout
			fmt.Fprintf(w, "%s  %s\n  file %s\n  epoch %d, ttl %s\n", v.Instance, v.State, v.File, v.Epoch, s.TTL)
			if v.PID != 0 {
				fmt.Fprintf(w, "  owner: process %d %s, since %s, nonce %s\n", v.PID, v.Command, v.Since, v.Nonce)
			}
			if v.HeardMS != nil {
				fmt.Fprintf(w, "  last heard %s ago\n", s.Silent.Round(time.Millisecond))
			}
			if v.Holder != 0 && v.Holder != v.PID {
				fmt.Fprintf(w, "  its lock is held by process %d %s\n", v.Holder, v.Command)
			}
			if v.Problem != "" {
				fmt.Fprintf(w, "  %s\n", v.Problem)
			}
			return nil
		},
	}
	f.registerDir(c)
	return c
}

func (a *app) leaseBreakCommand() *cobra.Command {
	var f leaseFlags
	c := &cobra.Command{
		Use: "break BOT/STRATEGY/INSTANCE", Short: "Kill the owner of a lease when it hangs, and leave the lease free", Args: cobra.ExactArgs(1),
		Long: `Kills the owner of a lease, if it has been silent for longer than its ttl and stays silent for another heartbeat. It is known by
pid, start time and boot, and killed through a pidfd: never another process. An owner that lives is refused with LEASE_HELD, stop it
with Ctrl-C or SIGTERM. The lease of a dead owner is free anyway: nothing needs to be broken.

What the owner had not made durable is lost, as in any crash; the next start recovers and asks I about every open intent.`,
		Example: "  msup lease break default/ema_cross/BTCUSDT.BINANCE",
		RunE: func(cmd *cobra.Command, args []string) error {
			address, err := f.address(args[0])
			if err != nil {
				return err
			}
			before, err := lease.Break(cmd.Context(), lease.Options{Dir: f.dir, Logger: a.logger()}, address)
			if err != nil {
				return err
			}
			killed := before.State == lease.Hung
			if a.json {
				return a.printJSON(map[string]any{"instance": address.String(), "before": viewLease(before), "killed": killed})
			}
			if killed {
				_, err = fmt.Fprintf(a.stdout, "%s: process %d was killed; the lease is free\n", address, before.Owner.PID)
			} else {
				_, err = fmt.Fprintf(a.stdout, "%s: the lease was free already (%s)\n", address, before.State)
			}
			return err
		},
	}
	f.registerDir(c)
	return c
}

// address finds the instance that a person names among the leases; its parts may hold slashes.
func (f *leaseFlags) address(text string) (ipc.Address, error) {
	all, err := lease.List(f.dir)
	if err != nil {
		return ipc.Address{}, err
	}
	var known []string
	for _, s := range all {
		if s.Address.String() == text {
			return s.Address, nil
		}
		if s.Address != (ipc.Address{}) {
			known = append(known, s.Address.String())
		}
	}
	if parts := strings.SplitN(text, "/", 3); len(parts) == 3 {
		address := ipc.Address{Bot: ipc.BotID(parts[0]), Strategy: ipc.StrategyID(parts[1]), Instance: ipc.InstanceID(parts[2])}
		if _, err := lease.Show(f.dir, address); !errors.Is(err, fs.ErrNotExist) { // a damaged record does not say whose it is
			return address, nil
		}
	}
	if len(known) == 0 {
		return ipc.Address{}, fmt.Errorf("%w: no lease of %s: %s has none", errUsage, text, f.dir)
	}
	return ipc.Address{}, fmt.Errorf("%w: no lease of %s in %s; there are: %s", errUsage, text, f.dir, strings.Join(known, ", "))
}

// leaseView is a lease as the command line shows it.
type leaseView struct {
	Instance string      `json:"instance,omitempty"`
	State    lease.State `json:"state"`
	File     string      `json:"file"`
	Epoch    ipc.Epoch   `json:"epoch"`
	PID      int         `json:"pid,omitempty"` // of the owner, the last one where the lease is free
	Start    uint64      `json:"start_ticks,omitempty"`
	Boot     string      `json:"boot_id,omitempty"`
	Holder   int         `json:"lock_holder_pid,omitempty"`
	Command  string      `json:"command,omitempty"`
	Nonce    string      `json:"owner_nonce,omitempty"`
	Since    string      `json:"since,omitempty"`
	HeardMS  *int64      `json:"last_heard_ms,omitempty"` // ago; only of an owner that runs
	TTLMS    int64       `json:"ttl_ms,omitempty"`
	Problem  string      `json:"problem,omitempty"`
}

func viewLease(s *lease.Status) leaseView {
	v := leaseView{State: s.State, File: s.File, Epoch: s.Epoch, PID: s.Owner.PID, Start: s.Owner.Start, Boot: s.Owner.Boot, Holder: s.Holder,
		Command: s.Command, Nonce: s.Nonce, TTLMS: s.TTL.Milliseconds(), Problem: s.Problem}
	if s.Address != (ipc.Address{}) {
		v.Instance = s.Address.String()
	}
	if !s.Since.IsZero() {
		v.Since = s.Since.Format(time.RFC3339)
	}
	if s.State == lease.Live || s.State == lease.Hung {
		ms := s.Silent.Milliseconds()
		v.HeardMS = &ms
	}
	return v
}
