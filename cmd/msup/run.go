package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/sandbox/privilege"
	"github.com/msup/msup/statedb"
	"github.com/msup/msup/supervisor"
	"github.com/msup/msup/supervisor/boundary/execution"
	"github.com/msup/msup/supervisor/boundary/feed"
	"github.com/msup/msup/supervisor/boundary/feed/synthetic"
	"github.com/msup/msup/supervisor/boundary/risk"
	"github.com/msup/msup/supervisor/core"
	"github.com/msup/msup/supervisor/descriptor"
)

// runFlags are the options of msup run.
type runFlags struct {
	deploymentFlags
	feed     feedFlags
	feedPath string
	speed    string
	out      string
	events   int
}

func (a *app) runCommand() *cobra.Command {
	var f runFlags
	c := &cobra.Command{
		Use:   "run [DIR…]",
		Short: "Run strategies on a feed, with a simulated I",
		Long: `Runs the strategies in the given folders (or of a deployment, -c msup.toml), each instance in a walled process of
its own, on a feed: a recording, or a seeded synthetic market when no --feed is given. A simulated I, in a process
of its own, fills orders at the touch of the last quote; it is no backtester.

At full speed (the default) the feed runs in lock step: the next event waits until every strategy has answered and
I has judged, so that the same feed gives the same intents and fills, to the byte. --speed N plays the feed at N
times its own time; a strategy that cannot keep up is degraded with QUEUE_CEILING.

State (ledger, checkpoints, evidence) is fresh and removed at the end, unless --state names a folder: then a later
run goes on where this one stopped, and msup replay can be pointed at it.

An instance (bot/strategy/instance) runs once on a host, whatever --state says: a second start is refused, and msup lease
list shows who runs it. To run the same strategy twice, give one of them another --bot. A dead owner is replaced at once,
one that hangs only with --takeover, which kills it first.`,
		Example: `  msup run examples/ema_cross
  msup run examples/ema_cross examples/mean_reversion --feed 20140508_quote.zip --out intents.jsonl
  msup run -c msup.toml --feed recordings/ --speed 10 --state ./state`,
		RunE: func(cmd *cobra.Command, args []string) error { return a.run(cmd.Context(), &f, args) },
	}
	f.deploymentFlags.register(c)
	c.Flags().StringVar(&f.feedPath, "feed", "", "file or folder of market events (default: a synthetic market)")
	f.feed.register(c)
	f.lease.register(c)
	f.privileges.register(c)
	c.Flags().StringVar(&f.speed, "speed", "max", `"max", or a multiple of the feed's own time`)
	c.Flags().IntVar(&f.events, "events", 0, "end after so many events (default: all of the feed; 60000 of the synthetic market)")
	c.Flags().StringVar(&f.execution, "execution-socket", "", "connect to this I instead of simulating one (as boundary.execution of msup.toml)")
	c.Flags().DurationVar(&f.patience, "boundary-patience", supervisor.DefaultPatience, "how long an I that is away or silent is waited for, before instances go on restricted")
	c.Flags().StringVar(&f.risk, "risk-socket", "", "connect to this J or E: restrictions, commands, approvals (as boundary.risk of msup.toml)")
	c.Flags().StringVar(&f.market, "market-socket", "", "listen to this H instead of playing a feed (as boundary.market of msup.toml); Ctrl-C ends the run")
	c.Flags().StringVar(&f.out, "out", "", "write every offered intent to this .jsonl file")
	return c
}

// run is msup run from the flags to the summary.
func (a *app) run(ctx context.Context, f *runFlags, dirs []string) (err error) {
	speed, err := parseSpeed(f.speed)
	if err != nil {
		return err
	}
	if err := checkPatience(f.patience); err != nil {
		return err
	}
	source, err := a.openMarket(ctx, f)
	if err != nil {
		return err
	}
	live := source != nil
	if !live {
		if source, err = f.openFeed(); err != nil {
			return exit(exitFeed, "%w", err)
		}
	}
	defer func() { err = errors.Join(err, source.Close()) }()
	var begin ipc.Nanos
	if !live {
		source, begin = beginning(source)
	}
	f.reads = f.feedPath
	r, err := a.prepare(ctx, &f.deploymentFlags, dirs, f.out, speed == 0 && !live, live, begin)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	began := time.Now()
	events, playErr := r.play(ctx, source, supervisor.Pace{Speed: speed, Live: live}, f.events)
	s := r.summary(events, time.Since(began), source.Info())
	if err := a.printSummary(s); err != nil {
		return err
	}
	switch {
	case playErr != nil:
		return playErr
	case ctx.Err() != nil:
		return ctx.Err()
	case len(s.Refused) > 0:
		return exit(exitRefused, "%d of the strategies were refused and did not run: %s", len(s.Refused), strings.Join(s.Refused, ", "))
	case s.halted() > 0:
		return exit(exitHalted, "%d of %d instances halted; msup explain CODE says what to do", s.halted(), len(s.Instances))
	}
	return nil
}

