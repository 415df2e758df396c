package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	goruntime "runtime"
	"strconv"
	"strings"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
	"golang.org/x/sys/unix"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/sandbox"
)

// window is how many questions are with the runner at a time: so many that it never waits.
const window = 32

// wasmCall measures what an event costs the Wasm runner, in time of its processor, against the same frames given to the same module by
// wazero called bare. What the runner adds is the socket, and its look at what goes in and out.
func wasmCall(ctx context.Context, r *rig, p plan, f *figures) error {
	k := r.kind("wasm")
	if k == nil {
		return nil
	}
	for _, c := range []struct {
		what  string
		every int64
		batch int
	}{{"that is answered with an order, alone", 1, 1}, {"without an answer, alone", 0, 1}, {fmt.Sprintf("in a batch of %d", batchEvents), 0, batchEvents}} {
		conversation, err := r.conversation(k, c.every, c.batch, max(2*window, p.exchanges/c.batch))
		if err != nil {
			return err
		}
		var runner, bare []float64
		for range p.rounds {
			one, err := r.callRunner(ctx, k, conversation)
			if err != nil {
				return fmt.Errorf("in the runner: %w", err)
			}
			other, err := callBare(ctx, k, conversation)
			if err != nil {
				return fmt.Errorf("called bare: %w", err)
			}
			runner, bare = append(runner, one/float64(c.batch)), append(bare, other/float64(c.batch))
		}
		f.add("wasm call, an event "+c.what+": wazero called bare", median(bare)/1e3, "µs", 0, "")
		f.add("wasm call, an event "+c.what+": the runner, socket included", median(runner)/1e3, "µs", median(bare)/1e3, "")
		f.add("wasm call, an event "+c.what+": runner ÷ bare", median(runner)/median(bare), "×", median(bare)/1e3, "")
	}
	return nil
}

// conversation is the frames of a session: on_init, then questions.
type conversation struct {
	hash   string
	init   []byte
	frames [][]byte
}

func (r *rig) conversation(k *kind, every int64, batch, n int) (c conversation, err error) {
	c.hash = k.pack.Hash
	init := r.init(r.address(), k, wiring{every: every})
	init.Seq = 1
	if c.init, err = ipc.AppendFrame(nil, init); err != nil {
		return c, fmt.Errorf("writing init: %w", err)
	}
	events, err := quotes(batch)
	if err != nil {
		return c, err
	}
	step := ipc.Step(2)
	for i := range n {
		frame := ipc.BeginFrame(nil)
		if batch == 1 {
			frame, err = ipc.AppendDeliver(frame, uint64(i)+2, step, events[0].ProcessedTS, "", events[0].Event)
		} else {
			frame, err = ipc.AppendBatch(frame, uint64(i)+2, step, events)
		}
		if err == nil {
			frame, err = ipc.EndFrame(frame, 0)
		}
		if err != nil {
			return c, fmt.Errorf("writing a question: %w", err)
		}
		step += ipc.Step(batch)
		c.frames = append(c.frames, frame)
	}
	return c, nil
}

// callRunner gives the frames to a runner and returns its processor time for each, in ns.
func (r *rig) callRunner(ctx context.Context, k *kind, c conversation) (ns float64, err error) {
	runner, err := k.box.Start(ctx, k.spec(r.address()))
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, runner.Kill()) }()
	stream, err := runner.Conn(ctx)
	if err != nil {
		return 0, err
	}
	if err := stream.SetDeadline(time.Now().Add(patience)); err != nil {
		return 0, fmt.Errorf("setting a deadline: %w", err)
	}
	in := ipc.NewFrameReader(stream, ipc.FromRunner)
	if _, err := in.Next(); err != nil {
		return 0, fmt.Errorf("awaiting hello: %w", err)
	}
	exchange := func(frames [][]byte) error {
		asked := 0
		for answered := range frames {
			for ; asked < len(frames) && asked < answered+window; asked++ {
				if _, err := stream.Write(frames[asked]); err != nil {
					return fmt.Errorf("asking question %d: %w", asked, err)
				}
			}
			if _, err := in.Next(); err != nil {
				return fmt.Errorf("awaiting answer %d: %w", answered, err)
			}
		}
		return nil
	}
	if err := exchange([][]byte{c.init}); err != nil {
		return 0, err
	}
	warm := len(c.frames) / 4
	if err := exchange(c.frames[:warm]); err != nil {
		return 0, err
	}
	before, err := processorTime(runner)
	if err != nil {
		return 0, err
	}
	if err := exchange(c.frames[warm:]); err != nil {
		return 0, err
	}
	after, err := processorTime(runner)
	return float64(after-before) / float64(len(c.frames)-warm), err
}

