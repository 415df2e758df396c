package thread

import (
	"os"
	"testing"

	"github.com/msup/msup/sandbox/process"
)

func TestMain(m *testing.M) {
	process.Init()
	os.Exit(m.Run())
}
