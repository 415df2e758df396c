package service

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/sandbox"
	"github.com/msup/msup/sandbox/process"
	"github.com/msup/msup/supervisor/compute"
	"github.com/msup/msup/supervisor/descriptor"
)

func TestMain(m *testing.M) {
	process.Init(process.Program{Name: ProgramName, Load: Load}, process.Program{Name: liarName, Load: loadLiar})
	code := m.Run()
	if err := closeBox(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

var here = ipc.Address{Bot: "alpha", Strategy: "asker", Instance: "main"}

const (
	requestSchema = `{"type":"object","additionalProperties":false,"required":["mid"],
		"properties":{"mid":{"type":"number"},"side":{"enum":["buy","sell"]}}}`
	responseSchema = `{"type":"object","additionalProperties":false,"required":["score"],
		"properties":{"score":{"type":"number"},"label":{"enum":["up","down"]},"code":{"type":"string","maxLength":8,"pattern":"^[A-Z]+$"}}}`
	goodRequest = `{"mid": 101.5, "side": "buy"}`
)

// aService describes a service whose host is allowed on this machine.
func aService(url string) descriptor.InstanceService {
	s := descriptor.InstanceService{
		Service: descriptor.Service{Name: "fair_value", Kind: descriptor.ServiceModel, URL: url, Timeout: 20 * time.Second, MaxBytes: 4096, PerSecond: 1000},
		Request: []byte(requestSchema), Response: []byte(responseSchema),
	}
	s.Allowed = descriptor.AllowedService{Host: s.Host(), Reach: descriptor.ReachLoopback, PerSecond: 1000, Header: "Authorization"}
	return s
}

// box is one sandbox for all tests: starting one tries its walls.
var box = sync.OnceValues(func() (_ *process.Sandbox, err error) {
	if boxDir, err = os.MkdirTemp("", "svc"); err != nil {
		return nil, err
	}
	return process.New(process.Config{RuntimeDir: boxDir})
})

var boxDir string

// closeBox leaves nothing behind; a sandbox that no test asked for is not made for it.
func closeBox() error {
	if boxDir == "" {
		return nil
	}
	b, err := box()
	if err == nil {
		err = b.Close()
	}
	return errors.Join(err, os.RemoveAll(boxDir))
}

// awake starts proxies with a low-latency runner's weight: with that of the compute lane, other tests beside these would starve them.
type awake struct{ *process.Sandbox }

func (a awake) Start(ctx context.Context, spec sandbox.Spec) (sandbox.Runner, error) {
	spec.Lane = ipc.LaneLL
	return a.Sandbox.Start(ctx, spec)
}

func testBox(t testing.TB) awake {
	t.Helper()
	b, err := box()
	if err != nil {
		t.Fatal(err)
	}
	return awake{b}
}

// fixed resolves every name to the same addresses, and counts how often it is asked.
type fixed struct {
	addrs []netip.Addr
	err   error
	asked atomic.Int32
}

func (f *fixed) LookupNetIP(context.Context, string, string) ([]netip.Addr, error) {
	f.asked.Add(1)
	return f.addrs, f.err
}

func loopback() *fixed { return &fixed{addrs: []netip.Addr{netip.MustParseAddr("127.0.0.1")}} }

func opened(t testing.TB, s descriptor.InstanceService) *Executor {
	t.Helper()
	x, err := open(context.Background(), Config{Address: here, Service: s, Sandbox: testBox(t), Logger: slog.New(slog.DiscardHandler)}, loopback())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := x.Close(); err != nil {
			t.Errorf("closing: %v", err)
		}
	})
	return x
}

func submit(t testing.TB, x *Executor, payload string) compute.Result {
	t.Helper()
	return x.Submit(t.Context(), compute.Task{Address: here, Step: 1, Name: "fair_value", Payload: []byte(payload)})
}

// scripted is a service of raw bytes: it reads one request and does what the test says with the connection.
func scripted(t testing.TB, answer func(c net.Conn, request *http.Request)) (url string, asked *atomic.Int32) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return "http://127.0.0.1:" + port(l.Addr()) + "/v1/score", listen(t, l, answer)
}

func port(a net.Addr) string {
	_, p, _ := net.SplitHostPort(a.String())
	return p
}

func listen(t testing.TB, l net.Listener, answer func(c net.Conn, request *http.Request)) *atomic.Int32 {
	var asked atomic.Int32
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer c.Close()
				r, err := http.ReadRequest(newReader(c))
				if err != nil {
					return // a connection without a request is one that was given up
				}
				body, err := io.ReadAll(r.Body)
				if err != nil {
					return
				}
				r.Body = io.NopCloser(bytes.NewReader(body))
				asked.Add(1)
				answer(c, r)
			})
		}
	})
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		all.Wait()
	})
	return &asked
}

func respond(text string) func(net.Conn, *http.Request) {
	return func(c net.Conn, _ *http.Request) { _, _ = io.WriteString(c, text) } // the other side may have gone
}

func ok(body string) string {
	b, _ := json.Marshal(len(body))
	return "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: " + string(b) + "\r\n\r\n" + body
}

// untilClosed waits until the other side has hung up.
func untilClosed(c net.Conn) { _, _ = io.Copy(io.Discard, c) }

