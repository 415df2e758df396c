package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"os/user"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/supervisor"
	"github.com/msup/msup/supervisor/core"
	"github.com/msup/msup/supervisor/gate"
)

// seen is an instance that takes every command down.
type seen struct {
	address ipc.Address
	mu      sync.Mutex
	got     []core.Command
	fail    error
	hang    bool
	shows   supervisor.Inspection
}

func newSeen(name string) *seen {
	a := ipc.Address{Bot: "b", Strategy: "s", Instance: ipc.InstanceID(name)}
	return &seen{address: a, shows: supervisor.Inspection{Address: a, Health: core.Healthy}}
}

func (i *seen) Address() ipc.Address { return i.address }

func (i *seen) Command(ctx context.Context, c core.Command) (*supervisor.Change, error) {
	if i.hang {
		<-ctx.Done()
		return nil, fmt.Errorf("waiting: %w", ctx.Err())
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.fail != nil {
		return nil, i.fail
	}
	i.got = append(i.got, c)
	before := i.shows
	if c.Op == core.OpHalt {
		i.shows.Health, i.shows.Reason = core.Halted, c.Reason
	}
	after := i.shows
	i.shows.Obligation = nil // I has answered by now
	return &supervisor.Change{Before: &before, After: &after}, nil
}

func (i *seen) Look(ctx context.Context) (*supervisor.Inspection, error) {
	if i.hang {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	shown := i.shows
	return &shown, nil
}

// serve serves instances in a directory whose path is longer than any socket's may be.
func serve(t *testing.T, log *bytes.Buffer, instances ...Instance) (*Server, *Client) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), strings.Repeat("deep/", 40))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	s, err := Serve(dir, instances, slog.New(slog.NewTextHandler(&guardedBuffer{b: log}, nil)))
	if err != nil {
		t.Fatal(err)
	}
	s.patience = 200 * time.Millisecond
	c, err := Dial(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if _, err := os.Lstat(filepath.Join(dir, SocketName)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the socket is still there: %v", err)
		}
		if _, err := Dial(context.Background(), dir); !errors.Is(err, ErrNobody) { // the test's own context is over
			t.Errorf("after the end somebody listens: %v", err)
		}
	})
	return s, c
}

// guardedBuffer is written by several goroutines.
type guardedBuffer struct {
	mu sync.Mutex
	b  *bytes.Buffer
}

func (g *guardedBuffer) Write(p []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.b.Write(p)
}

func me(t *testing.T) string {
	t.Helper()
	u, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	return u.Username
}

// Every command reaches exactly the instances that are named, as the input that the core knows, with who gave it and whom the kernel saw.
//
// Proves: CB-2, CB-4, DOD-7, RS-1
func TestCommandsReachTheirInstances(t *testing.T) {
	var log bytes.Buffer
	one, two := newSeen("one"), newSeen("two")
	one.shows.Obligation = &gate.Obligation{No: 3, Kind: gate.CancelAll}
	_, c := serve(t, &log, one, two)
	half := gate.Unrestricted()
	half.SizeFactor = ipc.Decimal{M: 5, E: -1}
	for op, want := range map[string]core.Command{
		"halt":          {Op: core.OpHalt, Reason: ipc.ReasonOperatorHalt, Restriction: gate.Unrestricted()},
		"resume":        {Op: core.OpResume, Reason: ipc.ReasonOperatorResume, Restriction: gate.Unrestricted()},
		"mode":          {Op: core.OpMode, Reason: ipc.ReasonOperatorMode, Restriction: half},
		"cancel_all":    {Op: core.OpCancelAll, Reason: ipc.ReasonOperatorCancelAll, Restriction: gate.Unrestricted()},
		"hedge_to_flat": {Op: core.OpHedgeToFlat, Reason: ipc.ReasonOperatorHedgeToFlat, Restriction: gate.Unrestricted()},
		"abandon":       {Op: core.OpAbandon, Reason: ipc.ReasonOperatorAbandon, Restriction: gate.Unrestricted()},
	} {
		one.got, one.shows.Obligation = nil, &gate.Obligation{No: 3, Kind: gate.CancelAll}
		r := Request{Op: op, Instances: []string{"b/s/one"}, Who: "alice"}
		if op == "mode" {
			r.Restriction = &half
		}
		results, err := c.Command(t.Context(), r)
		if err != nil || len(results) != 1 || !results[0].Durable || results[0].Error != "" {
			t.Fatalf("%s: %+v, %v", op, results, err)
		}
		want.Who = "alice (" + me(t) + ")"
		if len(one.got) != 1 || !reflect.DeepEqual(one.got[0], want) {
			t.Errorf("%s became %+v, want %+v", op, one.got, want)
		}
		if results[0].Obligation == nil || results[0].Obligation.No != 3 {
			t.Errorf("%s does not say which obligation is under way: %+v", op, results[0])
		}
	}
	if len(two.got) != 0 {
		t.Errorf("another instance got %+v", two.got)
	}
	if !strings.Contains(log.String(), `who="alice (`) || !strings.Contains(log.String(), "op=hedge_to_flat") {
		t.Errorf("the log does not say who commanded what:\n%s", log.String())
	}
	results, err := c.Command(t.Context(), Request{Op: "halt", Instances: []string{"b/s/two", "b/s/one"}, Who: me(t)})
	if err != nil || len(results) != 2 || results[0].Instance != "b/s/two" || results[0].Was != core.Healthy || results[0].Health != core.Halted ||
		results[0].Reason != ipc.ReasonOperatorHalt || two.got[0].Who != me(t) {
		t.Errorf("two at once: %+v, %v", results, err)
	}
}

