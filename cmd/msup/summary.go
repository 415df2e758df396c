package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/supervisor"
	"github.com/msup/msup/supervisor/boundary/feed"
	"github.com/msup/msup/supervisor/core"
)

// runSummary is what a run ends with.
type runSummary struct {
	RunID        ipc.RunID         `json:"run_id"`
	Feed         string            `json:"feed"`
	Events       uint64            `json:"events"`
	Skipped      map[string]uint64 `json:"skipped,omitempty"`
	Unsubscribed uint64            `json:"unsubscribed"`
	Seconds      float64           `json:"seconds"`
	Instances    []instanceSummary `json:"instances"`
	Refused      []string          `json:"refused,omitempty"` // packages whose strategies did not run
}

// instanceSummary is what one instance did.
type instanceSummary struct {
	Address   string                       `json:"instance"`
	Isolation string                       `json:"isolation"` // level of the runner's walls: L0, L1, L2, L3
	Sandbox   string                       `json:"sandbox"`
	Health    core.Health                  `json:"health_state"`
	Reason    ipc.ReasonCode               `json:"reason_code,omitempty"`
	Steps     ipc.Step                     `json:"steps"`
	Market    marketSummary                `json:"market_events"`
	Outcomes  map[string]uint64            `json:"outcomes"`
	Intents   map[string]map[string]uint64 `json:"intents"`
	Offered   map[string]uint64            `json:"offered"`
	Fills     uint64                       `json:"fills"`
	Positions map[string]string            `json:"positions"`
	Open      int                          `json:"open_intents"`
	LatencyUS map[string]float64           `json:"latency_us"`
	Restarts  map[string]uint64            `json:"restarts"`
	Reasons   map[string]uint64            `json:"reasons"`
	Head      string                       `json:"log_head,omitempty"`
}

// marketSummary accounts for every market event of an instance: received = delivered + conflated + dropped.
type marketSummary struct {
	Received  uint64 `json:"received"`
	Delivered uint64 `json:"delivered"`
	Conflated uint64 `json:"conflated"`
	Dropped   uint64 `json:"dropped"`
	Resumed   uint64 `json:"resumed"` // not counted above: an earlier run had them
}

func (s *runSummary) halted() int {
	n := 0
	for _, i := range s.Instances {
		if i.Health == core.Halted {
			n++
		}
	}
	return n
}

// summary is made after everything has stopped: the cores belong to nobody any more.
func (r *runner) summary(events uint64, took time.Duration, info feed.Info) *runSummary {
	s := &runSummary{RunID: r.wiring.runID, Feed: info.Path, Events: events, Skipped: info.Skipped, Seconds: took.Seconds(),
		Unsubscribed: r.supervisor.Unsubscribed()}
	for _, refused := range r.deployment.Refused {
		s.Refused = append(s.Refused, refused.Ref)
	}
	for _, m := range r.supervisor.Members {
		p := m.Instance
		i := instanceSummary{Address: p.Address().String(), Outcomes: map[string]uint64{}, Intents: map[string]map[string]uint64{},
			Offered: map[string]uint64{}, Positions: map[string]string{}, Restarts: map[string]uint64{}, Reasons: map[string]uint64{}}
		placed := r.wiring.levels[p.Address()]
		i.Isolation, i.Sandbox = placed.level.String(), placed.box
		i.Health, i.Reason = haltedReasons(m)
		if state := p.State(); state != nil {
			i.Steps, i.Open = state.StepNo, state.Book().OpenCount()
			for _, row := range state.Book().Positions() {
				i.Positions[string(row.Instrument)] = row.Quantity.String()
			}
		}
		counts := p.Counts()
		resumed := m.Resumed()
		i.Market = marketSummary{Received: counts.Put, Resumed: resumed, Delivered: counts.Taken, Conflated: counts.Conflated, Dropped: counts.Dropped + uint64(counts.Waiting)}
		r.tally(p.Address(), &i)
		s.Instances = append(s.Instances, i)
	}
	return s
}

