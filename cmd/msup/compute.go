package main

import (
	"context"
	"fmt"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/supervisor"
	"github.com/msup/msup/supervisor/compute"
	"github.com/msup/msup/supervisor/core"
	"github.com/msup/msup/supervisor/descriptor"
	"github.com/msup/msup/supervisor/pack"
)

// computeAllowed is what the core lets a strategy ask for. One that asks although nobody would answer is told so.
func computeAllowed(d *descriptor.Descriptor) core.Compute {
	handled := d.Capabilities.Subscribes(ipc.KindComputeUnavailable)
	if !d.Asks() && !handled {
		return core.Compute{}
	}
	c := core.Compute{Congestion: core.Congestion(d.Compute.Congestion), Handled: handled}
	if d.Asks() {
		c.Waiting = int(d.Compute.Queue)
	}
	return c
}

// lanes make the compute lane of an instance: its compute part in runners of its own (LN-2, NN-4). Nil: it has none.
func (w *wiring) lanes(ctx context.Context, d descriptor.Instance, p *pack.Package, hash ipc.Digest, lineage ipc.Lineage) (supervisor.Computer, error) {
	if !d.Descriptor.Asks() {
		return nil, nil
	}
	lanes := &compute.Lanes{Named: map[string]*compute.Lane{}}
	if d.Descriptor.Compute.Entry != "" {
		part, err := w.part(ctx, d, p, hash, lineage)
		if err != nil {
			return nil, err
		}
		lanes.Part = w.laneOf(d, part, int(d.Descriptor.Compute.Runners))
	}
	if err := w.services(ctx, d, lanes.Named); err != nil {
		return nil, err
	}
	return lanes, nil
}

// laneOf is one lane of an instance; every one of them may hold as many requests as the core lets wait.
func (w *wiring) laneOf(d descriptor.Instance, e compute.Executor, inFlight int) *compute.Lane {
	return compute.NewLane(compute.Config{Address: d.Address, Executor: e, InFlight: inFlight, Queue: int(d.Descriptor.Compute.Queue), Logger: w.log})
}

// part places the compute part as its strategy is placed: same package, same walls, another lane and other ceilings.
func (w *wiring) part(ctx context.Context, d descriptor.Instance, p *pack.Package, hash ipc.Digest, lineage ipc.Lineage) (*compute.Part, error) {
	c := d.Descriptor.Compute
	started, err := w.placePart(ctx, d, p)
	if err != nil {
		return nil, fmt.Errorf("the compute part: %w", err)
	}
	return compute.NewPart(compute.PartConfig{
		Address: d.Address, StrategyVersion: d.Descriptor.Version, PackageHash: hash.String(), Lineage: lineage, RunID: w.runID, Mode: ipc.ModeLive,
		RunSeed: w.seed, Config: d.Config, Instruments: d.Instruments, Runners: int(c.Runners), Deadline: c.Deadline, Init: c.DeadlineInit,
		Stop: c.Resources.DeadlineStop, RestartsPerHour: int(c.Resources.RestartsPerHour), Start: started.run, Logger: w.log,
	}), nil
}

// placePart chooses where the compute part of an instance runs.
func (w *wiring) placePart(ctx context.Context, d descriptor.Instance, p *pack.Package) (start, error) {
	c := d.Descriptor.Compute
	own, desc, packed := d, *d.Descriptor, *p
	desc.Entry, packed.Descriptor = c.Entry, &desc
	own.Lane, own.Resources = ipc.LaneCompute, c.Resources
	if w.lockStep {
		own.Lane = ipc.LaneLL // the feed waits for it: with a hundredth of the weight, research beside a busy host would stand still
	}
	if own.Isolation == descriptor.IsolationL0 {
		own.Isolation = descriptor.IsolationL1 // a shared process is for short answers
	}
	spec := w.spec(own)
	spec.Address.Instance = computeInstance(d.Address.Instance)
	return w.place.of(ctx, own, &packed, spec)
}

// computeInstance names a compute runner's place apart from its strategy's: what is prepared for the one must not be given to the other. No
// instance can have such a name.
func computeInstance(id ipc.InstanceID) ipc.InstanceID {
	const mark = "#compute"
	return id[:min(len(id), ipc.MaxIDBytes-len(mark))] + mark
}
