package main

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/sandbox"
	"github.com/msup/msup/sandbox/container"
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

// rig is what all sections share: sandboxes, the packages of the bench strategy, a folder on the disk to be measured.
type rig struct {
	dir       string // temporary, with a short path: sockets live in it
	state     string // temporary, on the disk that is measured
	store     string // of packages and compiled modules
	box       *process.Sandbox
	python    python.Runtime
	sdk       string // its version
	kinds     []*kind
	engine    *container.Daemon // nil until a kind needs it
	engineErr error
	specs     []ipc.Instrument
	cpus      []int
	echo      string // program
	log       *slog.Logger
	say       func(format string, args ...any)
	keeps     bool           // dir belongs to somebody else
	replaces  bool           // a supervisor: it takes up what an earlier one left, and opens no more than it needs
	closers   []func() error // of what was opened on top of box
	started   int            // instances so far, for their names
}

// rigConfig says what a rig is made of.
type rigConfig struct {
	disk  string   // folder on the disk whose speed counts
	kinds []string // words of kindTable
	log   *slog.Logger
	say   func(format string, args ...any)
}

// newRig prepares everything that is not measured.
func newRig(ctx context.Context, cfg rigConfig) (r *rig, err error) {
	r = &rig{log: cfg.log, say: cfg.say}
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
	if err := os.Chmod(r.dir, 0o711); err != nil { // runners in containers have user ids of their own
		return r, fmt.Errorf("opening the folder for sockets: %w", err)
	}
	if err := os.MkdirAll(cfg.disk, 0o755); err != nil {
		return r, fmt.Errorf("making a folder for state: %w", err)
	}
	if r.state, err = os.MkdirTemp(cfg.disk, "bench-state-"); err != nil {
		return r, fmt.Errorf("making a folder for state: %w", err)
	}
	r.store = filepath.Join(r.dir, "store")
	if r.echo, err = buildEcho(ctx, r.dir); err != nil {
		return r, err
	}
	if err := r.open(ctx); err != nil {
		return r, err
	}
	return r, r.openKinds(ctx, cfg.kinds, nil)
}

// open finds what every kind of runner needs.
func (r *rig) open(ctx context.Context) (err error) {
	if r.box, err = process.New(process.Config{RuntimeDir: filepath.Join(r.dir, "r"), CgroupParent: r.group(""), Logger: r.log}); err != nil {
		return err
	}
	if _, err := r.box.Reap(ctx); err != nil {
		return err
	}
	interpreter, err := findPython()
	if err != nil {
		return err
	}
	if r.python, err = python.Discover(ctx, interpreter); err != nil {
		return err
	}
	sdk, err := exec.CommandContext(ctx, r.python.Interpreter, "-I", "-c", "import msup; print(msup.__version__)").Output()
	if err != nil {
		return fmt.Errorf("%s has no SDK (make setup installs it): %w", r.python.Interpreter, err)
	}
	r.sdk = strings.TrimSpace(string(sdk))
	spec, known := descriptor.DefaultInstruments().Find(instrument)
	if !known {
		return fmt.Errorf("the built-in instruments do not hold %s", instrument)
	}
	r.specs = []ipc.Instrument{spec}
	return nil
}

// group names a top control group of this rig; a supervisor that follows a killed one has the same, and no other has.
func (r *rig) group(suffix string) string {
	name := filepath.Base(r.dir)
	if r.replaces {
		name = filepath.Base(filepath.Dir(r.dir)) + "-" + name
	}
	return "msup-bench-" + name + suffix
}

func (r *rig) onClose(f func() error) { r.closers = append(r.closers, f) }

// close removes everything.
func (r *rig) close() error {
	var errs []error
	for _, f := range slices.Backward(r.closers) {
		errs = append(errs, f())
	}
	if r.box != nil {
		errs = append(errs, r.box.Close())
	}
	if r.keeps {
		return errors.Join(errs...)
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
	name, err := above(filepath.Join(".venv", "bin", "python"))
	if err != nil {
		return "", fmt.Errorf("%w; run make setup, or set MSUP_PYTHON to a Python that has the SDK", err)
	}
	return name, nil
}

// above looks for a file in this folder and in all above it.
func above(file string) (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("looking for %s: %w", file, err)
	}
	for at := dir; ; at = filepath.Dir(at) {
		name := filepath.Join(at, file)
		if _, err := os.Stat(name); err == nil {
			return name, nil
		}
		if at == filepath.Dir(at) {
			return "", fmt.Errorf("no %s in %s or above it", file, dir)
		}
	}
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
func (r *rig) params(a ipc.Address, p *pack.Package) *core.Params {
	const endless = 1 << 40
	d := p.Descriptor
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
	kind     *kind
	prepared bool // take the sandbox that makes the next start in advance, where the kind has one
	address  ipc.Address
	every    int64 // quotes per order; 0 = none
	ballast  int64 // bytes of state
	ledger   supervisor.Ledger
	lease    supervisor.Lease
	sink     supervisor.Sink
	clock    supervisor.Clock
	observer supervisor.Observer
	started  func(sandbox.Runner)
}

// config is the strategy's configuration.
func (w *wiring) config() ipc.Values { return ipc.Values{"every": w.every, "ballast": w.ballast} }

// instance makes an instance of the real supervisor on the real sandbox.
func (r *rig) instance(w wiring) (*supervisor.Instance, error) {
	p := w.kind.pack
	hash, err := hex.DecodeString(p.Hash)
	if err != nil {
		return nil, fmt.Errorf("the package's hash: %w", err)
	}
	configBytes, err := ipc.AppendValues(nil, w.config())
	if err != nil {
		return nil, fmt.Errorf("the configuration: %w", err)
	}
	box := w.kind.box
	if w.prepared && w.kind.prepared != nil {
		box = w.kind.prepared
	}
	d := p.Descriptor.Resources
	return supervisor.NewInstance(supervisor.InstanceConfig{
		Address: w.address, StrategyVersion: p.Descriptor.Version, PackageHash: ipc.Digest(hash), Config: w.config(), ConfigHash: sha256.Sum256(configBytes),
		Instruments: r.specs, Risk: risk(), Lane: ipc.LaneLL, Mode: ipc.ModeLive, RunSeed: 1, RunID: "bench", Owner: ipc.Nonce{1}, Version: "bench",
		Params:       r.params(w.address, p),
		Deadlines:    supervisor.Deadlines{Soft: d.DeadlineSoft, Hard: d.DeadlineHard, Init: d.DeadlineInit, Checkpoint: d.DeadlineCheckpoint, Stop: d.DeadlineStop},
		StateVersion: 1, MaxAnswerBytes: uint64(d.AnswerBytes), MaxStateBytes: uint64(d.StateBytes), QueueEvents: int(d.QueueEvents),
		StartRunner: func(ctx context.Context) (sandbox.Runner, error) {
			runner, err := box.Start(ctx, w.kind.spec(w.address))
			if err == nil && w.started != nil {
				w.started(runner)
			}
			return runner, err
		},
		Ledger: w.ledger, Lease: w.lease, Sink: w.sink, Clock: w.clock, Observer: w.observer, Logger: r.log,
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