func (r *runner) tally(a ipc.Address, i *instanceSummary) {
	r.wiring.stats.Read(a, func(t *supervisor.Tally) {
		for o, n := range t.Outcomes {
			i.Outcomes[o.String()] = n
		}
		for kind, byVerdict := range t.Intents {
			verdicts := map[string]uint64{}
			for v, n := range byVerdict {
				verdicts[v.String()] = n
			}
			i.Intents[kind.String()] = verdicts
		}
		for kind, n := range t.Offered {
			i.Offered[kind.String()] = n
		}
		for reason, n := range t.Restarts {
			i.Restarts[string(reason)] = n
		}
		for reason, n := range t.Reasons {
			i.Reasons[string(reason)] = n
		}
		i.Fills = t.Fills
		i.LatencyUS = map[string]float64{}
		for name, q := range map[string]float64{"p50": 50, "p95": 95, "p99": 99} {
			i.LatencyUS[name] = float64(t.Latency.ValueAtQuantile(q)) / 1e3
		}
		i.LatencyUS["max"] = float64(t.Latency.Max()) / 1e3
	})
}

func (a *app) printSummary(s *runSummary) error {
	if a.json {
		return a.printJSON(s)
	}
	w := a.stdout
	fmt.Fprintf(w, "%s: %d events in %.1f s (%.0f events/s)\n", s.Feed, s.Events, s.Seconds, float64(s.Events)/max(s.Seconds, 1e-9))
	if s.Unsubscribed > 0 {
		fmt.Fprintf(w, "  %d events reached nobody: their kind or instrument is not in any strategy's capabilities, or the instrument is not in instruments.toml\n", s.Unsubscribed)
	}
	for _, i := range s.Instances {
		health := string(i.Health)
		if i.Reason != "" {
			health += " (" + string(i.Reason) + ")"
		}
		fmt.Fprintf(w, "\n%s  %s, in %s (%s)\n", i.Address, health, i.Sandbox, i.Isolation)
		fmt.Fprintf(w, "  events     %d received = %d delivered + %d conflated + %d dropped; %d steps\n", i.Market.Received, i.Market.Delivered,
			i.Market.Conflated, i.Market.Dropped, i.Steps)
		if i.Market.Resumed > 0 {
			fmt.Fprintf(w, "  resumed    after %d events that an earlier run had delivered\n", i.Market.Resumed)
		}
		fmt.Fprintf(w, "  answers    %s\n", pairs(i.Outcomes))
		fmt.Fprintf(w, "  latency    p50 %.0f µs, p95 %.0f µs, p99 %.0f µs, max %.0f µs\n", i.LatencyUS["p50"], i.LatencyUS["p95"], i.LatencyUS["p99"], i.LatencyUS["max"])
		for _, kind := range slices.Sorted(maps.Keys(i.Intents)) {
			fmt.Fprintf(w, "  %-10s %s\n", kind, pairs(i.Intents[kind]))
		}
		fmt.Fprintf(w, "  fills      %d; position %s; %d intents open\n", i.Fills, positions(i.Positions), i.Open)
		if len(i.Restarts) > 0 {
			fmt.Fprintf(w, "  restarts   %s\n", pairs(i.Restarts))
		}
		if len(i.Reasons) > 0 {
			fmt.Fprintf(w, "  reasons    %s\n", pairs(i.Reasons))
		}
	}
	return nil
}

func pairs(m map[string]uint64) string {
	if len(m) == 0 {
		return "none"
	}
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		parts = append(parts, fmt.Sprintf("%s %d", k, m[k]))
	}
	return strings.Join(parts, ", ")
}

func positions(m map[string]string) string {
	if len(m) == 0 {
		return "flat"
	}
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		parts = append(parts, k+" "+m[k])
	}
	return strings.Join(parts, ", ")
}
