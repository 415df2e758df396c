package main

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/sandbox"
	"github.com/msup/msup/sandbox/process"
	"github.com/msup/msup/sandbox/python"
	"github.com/msup/msup/supervisor"
	"github.com/msup/msup/supervisor/core"
	"github.com/msup/msup/supervisor/descriptor"
	"github.com/msup/msup/supervisor/gate"
	"github.com/msup/msup/supervisor/guard"
	"github.com/msup/msup/supervisor/pack"
)

//go:embed strategy
var strategyFiles embed.FS

// instrument is what the bench strategy trades.
const instrument ipc.InstrumentID = "EURUSD.FXCM"

// rig is what all sections share: the sandbox, the interpreter, the package of the bench strategy, a folder on the disk to be measured.
type rig struct {
	dir     string // temporary, with a short path: sockets live in it
	state   string // temporary, on the disk that is measured
	box     *process.Sandbox
	python  python.Runtime
	pack    *pack.Package
	specs   []ipc.Instrument
	cpus    []int
	echo    string // program
	log     *slog.Logger
	started int // instances so far, for their names
}

// newRig prepares everything that is not measured. disk is a folder on the disk whose speed counts.
func newRig(ctx context.Context, disk string, log *slog.Logger) (r *rig, err error) {
	r = &rig{log: log}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.close())
		}
	}()
	if r.cpus, err = allowedCPUs(); err != nil {
		return r, err
	}
	if r.dir, err = os.MkdirTemp("", "mb"); err != nil {
		return r, fmt.Errorf("making a folder for sockets: %w", err)
	}
	if err := os.MkdirAll(disk, 0o755); err != nil {
		return r, fmt.Errorf("making a folder for state: %w", err)
	}
	if r.state, err = os.MkdirTemp(disk, "bench-state-"); err != nil {
		return r, fmt.Errorf("making a folder for state: %w", err)
	}
	if r.echo, err = buildEcho(ctx, r.dir); err != nil {
		return r, err
	}
	runtimeDir := filepath.Join(r.dir, "r")
	if r.box, err = process.New(process.Config{RuntimeDir: runtimeDir, CgroupParent: fmt.Sprintf("msup-bench-%d", os.Getpid()), Logger: log}); err != nil {
		return r, err
	}
	interpreter, err := findPython()
	if err != nil {
		return r, err
	}
	if r.python, err = python.Discover(ctx, interpreter); err != nil {
		return r, err
	}
	return r, r.build(ctx)
}

// close removes everything.
func (r *rig) close() error {
	var errs []error
	if r.box != nil {
		errs = append(errs, r.box.Close())
	}
	for _, dir := range []string{r.dir, r.state} {
		if dir != "" {
			errs = append(errs, os.RemoveAll(dir))
		}
	}
	return errors.Join(errs...)
}

// findPython returns the interpreter that has the SDK: MSUP_PYTHON, or the repository's own environment.
func findPython() (string, error) {
	if name := os.Getenv("MSUP_PYTHON"); name != "" {
		return name, nil
	}
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("looking for .venv: %w", err)
	}
	for at := dir; ; at = filepath.Dir(at) {
		name := filepath.Join(at, ".venv", "bin", "python")
		if _, err := os.Stat(name); err == nil {
			return name, nil
		}
		if at == filepath.Dir(at) {
			return "", fmt.Errorf("no .venv in %s or above it; run make setup, or set MSUP_PYTHON to a Python that has the SDK", dir)
		}
	}
}

// build makes the package of the bench strategy, as msup run does it.
func (r *rig) build(ctx context.Context) error {
	source := filepath.Join(r.dir, "s")
	files, err := fs.Sub(strategyFiles, "strategy")
	if err != nil {
		return fmt.Errorf("unpacking the bench strategy: %w", err)
	}
	if err := os.CopyFS(source, files); err != nil {
		return fmt.Errorf("unpacking the bench strategy: %w", err)
	}
	sdk, err := exec.CommandContext(ctx, r.python.Interpreter, "-I", "-c", "import msup; print(msup.__version__)").Output()
	if err != nil {
		return fmt.Errorf("%s has no SDK (make setup installs it): %w", r.python.Interpreter, err)
	}
	r.pack, err = pack.Build(ctx, source, pack.Options{Store: filepath.Join(r.dir, "store"), Sandbox: r.box, Log: r.log, Python: &pack.Python{
		Interpreter: r.python.Interpreter, Args: r.python.Argv()[1:], Version: r.python.Version, SDK: strings.TrimSpace(string(sdk)),
		Binds: r.python.Binds, Env: r.python.Env}})
	if err != nil {
		return fmt.Errorf("building the bench strategy: %w", err)
	}
	spec, known := descriptor.DefaultInstruments().Find(instrument)
	if !known {
		return fmt.Errorf("the built-in instruments do not hold %s", instrument)
	}
	r.specs = []ipc.Instrument{spec}
	return nil
}

// spec says how a runner of the bench strategy is started.
func (r *rig) spec(a ipc.Address) sandbox.Spec {
	return sandbox.Spec{Address: a, Lane: ipc.LaneLL, Argv: r.python.Argv("-m", "msup.runner"), Env: append(append([]string(nil), r.python.Env...), r.pack.Env()...),
		Binds: append(append([]sandbox.Bind(nil), r.python.Binds...), r.pack.Binds()...), Limits: pack.SandboxLimits(r.pack.Descriptor.Resources),
		NeedSocket: true, Log: func(l sandbox.LogLine) { fmt.Fprintf(os.Stderr, "%s| %s\n", a.Instance, l.Text) }}
}