// What cannot be carried out says why, and does nothing, or nothing to the others.
//
// Proves: BP-3, SB-8
func TestCommandsThatCannotBe(t *testing.T) {
	var log bytes.Buffer
	well, full, hung := newSeen("well"), newSeen("full"), newSeen("hung")
	full.fail, hung.hang = errors.New("no space"), true
	_, c := serve(t, &log, well, full, hung)
	halfMode := gate.Unrestricted()
	double := gate.Unrestricted()
	double.SizeFactor = ipc.Decimal{M: 2}
	name := []string{"b/s/well"}
	for why, r := range map[string]Request{
		`"explode" is no command; write one of abandon, cancel_all, halt`: {Op: "explode", Instances: name, Who: "a"},
		"name 1 to 4096, as BOT/STRATEGY/INSTANCE":                        {Op: "halt", Who: "a"},
		"write who gives the command":                                     {Op: "halt", Instances: name},
		"without control characters":                                      {Op: "halt", Instances: name, Who: "a\nb"},
		"in 1 to 128 bytes":                                               {Op: "halt", Instances: name, Who: strings.Repeat("a", 129)},
		"it belongs to the command mode":                                  {Op: "halt", Instances: name, Who: "a", Restriction: &halfMode},
		"restriction: it belongs":                                         {Op: "mode", Instances: name, Who: "a"},
		"a number from 0 to 1":                                            {Op: "mode", Instances: name, Who: "a", Restriction: &double},
		`no instance "b/s/x" runs here; there are [b/s/well`:              {Op: "halt", Instances: []string{"b/s/well", "b/s/x"}, Who: "a"},
		"the request: http: request body too large":                       {Op: "halt", Instances: []string{strings.Repeat("a", mostBody)}, Who: "a"},
	} {
		var refused *RefusedError
		if _, err := c.Command(t.Context(), r); !errors.As(err, &refused) || !strings.Contains(err.Error(), why) {
			t.Errorf("want %q, got %v", why, err)
		}
	}
	if len(well.got) != 0 {
		t.Errorf("an instance got %+v", well.got)
	}
	results, err := c.Command(t.Context(), Request{Op: "halt", Instances: []string{"b/s/hung", "b/s/full", "b/s/well"}, Who: "a"})
	if err != nil || len(results) != 3 {
		t.Fatalf("%+v, %v", results, err)
	}
	for n, want := range []string{"not durable after", "no space", ""} {
		if r := results[n]; r.Durable != (want == "") || !strings.Contains(r.Error, want) {
			t.Errorf("%s: %+v, want %q", r.Instance, r, want)
		}
	}
	if results, err = c.Command(t.Context(), Request{Op: "abandon", Instances: name, Who: "a"}); err != nil || results[0].Durable || !strings.Contains(results[0].Error, "no obligation is under way") {
		t.Errorf("abandoning nothing: %+v, %v", results, err)
	}
	shown, err := c.Instances(t.Context())
	if err != nil || len(shown) != 3 || shown[0].Inspection == nil || shown[0].Inspection.Address != well.address || shown[2].Error == "" {
		t.Errorf("shown: %+v, %v", shown, err)
	}
	if shown, err = c.Instances(t.Context(), "b/s/full"); err != nil || len(shown) != 1 || shown[0].Instance != "b/s/full" {
		t.Errorf("one shown: %+v, %v", shown, err)
	}
}

