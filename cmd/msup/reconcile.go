package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/statedb"
	"github.com/msup/msup/supervisor"
	"github.com/msup/msup/supervisor/boundary/execution"
	"github.com/msup/msup/supervisor/lease"
)

const reconcileWait = 10 * time.Second // for one answer of I

// reconcileFlags say what to compare with whom.
type reconcileFlags struct {
	state, socket string
	lease         leaseFlags // its folder alone
	above         uint64
	apply         bool
}

func (a *app) reconcileCommand() *cobra.Command {
	var f reconcileFlags
	c := &cobra.Command{
		Use: "reconcile --state DIR [BOT/STRATEGY/INSTANCE…]", Short: "Compare what M's ledger says with what I says, and print the differences",
		Long: `Asks I, for every chosen instance, what it knows of each intent that is not final, for its positions and open orders, and
for the last step that it has seen; and prints where M's ledger says something else. The instances must not be running: the
reconciler announces itself to I as their owner, with the next epoch, as every start does.

A state directory that is older than I (a backup, on a host that has no lease of later runs) has a lower epoch than I knows, and I
refuses it, as it refuses a second owner. Where nobody else runs the instance, --above EPOCH, with the epoch that the refusal
names, goes above it.

Nothing else is changed, unless --apply is given. Then the ledger takes over what recovery would: I's word on intents that I
knows, and, where positions are unknown or differ although I has nothing more to report, I's snapshot. An intent that I has
not seen stays as it is: the next start offers it while it is valid, and bars its key otherwise. A ledger that lacks steps
which I has seen (an older backup) is never written to, nor is one whose I has lost its memory.

I is the socket that --execution-socket names; without it, the simulated one whose state lies in the state directory.`,
		Example: "  msup reconcile --state ./state\n  msup reconcile --state ./state --execution-socket /run/i.sock --apply",
		RunE: func(cmd *cobra.Command, args []string) error {
			if f.state == "" {
				return fmt.Errorf("%w: name the state directory with --state", errUsage)
			}
			return a.reconcile(cmd.Context(), &f, args)
		},
	}
	c.Flags().StringVar(&f.state, "state", "", "state directory of the run")
	c.Flags().StringVar(&f.socket, "execution-socket", "", "I's socket (default: the simulated I of the state directory)")
	f.lease.registerDir(c)
	c.Flags().Uint64Var(&f.above, "above", 0, "take an epoch above this one, for a state directory that is older than I; only when nobody else runs the instance")
	c.Flags().BoolVar(&f.apply, "apply", false, "record I's word where recovery would")
	return c
}

func (a *app) reconcile(ctx context.Context, f *reconcileFlags, only []string) error {
	all := []*reconciled{}
	err := a.withI(ctx, f, func(s *session) error {
		wanted, err := chosen(s.db, only)
		if err != nil {
			return err
		}
		for _, address := range wanted {
			one, err := a.reconcileOne(ctx, f, s, address)
			if err != nil {
				return fmt.Errorf("%s: %w", address, err)
			}
			all = append(all, one)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return a.printReconciled(all, f.apply)
}

// session is a state directory that nobody runs on, and a connection to I, in the hands of a verb that speaks to I as the owner of instances.
type session struct {
	db     *statedb.DB
	keeper *lease.Keeper
	client *execution.Client
	owner  ipc.Nonce
}

// withI opens a session for as long as fn takes.
func (a *app) withI(ctx context.Context, f *reconcileFlags, fn func(*session) error) (err error) {
	s := &session{}
	if s.db, err = openState(a, f.state); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.db.Close()) }()
	if _, err := rand.Read(s.owner[:]); err != nil {
		return fmt.Errorf("making an owner nonce: %w", err)
	}
	if s.keeper, err = lease.Open(lease.Options{Dir: f.lease.dir, TTL: lease.DefaultTTL, Nonce: s.owner, Logger: a.logger()}); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.keeper.Close()) }()
	i, err := a.connectI(ctx, f)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, i.close()) }()
	s.client = i.Client()
	return fn(s)
}

