package wasm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/sandbox"
)

// The output folder of one-shot jobs, and what describe writes there.
const (
	outDir              = "/out"
	describeFile        = "interface.json"
	maxDescriptionBytes = 1 << 20
)

// Compile inspects a module and compiles it in a process of its own, behind all walls, with a ceiling for memory and time
// (SB-L2). A module that is in the store already, intact, is not compiled again.
func (s *Sandbox) Compile(ctx context.Context, module []byte) (Compiled, error) {
	info, err := Inspect(module)
	if err != nil {
		return Compiled{}, err
	}
	place := s.store.place(info)
	defer s.lock(place)()
	switch _, err := verify(place); {
	case err == nil:
		return Compiled{Info: info, Dir: place}, nil
	case !errors.Is(err, errNotThere):
		s.log.Warn("a compiled module failed its check and is made again", "module", place, "error", err)
	}
	if err := s.compile(ctx, info, module); err != nil {
		return Compiled{}, err
	}
	return Compiled{Info: info, Dir: place}, nil
}

// lock lets one caller at a time work on one place of the store.
func (s *Sandbox) lock(place string) (unlock func()) {
	s.mu.Lock()
	one, ok := s.compiling[place]
	if !ok {
		one = &sync.Mutex{}
		s.compiling[place] = one
	}
	s.mu.Unlock()
	one.Lock()
	return one.Unlock
}

// ready verifies a folder of the store before a runner sees it, and repairs it from its module where it can.
func (s *Sandbox) ready(ctx context.Context, dir string) (manifest, error) {
	m, err := verify(dir)
	if err == nil {
		return m, nil
	}
	broken := &sandbox.Error{Reason: sandbox.ReasonSetupFailed, Op: "use the compiled module in " + dir, Err: err, Remedy: "build the package again"}
	module, rerr := readBounded(filepath.Join(dir, moduleFile), MaxModuleBytes)
	if rerr != nil {
		broken.Err = errors.Join(err, rerr)
		return m, broken
	}
	info, ierr := Inspect(module)
	if ierr != nil || s.store.place(info) != dir {
		broken.Err = errors.Join(err, ierr, errors.New("the module beside it is not the one that the folder is named after"))
		return m, broken
	}
	if _, err := s.Compile(ctx, module); err != nil {
		return m, err
	}
	return verify(dir)
}

// compile runs the compiler and adopts what it leaves.
func (s *Sandbox) compile(ctx context.Context, info Info, module []byte) (err error) {
	in, err := os.MkdirTemp(s.store.dir, ".in-")
	if err != nil {
		return setup("make a folder for the compiler", err)
	}
	out, err := os.MkdirTemp(s.store.dir, ".out-")
	if err != nil {
		return setup("make a folder for the compiler", errors.Join(err, os.RemoveAll(in)))
	}
	defer func() { err = errors.Join(err, os.RemoveAll(in), os.RemoveAll(out)) }()
	if err := errors.Join(os.Chmod(in, 0o755), writePublic(filepath.Join(in, moduleFile), module)); err != nil {
		return setup("hand the module to the compiler", err)
	}
	spec := sandbox.Spec{
		Argv:  []string{programCompile, strconv.Itoa(maxPages)},
		Binds: []sandbox.Bind{{Source: in, Target: moduleDir, NoExec: true}},
		Limits: sandbox.Limits{MemoryBytes: s.cfg.CompileMemoryBytes, CPUQuota: 2, OpenFiles: 64, FileSizeBytes: maxCodeBytes,
			TmpBytes: 1 << 20, LogBytesPerRun: 64 << 10},
		Writable: []sandbox.Writable{{Target: outDir, Source: out, Bytes: 2 * maxCodeBytes}},
	}
	if err := s.job(ctx, info, spec, s.cfg.CompileTimeout, "compile the Wasm module"); err != nil {
		return err
	}
	if err := s.store.adopt(info, module, out); err != nil {
		return &sandbox.Error{Reason: sandbox.ReasonWasmCompile, Op: "compile the Wasm module", Err: err, Remedy: "look at the space in " + s.store.dir}
	}
	return nil
}

func setup(op string, err error) error {
	return &sandbox.Error{Reason: sandbox.ReasonSetupFailed, Op: op, Err: err, Remedy: "look at space and permissions of the store folder"}
}

