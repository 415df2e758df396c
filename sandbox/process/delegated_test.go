package process

import (
	"testing"

	"github.com/msup/msup/sandbox/sandboxtest"
)

// The suite without root in a control group that was delegated: memory, processor time and processes have their walls then.
//
// Proves: SB-L1, SB-2, SB-3, SB-6
func TestConformanceDelegated(t *testing.T) {
	if sandboxtest.AsDelegate(t) {
		conformance(t, interpreted(t, "/usr/bin/python3"))
	}
}