// processorTime is what all threads of a runner have had of processors, in ns.
func processorTime(runner sandbox.Runner) (ns int64, err error) {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/[0-9]*/schedstat", runner.PID()))
	if err != nil || len(files) == 0 {
		return 0, fmt.Errorf("the runner's processor time cannot be read: %d threads: %w", len(files), err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return 0, fmt.Errorf("reading the runner's processor time: %w", err)
		}
		first, _, _ := strings.Cut(string(text), " ")
		one, err := strconv.ParseInt(first, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("reading %s: %w", file, err)
		}
		ns += one
	}
	return ns, nil
}

// callBare gives the frames to the module inside this process, with nothing around it, and returns the processor time for each, in ns.
func callBare(ctx context.Context, k *kind, c conversation) (ns float64, err error) {
	goruntime.LockOSThread() // whose time is measured
	defer goruntime.UnlockOSThread()
	code, err := os.ReadFile(filepath.Join(k.pack.CodeDir, filepath.FromSlash(k.pack.Descriptor.Entry)))
	if err != nil {
		return 0, fmt.Errorf("reading the module: %w", err)
	}
	runtime := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigCompiler())
	defer func() { err = errors.Join(err, runtime.Close(ctx)) }()
	if _, err := wasi_snapshot_preview1.Instantiate(ctx, runtime); err != nil {
		return 0, fmt.Errorf("preparing WASI: %w", err)
	}
	module, err := runtime.InstantiateWithConfig(ctx, code, wazero.NewModuleConfig().WithStartFunctions("_initialize").
		WithEnv("MSUP_PACKAGE_HASH", c.hash).WithStderr(os.Stderr))
	if err != nil {
		return 0, fmt.Errorf("instantiating the module: %w", err)
	}
	g := &bareGuest{module: module, buffer: module.ExportedFunction("msup_buffer"), handle: module.ExportedFunction("msup_handle")}
	for _, frame := range [][]byte{nil, c.init} {
		if err := g.call(ctx, frame); err != nil {
			return 0, err
		}
	}
	warm := len(c.frames) / 4
	for _, frame := range c.frames[:warm] {
		if err := g.call(ctx, frame); err != nil {
			return 0, err
		}
	}
	before, err := threadTime()
	if err != nil {
		return 0, err
	}
	for _, frame := range c.frames[warm:] {
		if err := g.call(ctx, frame); err != nil {
			return 0, err
		}
	}
	after, err := threadTime()
	return float64(after-before) / float64(len(c.frames)-warm), err
}

// threadTime is what this thread has had of processors, in ns.
func threadTime() (int64, error) {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t); err != nil {
		return 0, fmt.Errorf("reading this thread's processor time: %w", err)
	}
	return t.Nano(), nil
}

// bareGuest is a module with the two functions of the guest ABI.
type bareGuest struct {
	module         api.Module
	buffer, handle api.Function
	stack          [1]uint64
}

// call puts a frame into the module and has it handled, as the ABI demands and no more.
func (g *bareGuest) call(ctx context.Context, frame []byte) error {
	g.stack[0] = api.EncodeI32(int32(len(frame)))
	if len(frame) > 0 {
		if err := g.buffer.CallWithStack(ctx, g.stack[:]); err != nil {
			return fmt.Errorf("msup_buffer: %w", err)
		}
		if !g.module.Memory().Write(api.DecodeU32(g.stack[0]), frame) {
			return io.ErrShortBuffer
		}
		g.stack[0] = api.EncodeI32(int32(len(frame)))
	}
	if err := g.handle.CallWithStack(ctx, g.stack[:]); err != nil {
		return fmt.Errorf("msup_handle: %w", err)
	}
	if len(frame) > 0 && uint32(g.stack[0]) == 0 {
		return errors.New("msup_handle answered nothing")
	}
	return nil
}