// announce takes the next epoch of an instance and says hello to I with it.
func (s *session) announce(ctx context.Context, f *reconcileFlags, store *statedb.Instance, m *supervisor.Inspection) (*listening, *ipc.Welcome, ipc.Epoch, error) {
	held, err := s.keeper.Acquire(ctx, m.Address)
	if err != nil {
		return nil, nil, 0, err
	}
	epoch, err := ledger{store}.NextEpoch(s.owner, max(held.Epoch(), ipc.Epoch(f.above)))
	if err == nil {
		err = held.Raise(epoch)
	}
	if err != nil {
		return nil, nil, 0, err
	}
	l := &listening{snapshot: make(chan *ipc.SourceEvent, 1), lost: make(chan error, 1)}
	oldest := m.Step + 1
	for _, o := range m.Open {
		oldest = min(oldest, o.Step)
	}
	welcome, err := s.client.Hello(ctx, execution.Announcement{Address: m.Address, Lineage: store.Lineage(), Epoch: epoch, Owner: s.owner, OldestOpenStep: oldest}, l)
	if err != nil {
		return nil, nil, epoch, &exitError{exitBoundary, err}
	}
	return l, welcome, epoch, nil
}

// connectI connects to the I that was named, or starts the simulated one on what it has kept.
func (a *app) connectI(ctx context.Context, f *reconcileFlags) (*simulated, error) {
	if f.socket != "" {
		s, err := connectExecution(ctx, f.socket, reconcileWait, nil, a.logger())
		if err != nil {
			return nil, exit(exitBoundary, "connecting to I: %w", err)
		}
		return s, nil
	}
	dir := filepath.Join(absolute(f.state), "i")
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s holds no simulated I; name I's socket with --execution-socket", errUsage, f.state)
	}
	s, err := startSimulated(ctx, a, dir, a.logger())
	if err != nil {
		return nil, exit(exitBoundary, "starting the simulated I: %w", err)
	}
	return s, nil
}

// listening takes what I says of one instance: reports that the ledger may lack, and the snapshot.
type listening struct {
	mu       sync.Mutex
	reports  []ipc.Cursor
	snapshot chan *ipc.SourceEvent
	lost     chan error
}