// liarName is a proxy that was taken over: it says whatever its first request tells it to.
const liarName = sandbox.ProgramPrefix + "liar"

func loadLiar([]string, []string) (func() int, error) {
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: sandbox.SocketPath, Net: "unix"})
	if err != nil {
		return nil, err
	}
	return func() int {
		var s setup
		var o order
		if readFrame(conn, &s) != nil || writeFrame(conn, reply{OK: true}) != nil || readFrame(conn, &o) != nil {
			return 1
		}
		if string(o.Payload) == "exit" {
			return 3
		}
		if _, err := conn.Write(o.Payload); err != nil {
			return 1
		}
		_, _ = io.Copy(io.Discard, conn)
		return 0
	}, nil
}

// liars starts liars in place of proxies.
type liars struct{ awake }

func (l liars) Start(ctx context.Context, spec sandbox.Spec) (sandbox.Runner, error) {
	spec.Argv = []string{liarName}
	return l.awake.Start(ctx, spec)
}

// Proves: EX-2, SB-3
func TestModelIsAskedThroughTheProxy(t *testing.T) {
	var got *http.Request
	var body []byte
	url, asked := scripted(t, func(c net.Conn, r *http.Request) {
		got = r
		body, _ = io.ReadAll(r.Body)
		respond(ok(`{"score" : 0.25, "label":"up" }`))(c, r)
	})
	s := aService(url)
	t.Setenv("FAIR_VALUE_KEY", "s3cret")
	s.Secret, s.Allowed.Prefix = descriptor.SecretRef{Env: "FAIR_VALUE_KEY"}, "Bearer "
	x := opened(t, s)
	for range 3 {
		if r := submit(t, x, goodRequest); r.Reason != "" || string(r.Payload) != `{"label":"up","score":0.25}` {
			t.Fatalf("%s %s %s", r.Reason, r.Detail, r.Payload)
		}
	}
	if asked.Load() != 3 || got.Method != http.MethodPost || got.URL.Path != "/v1/score" || string(body) != `{"mid":101.5,"side":"buy"}` ||
		got.Header.Get("Authorization") != "Bearer s3cret" || got.Header.Get("Content-Type") != "application/json" {
		t.Errorf("asked %d times: %s %s %s %q", asked.Load(), got.Method, got.URL, got.Header, body)
	}
}

// Proves: EX-2
func TestUnixSocketServiceIsAsked(t *testing.T) {
	path := filepath.Join(t.TempDir(), "model.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	var target string
	asked := listen(t, l, func(c net.Conn, r *http.Request) {
		target = r.URL.Path
		respond(ok(`{"score":1}`))(c, r)
	})
	s := aService("")
	s.Unix, s.Socket, s.Path = "model.sock", path, "/predict"
	x := opened(t, s)
	if r := submit(t, x, goodRequest); r.Reason != "" || string(r.Payload) != `{"score":1}` {
		t.Fatalf("%s %s", r.Reason, r.Detail)
	}
	if asked.Load() != 1 || target != "/predict" {
		t.Errorf("asked %d times at %s", asked.Load(), target)
	}
	link := filepath.Join(t.TempDir(), "link.sock")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	s.Socket = link
	var refused *Error
	if _, err := open(t.Context(), Config{Address: here, Service: s, Sandbox: testBox(t), Logger: slog.New(slog.DiscardHandler)}, loopback()); !errors.As(err, &refused) || refused.Reason != ipc.ReasonServiceNotAllowed {
		t.Errorf("a link: %v", err)
	}
}

// Proves: EX-2
func TestTLSIsVerifiedInsideTheWall(t *testing.T) {
	var asked atomic.Int32
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"score":2}`)
	}))
	srv.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	defer srv.Close()
	s := aService(strings.Replace(srv.URL, "127.0.0.1", "example.com", 1)) // the name in the test server's certificate
	s.Allowed.CA = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(s.Allowed.CA, certificatePEM(srv.Certificate()), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := submit(t, opened(t, s), goodRequest); r.Reason != "" || string(r.Payload) != `{"score":2}` {
		t.Fatalf("%s %s", r.Reason, r.Detail)
	}
	s.URL = strings.Replace(srv.URL, "127.0.0.1", "another.example", 1)
	if r := submit(t, opened(t, s), goodRequest); r.Reason != ipc.ReasonServiceUnreachable {
		t.Errorf("another name: %q %s", r.Reason, r.Detail)
	}
	s = aService(strings.Replace(srv.URL, "127.0.0.1", "example.com", 1)) // trusts the system's authorities
	x, err := open(t.Context(), Config{Address: here, Service: s, Sandbox: testBox(t), Logger: slog.New(slog.DiscardHandler)}, loopback())
	if err == nil {
		if r := submit(t, x, goodRequest); r.Reason != ipc.ReasonServiceUnreachable {
			t.Errorf("an unknown authority: %q %s", r.Reason, r.Detail)
		}
		err = x.Close()
	}
	if err != nil && !errors.As(err, new(*Error)) {
		t.Error(err)
	}
	if asked.Load() != 1 {
		t.Errorf("%d requests arrived, 1 was allowed to", asked.Load())
	}
}