// peeked is a source whose first event was looked at already.
type peeked struct {
	feed.Source
	first ipc.MarketEvent
	err   error
}

// beginning tells when a feed begins, 0 where it has no events: on_init is called at that time. At time 0 a timer that it sets for every
// minute from then on would have fifty years of minutes to make up before the first event.
func beginning(s feed.Source) (feed.Source, ipc.Nanos) {
	p := &peeked{Source: s}
	if p.first, p.err = s.Next(); p.err != nil {
		return p, 0
	}
	return p, p.first.Header().RecvTS
}

// Next returns the first event, then the others.
func (p *peeked) Next() (ipc.MarketEvent, error) {
	first, err := p.first, p.err
	if p.first = nil; first != nil || err != nil {
		return first, err
	}
	return p.Source.Next()
}

func parseSpeed(text string) (float64, error) {
	if text == "max" {
		return 0, nil
	}
	speed, err := strconv.ParseFloat(text, 64)
	if err != nil || !(speed > 0) || speed > 1e9 {
		return 0, fmt.Errorf(`%w: --speed %q: write "max" or a number above zero, for example 10`, errUsage, text)
	}
	return speed, nil
}

// openFeed opens the named feed, or makes the synthetic market.
func (f *runFlags) openFeed() (feed.Source, error) {
	if f.feedPath == "" {
		return synthetic.New(synthetic.Options{Seed: 1, Events: f.events, Faults: synthetic.DefaultFaults()})
	}
	return feed.Open(f.feedPath, f.feed.options())
}

// runner is a prepared run: everything that must be taken down again, in order.
type runner struct {
	app        *app
	wiring     *wiring
	deployment *descriptor.Deployment
	supervisor *supervisor.Supervisor
	sim        *simulated
	risk       *risk.Link // nil: no J or E
	fresh      bool       // the state directory is removed at the end
	closers    []func() error
}

func (r *runner) onClose(f func() error) { r.closers = append(r.closers, f) }

// close takes everything down in reverse order.
func (r *runner) close() error {
	var all error
	for i := len(r.closers) - 1; i >= 0; i-- {
		all = errors.Join(all, r.closers[i]())
	}
	return all
}

// prepare checks and opens everything that a run needs; nothing has been started when it fails.
func (a *app) prepare(ctx context.Context, f *deploymentFlags, dirs []string, out string, lockStep, live bool, begin ipc.Nanos) (r *runner, err error) {
	r = &runner{app: a}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.close())
		}
	}()
	h, err := a.openHost(ctx, f)
	if err != nil {
		return r, err
	}
	r.onClose(h.close)
	if r.deployment, err = h.resolve(ctx, f, dirs); err != nil {
		return r, err
	}
	for _, refused := range r.deployment.Refused {
		fmt.Fprintf(a.stderr, "msup: %s is refused, the others run:\n%s\n", refused.Ref, refused.Findings)
	}
	if len(r.deployment.Instances) == 0 {
		return r, exit(exitRefused, "the deployment makes no instance; name a strategy folder, or check the instruments it may trade")
	}
	w := &wiring{app: a, begin: begin, place: h.place, stats: supervisor.NewStats(), log: h.log, packages: h.packages, levels: map[ipc.Address]start{},
		seed: r.deployment.Run.Seed, lockStep: lockStep, live: live, patience: f.patience, keepLog: f.keepLog}
	if _, err := rand.Read(w.owner[:]); err != nil {
		return r, fmt.Errorf("making an owner nonce: %w", err)
	}
	if err := r.leases(ctx, &f.lease, w); err != nil {
		return r, err
	}
	if f.lease.takeover {
		h.reap(ctx, h.sandbox) // an owner that was killed just now has left its runners behind
	}
	state, err := r.stateDir(f)
	if err != nil {
		return r, err
	}
	w.stateDir, r.wiring = state, w
	if err := r.separate(ctx, h, f, out); err != nil {
		return r, err
	}
	db, err := statedb.Open(state, statedb.Options{Durability: durabilityOf(r.deployment.Run.Durability), Logger: h.log})
	if err != nil {
		return r, err
	}
	r.onClose(db.Close)
	if err := requireOwnBot(db, r.deployment.Instances); err != nil {
		return r, err
	}
	w.db = db
	w.runID = newRunID(time.Now(), w.owner)
	if r.sim, err = r.openExecution(ctx, f, state); err != nil {
		return r, err
	}
	r.onClose(r.sim.close)
	w.sink = r.sim
	if err := r.openRisk(ctx, f); err != nil {
		return r, err
	}
	if out != "" && w.out == nil {
		if w.out, err = createOut(out); err != nil {
			return r, err
		}
		r.onClose(w.out.close)
	}
	if w.out != nil {
		w.out.Sink, w.sink = r.sim, w.out
	}
	return r, r.members(ctx)
}

