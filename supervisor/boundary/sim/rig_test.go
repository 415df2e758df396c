package sim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/supervisor/boundary/execution"
)

// book of everything that a handler was told.
type notes struct {
	mu       sync.Mutex
	messages []ipc.Message
	lost     error
}

func (n *notes) add(m ipc.Message) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.messages = append(n.messages, m)
}
func (n *notes) Event(m *ipc.SourceEvent)   { n.add(m) }
func (n *notes) Status(m *ipc.StatusReport) { n.add(m) }
func (n *notes) Refused(m *ipc.Refused)     { n.add(m) }
func (n *notes) Lost(err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lost = err
}

// take returns what was noted so far and forgets it.
func (n *notes) take() []ipc.Message {
	n.mu.Lock()
	defer n.mu.Unlock()
	m := n.messages
	n.messages = nil
	return m
}

// text writes messages in one line each, for comparisons that a reader can follow.
func text(messages []ipc.Message) []string {
	var out []string
	str := func(d *ipc.Decimal) string {
		if d == nil {
			return "-"
		}
		return d.String()
	}
	for _, m := range messages {
		switch m := m.(type) {
		case *ipc.StatusReport:
			out = append(out, fmt.Sprintf("status %s %s %s", m.Key[:4], m.Status, m.Reason))
		case *ipc.Refused:
			out = append(out, fmt.Sprintf("refused %s epoch %d", m.Reason, m.Epoch))
		case *ipc.SourceEvent:
			switch e := m.Event.(type) {
			case *ipc.Execution:
				kind := [...]string{"?", "accepted", "rejected", "filled", "canceled", "amended", "unknown"}[e.Report]
				final := ""
				if e.Final {
					final = " final"
				}
				out = append(out, fmt.Sprintf("%d %s %s price %s quantity %s remaining %s%s %s", m.Cursor.Seq, e.Key[:4], kind, str(e.Price), str(e.Quantity), str(e.Remaining), final, e.Reason))
			case *ipc.ExecutionSnapshot:
				line := fmt.Sprintf("%d snapshot", m.Cursor.Seq)
				for _, p := range e.Positions {
					line += fmt.Sprintf(" %s=%s", p.Instrument, p.Quantity)
				}
				for _, o := range e.Open {
					line += fmt.Sprintf(" open %s %s", o.Key[:4], o.Remaining)
				}
				out = append(out, line)
			}
		}
	}
	return out
}

var (
	address = ipc.Address{Bot: "b", Strategy: "s", Instance: "i"}
	other   = ipc.Address{Bot: "b", Strategy: "s", Instance: "other"}
	quiet   = slog.New(slog.NewTextHandler(io.Discard, nil))
)

// rig is a served sim and one client with one announced instance.
type rig struct {
	t      *testing.T
	dir    string
	socket string
	stop   context.CancelFunc
	served chan error
	client *execution.Client
	notes  *notes
	epoch  ipc.Epoch
	step   ipc.Step
	feed   uint64
	bg     context.Context
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, dir: t.TempDir(), epoch: 1}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	r.bg = ctx
	r.socket = filepath.Join(r.dir, "i.sock")
	r.serve(Options{})
	r.connect()
	t.Cleanup(r.end)
	return r
}

func (r *rig) serve(o Options) {
	r.t.Helper()
	ln, err := Listen(r.socket)
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r.stop, r.served = cancel, make(chan error, 1)
	o.Dir, o.Logger = filepath.Join(r.dir, "state"), quiet
	served := r.served
	go func() { served <- Serve(ctx, ln, o) }()
}

func (r *rig) dial() *execution.Client {
	r.t.Helper()
	c, err := execution.Dial(r.bg, r.socket, execution.Options{Logger: quiet})
	if err != nil {
		r.t.Fatal(err)
	}
	return c
}

func (r *rig) announcement() execution.Announcement {
	return execution.Announcement{Address: address, Lineage: ipc.Lineage{7}, Epoch: r.epoch, Owner: ipc.Nonce{1}}
}

func (r *rig) connect() *ipc.Welcome {
	r.t.Helper()
	r.client, r.notes = r.dial(), &notes{}
	w, err := r.client.Hello(r.bg, r.announcement(), r.notes)
	if err != nil {
		r.t.Fatal(err)
	}
	return w
}

func (r *rig) halt() {
	r.t.Helper()
	if err := r.client.Close(); err != nil {
		r.t.Fatal(err)
	}
	r.stop()
	if err := <-r.served; err != nil {
		r.t.Fatal(err)
	}
	r.stop = nil
}

