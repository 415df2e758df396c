package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/msup/msup/sandbox"
	"github.com/msup/msup/sandbox/container"
	"github.com/msup/msup/sandbox/process"
	"github.com/msup/msup/sandbox/thread"
	"github.com/msup/msup/sandbox/warden"
	"github.com/msup/msup/sandbox/wasm"
)

// The kinds of sandboxes that the helper opens.
const (
	kindProcess   = "process"
	kindWasm      = "wasm"
	kindShared    = "shared"
	kindContainer = "container"
)

// openers are what the helper can open, and with what.
func openers() map[string]warden.Opener {
	return map[string]warden.Opener{
		kindProcess: func(_ context.Context, _ json.RawMessage, _ func(string) sandbox.Sandbox, log *slog.Logger) (sandbox.Sandbox, error) {
			return process.New(process.Config{Supervisor: os.Getppid(), Logger: log})
		},
		kindWasm: func(_ context.Context, params json.RawMessage, opened func(string) sandbox.Sandbox, log *slog.Logger) (sandbox.Sandbox, error) {
			var o wasmOrder
			if err := json.Unmarshal(params, &o); err != nil {
				return nil, fmt.Errorf("read where modules lie: %w", err)
			}
			return wasm.Open(wasm.Config{Process: opened(kindProcess), StoreDir: o.StoreDir, Logger: log})
		},
		kindShared: func(_ context.Context, _ json.RawMessage, opened func(string) sandbox.Sandbox, log *slog.Logger) (sandbox.Sandbox, error) {
			return thread.Open(thread.Config{Process: opened(kindProcess), Logger: log})
		},
		kindContainer: func(ctx context.Context, params json.RawMessage, _ func(string) sandbox.Sandbox, log *slog.Logger) (sandbox.Sandbox, error) {
			var o containerOrder
			if err := json.Unmarshal(params, &o); err != nil {
				return nil, fmt.Errorf("read which image is wanted: %w", err)
			}
			return o.open(ctx, os.Getppid(), log)
		},
	}
}

// wasmOrder says where compiled modules lie.
type wasmOrder struct{ StoreDir string }

// containerOrder says which engine and image containers have.
type containerOrder struct {
	Address         string // of a containerd; "" = a private one
	Digest, Archive string // of the image; "" = the host's files
}

// engined is a container sandbox with the engine that it was opened for.
type engined struct {
	*container.Sandbox
	engine *container.Daemon
}

// Close ends the sandbox, then its engine.
func (e *engined) Close() error { return errors.Join(e.Sandbox.Close(), e.engine.Close()) }

func (o containerOrder) open(ctx context.Context, supervisor int, log *slog.Logger) (_ sandbox.Sandbox, err error) {
	cfg := container.Config{Daemon: container.DaemonConfig{Address: o.Address, Logger: log}, Prepare: true, Supervisor: supervisor, Logger: log}
	if cfg.Engine, err = container.OpenDaemon(ctx, cfg.Daemon); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, cfg.Engine.Close())
		}
	}()
	if o.Digest != "" {
		if cfg.Image, err = cfg.Engine.Ensure(ctx, o.Digest, o.Archive); err != nil {
			return nil, err
		}
	}
	box, err := container.Open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return &engined{box, cfg.Engine}, nil
}
