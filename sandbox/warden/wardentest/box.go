package wardentest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/msup/msup/sandbox"
	"github.com/msup/msup/sandbox/warden"
)

// Box is a sandbox in a helper of its own.
type Box struct {
	*warden.Box
	client *warden.Client
}

// Close ends the sandbox, and its helper.
func (b *Box) Close() error { return errors.Join(b.Box.Close(), b.client.Close()) }

// Open starts a helper and opens a sandbox in it; params is what the kind's Opener gets.
func Open(kind string, params any) (sandbox.Sandbox, error) {
	c, err := warden.Start(warden.Config{Logger: slog.New(slog.NewTextHandler(os.Stderr, nil))})
	if err != nil {
		return nil, err
	}
	box, err := c.Open(context.Background(), kind, params)
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return &Box{box, c}, nil
}

// Opener makes a sandbox inside the helper of what Open was given.
func Opener[P any](open func(ctx context.Context, params P) (sandbox.Sandbox, error)) warden.Opener {
	return func(ctx context.Context, text json.RawMessage, _ func(string) sandbox.Sandbox, _ *slog.Logger) (sandbox.Sandbox, error) {
		var params P
		if err := json.Unmarshal(text, &params); err != nil {
			return nil, fmt.Errorf("read the parameters: %w", err)
		}
		return open(ctx, params)
	}
}
