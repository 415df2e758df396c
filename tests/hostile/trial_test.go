package hostile

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/sandbox"
	"github.com/msup/msup/supervisor"
	"github.com/msup/msup/supervisor/core"
	"github.com/msup/msup/supervisor/gate"
	"github.com/msup/msup/supervisor/guard"
	"github.com/msup/msup/tests/hostile/heartbeat"
	"github.com/msup/msup/tests/memory"
)

// The bounds of verification.md: a runner that does not answer is dead this long after its deadline. Nothing that a strategy does delays the
// supervisor by more than heartbeat.MaxLateness.
const (
	hardDeadline = 500 * time.Millisecond
	killWithin   = 250 * time.Millisecond
	patience     = 40 * time.Second // for what takes ms on an idle machine
)

const btc = ipc.InstrumentID("BTCUSDT.BINANCE")

// result is what came of one attack at one level.
type result struct {
	Attack  string           `json:"attack"`
	Level   level            `json:"level"`
	Outcome string           `json:"outcome"`
	Reasons []ipc.ReasonCode `json:"reasons"`
	Refused int              `json:"refused"` // attempts that a wall stopped
	Late    time.Duration    `json:"late"`    // of the supervisor's heartbeat, at most
	// Wrong are escapes and wrong words; Slow are bounds that a busy machine breaks as well, and that count when they break again.
	Wrong []string `json:"wrong,omitempty"`
	Slow  []string `json:"slow,omitempty"`
}

func (r *result) wrong(format string, args ...any) {
	r.Wrong = append(r.Wrong, fmt.Sprintf(format, args...))
}

// witness hears what an instance does, and keeps what its runners were.
type witness struct {
	mu       sync.Mutex
	outcomes []core.Outcome // of events; on_init is not counted
	took     []time.Duration
	notes    []core.Note
	intents  [][]byte
	lines    []string
	runners  []sandbox.Runner
	seen     int // deliveries
	init     bool
}

var _ supervisor.Observer = (*witness)(nil)

func (w *witness) Delivered(_ ipc.Address, kind ipc.EventKind) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.init = kind == core.EventInit
	w.seen++
}

func (w *witness) Answered(_ ipc.Address, o core.Outcome, took ipc.Nanos) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.init && o == core.Applied {
		return
	}
	w.outcomes, w.took = append(w.outcomes, o), append(w.took, time.Duration(took))
}

func (w *witness) Judged(_ ipc.Address, row *core.IntentRow) {
	asked := *row.Asked
	asked.Meta.RunID, asked.Meta.TraceID = "", ""
	bytes, err := ipc.AppendIntent(nil, &asked)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.intents = append(w.intents, fmt.Appendf(bytes, " %d %s %v", row.Step, row.Verdict.Outcome, err))
}

func (w *witness) Noted(_ ipc.Address, n core.Note) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.notes = append(w.notes, n)
}

func (w *witness) Arrived(ipc.Address, ipc.Event)            {}
func (w *witness) Offered(ipc.Address, *gate.Tracked)        {}
func (w *witness) Telemetry(ipc.Address, ipc.Telemetry)      {}
func (w *witness) Restarted(_ ipc.Address, _ ipc.ReasonCode) {}
func (w *witness) Health(_ ipc.Address, _ core.Health, reason ipc.ReasonCode) {
	if reason == "" {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.notes = append(w.notes, core.Note{Reason: reason})
}

func (w *witness) line(l sandbox.LogLine) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lines = append(w.lines, l.Text)
}

func (w *witness) started(r sandbox.Runner) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.runners = append(w.runners, r)
}

// noted are the reason codes that the supervisor gave, each once.
func (w *witness) noted() []ipc.ReasonCode {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []ipc.ReasonCode
	for _, n := range w.notes {
		if !slices.Contains(out, n.Reason) {
			out = append(out, n.Reason)
		}
	}
	return out
}

// subject is one strategy under the real supervisor.Instance, in the sandbox of its level.
type subject struct {
	*supervisor.Instance
	witness
	seq  uint64
	stop context.CancelFunc
}

var subjects atomic.Int64

