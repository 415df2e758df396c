package wasm

import (
	"fmt"

	"github.com/msup/msup/sandbox"
)

var _ sandbox.Prioritised = (*runner)(nil)

// SetLowered lets the neighbours of the runner's process go first (LN-7).
func (r *runner) SetLowered(lowered bool) error {
	able, ok := r.Runner.(sandbox.Prioritised)
	if !ok {
		return fmt.Errorf("the sandbox of the Wasm runner's process has no priorities (it is a %T)", r.Runner)
	}
	return able.SetLowered(lowered)
}
