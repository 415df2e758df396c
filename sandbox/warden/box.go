package warden

import (
	"context"
	"errors"

	"github.com/msup/msup/sandbox"
)

// Box is a sandbox inside the helper. It is one like any other: who uses it need not know where its runners are started.
type Box struct {
	client *Client
	kind   string
	name   string
	level  sandbox.Level
	walls  []sandbox.Wall
}

var _ sandbox.Sandbox = (*Box)(nil)

// Name is that of the sandbox in the helper.
func (b *Box) Name() string { return b.name }

// Level is that of the sandbox in the helper.
func (b *Box) Level() sandbox.Level { return b.level }

// Walls are those that stood when the sandbox was opened.
func (b *Box) Walls() []sandbox.Wall { return append([]sandbox.Wall(nil), b.walls...) }

// Permit makes starts of exactly this spec possible after the seal, so that at most lives runners of it live at a time, and one more while
// the end of another is cleared up. Permitting a spec twice adds up.
func (b *Box) Permit(ctx context.Context, s sandbox.Spec, lives int) error {
	sent, err := sendable(s)
	if err != nil {
		return err
	}
	_, err = b.client.question(ctx, request{Verb: verbPermit, Box: b.kind, Spec: sent, Lives: lives})
	return err
}

// Start starts a runner in the helper.
func (b *Box) Start(ctx context.Context, s sandbox.Spec) (sandbox.Runner, error) {
	c, op := b.client, "start "+s.Address.String()
	sent, err := sendable(s)
	if err != nil {
		return nil, err
	}
	if err := c.starts.Acquire(ctx, 1); err != nil {
		return nil, refuse(sandbox.ReasonSetupFailed, op, err, "")
	}
	defer c.starts.Release(1)
	waiting, id, err := c.send(request{Verb: verbStart, Box: b.kind, Spec: sent}, &s)
	if err != nil {
		return nil, err
	}
	var a answer
	ok := false
	select {
	case a, ok = <-waiting:
	case <-ctx.Done():
		if _, _, err := c.send(request{Verb: verbCancel, Other: id}, nil); err != nil {
			c.log.Warn("giving a start up failed", "instance", s.Address.String(), "err", err)
		}
		a, ok = <-waiting
	}
	if !ok {
		return nil, c.lostError()
	}
	if err := a.Err.error(); err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, refuse(sandbox.ReasonSetupFailed, op, errors.Join(ctx.Err(), a.runner.Kill()), "")
	}
	return a.runner, nil
}

// Reap removes leftovers through the sandbox in the helper.
func (b *Box) Reap(ctx context.Context) (sandbox.Reaped, error) {
	a, err := b.client.question(ctx, request{Verb: verbReap, Box: b.kind})
	if a.Reaped == nil {
		return sandbox.Reaped{}, err
	}
	return *a.Reaped, err
}

// Close closes the sandbox in the helper; its runners end.
func (b *Box) Close() error {
	_, err := b.client.question(context.Background(), request{Verb: verbClose, Box: b.kind})
	if err != nil && isLost(err) {
		return nil // the helper is gone, and the sandbox with it
	}
	return err
}