// start runs a strategy. A killed delivery halts it at once: these tests are about the walls, ladders have their own.
func (h *host) start(ctx context.Context, entry string, l sandbox.Limits, d supervisor.Deadlines) *subject {
	_, class, _ := strings.Cut(entry, ":")
	a := ipc.Address{Bot: "hostile", Strategy: ipc.StrategyID(strings.ToLower(class)), Instance: ipc.InstanceID(fmt.Sprintf("n%d", subjects.Add(1)))}
	if class == neighbourClass {
		a.Instance = "n0" // its decisions are compared, and keys hold the address
	}
	spec := ipc.Instrument{ID: btc, Tick: ipc.MustDecimal("0.01"), Lot: ipc.MustDecimal("0.001"), MinQuantity: ipc.MustDecimal("0.001"), MaxQuantity: ipc.MustDecimal("100")}
	once := guard.Rule{Window: ipc.Nanos(time.Hour), Warn: 1, Degrade: 1, Halt: 1}
	lenient := guard.Rule{Window: ipc.Nanos(time.Hour), Warn: 1, Degrade: 1 << 30, Halt: 1 << 30}
	// A strategy that asks for more at every notice of a refusal would go on without end: that ladder has to stand.
	patient := guard.Rule{Window: ipc.Nanos(time.Hour), Warn: 1, Degrade: 50, Halt: 200}
	params := &core.Params{Timeouts: lenient, Faults: lenient, Kills: once, Rejects: lenient, Refusals: patient, Cooldown: 1, MaxTimers: 8, TimerSteps: 100, Storms: lenient,
		TelemetryNames: []string{"declared"}, Policy: &gate.Policy{Address: a, StrategyVersion: "1.0.0", Allowed: []string{"*"},
			Instruments: map[ipc.InstrumentID]ipc.Instrument{btc: spec},
			Intents:     map[ipc.IntentKind]bool{ipc.IntentOrder: true, ipc.IntentCancel: true},
			OrderTypes:  map[ipc.OrderType]bool{ipc.OrderLimit: true},
			Ceilings:    gate.Ceilings{PerEvent: 4, PerSecond: 1000, CancelsPerSecond: 2, PerRun: 100_000, Open: 100_000, MaxDelay: ipc.Nanos(time.Hour)}}}
	s := &subject{}
	s.Instance = supervisor.NewInstance(supervisor.InstanceConfig{
		Address: a, StrategyVersion: "1.0.0", Config: ipc.Values{}, Instruments: []ipc.Instrument{spec},
		Risk: ipc.RiskContext{MaxSlippage: ipc.MustDecimal("0.001"), MaxDelayNS: ipc.Nanos(time.Minute), Budget: ipc.MustDecimal("1000000")},
		Lane: ipc.LaneLL, Mode: ipc.ModeLive, RunSeed: 1, RunID: "hostile", Owner: ipc.Nonce{1}, Version: "hostile", Params: params, Deadlines: d,
		StateVersion: 1, MaxAnswerBytes: ipc.MaxAnswerBytes, MaxStateBytes: 1 << 20, QueueEvents: 64,
		StartRunner: func(ctx context.Context) (sandbox.Runner, error) {
			r, err := h.box.Start(ctx, h.spec(a, entry, l, s.line))
			if err == nil {
				s.started(r)
			} else {
				s.line(sandbox.LogLine{Text: "start: " + err.Error()})
			}
			return r, err
		},
		Ledger: &memory.Ledger{Keeps: true, ID: ipc.Lineage{1}}, Clock: &supervisor.FeedClock{}, Observer: &s.witness, Logger: slog.New(slog.DiscardHandler),
	})
	ctx, s.stop = context.WithCancel(ctx)
	go s.Run(ctx) //nolint:errcheck // Err has it
	return s
}

// deliver gives the strategy one quote and waits until the supervisor has come to rest.
func (s *subject) deliver(ctx context.Context) error {
	s.seq++
	recv := ipc.Nanos(s.seq) * 1e9
	bid, ask := ipc.MustDecimal(fmt.Sprintf("%d.5", 60_000+s.seq%7)), ipc.MustDecimal(fmt.Sprintf("%d.6", 60_000+s.seq%7))
	size := ipc.MustDecimal("1")
	event, err := ipc.AppendEvent(nil, &ipc.Quote{Market: ipc.Market{Instrument: btc, Source: "test", RecvTS: recv, Seq: s.seq}, Bid: &bid, BidSize: &size, Ask: &ask, AskSize: &size})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := s.Publish(ctx, supervisor.Market{Recv: recv, Trace: "t", Event: event}); err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	return s.Settle(ctx)
}

// end stops the instance in order.
func (s *subject) end() error {
	defer s.stop()
	s.Stop()
	select {
	case <-s.Done():
		return s.Err()
	case <-time.After(patience):
		return errors.New("it does not stop")
	}
}

// calm are the deadlines of whoever is not under test.
func (h *host) calm() supervisor.Deadlines {
	return supervisor.Deadlines{Soft: patience, Hard: patience, Init: patience, Checkpoint: patience, Stop: time.Second}
}