func (r *runner) members(ctx context.Context) error {
	r.supervisor = &supervisor.Supervisor{Tee: r.sim, Live: r.wiring.live, Logger: r.wiring.log}
	for _, d := range r.deployment.Instances {
		p, err := r.wiring.instance(ctx, d)
		if err != nil {
			return err
		}
		r.sim.Attach(p.Address(), p)
		if r.risk != nil {
			r.risk.Attach(p.Address(), p)
		}
		r.supervisor.Members = append(r.supervisor.Members, &supervisor.Member{Instance: p, Subscribe: subscription(d)})
	}
	return nil
}

// stateDir is the named folder, or a fresh one that close removes.
func (r *runner) stateDir(f *deploymentFlags) (string, error) {
	if dir := r.deployment.Run.StateDir; f.state == "" && dir != "" {
		return dir, nil
	}
	if f.state != "" {
		return filepath.Abs(f.state)
	}
	reapFresh(r.app.logger(), f.privileges.user)
	dir, err := os.MkdirTemp("", freshPrefix)
	if err != nil {
		return "", exit(exitState, "making a fresh state directory: %w; free space, or name one with --state", err)
	}
	r.fresh = true
	r.onClose(func() error { return os.RemoveAll(dir) })
	return dir, nil
}

const freshPrefix = "msup-state-"

// reapFresh removes the fresh state directories of runs that were killed: nobody holds their lock any more.
func reapFresh(log *slog.Logger, user string) {
	mine := map[uint32]bool{uint32(os.Geteuid()): true}
	if u, err := privilege.Choose(user, ""); err == nil && os.Geteuid() == 0 {
		mine[uint32(u.UID)] = true // of runs that gave up root
	}
	found, err := filepath.Glob(filepath.Join(os.TempDir(), freshPrefix+"*"))
	if err != nil {
		return // the pattern is a constant
	}
	for _, dir := range found {
		info, err := os.Lstat(dir)
		if err != nil || !info.IsDir() || !mine[info.Sys().(*syscall.Stat_t).Uid] {
			continue
		}
		if time.Since(info.ModTime()) < time.Minute || statedb.InUse(dir) {
			continue // a run that has just made its folder has not locked it yet
		}
		if err := os.RemoveAll(dir); err != nil {
			log.Warn("removing the state of a killed run failed", "dir", dir, "err", err)
		}
	}
}

// play runs the feed to its end, or until Ctrl-C, and stops everything in order.
func (r *runner) play(ctx context.Context, source feed.Source, pace supervisor.Pace, limit int) (uint64, error) {
	progress := r.app.startProgress(source)
	defer progress.stop()
	pace.OnEvent = progress.event
	// Instances end through Stop, also on Ctrl-C: their context must outlive the user's.
	alive, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	if err := r.supervisor.Start(alive); err != nil {
		return 0, err
	}
	defer r.serveControl()()
	events, err := r.supervisor.Play(ctx, limited(source, limit), pace)
	r.supervisor.Stop()
	if err != nil && ctx.Err() == nil {
		return events, err
	}
	for _, m := range r.supervisor.Members {
		if err := m.Instance.Err(); err != nil && ctx.Err() == nil {
			return events, boundaryError(err)
		}
	}
	if ctx.Err() == nil {
		return events, r.sim.present()
	}
	return events, nil
}

// boundaryError marks what I refused.
func boundaryError(err error) error {
	var refused supervisor.SinkRefusal
	if errors.As(err, &refused) || errors.Is(err, execution.ErrDisconnected) {
		return &exitError{exitBoundary, err}
	}
	return err
}

func durabilityOf(d descriptor.Durability) statedb.Durability {
	switch d {
	case descriptor.DurabilityProcess:
		return statedb.Process
	case descriptor.DurabilityNone:
		return statedb.None
	}
	return statedb.Power
}

// limit ends a source early.
type limit struct {
	feed.Source
	left int
}

func limited(s feed.Source, n int) supervisor.Source {
	if n <= 0 {
		return s
	}
	return &limit{Source: s, left: n}
}

// Next returns the next event while there are any left to give.
func (l *limit) Next() (ipc.MarketEvent, error) {
	if l.left == 0 {
		return nil, io.EOF
	}
	l.left--
	return l.Source.Next()
}

func haltedReasons(m *supervisor.Member) (core.Health, ipc.ReasonCode) {
	s := m.Instance.State()
	if s == nil {
		return core.Halted, ""
	}
	return s.Health()
}
