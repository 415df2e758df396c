package warden

import (
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"testing"

	"github.com/msup/msup/sandbox"
	"github.com/msup/msup/sandbox/process"
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
