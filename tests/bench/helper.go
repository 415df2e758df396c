package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/msup/msup/sandbox"
	"github.com/msup/msup/sandbox/process"
	"github.com/msup/msup/sandbox/warden"
)

// helperKind is what the helper opens: the process sandbox, as the helper of msup run does.
const helperKind = "process"

// helperOrder says where.
type helperOrder struct{ RuntimeDir, CgroupParent string }

// initHelper makes this binary the helper, too.
func initHelper() {
	warden.Init(map[string]warden.Opener{
		helperKind: func(_ context.Context, params json.RawMessage, _ func(string) sandbox.Sandbox, log *slog.Logger) (sandbox.Sandbox, error) {
			var o helperOrder
			if err := json.Unmarshal(params, &o); err != nil {
				return nil, fmt.Errorf("read where the sandbox is to be: %w", err)
			}
			return process.New(process.Config{RuntimeDir: o.RuntimeDir, CgroupParent: o.CgroupParent, Supervisor: os.Getppid(), Logger: log})
		},
	})
}

// openHelper opens a process sandbox in a helper, which starts and ends runners for msup run under root.
func (r *rig) openHelper(ctx context.Context) (box sandbox.Sandbox, end func() error, err error) {
	client, err := warden.Start(warden.Config{Logger: r.log})
	if err != nil {
		return nil, nil, err
	}
	if box, err = client.Open(ctx, helperKind, helperOrder{filepath.Join(r.dir, "h"), r.group("-helper")}); err != nil {
		return nil, nil, errors.Join(err, client.Close())
	}
	return box, client.Close, nil
}
