package sim

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/sandbox"
)

// runner is a strategy behind the session's protocol, in a goroutine instead of a process.
type runner struct {
	build           build
	outside, inside net.Conn
	rng             *rand.Rand // of its accidents, which no replay repeats
	faults          bool
	strategy        *strategy
	run             ipc.RunID
	once            sync.Once
	done            chan struct{}
}

// build is what a runner was made from.
type build struct {
	hash    ipc.Digest
	schema  uint32 // version of its state
	hooks   []string
	hangs   *atomic.Bool // it does not answer for a while
	migrate func(from uint32, state []byte) ([]byte, error)
}

var (
	packageHash = ipc.Digest{42}
	present     = build{hash: packageHash, schema: 1, hooks: []string{"on_recovered"}}
)

func startRunner(b build, rng *rand.Rand, seed uint64, faults bool) sandbox.Runner {
	r := &runner{build: b, rng: rng, faults: faults, strategy: &strategy{seed: seed}, done: make(chan struct{})}
	r.outside, r.inside = net.Pipe()
	go func() {
		defer r.Kill() //nolint:errcheck // it returns nil
		r.serve()
	}()
	return r
}

func (r *runner) Conn(context.Context) (net.Conn, error) { return r.outside, nil }
func (r *runner) PID() int                               { return 1 }
func (r *runner) Done() <-chan struct{}                  { return r.done }
func (r *runner) Exit() sandbox.Exit                     { return sandbox.Exit{Cause: sandbox.CauseExited, Code: 3} }
func (r *runner) Usage() (sandbox.Usage, error)          { return sandbox.UnknownUsage(), nil }
func (r *runner) Logs() sandbox.LogStats                 { return sandbox.LogStats{} }

// Kill closes both ends: a pipe that is closed ends every read and write on it.
func (r *runner) Kill() error {
	r.once.Do(func() {
		_ = r.inside.Close()
		_ = r.outside.Close()
		close(r.done)
	})
	return nil
}

// serve ends at the first thing that goes wrong, as a runner does.
func (r *runner) serve() {
	c := ipc.NewConn(r.inside, ipc.FromAnyone)
	if c.Send(&ipc.Hello{ABI: ipc.ABIVersion, SDK: "sim", SDKVersion: "1", EventContract: ipc.EventContractVersion,
		IntentContract: ipc.IntentContractVersion, PackageHash: r.build.hash.String(), Hooks: r.build.hooks, StateSchemaVersion: r.build.schema}) != nil {
		return
	}
	for {
		m, err := c.Receive()
		if err != nil {
			return
		}
		switch m := m.(type) {
		case *ipc.Init:
			err = r.init(c, m)
		case *ipc.Deliver:
			err = r.deliver(c, m)
		case *ipc.Batch:
			err = r.batch(c, m)
		case *ipc.CheckpointRequest:
			var state []byte
			if state, err = json.Marshal(r.strategy.memory()); err == nil {
				err = c.Send(&ipc.Chunk{Seq: m.Seq, Total: uint64(len(state)), StateVersion: r.build.schema, Data: state})
			}
		default:
			return
		}
		if err != nil {
			return
		}
	}
}

func (r *runner) init(c *ipc.Conn, m *ipc.Init) error {
	r.run = m.RunID
	a := &ipc.Answer{Step: m.Step}
	if m.StateBytes != nil {
		state := []byte{}
		for {
			next, err := c.Receive()
			if err != nil {
				return err
			}
			part := next.(*ipc.Chunk)
			if state = append(state, part.Data...); uint64(len(state)) == part.Total {
				break
			}
		}
		if m.StateVersion != r.build.schema {
			if r.build.migrate == nil {
				return net.ErrClosed
			}
			var err error
			if state, err = r.build.migrate(m.StateVersion, state); err != nil {
				return c.Send(&ipc.Answer{Seq: m.Seq, Step: m.Step, Fault: &ipc.Fault{Kind: "state", Message: err.Error()}})
			}
		}
		if err := r.strategy.restore(state); err != nil {
			return err
		}
	} else {
		var err error
		if a, err = r.strategy.answer(m.Step, nil, m.ProcessedTS, r.run); err != nil {
			return err
		}
	}
	a.Seq = m.Seq
	return c.Send(a)
}

// think is what the strategy answers, typed faults included: those are its own, and a replay has them too.
func (r *runner) think(step ipc.Step, event ipc.Event, processed ipc.Nanos) (*ipc.Answer, error) {
	bytes, err := ipc.AppendEvent(nil, event)
	if err != nil {
		return nil, err
	}
	a, err := r.strategy.answer(step, bytes, processed, r.run)
	if err != nil {
		return nil, err
	}
	rng := ipc.NewRNG(r.strategy.seed, "faults", step)
	switch rng.Uint64() % 40 {
	case 0:
		a.Fault = &ipc.Fault{Kind: "exception", Message: "simulated"}
	case 1:
		a.Updates = &ipc.StateUpdates{Checkpoint: true}
	}
	return a, nil
}

func (r *runner) deliver(c *ipc.Conn, m *ipc.Deliver) error {
	if h := r.build.hangs; h != nil && h.Load() {
		time.Sleep(150 * time.Millisecond)
	}
	if r.faults {
		switch r.rng.IntN(60) {
		case 0:
			return net.ErrClosed // it dies over this event
		case 1:
			time.Sleep(20 * time.Millisecond) // late
		case 2:
			time.Sleep(time.Second) // never, as far as the hard deadline goes
		}
	}
	a, err := r.think(m.Step, m.Event, m.ProcessedTS)
	if err != nil {
		return err
	}
	a.Seq = m.Seq
	return c.Send(a)
}

func (r *runner) batch(c *ipc.Conn, m *ipc.Batch) error {
	answer := &ipc.BatchAnswer{}
	for i, e := range m.Events {
		a, err := r.think(m.FirstStep+ipc.Step(i), e.Event, e.ProcessedTS)
		if err != nil {
			return err
		}
		if answer.Consumed, answer.Answer = uint32(i+1), *a; !a.Empty() {
			break
		}
	}
	answer.Answer.Seq = m.Seq
	return c.Send(answer)
}

// memory is what a strategy's checkpoint holds.
type memory struct {
	Sent  []ipc.Key
	Named int
}

func (s *strategy) memory() memory { return memory{slices.Clone(s.sent), s.named} }

func (s *strategy) restore(b []byte) error {
	var m memory
	if err := json.Unmarshal(b, &m); err != nil {
		return err
	}
	s.sent, s.named = m.Sent, m.Named
	return nil
}