// run makes one attack and says what came of it.
func (h *host) run(ctx context.Context, a *attack) *result {
	w := a.wantAt(h.level)
	r := &result{Attack: a.name(), Level: h.level}
	d := supervisor.Deadlines{Soft: patience / 2, Hard: patience / 2, Init: patience / 2, Checkpoint: patience / 2, Stop: time.Second}
	if w.hangs {
		d.Hard, d.Checkpoint = hardDeadline, hardDeadline
	}
	if a.hangsAtStart {
		d.Init = 3 * time.Second
	}
	l := limits
	if a.limits != nil {
		a.limits(&l)
	}
	beat := heartbeat.New()
	s := h.start(ctx, a.entry, l, d)
	err := s.deliver(ctx)
	for n := 1; err == nil && n < a.events; n++ {
		err = s.deliver(ctx)
	}
	err = errors.Join(err, s.end())
	var refused *supervisor.IncompatibleError
	if errors.As(err, &refused) { // what is not the admitted code ends the instance before anything else
		s.Noted(refused.Address, core.Note{Reason: refused.Reason})
	} else if err != nil {
		r.wrong("the supervisor did not go on: %v", err)
	}
	if r.Late = beat.Stop(); r.Late > heartbeat.MaxLateness {
		r.Slow = append(r.Slow, fmt.Sprintf("the supervisor's heartbeat was late by %s", r.Late))
	}
	s.judge(w, l, r)
	return r
}

// judge compares what came of an attack with what has to.
func (s *subject) judge(w want, l sandbox.Limits, r *result) {
	r.Reasons = s.noted()
	outcome := core.Outcome(0)
	for i, o := range s.outcomes {
		if o != core.Applied && outcome == 0 {
			outcome = o
			if w.hangs && s.took[i] > hardDeadline+killWithin {
				r.Slow = append(r.Slow, fmt.Sprintf("it lived for %s", s.took[i]))
			}
		}
	}
	switch {
	case outcome != 0:
		r.Outcome = outcome.String()
	case s.seen == 0 || len(s.outcomes) == 0:
		r.Outcome = neverBegan
	default:
		r.Outcome = core.Applied.String()
	}
	if r.Outcome != w.outcome {
		r.wrong("outcome %s, want %s", r.Outcome, w.outcome)
	}
	if len(w.reasons) > 0 && !slices.ContainsFunc(w.reasons, func(c ipc.ReasonCode) bool { return slices.Contains(r.Reasons, c) }) {
		r.wrong("reasons %v, want one of %v", r.Reasons, w.reasons)
	}
	for _, c := range w.also {
		if !slices.Contains(r.Reasons, c) {
			r.wrong("reasons %v, want %s as well", r.Reasons, c)
		}
	}
	for _, call := range w.calls {
		if !slices.ContainsFunc(s.notes, func(n core.Note) bool {
			return n.Reason == ipc.ReasonSandboxCall && strings.Contains(n.Detail, "calls of ") && strings.Contains(n.Detail, call)
		}) {
			r.wrong("%s is not named: %+v", call, s.notes)
		}
	}
	if w.tells {
		s.told(r)
	}
	s.checkRunners(l, r)
	for _, line := range s.lines {
		if strings.ContainsFunc(line, func(c rune) bool { return !unicode.IsPrint(c) }) {
			r.wrong("escape: a log line with control characters: %q", line)
			break
		}
	}
	if len(r.Wrong) > 0 {
		r.wrong("log: %.2000q; exits: %s", s.lines, s.exits())
	}
}

func (s *subject) exits() (text string) {
	for _, r := range s.runners {
		text += fmt.Sprintf("%+v ", r.Exit())
	}
	return text
}

// checkRunners wants every runner gone, within its bounds, and with words for its end.
func (s *subject) checkRunners(l sandbox.Limits, r *result) {
	l = l.OrDefault()
	for _, runner := range s.runners {
		e := runner.Exit()
		if e.Reason == "" || e.Detail == "" {
			r.wrong("exit %+v does not say why", e)
		}
		if _, known := ipc.Lookup(ipc.ReasonCode(e.Reason)); !known {
			r.wrong("exit reason %s is not in the catalogue", e.Reason)
		}
		if logs := runner.Logs(); logs.Bytes > l.LogBytesPerRun {
			r.wrong("its log holds %d bytes", logs.Bytes)
		}
		// Without a control group the peak is that of rusage, which begins with the supervisor's own size.
		if peak := e.Usage.MemoryPeakBytes; r.Level != levelNobody && peak > l.MemoryBytes+1<<20 { // the kernel overshoots by a page
			r.wrong("it had %d bytes of memory", peak)
		}
		if _, err := os.Stat(fmt.Sprintf("/proc/%d", runner.PID())); !errors.Is(err, os.ErrNotExist) {
			r.wrong("process %d is still there: %v", runner.PID(), err)
		}
	}
}

// told reads what the strategy said: every attempt has to name what stopped it.
func (s *subject) told(r *result) {
	for _, line := range s.lines {
		text, ok := strings.CutPrefix(line, "OUTCOME ")
		if !ok {
			continue
		}
		var attempts map[string]string
		if err := json.Unmarshal([]byte(text), &attempts); err != nil {
			r.wrong("outcome %q: %v", text, err)
			return
		}
		for name, stopped := range attempts {
			if stopped == "" {
				r.wrong("escape: nothing stopped %s", name)
			}
		}
		r.Refused += len(attempts)
	}
	if r.Refused == 0 {
		r.wrong("it told nothing")
	}
}