// address names a new instance.
func (r *rig) address() ipc.Address {
	r.started++
	return ipc.Address{Bot: "bench", Strategy: "bench", Instance: ipc.InstanceID(fmt.Sprintf("n%d", r.started))}
}

// risk is the context of every intent; its delay is longer than any section runs.
func risk() ipc.RiskContext {
	return ipc.RiskContext{MaxSlippage: ipc.MustDecimal("0.001"), MaxDelayNS: 3600e9, Budget: ipc.MustDecimal("1000000")}
}

// params let the strategy order without end and stop at the first thing that goes wrong.
func (r *rig) params(a ipc.Address) *core.Params {
	const endless = 1 << 40
	d := r.pack.Descriptor
	policy := &gate.Policy{Address: a, StrategyVersion: d.Version, Allowed: d.Capabilities.Instruments, Instruments: map[ipc.InstrumentID]ipc.Instrument{},
		Intents: map[ipc.IntentKind]bool{ipc.IntentOrder: true}, OrderTypes: map[ipc.OrderType]bool{ipc.OrderLimit: true},
		Ceilings: gate.Ceilings{PerEvent: 16, PerSecond: endless, PerRun: endless, CancelsPerSecond: 1, Open: 1024, MaxDelay: 86400e9}}
	for _, s := range r.specs {
		policy.Instruments[s.ID] = s
	}
	strict := guard.Rule{Window: 60e9, Warn: 1, Degrade: 1, Halt: 1}
	return &core.Params{Policy: policy, Timeouts: strict, Faults: strict, Rejects: strict, Refusals: strict, Cooldown: 1,
		Kills: guard.Rule{Window: 60e9, Warn: 1, Degrade: 1 << 30, Halt: 1 << 30}, MaxTimers: 1}
}

// wiring is what a section chooses of an instance.
type wiring struct {
	address  ipc.Address
	every    int64 // quotes per order; 0 = none
	ledger   supervisor.Ledger
	sink     supervisor.Sink
	clock    supervisor.Clock
	observer supervisor.Observer
	started  func(sandbox.Runner)
}

// instance makes an instance of the real supervisor on the real sandbox.
func (r *rig) instance(w wiring) (*supervisor.Instance, error) {
	hash, err := hex.DecodeString(r.pack.Hash)
	if err != nil {
		return nil, fmt.Errorf("the package's hash: %w", err)
	}
	config := ipc.Values{"every": w.every}
	configBytes, err := ipc.AppendValues(nil, config)
	if err != nil {
		return nil, fmt.Errorf("the configuration: %w", err)
	}
	d := r.pack.Descriptor.Resources
	return supervisor.NewInstance(supervisor.InstanceConfig{
		Address: w.address, StrategyVersion: r.pack.Descriptor.Version, PackageHash: ipc.Digest(hash), Config: config, ConfigHash: sha256.Sum256(configBytes),
		Instruments: r.specs, Risk: risk(), Lane: ipc.LaneLL, Mode: ipc.ModeLive, RunSeed: 1, RunID: "bench", Owner: ipc.Nonce{1}, Version: "bench",
		Params:       r.params(w.address),
		Deadlines:    supervisor.Deadlines{Soft: d.DeadlineSoft, Hard: d.DeadlineHard, Init: d.DeadlineInit, Checkpoint: d.DeadlineCheckpoint, Stop: d.DeadlineStop},
		StateVersion: 1, MaxAnswerBytes: uint64(d.AnswerBytes), MaxStateBytes: uint64(d.StateBytes), QueueEvents: int(d.QueueEvents),
		StartRunner: func(ctx context.Context) (sandbox.Runner, error) {
			runner, err := r.box.Start(ctx, r.spec(w.address))
			if err == nil && w.started != nil {
				w.started(runner)
			}
			return runner, err
		},
		Ledger: w.ledger, Sink: w.sink, Clock: w.clock, Observer: w.observer, Logger: r.log,
	}), nil
}

// quote makes the bytes of quote number n, which differ a little as real ones do.
func quote(n uint64) ([]byte, ipc.Nanos, error) {
	recv := ipc.Nanos(1_700_000_000e9) + ipc.Nanos(n)*1e6
	bid, ask := decimal(108_500+int64(n%100), -5), decimal(108_502+int64(n%100), -5)
	size := ipc.MustDecimal("1500000")
	bytes, err := ipc.AppendEvent(nil, &ipc.Quote{Market: ipc.Market{Instrument: instrument, Source: "fxcm", EventTS: recv - 200_000, RecvTS: recv, Seq: n},
		Bid: &bid, BidSize: &size, Ask: &ask, AskSize: &size})
	if err != nil {
		return nil, 0, fmt.Errorf("writing a quote: %w", err)
	}
	return bytes, recv, nil
}

func decimal(mantissa int64, exponent int) ipc.Decimal {
	d, ok := ipc.NewDecimal(mantissa, exponent)
	if !ok {
		panic(fmt.Sprintf("%de%d is no decimal", mantissa, exponent)) // a constant of this program
	}
	return d
}

// patience bounds every wait of the benchmark; it is for what hangs, not for what is slow.
const patience = 2 * time.Minute
