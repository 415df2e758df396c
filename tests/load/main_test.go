package load

import (
	"os"
	"testing"

	"github.com/msup/msup/sandbox/process"
)

func TestMain(m *testing.M) {
	process.Init() // runners are this program started again
	os.Exit(m.Run())
}
