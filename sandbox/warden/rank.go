package warden

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/msup/msup/sandbox"
)

// rankPeriod is the least time between two changes of one runner's priority. A window of [slo] has a second or more, so that no supervisor that
// keeps promises waits for it; one that is taken over cannot make the helper write control files without end.
const rankPeriod = 250 * time.Millisecond

// rank is whether a runner goes behind its neighbours (LN-7).
type rank struct {
	mu      sync.Mutex
	lowered bool
	tried   time.Time // the last change
}

// lower changes the runner's priority. What it is already is no change; one that comes too soon waits for its time.
func (h *held) lower(ctx context.Context, lowered bool) error {
	able, ok := h.Runner.(sandbox.Prioritised)
	if !ok {
		return fmt.Errorf("lower %s: its sandbox has no priorities", h.address)
	}
	r := &h.rank
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.lowered == lowered {
		return nil
	}
	select {
	case <-time.After(time.Until(r.tried.Add(rankPeriod))):
	case <-h.Done():
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
	r.tried = time.Now()
	if err := able.SetLowered(lowered); err != nil {
		select {
		case <-h.Done():
			return nil // its group went with it
		default:
			return err
		}
	}
	r.lowered = lowered
	return nil
}
