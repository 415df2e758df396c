package container

import (
	"testing"

	"github.com/msup/msup/sandbox/sandboxtest"
)

// Containers of the compute lane leave processors to the others.
//
// Proves: LN-1, NN-4, DOD-4
func TestTheComputeLaneLeavesProcessors(t *testing.T) {
	s := open(t, engine(t), func(c *Config) { c.ReserveFrom = 2 })
	sandboxtest.LeavesProcessors(t, s, script(t, echoCode))
}
