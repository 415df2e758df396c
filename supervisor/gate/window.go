package gate

import "github.com/msup/msup/ipc"

// second is the length of the window that per-second ceilings look at.
const second ipc.Nanos = 1e9

// Window counts events within the last second of core_ts, exactly: at most limit within any second, not within calendar seconds.
type Window struct {
	Times []ipc.Nanos // core_ts of the last events within a second, oldest first
}

// Take counts one more event, or reports false when the ceiling is reached.
func (w *Window) Take(now ipc.Nanos, limit int) bool {
	keep := 0
	for keep < len(w.Times) && w.Times[keep] <= now-second {
		keep++
	}
	w.Times = append(w.Times[:0], w.Times[keep:]...)
	if len(w.Times) >= limit {
		return false
	}
	w.Times = append(w.Times, now)
	return true
}
