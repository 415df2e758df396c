package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/sandbox"
	"github.com/msup/msup/statedb"
	"github.com/msup/msup/supervisor"
	"github.com/msup/msup/supervisor/core"
	"github.com/msup/msup/supervisor/descriptor"
	"github.com/msup/msup/supervisor/gate"
	"github.com/msup/msup/supervisor/guard"
	"github.com/msup/msup/supervisor/lease"
	"github.com/msup/msup/supervisor/pack"
	"github.com/msup/msup/supervisor/service"
)

// Ladders and ceilings that neither descriptor nor deployment sets. Windows are core time.
const (
	minute         ipc.Nanos = 60e9
	hour           ipc.Nanos = 3600e9
	largestDelay   ipc.Nanos = 24 * hour
	openCeiling              = 1024
	replayDeadline           = 24 * time.Hour
	timerSteps               = 1000 // in a second of the strategy's own time, with nothing else between
)

// storms counts the seconds in which timers alone used up their steps.
var storms = guard.Rule{Window: minute, Warn: 1, Degrade: 5, Halt: 30}

// wiring is what all instances of one run share.
type wiring struct {
	app       *app
	place     *placement
	db        *statedb.DB
	leases    map[ipc.Address]*lease.Lease
	sink      supervisor.Sink
	out       *intentFile          // nil: intents are not copied to a file
	approver  supervisor.Approver  // J or E; nil = policy approves
	authority supervisor.Authority // J or E; nil = none is connected
	live      bool                 // the market is live: times are the machine's
	stats     *supervisor.Stats
	log       *slog.Logger
	packages  map[string]*pack.Package // by hash
	levels    map[ipc.Address]start    // where runners are started, for the summary
	runID     ipc.RunID
	owner     ipc.Nonce
	seed      uint64
	begin     ipc.Nanos // receive time of the feed's first event; 0 = none
	stateDir  string
	lockStep  bool
	patience  time.Duration
	keepLog   bool
	asked     map[ipc.Address][]*service.Executor // external services, opened once
}

// instance makes one instance of the deployment.
func (w *wiring) instance(ctx context.Context, d descriptor.Instance) (*supervisor.Instance, error) {
	p, ok := w.packages[d.Package.Hash]
	if !ok {
		return nil, fmt.Errorf("%s: package %.16s… was not opened", d.Address, d.Package.Hash)
	}
	if d.Approval == descriptor.ApprovalExternal && w.approver == nil {
		return nil, exit(exitRefused, `%s: approval = "external" needs a connection to J or E, and this run has none; connect one, or use "auto"`, d.Address)
	}
	hash, err := digestOf(d.Package.Hash)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", d.Address, err)
	}
	store, err := w.db.OpenInstance(d.Address)
	if err != nil {
		return nil, err
	}
	started, err := w.place.of(ctx, d, p, w.spec(d))
	if err != nil {
		return nil, err
	}
	w.levels[d.Address] = started
	lanes, err := w.lanes(ctx, d, p, hash, store.Lineage())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", d.Address, err)
	}
	r := d.Resources
	return supervisor.NewInstance(supervisor.InstanceConfig{
		Address: d.Address, StrategyVersion: d.Descriptor.Version, PackageHash: hash, Config: d.Config, ConfigHash: d.ConfigHash,
		Instruments: d.Instruments, Risk: d.Risk, Lane: d.Lane, Mode: ipc.ModeLive, RunSeed: w.seed, RunID: w.runID, Owner: w.owner,
		Version: version, Params: paramsOf(d),
		Deadlines: supervisor.Deadlines{Soft: r.DeadlineSoft, Hard: r.DeadlineHard, Init: r.DeadlineInit,
			Checkpoint: r.DeadlineCheckpoint, Stop: r.DeadlineStop},
		StateVersion: d.Descriptor.State.SchemaVersion, MigratesFrom: d.Descriptor.State.MigratesFrom, MaxAnswerBytes: uint64(r.AnswerBytes), MaxStateBytes: uint64(r.StateBytes),
		CheckpointSteps: d.Descriptor.State.CheckpointSteps, CheckpointEvery: d.Descriptor.State.CheckpointPeriod,
		QueueEvents: int(r.QueueEvents), LockStep: w.lockStep, Patience: w.patience, KeepLog: w.keepLog, Objective: objectiveOf(d.Descriptor.SLO),
		StartRunner: started.run,
		Ledger:      ledger{store}, Lease: w.lease(d.Address), Sink: w.sink, Approver: w.approver, Authority: w.authority, Compute: lanes, Clock: w.clock(d.Address), Observer: w.stats, Logger: w.log,
		EvidenceDir: filepath.Join(w.stateDir, "evidence"),
	}), nil
}

