package warden

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/msup/msup/sandbox"
	"github.com/msup/msup/sandbox/process"
	"github.com/msup/msup/sandbox/python"
	"github.com/msup/msup/sandbox/sandboxtest"
)

// kind is the one sandbox of these tests' helpers: the real one.
const kind = "process"

// openers are what the helpers of this test binary can open.
var openers = map[string]Opener{kind: func(_ context.Context, params json.RawMessage, _ func(string) sandbox.Sandbox, log *slog.Logger) (sandbox.Sandbox, error) {
	var cfg process.Config
	if err := json.Unmarshal(params, &cfg); err != nil {
		return nil, err
	}
	cfg.Logger = log
	return process.New(cfg)
}}

func TestMain(m *testing.M) {
	process.Init()
	Init(openers)
	os.Exit(m.Run())
}

// whole is a box that ends its helper with itself.
type whole struct {
	*Box
	client *Client
}

func (w *whole) Close() error { return errors.Join(w.Box.Close(), w.client.Close()) }

// settings are those of the process sandbox in a helper, with a group of the test binary's own.
func settings(dir string) map[string]string {
	return map[string]string{"RuntimeDir": dir, "CgroupParent": os.Getenv(parentEnv)}
}

const parentEnv = "MSUP_TEST_CGROUP_PARENT" // the same for the child supervisors of one test binary

func ownGroup(t *testing.T) string {
	t.Helper()
	parent := os.Getenv(parentEnv)
	if parent == "" {
		parent = fmt.Sprintf("msup-test-%d", os.Getpid())
		t.Setenv(parentEnv, parent)
	}
	return parent
}

func openWhole(dir string) (sandbox.Sandbox, error) {
	c, err := Start(Config{Logger: slog.New(slog.NewTextHandler(os.Stderr, nil))})
	if err != nil {
		return nil, err
	}
	box, err := c.Open(context.Background(), kind, settings(dir))
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return &whole{box, c}, nil
}

// The whole suite of the process sandbox, through a helper: who uses a box cannot tell where its runners are started.
//
// Proves: SB-L1, NN-2, SB-2, SB-3, SB-4, SB-6, SB-8
func TestConformance(t *testing.T) {
	rt, err := python.Discover(t.Context(), "python3")
	if err != nil {
		t.Fatal(err)
	}
	parent := ownGroup(t)
	sandboxtest.Run(t, sandboxtest.Config{
		Open: openWhole, Program: sandboxtest.PythonProgram(t, rt), DiesWithSupervisor: true, ClearsUp: true,
		Leftovers: func(dir string) ([]string, error) {
			left, err := filepath.Glob(filepath.Join(dir, "*"))
			if err != nil {
				return nil, err
			}
			for _, layout := range []string{"/sys/fs/cgroup/*/", "/sys/fs/cgroup/"} { // v1 and hybrid, v2
				groups, err := filepath.Glob(layout + parent + "/*/*/")
				if err != nil {
					return nil, err
				}
				left = append(left, groups...)
			}
			return left, nil
		},
	})
}
