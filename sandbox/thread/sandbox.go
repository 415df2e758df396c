package thread

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/msup/msup/sandbox"
)

// Config says what shared processes are made of.
type Config struct {
	// Process starts the processes; its owner closes it, after this sandbox.
	Process sandbox.Sandbox
	// PerProcess is how many instances share a process at most; 0 means 64. Each takes three of the process's 960 descriptors.
	PerProcess int
	// Ceiling bounds a process however many instances it may have, but never below what one of them asks for. Zero fields mean
	// 2 GiB of memory, every processor, 1024 threads, 960 descriptors, a /tmp of 64 MiB with 8192 files.
	Ceiling sandbox.Limits
	// KillGrace is how long a thread may take to leave before its process is ended; 0 means 250 ms.
	KillGrace time.Duration
	Logger    *slog.Logger // nil discards
}

// Sandbox starts instances as threads of shared processes, at level L0 (SB-L0).
type Sandbox struct {
	cfg Config
	log *slog.Logger

	mu        sync.Mutex
	processes []*sharedProcess
	made      int // processes so far, for their names
	closed    bool
}

var _ sandbox.Sandbox = (*Sandbox)(nil)

// WallInstances is the wall that L0 does not have.
const WallInstances = "instances"

// Open prepares the sandbox. It starts nothing.
func Open(cfg Config) (*Sandbox, error) {
	if cfg.Process == nil {
		return nil, &sandbox.Error{Reason: sandbox.ReasonSpec, Op: "open the thread sandbox", Err: errors.New("a process sandbox is needed")}
	}
	if cfg.PerProcess <= 0 {
		cfg.PerProcess = 64
	}
	if cfg.KillGrace <= 0 {
		cfg.KillGrace = 250 * time.Millisecond
	}
	c := &cfg.Ceiling
	most := sandbox.Limits{MemoryBytes: 2 << 30, CPUQuota: float64(runtime.NumCPU()), PIDs: 1024, OpenFiles: 960, TmpBytes: 64 << 20, TmpInodes: 8192}
	orDefault(&c.MemoryBytes, most.MemoryBytes)
	orDefault(&c.CPUQuota, most.CPUQuota)
	orDefault(&c.PIDs, most.PIDs)
	orDefault(&c.OpenFiles, most.OpenFiles)
	orDefault(&c.TmpBytes, most.TmpBytes)
	orDefault(&c.TmpInodes, most.TmpInodes)
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Sandbox{cfg: cfg, log: cfg.Logger}, nil
}

func orDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// Name returns "thread".
func (s *Sandbox) Name() string { return "thread" }

// Level returns L0.
func (s *Sandbox) Level() sandbox.Level { return sandbox.L0 }

// Walls are those of the process sandbox, around the process, and the one that is missing inside of it.
func (s *Sandbox) Walls() []sandbox.Wall {
	return append(s.cfg.Process.Walls(), sandbox.Wall{Name: WallInstances,
		Detail: fmt.Sprintf("up to %d instances of a package are threads of one process: memory, files, descriptors, limits and the interpreter's lock are shared", s.cfg.PerProcess),
		Remedy: `set isolation = "L1" or more where instances must not reach each other`})
}

// Reap removes what dead supervisors left: shared processes are the process sandbox's.
func (s *Sandbox) Reap(ctx context.Context) (sandbox.Reaped, error) { return s.cfg.Process.Reap(ctx) }