func paramsOf(d descriptor.Instance) *core.Params {
	c, r := d.Descriptor.Capabilities, d.Resources
	policy := &gate.Policy{
		Address: d.Address, StrategyVersion: d.Descriptor.Version, Allowed: c.Instruments, Venues: c.Venues,
		Instruments: map[ipc.InstrumentID]ipc.Instrument{}, Intents: map[ipc.IntentKind]bool{}, OrderTypes: map[ipc.OrderType]bool{},
		ProposalsFrom: proposers(d),
		Ceilings: gate.Ceilings{PerEvent: int(r.IntentsPerEvent), PerSecond: int(r.IntentsPerSecond), PerRun: int(r.IntentsPerRun),
			CancelsPerSecond: int(r.CancelsPerSecond), Open: openCeiling, MaxDelay: largestDelay},
	}
	for _, i := range d.Instruments {
		policy.Instruments[i.ID] = i
	}
	for _, k := range c.Intents {
		policy.Intents[k] = true
	}
	for _, t := range c.OrderTypes {
		policy.OrderTypes[t] = true
	}
	params := &core.Params{Policy: policy, ExternalApproval: d.Approval == descriptor.ApprovalExternal,
		Inform:    d.Descriptor.State.Recovery == descriptor.RecoveryInform,
		MaxTimers: int(r.Timers), TimerSteps: timerSteps, Storms: storms, TelemetryNames: d.Descriptor.Telemetry,
		Compute: computeAllowed(d.Descriptor)}
	setLadders(params, d)
	return params
}

// spec is what is the same for the runner of an instance wherever it is placed.
func (w *wiring) spec(d descriptor.Instance) sandbox.Spec {
	return sandbox.Spec{Address: d.Address, Lane: d.Lane, Limits: pack.SandboxLimits(d.Resources), NeedSocket: true, Log: w.print(d.Address)}
}

// print shows what a strategy prints, with its name in front, and keeps it in the state directory. The sandbox bounds rate and amount.
func (w *wiring) print(a ipc.Address) func(sandbox.LogLine) {
	if w.stateDir == "" {
		return nil // a replay: the first run has it
	}
	path := logFile(w.stateDir, a)
	var mu sync.Mutex // stdout and stderr come from two goroutines
	return func(l sandbox.LogLine) {
		line := strings.TrimRight(l.Text, "\n")
		if !w.app.quiet {
			fmt.Fprintf(w.app.stderr, "%s/%s| %s\n", a.Strategy, a.Instance, line)
		}
		mu.Lock()
		defer mu.Unlock()
		if err := appendLine(path, line); err != nil {
			w.log.Warn("keeping what a strategy printed failed", "instance", a, "err", err)
		}
	}
}

func appendLine(path, line string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(f, line)
	return errors.Join(err, f.Close())
}

// subscription says which market events reach an instance: the kinds of its descriptor, on its own instruments.
func subscription(d descriptor.Instance) supervisor.Subscription {
	own := map[ipc.InstrumentID]bool{}
	for _, i := range d.Instruments {
		own[i.ID] = true
	}
	return func(kind ipc.EventKind, instrument ipc.InstrumentID) bool {
		return own[instrument] && d.Descriptor.Capabilities.Subscribes(kind)
	}
}

func digestOf(text string) (d ipc.Digest, err error) {
	raw, err := hex.DecodeString(text)
	if err != nil || len(raw) != len(d) {
		return d, fmt.Errorf("%.80q is no SHA-256 in hex", text)
	}
	return ipc.Digest(raw), nil
}

// newRunID names one run: sortable by time, unique on any machine.
func newRunID(now time.Time, nonce ipc.Nonce) ipc.RunID {
	return ipc.RunID(fmt.Sprintf("%s-%x", now.UTC().Format("20060102T150405Z"), nonce[:4]))
}
