package process

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/sandbox"
	"golang.org/x/sys/unix"
)

// A start that stands still says what its threads wait for, in its time, and leaves nothing behind.
//
// Proves: NN-7, SB-2
func TestAStartThatStandsStillSaysWhere(t *testing.T) {
	s := open(t, filepath.Join(shortDir(t), "r"))
	s.patience = time.Second
	spec := sandbox.Spec{Address: ipc.Address{Bot: "b", Strategy: "s", Instance: "i"}, Lane: ipc.LaneLL, Argv: []string{"/usr/bin/env"}}
	spec.Limits = spec.Limits.OrDefault()
	_, err := s.launch(t.Context(), spec, func() error { // the process waits for its orders
		records, err := filepath.Glob(filepath.Join(s.dir, "*.json"))
		if err != nil || len(records) != 1 {
			return fmt.Errorf("records %q: %w", records, err)
		}
		body, err := os.ReadFile(records[0])
		if err != nil {
			return err
		}
		var rec recordData
		if err := json.Unmarshal(body, &rec); err != nil {
			return err
		}
		return unix.Kill(rec.PID, unix.SIGSTOP)
	})
	if err == nil {
		t.Fatal("it started")
	}
	var typed *sandbox.Error
	if !errors.As(err, &typed) || typed.Reason != sandbox.ReasonSetupFailed || typed.Remedy == "" || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
	if !strings.Contains(err.Error(), "it had not reported; its threads: T in ") {
		t.Errorf("it does not say where: %v", err)
	}
	if left, err := filepath.Glob(filepath.Join(s.dir, "*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %q, %v", left, err)
	}
}
