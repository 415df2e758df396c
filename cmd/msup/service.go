package main

import (
	"context"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/sandbox"
	"github.com/msup/msup/sandbox/process"
	"github.com/msup/msup/sandbox/wasm"
	"github.com/msup/msup/supervisor/compute"
	"github.com/msup/msup/supervisor/descriptor"
	"github.com/msup/msup/supervisor/service"
)

// programs are those built into msup that a sandbox can start.
func programs() []process.Program {
	return append(wasm.Programs(), process.Program{Name: service.ProgramName, Load: service.Load})
}

// services adds a lane for each external service of an instance: one that hangs holds up no other (EX-2). Nothing runs before the lane is opened.
func (w *wiring) services(ctx context.Context, d descriptor.Instance, lanes map[string]*compute.Lane) error {
	opened, err := w.openServices(ctx, d)
	if err != nil {
		return err
	}
	for i, x := range opened {
		lanes[d.Services[i].Name] = w.laneOf(d, x, 1)
	}
	return nil
}

// openServices resolves places and reads secrets, once an instance: with root's rights, where the run gives those up later.
func (w *wiring) openServices(ctx context.Context, d descriptor.Instance) ([]*service.Executor, error) {
	if opened, ok := w.asked[d.Address]; ok {
		return opened, nil
	}
	var opened []*service.Executor
	for _, s := range d.Services {
		x, err := service.Open(ctx, service.Config{Address: d.Address, Service: s, Sandbox: w.place.host.sandbox, Dial: w.app.dialer.dial, Logger: w.log})
		if err != nil {
			return nil, &exitError{exitRefused, err}
		}
		opened = append(opened, x)
	}
	if w.asked == nil {
		w.asked = map[ipc.Address][]*service.Executor{}
	}
	w.asked[d.Address] = opened
	return opened, nil
}

// placeServices adds the proxies of an instance to what a run may start later on.
func (w *wiring) placeServices(ctx context.Context, d descriptor.Instance, placed map[ipc.Address]start) error {
	opened, err := w.openServices(ctx, d)
	if err != nil {
		return err
	}
	for _, x := range opened {
		s := startIn(w.place.host.sandbox, sandbox.L1, x.Spec())
		s.lives = 1
		placed[s.spec.Address] = s
	}
	return nil
}

// serviceSockets are the sockets that the services of a run are at.
func serviceSockets(instances []descriptor.Instance) []string {
	var sockets []string
	for _, d := range instances {
		for _, s := range d.Services {
			sockets = append(sockets, s.Socket)
		}
	}
	return sockets
}

// proposers are the services whose answers are proposals (EX-3).
func proposers(d descriptor.Instance) []string {
	var names []string
	for _, s := range d.Services {
		if s.Kind == descriptor.ServiceLLM {
			names = append(names, s.Name)
		}
	}
	return names
}
