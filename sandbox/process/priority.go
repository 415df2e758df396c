package process

import "github.com/msup/msup/sandbox"

var _ sandbox.Prioritised = (*runner)(nil)

// SetLowered lets the runner's neighbours go first (LN-7).
func (r *runner) SetLowered(lowered bool) error { return r.group.SetLowered(lowered) }