// Close kills every shared process. The process sandbox stays open for its other users.
func (s *Sandbox) Close() error {
	s.mu.Lock()
	s.closed = true
	alive := append([]*sharedProcess(nil), s.processes...)
	s.mu.Unlock()
	errs := make([]error, len(alive))
	var wg sync.WaitGroup
	for i, p := range alive {
		wg.Go(func() { errs[i] = p.close() })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// Start starts an instance: in a process that has room and runs the same, or in a new one.
func (s *Sandbox) Start(ctx context.Context, spec sandbox.Spec) (sandbox.Runner, error) {
	op := "start " + spec.Address.String()
	spec.Limits = spec.Limits.OrDefault()
	err := spec.Validate()
	switch {
	case err != nil:
	case !spec.NeedSocket || spec.BuildJob || len(spec.Writable) > 0:
		err = errors.New("a one-shot job cannot be a thread of a shared process")
	case strings.HasPrefix(spec.Argv[0], sandbox.ProgramPrefix):
		err = fmt.Errorf("argv[0] %q: a shared process runs Python only", spec.Argv[0])
	}
	if err != nil {
		return nil, &sandbox.Error{Reason: sandbox.ReasonSpec, Op: op, Err: err}
	}
	for {
		if err := ctx.Err(); err != nil {
			return nil, &sandbox.Error{Reason: sandbox.ReasonSetupFailed, Op: op, Err: err}
		}
		p, mine, err := s.reserve(spec)
		if err != nil {
			return nil, err
		}
		if mine {
			p.begin(ctx)
		}
		select {
		case <-p.started:
		case <-ctx.Done():
			if err := p.leave(nil); err != nil {
				return nil, &sandbox.Error{Reason: sandbox.ReasonSetupFailed, Op: op, Err: errors.Join(ctx.Err(), err)}
			}
			continue
		}
		if p.failed != nil {
			if mine {
				return nil, p.failed
			}
			continue // it may have failed for reasons of who began it
		}
		r, err := p.join(spec)
		if err == nil {
			return r, nil
		}
		if err = errors.Join(err, p.leave(nil)); !errors.Is(err, errGone) {
			return nil, &sandbox.Error{Reason: sandbox.ReasonSetupFailed, Op: op, Err: err}
		}
	}
}

// reserve takes a place in a process. mine tells that it is a new one, which the caller has to begin.
func (s *Sandbox) reserve(spec sandbox.Spec) (p *sharedProcess, mine bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, false, &sandbox.Error{Reason: sandbox.ReasonSetupFailed, Op: "start " + spec.Address.String(), Err: errors.New("the sandbox is closed")}
	}
	for _, p := range s.processes {
		if sameProgram(p.spec, spec) && p.places < s.cfg.PerProcess && !p.ending {
			p.places++
			return p, false, nil
		}
	}
	s.made++
	p = &sharedProcess{box: s, spec: spec, places: 1, name: fmt.Sprintf("%s/%s/%s#%d", spec.Address.Bot, spec.Address.Strategy, processInstance, s.made), started: make(chan struct{}), ready: make(chan struct{}),
		instances: map[uint64]*instance{}}
	s.processes = append(s.processes, p)
	return p, true, nil
}

// sameProgram tells whether two instances may share a process.
func sameProgram(a, b sandbox.Spec) bool {
	a.Address, a.Log, b.Log = b.Address, nil, nil
	return reflect.DeepEqual(a, b)
}

// forget takes a process out of the books, so that nobody joins it any more.
func (s *Sandbox) forget(p *sharedProcess) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p.ending = true
	for i, other := range s.processes {
		if other == p {
			s.processes = append(s.processes[:i], s.processes[i+1:]...)
			return
		}
	}
}

// processInstance stands for an instance in the address of a process.
const processInstance = "#shared"

// processSpec is the spec of the process that an instance of this spec becomes a thread of.
func (s *Sandbox) processSpec(spec sandbox.Spec) sandbox.Spec {
	spec.Address.Instance, spec.Log = processInstance, nil
	spec.Limits = s.limits(spec.Limits.OrDefault())
	spec.Limits.ConnectTimeout = max(spec.Limits.ConnectTimeout, minConnectTimeout)
	return spec
}

// limits are those of a process: what its instances may have together.
func (s *Sandbox) limits(one sandbox.Limits) sandbox.Limits {
	n, most := s.cfg.PerProcess, s.cfg.Ceiling
	all := one
	all.MemoryBytes = together(one.MemoryBytes, n, most.MemoryBytes)
	all.CPUQuota = together(one.CPUQuota, n, most.CPUQuota)
	all.PIDs = together(one.PIDs, n, most.PIDs)
	all.OpenFiles = together(one.OpenFiles, n, most.OpenFiles)
	all.TmpBytes = together(one.TmpBytes, n, most.TmpBytes)
	all.TmpInodes = together(one.TmpInodes, n, most.TmpInodes)
	return all
}

// together is n times one, at most the ceiling, but never less than one.
func together[T int64 | uint64 | float64](one T, n int, ceiling T) T {
	if one >= ceiling || one > ceiling/T(n) {
		return max(one, ceiling)
	}
	return one * T(n)
}
