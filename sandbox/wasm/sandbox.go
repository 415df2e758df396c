package wasm

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/sandbox"
)

// Config says what the Wasm sandbox stands on.
type Config struct {
	// Process starts the runners, compilers and describers; its owner closes it. Its main hands Programs to process.Init.
	Process sandbox.Sandbox
	// StoreDir is the folder of compiled modules. It belongs to the supervisor alone.
	StoreDir string
	// CompileTimeout bounds one compilation; 0 means 60 s. CompileMemoryBytes is its ceiling; 0 means 1 GiB.
	CompileTimeout     time.Duration
	CompileMemoryBytes int64
	// DescribeTimeout bounds Describe, in which code of the strategy runs; 0 means 5 s.
	DescribeTimeout time.Duration
	Logger          *slog.Logger // nil discards
}

// Sandbox runs modules at level L2: Wasm in wazero, inside a process of level L1 (SB-L2).
type Sandbox struct {
	cfg   Config
	store store
	log   *slog.Logger

	mu        sync.Mutex
	closed    bool
	runners   map[*runner]struct{}
	compiling map[string]*sync.Mutex // by place, so that one module is compiled once
}

var _ sandbox.Sandbox = (*Sandbox)(nil)

// Open prepares the sandbox. It starts nothing.
func Open(cfg Config) (*Sandbox, error) {
	if cfg.Process == nil || cfg.StoreDir == "" {
		return nil, &sandbox.Error{Reason: sandbox.ReasonSpec, Op: "open the Wasm sandbox", Err: errors.New("a process sandbox and a store folder are needed")}
	}
	for _, d := range []struct {
		v    *time.Duration
		then time.Duration
	}{{&cfg.CompileTimeout, 60 * time.Second}, {&cfg.DescribeTimeout, 5 * time.Second}} {
		if *d.v == 0 {
			*d.v = d.then
		}
	}
	if cfg.CompileMemoryBytes == 0 {
		cfg.CompileMemoryBytes = 1 << 30
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	dir, err := filepath.Abs(cfg.StoreDir)
	if err == nil {
		err = os.MkdirAll(dir, 0o755)
	}
	if err != nil {
		return nil, &sandbox.Error{Reason: sandbox.ReasonSetupFailed, Op: "make the store of compiled modules", Err: err, Remedy: "choose a writable folder"}
	}
	return &Sandbox{cfg: cfg, store: store{dir: dir}, log: cfg.Logger, runners: map[*runner]struct{}{}, compiling: map[string]*sync.Mutex{}}, nil
}

// Name returns "wasm".
func (s *Sandbox) Name() string { return "wasm" }

// Level returns L2.
func (s *Sandbox) Level() sandbox.Level { return sandbox.L2 }

// Walls are those of the process sandbox and the module's own.
func (s *Sandbox) Walls() []sandbox.Wall {
	return append(s.cfg.Process.Walls(), sandbox.Wall{Name: WallModule, Standing: true,
		Detail: "WebAssembly in wazero " + wazeroVersion + ": no files, no sockets, no threads, no clock of the host; the process behind it cannot open, connect or execute anything"})
}

// WallModule is the wall that the module itself is.
const WallModule = "wasm"

// Reap removes what dead supervisors left: runners, through the process sandbox, and half-made folders of the store.
func (s *Sandbox) Reap(ctx context.Context) (sandbox.Reaped, error) {
	reaped, err := s.cfg.Process.Reap(ctx)
	if err != nil {
		return reaped, err
	}
	half, err := filepath.Glob(filepath.Join(s.store.dir, ".*-*"))
	if err != nil {
		return reaped, fmt.Errorf("look for half-made modules: %w", err)
	}
	for _, dir := range half {
		// A living supervisor's is younger than its time limit.
		st, err := os.Stat(dir)
		if errors.Is(err, fs.ErrNotExist) || (err == nil && time.Since(st.ModTime()) < 2*s.cfg.CompileTimeout+time.Minute) {
			continue
		}
		if err = errors.Join(err, os.RemoveAll(dir)); err != nil {
			return reaped, fmt.Errorf("remove a half-made module: %w", err)
		}
		reaped.Dirs++
		reaped.Details = append(reaped.Details, "half-made module "+dir)
	}
	return reaped, nil
}

// Close kills the runners of this sandbox. The process sandbox stays open for its other users.
func (s *Sandbox) Close() error {
	s.mu.Lock()
	s.closed = true
	alive := make([]*runner, 0, len(s.runners))
	for r := range s.runners {
		alive = append(alive, r)
	}
	s.mu.Unlock()
	errs := make([]error, len(alive))
	var wg sync.WaitGroup
	for i, r := range alive {
		wg.Go(func() { errs[i] = r.Kill() })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// runnerBytes is the runner's own share of a memory limit: Go's runtime, the code of the module, frames of 16 MiB in both
// directions, and the guest's stack. An idle runner has about 10 MiB; the rest is for checkpoints and snapshots.
const runnerBytes = 48 << 20

// minGuestBytes is the least that a guest gets.
const minGuestBytes = 16 << 20

// guestPages is the ceiling of a guest's memory under a limit of the process.
func guestPages(l sandbox.Limits) uint32 {
	return uint32(min(max(l.MemoryBytes-runnerBytes, minGuestBytes)/PageBytes, maxPages))
}

// Spec completes a spec for a compiled module. Address, Lane, Env, Limits, Log and NeedSocket are the caller's; what is
// needed to run is set here.
func Spec(base sandbox.Spec, c Compiled) sandbox.Spec {
	base.Argv = []string{programRun}
	base.Binds = []sandbox.Bind{{Source: c.Dir, Target: moduleDir, NoExec: true}}
	base.Dir, base.Writable = "", nil
	// A guest has no threads, files or /tmp: what remains is for Go's runtime.
	base.Limits.PIDs, base.Limits.OpenFiles = 16, 32
	base.Limits.TmpBytes, base.Limits.TmpInodes, base.Limits.FileSizeBytes = 4096, 2, 4096
	return base
}

// Start starts a runner of a spec that Spec has made. The compiled code is compared with its checksum first; where it
// differs, it is made again from the module.
func (s *Sandbox) Start(ctx context.Context, spec sandbox.Spec) (sandbox.Runner, error) {
	op := "start " + spec.Address.String()
	fail := func(reason sandbox.ReasonCode, err error, remedy string) (sandbox.Runner, error) {
		return nil, &sandbox.Error{Reason: reason, Op: op, Err: err, Remedy: remedy}
	}
	at := slices.IndexFunc(spec.Binds, func(b sandbox.Bind) bool { return b.Target == moduleDir })
	if len(spec.Argv) != 1 || spec.Argv[0] != programRun || at < 0 || len(spec.Binds) != 1 || len(spec.Writable) > 0 || spec.Dir != "" || !spec.NeedSocket {
		return fail(sandbox.ReasonSpec, errors.New("it is no spec of a Wasm runner with a socket"), "make it with wasm.Spec")
	}
	pages := guestPages(spec.Limits.OrDefault())
	spec.Argv = []string{programRun, strconv.FormatUint(uint64(pages), 10)}
	fits := func(m manifest) error {
		if m.MemoryMinPages <= pages {
			return nil
		}
		return &sandbox.Error{Reason: sandbox.ReasonWasmInvalid, Op: op,
			Err:    fmt.Errorf("the module begins with %d bytes of memory, its limit leaves it %d", int64(m.MemoryMinPages)*PageBytes, int64(pages)*PageBytes),
			Remedy: "raise resources.memory_mb in strategy.toml, or lower the stack size and static data of the module"}
	}
	inner, err := s.startVerified(ctx, spec, spec.Binds[at].Source, fits)
	if err != nil {
		return nil, err
	}
	r := &runner{Runner: inner}
	s.mu.Lock()
	closed := s.closed
	s.runners[r] = struct{}{}
	s.mu.Unlock()
	go func() {
		<-inner.Done()
		s.mu.Lock()
		delete(s.runners, r)
		s.mu.Unlock()
	}()
	if closed {
		return fail(sandbox.ReasonSetupFailed, errors.Join(errors.New("the sandbox is closed"), r.Kill()), "")
	}
	return r, nil
}

// startVerified starts a runner that reads nothing of a folder of the store before it was verified. An intact one is verified while the process
// comes up; that it is the folder which the runner was given shows its identity, before and after.
func (s *Sandbox) startVerified(ctx context.Context, spec sandbox.Spec, dir string, fits func(manifest) error) (sandbox.Runner, error) {
	given, err := os.Stat(dir)
	if p, ok := s.cfg.Process.(checker); ok && err == nil {
		var broken error
		r, err := p.StartChecked(ctx, spec, func() error {
			var m manifest
			if m, broken = verify(dir); broken != nil {
				return broken
			}
			if now, err := os.Stat(dir); err != nil || !os.SameFile(given, now) {
				broken = errors.Join(errors.New("the folder was replaced meanwhile"), err)
				return broken
			}
			return fits(m)
		})
		if broken == nil {
			return r, err
		}
		s.log.Warn("a compiled module failed its check; it is made again where that is possible", "module", dir, "error", err)
	}
	m, err := s.ready(ctx, dir)
	if err == nil {
		err = fits(m)
	}
	if err != nil {
		return nil, err
	}
	return s.cfg.Process.Start(ctx, spec)
}

// checker is a process sandbox that holds a runner back until a check is done; the helper's client is none.
type checker interface {
	StartChecked(ctx context.Context, spec sandbox.Spec, check func() error) (sandbox.Runner, error)
}

// runner is a runner of the process sandbox whose exit statuses have a meaning.
type runner struct{ sandbox.Runner }

// Exit tells how the runner ended, in the words of the Wasm runner.
func (r *runner) Exit() sandbox.Exit { return explain(r.Runner.Exit()) }

// jobAddress names the one-shot jobs in logs and records.
func jobAddress(i Info) ipc.Address {
	return ipc.Address{Bot: "msup", Strategy: "wasm", Instance: ipc.InstanceID(fmt.Sprintf("%x", i.Hash[:6]))}
}
