package wasm

import (
	"os"
	"testing"

	"github.com/msup/msup/sandbox/process"
)

func TestMain(m *testing.M) {
	process.Init(Programs()...)
	os.Exit(m.Run())
}
