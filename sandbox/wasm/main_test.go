package wasm

import (
	"context"
	"os"
	"testing"

	"github.com/msup/msup/sandbox"
	"github.com/msup/msup/sandbox/process"
	"github.com/msup/msup/sandbox/warden"
	"github.com/msup/msup/sandbox/warden/wardentest"
)

// kind is what the helpers of this test binary open.
const kind = "wasm"

func TestMain(m *testing.M) {
	process.Init(Programs()...)
	warden.Init(map[string]warden.Opener{kind: wardentest.Opener(func(_ context.Context, p suiteParams) (sandbox.Sandbox, error) { return p.open() })})
	os.Exit(m.Run())
}
