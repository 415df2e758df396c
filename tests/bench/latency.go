package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/sandbox"
	"github.com/msup/msup/tests/memory"
)

// latency measures event → intent against the echo, for every placement: inside, from the pump's taking of the event to the gate's
// verdict; outside, from Publish to the offer to I with a ledger that keeps nobody waiting.
func latency(ctx context.Context, r *rig, p plan, f *figures) error {
	for _, place := range placements(r.cpus) {
		for i, k := range r.kinds {
			if err := latencyAt(ctx, r, p, f, k, place, i == 0); err != nil {
				return fmt.Errorf("%s on %s: %w", k.name, place.name, err)
			}
		}
	}
	return nil
}

// round is one turn of every measurement.
type round struct{ raw, polled, walled, inside, outside sample }

// latencyAt measures one kind of runner in one place, with an echo of its own beside it; first tells whether the echo is printed, too.
func latencyAt(ctx context.Context, r *rig, p plan, f *figures, k *kind, place placement, first bool) (err error) {
	pair, err := r.pair(ctx, wiring{kind: k, every: 1, ledger: &memory.Ledger{}}, place)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, pair.close()) }()
	var rounds []round
	for range p.rounds {
		var one round
		if one.raw, err = pair.echo.raw(p.exchanges); err != nil {
			return err
		}
		if one.polled, err = pair.echo.polled(p.exchanges); err != nil {
			return err
		}
		if one.walled, err = pair.walled.raw(p.exchanges); err != nil {
			return err
		}
		if one.inside, one.outside, err = pair.live.run(ctx, p.exchanges); err != nil {
			return err
		}
		rounds = append(rounds, one)
	}
	over := func(of func(round) float64) float64 {
		var v []float64
		for _, one := range rounds {
			v = append(v, of(one))
		}
		return median(v)
	}
	at := ", " + place.name
	raw50, raw99 := over(func(x round) float64 { return x.raw.p50() }), over(func(x round) float64 { return x.raw.p99() })
	if first {
		f.add("echo p50"+at, raw50, "µs", 0, "")
		f.add("echo p99"+at, raw99, "µs", 0, "")
		f.add("echo through Go's poller p50"+at, over(func(x round) float64 { return x.polled.p50() }), "µs", raw50, "")
	}
	f.add("echo behind the walls of "+k.name+" p50"+at, over(func(x round) float64 { return x.walled.p50() }), "µs", raw50, "")
	f.add(k.name+" event→intent p50"+at, over(func(x round) float64 { return x.inside.p50() }), "µs", raw50, "")
	f.add(k.name+" event→intent p99"+at, over(func(x round) float64 { return x.inside.p99() }), "µs", raw99, "")
	f.add(k.name+" event→intent p50 ÷ echo"+at, over(func(x round) float64 { return x.inside.p50() / x.raw.p50() }), "×", raw50, k.p50)
	f.add(k.name+" event→intent p99 ÷ echo p99"+at, over(func(x round) float64 { return x.inside.p99() / x.raw.p99() }), "×", raw99, k.p99)
	f.add(k.name+" event→intent p50 ÷ echo through Go's poller"+at, over(func(x round) float64 { return x.inside.p50() / x.polled.p50() }), "×",
		over(func(x round) float64 { return x.polled.p50() }), "")
	f.add(k.name+" event→intent p50 ÷ echo behind the same walls"+at, over(func(x round) float64 { return x.inside.p50() / x.walled.p50() }), "×",
		over(func(x round) float64 { return x.walled.p50() }), "")
	f.add(k.name+" publish→offer p50 ÷ echo"+at, over(func(x round) float64 { return x.outside.p50() / x.raw.p50() }), "×", raw50, "")
	f.add(k.name+" publish→offer p99 ÷ echo p99"+at, over(func(x round) float64 { return x.outside.p99() / x.raw.p99() }), "×", raw99, "")
	return nil
}

// run publishes n quotes, one after the other.
func (l *live) run(ctx context.Context, n int) (inside, outside sample, err error) {
	inside, outside = make(sample, n), make(sample, n)
	for i := range n {
		out, in, err := l.step(ctx)
		if err != nil {
			return nil, nil, err
		}
		inside[i], outside[i] = int64(in), int64(out)
	}
	return inside, outside, l.meter.problem()
}

// pair is an instance and echoes with frames of the same sizes, in the same place.
type pair struct {
	live   *live
	echo   *echo
	walled *echo // behind the walls of a runner
	undo   func() error
}

