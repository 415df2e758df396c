package descriptor

import (
	"time"
)

// values returns the ceilings by the names of their rows, in the rows' units.
func (r Resources) values() map[string]any {
	return map[string]any{
		"cpu_cores":              r.CPUCores,
		"memory_mb":              r.MemoryMB,
		"threads":                r.Threads,
		"open_files":             r.OpenFiles,
		"tmp_mb":                 r.TmpMB,
		"deadline_soft_ms":       int64(r.DeadlineSoft / time.Millisecond),
		"deadline_hard_ms":       int64(r.DeadlineHard / time.Millisecond),
		"deadline_init_ms":       int64(r.DeadlineInit / time.Millisecond),
		"deadline_checkpoint_ms": int64(r.DeadlineCheckpoint / time.Millisecond),
		"deadline_stop_ms":       int64(r.DeadlineStop / time.Millisecond),
		"queue_events":           r.QueueEvents,
		"answer_bytes":           r.AnswerBytes,
		"state_bytes":            r.StateBytes,
		"timers":                 r.Timers,
		"intents_per_event":      r.IntentsPerEvent,
		"intents_per_second":     r.IntentsPerSecond,
		"intents_per_run":        r.IntentsPerRun,
		"cancels_per_second":     r.CancelsPerSecond,
		"log_lines_per_second":   r.LogLinesPerSecond,
		"log_bytes_per_run":      r.LogBytesPerRun,
		"restarts_per_hour":      r.RestartsPerHour,
	}
}

// with returns the ceilings with those that a section gives in their place.
func (r Resources) with(s section) Resources {
	merged := section{values: r.values()}
	for name, given := range s.given {
		if given && s.values[name] != nil {
			merged.values[name] = s.values[name]
		}
	}
	return resourcesOf(merged)
}

// Excess is one ceiling that is higher than allowed.
type Excess struct {
	Name           string // as in [resources]
	Asked, Allowed any    // int64 or float64
}

// Exceeds lists every ceiling that is above most's, in the order of the file format.
func (r Resources) Exceeds(most Resources) []Excess {
	asked, allowed := r.values(), most.values()
	var out []Excess
	for _, p := range resourceRows() {
		if compare(asked[p.name], allowed[p.name]) > 0 {
			out = append(out, Excess{Name: p.name, Asked: asked[p.name], Allowed: allowed[p.name]})
		}
	}
	return out
}