// What an instance shows comes through as it is.
//
// Proves: OB-8, OB-9
func TestAnInspectionComesThrough(t *testing.T) {
	i := newSeen("one")
	i.shows = supervisor.Inspection{Address: i.address, Lineage: "00", Epoch: 3, RunID: "r", Health: core.Degraded, Reason: ipc.ReasonOperatorMode, Step: 9, InputNo: 40,
		Timers: []core.Timer{{ID: "t", DueTS: 7}}, Held: []gate.Held{{ID: "operator", Origin: gate.OriginOperator, Restriction: gate.NoTrade(), Reason: ipc.ReasonOperatorMode, Release: gate.ReleaseManual}},
		Obligation: &gate.Obligation{No: 1, Kind: gate.HedgeToFlat}, Recovering: &core.Recovery{Keys: []ipc.Key{"k"}},
		Positions: []ipc.PositionRow{{Instrument: "X", Quantity: ipc.Decimal{M: 25, E: -1}}}, Open: []supervisor.InspectedIntent{{Key: "k", Status: "offered", Remaining: ipc.Decimal{M: 3}}},
		Cursors: []ipc.Cursor{{Source: "i", Epoch: 1, Seq: 2}}, Market: []core.MarketCursor{{Source: "h", Seq: 5}}, Orders: []core.Order{{Op: "mode", Who: "alice", InputNo: 4}}}
	_, c := serve(t, &bytes.Buffer{}, i)
	shown, err := c.Instances(t.Context())
	if err != nil || len(shown) != 1 || !reflect.DeepEqual(*shown[0].Inspection, i.shows) {
		t.Errorf("%v: it shows\n%+v, want\n%+v", err, shown[0].Inspection, i.shows)
	}
}

// The socket replaces one that was left behind, is open to its owner alone, and refuses what is no request of this version.
//
// Proves: OB-9, LS-1
func TestTheSocket(t *testing.T) {
	dir := t.TempDir()
	if _, err := Dial(t.Context(), dir); !errors.Is(err, ErrNobody) {
		t.Errorf("nobody ever listened: %v", err)
	}
	l, err := listen(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil { // as a killed supervisor leaves it
		t.Fatal(err)
	}
	if _, err := Dial(t.Context(), dir); !errors.Is(err, ErrNobody) {
		t.Errorf("a socket that was left behind: %v", err)
	}
	s, err := Serve(dir, []Instance{newSeen("one")}, slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Lstat(filepath.Join(dir, SocketName))
	if err != nil || info.Mode() != fs.ModeSocket|0o600 {
		t.Errorf("the socket is %v, %v", info.Mode(), err)
	}
	c, err := Dial(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []struct {
		method, path, body string
		want               int
	}{
		{http.MethodPost, "/v1/command", `{"op":"halt","instances":["b/s/one"],"who":"a","force":true}`, http.StatusBadRequest},
		{http.MethodPost, "/v1/command", `{"op":`, http.StatusBadRequest},
		{http.MethodGet, "/v1/command", ``, http.StatusMethodNotAllowed},
		{http.MethodPost, "/v2/command", `{}`, http.StatusNotFound},
		{http.MethodGet, "/v1/instances?instance=b/s/two", ``, http.StatusNotFound},
	} {
		var into json.RawMessage
		var refused *RefusedError
		if err := c.do(t.Context(), bad.method, bad.path, []byte(bad.body), &into); !errors.As(err, &refused) || refused.Status != bad.want {
			t.Errorf("%s %s %s: %v, want status %d", bad.method, bad.path, bad.body, err, bad.want)
		}
	}
	c.Close()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if _, err := Serve(filepath.Join(dir, "nowhere"), nil, slog.Default()); err == nil {
		t.Error("it serves in a directory that is not there")
	}
}