func (r *rig) pair(ctx context.Context, w wiring, place placement) (_ *pair, err error) {
	pid := 0
	w.started = func(runner sandbox.Runner) { pid = runner.PID() }
	x := &pair{}
	if x.live, err = r.start(ctx, w); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, x.close())
		}
	}()
	for range 100 { // caches, and the interpreter's own specialisation
		if _, _, err := x.live.step(ctx); err != nil {
			return nil, err
		}
	}
	question, answer, err := x.live.sizes()
	if err != nil {
		return nil, err
	}
	if x.echo, err = r.startEcho(ctx, question, answer); err != nil {
		return nil, err
	}
	if x.walled, err = r.startWalledEcho(ctx, w.kind, question, answer); err != nil {
		return nil, err
	}
	if err := errors.Join(pin(pid, place.runner), pin(x.echo.pid, place.runner), pin(x.walled.pid, place.runner)); err != nil {
		return nil, err
	}
	if x.undo, err = pinSupervisor(place.supervisor, r.cpus); err != nil {
		return nil, err
	}
	return x, nil
}

// close ends both and takes the pins away.
func (x *pair) close() error {
	var errs []error
	if x.undo != nil {
		errs = append(errs, x.undo())
	}
	for _, e := range []*echo{x.echo, x.walled} {
		if e != nil {
			errs = append(errs, e.close())
		}
	}
	return errors.Join(append(errs, x.live.stop())...)
}

// sizes returns the sizes of the frames that a step exchanges.
func (l *live) sizes() (question, answer int, err error) {
	step := ipc.Step(2 * l.next)
	bytes, recv, err := quote(l.next)
	if err != nil {
		return 0, 0, err
	}
	deliver, err := ipc.AppendDeliver(ipc.BeginFrame(nil), uint64(step), step, recv, "", bytes)
	if err != nil {
		return 0, 0, fmt.Errorf("measuring a delivery: %w", err)
	}
	back, err := ipc.AppendFrame(nil, &ipc.Answer{Seq: uint64(step), Step: step, Intents: []*ipc.Intent{l.meter.asked}})
	if err != nil {
		return 0, 0, fmt.Errorf("measuring an answer: %w", err)
	}
	return len(deliver), len(back), nil
}

// durableLatency measures event → intent released with the real ledger, against echo plus fdatasync of the same bytes.
func durableLatency(ctx context.Context, r *rig, p plan, f *figures) (err error) {
	db, err := r.openState("latency")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	k, err := r.plain()
	if err != nil {
		return err
	}
	address := r.address()
	store, err := db.OpenInstance(address)
	if err != nil {
		return fmt.Errorf("opening an instance's ledger: %w", err)
	}
	ledger := &durable{Instance: store}
	place := placements(r.cpus)[len(placements(r.cpus))-1]
	x, err := r.pair(ctx, wiring{kind: k, address: address, every: 1, ledger: ledger}, place)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, x.close()) }()
	var ratio50, ratio99, syncs, outs []float64
	for range p.rounds {
		before := ledger.logical
		_, outside, err := x.live.run(ctx, p.syncs)
		if err != nil {
			return err
		}
		bytes := (ledger.logical.orderBytes - before.orderBytes) / (ledger.logical.orders - before.orders)
		sync, err := bareSync(filepath.Join(r.state, "floor"), int(bytes), p.syncs)
		if err != nil {
			return err
		}
		raw, err := x.echo.raw(p.exchanges)
		if err != nil {
			return err
		}
		ratio50 = append(ratio50, outside.p50()/(raw.p50()+sync.p50()))
		ratio99 = append(ratio99, outside.p99()/(raw.p99()+sync.p99()))
		syncs, outs = append(syncs, raw.p50()+sync.p50()), append(outs, outside.p50())
	}
	f.add("echo + fdatasync of the same bytes p50", median(syncs), "µs", 0, "")
	f.add("durable event→intent released p50", median(outs), "µs", median(syncs), "")
	f.add("durable event→intent released p50 ÷ (echo + fdatasync)", median(ratio50), "×", median(syncs), "<= 1.6")
	f.add("durable event→intent released p99 ÷ (echo + fdatasync) p99", median(ratio99), "×", 0, "")
	return nil
}

// bareSync writes and syncs blocks at growing places of a file that has all its blocks already.
func bareSync(name string, bytes, n int) (s sample, err error) {
	file, err := os.Create(name)
	if err != nil {
		return nil, fmt.Errorf("making the file of the floor: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close(), os.Remove(name)) }()
	if _, err := file.Write(make([]byte, n*bytes)); err != nil { // written, not only reserved: a reserved block is marked at its first write
		return nil, fmt.Errorf("filling the file of the floor: %w", err)
	}
	if err := file.Sync(); err != nil {
		return nil, fmt.Errorf("syncing the file of the floor: %w", err)
	}
	block := make([]byte, bytes)
	s = make(sample, n)
	for i := range s {
		block[0] = byte(i)
		begin := time.Now()
		if _, err := file.WriteAt(block, int64(i*bytes)); err != nil {
			return nil, fmt.Errorf("writing the floor: %w", err)
		}
		if err := unix.Fdatasync(int(file.Fd())); err != nil {
			return nil, fmt.Errorf("syncing the floor: %w", err)
		}
		s[i] = int64(time.Since(begin))
	}
	return s, nil
}