// Describe runs msup_describe in a one-shot process and returns its JSON: what `msup build` wants to know of a strategy.
// The text was written by strategy code: it is valid JSON and not too long, nothing more (DM-1).
func (s *Sandbox) Describe(ctx context.Context, module []byte) (_ []byte, err error) {
	c, err := s.Compile(ctx, module)
	if err != nil {
		return nil, err
	}
	if _, err := s.ready(ctx, c.Dir); err != nil {
		return nil, err
	}
	out, err := os.MkdirTemp(s.store.dir, ".out-")
	if err != nil {
		return nil, setup("make a folder for the description", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(out)) }()
	spec := Spec(sandbox.Spec{Limits: sandbox.Limits{MemoryBytes: 256 << 20}}, c)
	spec.Argv = []string{programDescribe, strconv.FormatUint(uint64(guestPages(spec.Limits)), 10)}
	spec.Limits.FileSizeBytes, spec.Limits.LogBytesPerRun = maxDescriptionBytes, 64<<10
	spec.Writable = []sandbox.Writable{{Target: outDir, Source: out, Bytes: 2 * maxDescriptionBytes}}
	if err := s.job(ctx, c.Info, spec, s.cfg.DescribeTimeout, "ask the Wasm module to describe itself"); err != nil {
		return nil, err
	}
	text, err := readBounded(filepath.Join(out, describeFile), maxDescriptionBytes)
	if err == nil && !json.Valid(text) {
		err = fmt.Errorf("what it returned is no JSON: %.100q", text)
	}
	if err != nil {
		return nil, &sandbox.Error{Reason: sandbox.ReasonWasmReturn, Op: "ask the Wasm module to describe itself", Err: err, Remedy: "use the crate msup unchanged"}
	}
	return text, nil
}

// job runs one process to its end, or kills it at its time limit.
func (s *Sandbox) job(ctx context.Context, info Info, spec sandbox.Spec, within time.Duration, op string) error {
	var mu sync.Mutex
	var said []string
	spec.Address, spec.Lane = jobAddress(info), ipc.LaneCompute
	spec.Log = func(l sandbox.LogLine) {
		mu.Lock()
		defer mu.Unlock()
		if said = append(said, l.Text); len(said) > 3 {
			said = said[1:]
		}
	}
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	r, err := s.cfg.Process.Start(ctx, spec)
	if err != nil {
		return err
	}
	fail := func(reason sandbox.ReasonCode, err error, remedy string) error {
		mu.Lock()
		defer mu.Unlock()
		if len(said) > 0 {
			err = fmt.Errorf("%w: %s", err, strings.Join(said, " | "))
		}
		return &sandbox.Error{Reason: reason, Op: op, Err: err, Remedy: remedy}
	}
	reason := sandbox.ReasonWasmCompile
	if spec.Argv[0] == programDescribe {
		reason = sandbox.ReasonWasmInvalid
	}
	select {
	case <-r.Done():
	case <-ctx.Done():
		return fail(reason, errors.Join(fmt.Errorf("it was killed after %s", within), ctx.Err(), r.Kill()), "look for a loop at the start of the module, or make it smaller")
	}
	e := explain(r.Exit())
	switch {
	case e.Cause == sandbox.CauseExited && e.Code == 0:
		return nil
	case e.Cause == sandbox.CauseOOM:
		return fail(reason, fmt.Errorf("it needs more than %d bytes of memory", spec.Limits.MemoryBytes), "make the module smaller")
	case e.Cause == sandbox.CauseExited && e.Code == statusInvalid && spec.Argv[0] == programCompile:
		return fail(sandbox.ReasonWasmInvalid, errors.New("the compiler refuses it"), remedyBuild)
	case e.Cause == sandbox.CauseExited && e.Reason != sandbox.ReasonExited:
		return fail(e.Reason, errors.New(e.Detail), remedyBuild)
	}
	return fail(reason, fmt.Errorf("its process ended: %s", e), remedyBuild)
}

// readBounded reads a plain file of at most most bytes.
func readBounded(path string, most int64) ([]byte, error) {
	f, err := openPlain(path)
	if err != nil {
		return nil, err
	}
	defer f.Close() // opened for reading
	b, err := io.ReadAll(io.LimitReader(f, most+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if int64(len(b)) > most {
		return nil, fmt.Errorf("%s has more than %d bytes", path, most)
	}
	return b, nil
}