// Event keeps a snapshot and counts the rest.
func (l *listening) Event(e *ipc.SourceEvent) {
	if e.Event.Kind() == ipc.KindExecutionSnapshot {
		select {
		case l.snapshot <- e:
		default: // the first one counts
		}
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reports = append(l.reports, e.Cursor)
}

// Status is not asked for here: queries have answers of their own.
func (l *listening) Status(*ipc.StatusReport) {}

// Refused ends the wait for the snapshot.
func (l *listening) Refused(r *ipc.Refused) {
	l.end(&execution.RefusedError{Address: r.Address, Reason: r.Reason, Epoch: r.Epoch})
}

// Lost ends the wait for the snapshot.
func (l *listening) Lost(cause error) { l.end(cause) }

func (l *listening) end(cause error) {
	select {
	case l.lost <- cause:
	default:
	}
}

func (a *app) reconcileOne(ctx context.Context, f *reconcileFlags, s *session, address ipc.Address) (*reconciled, error) {
	store, err := s.db.OpenInstance(address)
	if err != nil {
		return nil, err
	}
	p := supervisor.NewInstance(supervisor.InstanceConfig{Address: address, Ledger: ledger{store}, Clock: &supervisor.FeedClock{},
		Observer: supervisor.NewStats(), Logger: a.logger(), QueueEvents: 1})
	m, err := p.Inspect()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, reconcileWait)
	defer cancel()
	client := s.client
	l, welcome, epoch, err := s.announce(ctx, f, store, m)
	if err != nil {
		return nil, err
	}
	defer client.Forget(address)
	r := &reconciled{Address: address.String(), Epoch: epoch, Step: m.Step, StepAtI: welcome.LastStep, Differences: []difference{}}
	statuses, err := r.intents(ctx, client, address, epoch, m.Open)
	if err != nil {
		return nil, &exitError{exitBoundary, err}
	}
	snapshot, err := l.ask(ctx, client, address)
	if err != nil {
		return nil, &exitError{exitBoundary, err}
	}
	r.Unreported = l.missing(m.Cursors)
	content, ok := snapshot.Event.(*ipc.ExecutionSnapshot)
	if !ok {
		return nil, exit(exitBoundary, "I sent a %T as a snapshot", snapshot.Event)
	}
	differ, err := r.books(m, content, func(k ipc.Key) (ipc.Status, bool, error) {
		known, err := store.Intent(k)
		if errors.Is(err, statedb.ErrUnknownKey) {
			return 0, false, nil
		}
		return known.Status, err == nil, err
	})
	if err != nil {
		return nil, err
	}
	if why := p.Forgot(*welcome); why != "" {
		for i := range r.Differences {
			r.Differences[i].Then = "nothing is applied: I lacks what it had"
		}
		r.Differences = append(r.Differences, difference{Class: sinkForgot, What: "memory", Of: r.Address, M: "knows what I has had", I: why,
			Then: "I has lost its memory: the next start halts with SINK_FORGOT; nothing is applied"})
		return r, nil
	}
	if r.Step < r.StepAtI {
		for i := range r.Differences {
			r.Differences[i].Then = "nothing is applied: the ledger lacks steps"
		}
		r.Differences = append(r.Differences, difference{Class: ledgerBehind, What: "ledger", Of: r.Address, M: fmt.Sprintf("ends at step %d", r.Step), I: fmt.Sprintf("has seen step %d", r.StepAtI),
			Then: "rows are lost, or this is an older backup: the next start halts with ROWS_LOST; nothing is applied"})
		return r, nil
	}
	if !f.apply {
		return r, nil
	}
	if !differ || r.Unreported > 0 {
		snapshot = nil
	}
	r.Applied, err = p.RecordReports(statuses, snapshot)
	return r, err
}

// ask waits for I's snapshot.
func (l *listening) ask(ctx context.Context, client *execution.Client, address ipc.Address) (*ipc.SourceEvent, error) {
	if _, err := client.RequestSnapshot(address); err != nil {
		return nil, err
	}
	select {
	case s := <-l.snapshot:
		return s, nil
	case err := <-l.lost:
		return nil, err
	case <-ctx.Done():
		return nil, fmt.Errorf("waiting for I's snapshot of %s: %w", address, ctx.Err())
	}
}

// missing counts the reports above what the ledger has taken.
func (l *listening) missing(taken []ipc.Cursor) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.reports {
		i := slices.IndexFunc(taken, func(t ipc.Cursor) bool { return t.Source == c.Source })
		if i < 0 || cmp.Or(cmp.Compare(c.Epoch, taken[i].Epoch), cmp.Compare(c.Seq, taken[i].Seq)) > 0 {
			n++
		}
	}
	return n
}

func (a *app) printReconciled(all []*reconciled, applied bool) error {
	differing := 0
	for _, r := range all {
		if len(r.Differences) > 0 {
			differing++
		}
	}
	if a.json {
		if err := a.printJSON(all); err != nil {
			return err
		}
	} else {
		for _, r := range all {
			fmt.Fprintf(a.stdout, "%s: step %d, I has seen %d; %d differences, %d reports not taken yet", r.Address, r.Step, r.StepAtI, len(r.Differences), r.Unreported)
			if applied {
				fmt.Fprintf(a.stdout, "; %d recorded", r.Applied)
			}
			fmt.Fprintln(a.stdout)
			for _, d := range r.Differences {
				fmt.Fprintf(a.stdout, "  %s %s\n    M: %s\n    I: %s\n    %s\n", d.What, d.Of, d.M, d.I, d.Then)
			}
		}
	}
	if differing > 0 && !applied {
		return exit(exitBoundary, "M and I differ about %d of %d instances", differing, len(all))
	}
	return nil
}