func (r *rig) end() {
	if r.stop != nil {
		r.halt()
	}
}

// restart stops the sim in order and starts it on the same state.
func (r *rig) restart() *ipc.Welcome {
	r.t.Helper()
	r.halt()
	r.serve(Options{})
	return r.connect()
}

func (r *rig) publish(ev ipc.MarketEvent) {
	r.t.Helper()
	r.feed++
	h := ev.Header()
	h.Source, h.Seq = "f", r.feed
	if h.Instrument == "" {
		h.Instrument = "X"
	}
	if h.RecvTS == 0 {
		h.RecvTS = ipc.Nanos(r.feed) * 1e9
	}
	if err := r.client.Publish(r.bg, ev); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) quote(bid, ask string) {
	r.t.Helper()
	r.publish(&ipc.Quote{Bid: dec(bid), Ask: dec(ask)})
}

func dec(s string) *ipc.Decimal {
	if s == "" {
		return nil
	}
	d := ipc.MustDecimal(s)
	return &d
}

// key makes a key that starts with name, so that tests read well.
func key(name string) ipc.Key {
	return ipc.Key((fmt.Sprintf("%x", name) + "00000000000000000000000000000000")[:32])
}

func intent(a ipc.Address, name string, body ipc.IntentBody) *ipc.Intent {
	one := ipc.MustDecimal("1")
	return &ipc.Intent{Meta: ipc.IntentMeta{Bot: a.Bot, Strategy: a.Strategy, StrategyVersion: "1.0.0", Instance: a.Instance, RunID: "run", TraceID: ipc.TraceID("t-" + name),
		Key: key(name), RiskContext: &ipc.RiskContext{MaxSlippage: one, MaxDelayNS: 1, HoldingTimeNS: 1, Budget: one}}, Body: body}
}

func (r *rig) makeOffer(a ipc.Address, name string, body ipc.IntentBody) *ipc.Offer {
	r.t.Helper()
	r.step++
	i := intent(a, name, body)
	sum, err := ipc.IntentDigest(i)
	if err != nil {
		r.t.Fatal(err)
	}
	return &ipc.Offer{Address: a, Epoch: r.epoch, Step: r.step, Digest: sum, ValidUntil: 1 << 62, Intent: i}
}

// offer sends an intent and returns what came back for it, in words.
func (r *rig) offer(name string, body ipc.IntentBody) []string {
	r.t.Helper()
	return r.send(r.makeOffer(address, name, body))
}

func (r *rig) send(o *ipc.Offer) []string {
	r.t.Helper()
	if _, err := r.client.Offer(o); err != nil {
		r.t.Fatal(err)
	}
	return r.sync()
}

// sync returns everything that came until now.
func (r *rig) sync() []string {
	r.t.Helper()
	if err := r.client.Sync(r.bg); err != nil {
		r.t.Fatal(err)
	}
	return text(r.notes.take())
}

func (r *rig) want(got []string, want ...string) {
	r.t.Helper()
	if len(got) == 0 && len(want) == 0 {
		return
	}
	for i := range want {
		want[i] = expand(want[i])
	}
	for i := range got {
		got[i] = trim(got[i])
	}
	if !reflect.DeepEqual(got, want) {
		r.t.Errorf("got:\n%s\nwant:\n%s", lines(got), lines(want))
	}
}

func (r *rig) snapshot() []string {
	r.t.Helper()
	if _, err := r.client.RequestSnapshot(address); err != nil {
		r.t.Fatal(err)
	}
	return r.sync()
}

func newOrder(side ipc.Side, kind ipc.OrderType, quantity, limit string) *ipc.OrderIntent {
	return &ipc.OrderIntent{Instrument: "X", Side: side, Type: kind, Quantity: ipc.MustDecimal(quantity), LimitPrice: dec(limit), TimeInForce: ipc.TIFGoodTillCancel}
}

const simChild = "MSUP_TEST_SIM"

// TestMain serves a sim when the test binary is started as one.
func TestMain(m *testing.M) {
	if dir := os.Getenv(simChild); dir != "" {
		os.Exit(child(dir))
	}
	os.Exit(m.Run())
}

func child(dir string) int {
	ln, err := Listen(filepath.Join(dir, "i.sock"))
	if err == nil {
		o := Options{Dir: filepath.Join(dir, "state"), Logger: quiet, ExitWhenIdle: os.Getenv(simChild+"_IDLE") != ""}
		o.committed = killer()
		err = Serve(context.Background(), ln, o)
	}
	if err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}
