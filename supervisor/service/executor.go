package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/sandbox"
	"github.com/msup/msup/supervisor/compute"
	"github.com/msup/msup/supervisor/descriptor"
)

// Config is what one service of one instance needs.
type Config struct {
	Address ipc.Address
	Service descriptor.InstanceService
	Sandbox sandbox.Sandbox // of level L1; it has the program ProgramName
	// Dial connects to a unix socket; nil = with the rights of this process.
	Dial   func(ctx context.Context, socket string) (net.Conn, error)
	Logger *slog.Logger
}

// Executor asks one service for one instance. Its tasks wait for each other.
type Executor struct {
	cfg    Config
	log    *slog.Logger
	setup  setup
	place  place
	bucket *bucket

	turn chan struct{} // holds the one right to use the proxy

	mu     sync.Mutex
	proxy  *proxy
	closed bool
}

var _ compute.Executor = (*Executor)(nil)

// Open pins the service's address and reads its secret and certificates. Nothing is connected to, and no process is started, before Warm or the
// first task. The error is an *Error.
func Open(ctx context.Context, cfg Config) (*Executor, error) {
	return open(ctx, cfg, net.DefaultResolver)
}

func open(ctx context.Context, cfg Config, r resolver) (*Executor, error) {
	s := &cfg.Service
	x := &Executor{cfg: cfg, bucket: newBucket(s.PerSecond, time.Now()), turn: make(chan struct{}, 1),
		log: cfg.Logger.With("strategy", cfg.Address.Strategy, "instance", cfg.Address.Instance, "service", s.Name)}
	x.turn <- struct{}{}
	var err error
	if x.place, err = pin(ctx, s, r); err != nil {
		return nil, err
	}
	x.setup = setup{Name: s.Name, URL: s.URL, Request: s.Request, Response: s.Response, LLM: s.Kind == descriptor.ServiceLLM, MaxBytes: s.MaxBytes}
	if s.Socket != "" {
		x.setup.URL = "http://service" + s.Path
	} else if strings.HasPrefix(s.URL, "https:") {
		host, _, err := net.SplitHostPort(s.Host())
		if err != nil {
			return nil, &Error{ipc.ReasonServiceNotAllowed, s.Name, err, "write its url with a host name"}
		}
		x.setup.Server = host
		if x.setup.CA, err = certificates(s.Allowed.CA); err != nil {
			return nil, &Error{ipc.ReasonServiceNotAllowed, s.Name, err, "name a PEM file as ca of its [[policy.service]], or install the system's certificates"}
		}
	}
	if s.Secret != (descriptor.SecretRef{}) {
		value, err := s.Secret.Value()
		if err == nil && strings.ContainsFunc(value, func(r rune) bool { return r < 0x20 || r == 0x7f }) {
			err = errors.New("the secret holds a control character, which no header may")
		}
		if err != nil {
			return nil, &Error{ipc.ReasonServiceNotAllowed, s.Name, err, "mend the reference in [secrets] of msup.toml"}
		}
		x.setup.Header, x.setup.Secret = s.Allowed.Header, s.Allowed.Prefix+value
	}
	return x, nil
}

// systemCertificates are where distributions keep what they trust; the first that exists counts.
var systemCertificates = []string{
	"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem", "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", "/etc/ssl/cert.pem",
}

// maxCertificates bounds what goes to the proxy in its setup.
const maxCertificates = 600 << 10

// certificates reads a CA file, or the system's.
func certificates(file string) ([]byte, error) {
	candidates := systemCertificates
	if file != "" {
		candidates = []string{file}
	}
	var missing error
	for _, name := range candidates {
		data, err := os.ReadFile(name)
		if err == nil && len(data) > maxCertificates {
			return nil, fmt.Errorf("%s has %d bytes; %d are allowed", name, len(data), maxCertificates)
		}
		if err == nil {
			return data, nil
		}
		missing = err
	}
	return nil, missing
}

// Warm starts the proxy, so that the first task need not wait for it. What fails is told with that task.
func (x *Executor) Warm(ctx context.Context) {
	if !x.take(ctx) {
		return
	}
	defer x.give()
	if _, err := x.ready(ctx); err != nil {
		x.log.Warn("starting the proxy of a service failed; the next request tries again", "reason", ipc.ReasonServiceProxyLost, "err", err)
	}
}

func (x *Executor) dial(ctx context.Context) (net.Conn, error) { return x.place.dial(ctx, x.cfg.Dial) }

// Spec is what the proxy is started with, the same at every start.
func (x *Executor) Spec() sandbox.Spec {
	return sandbox.Spec{
		Address: x.proxyAddress(), Lane: ipc.LaneCompute, Argv: []string{ProgramName}, NeedSocket: true,
		Limits: sandbox.Limits{MemoryBytes: proxyMemoryBytes, CPUQuota: 0.5, OpenFiles: 64, FileSizeBytes: 1 << 20, TmpBytes: 1 << 20, LogBytesPerRun: 64 << 10},
		Log:    func(l sandbox.LogLine) { x.log.Warn("the proxy of a service says", "text", l.Text) },
	}
}

// proxyAddress names the proxy's place apart from the instance's own. No instance can have such a name.
func (x *Executor) proxyAddress() ipc.Address {
	a, mark := x.cfg.Address, "#"+ipc.InstanceID(x.cfg.Service.Name)
	a.Instance = a.Instance[:min(len(a.Instance), ipc.MaxIDBytes-len(mark))] + mark
	return a
}

func (x *Executor) take(ctx context.Context) bool {
	select {
	case <-x.turn:
		return true
	case <-ctx.Done():
		return false
	}
}

func (x *Executor) give() { x.turn <- struct{}{} }

// proxyStart bounds the start of a proxy: 15 ms on an idle machine. On a busy one its lane has what the others leave (LN-3), and a start took 10 s
// with both cores taken by builds.
const proxyStart = 30 * time.Second

// Submit asks the service, once.
func (x *Executor) Submit(ctx context.Context, t compute.Task) compute.Result {
	if !x.bucket.take(time.Now()) {
		return compute.Unavailable(ipc.ReasonServiceRate, fmt.Sprintf("more than %v requests a second", x.cfg.Service.PerSecond))
	}
	waiting, cancel := context.WithTimeout(ctx, x.cfg.Service.Timeout)
	defer cancel()
	if !t.Deadline.IsZero() {
		waiting, cancel = context.WithDeadline(waiting, t.Deadline)
		defer cancel()
	}
	if !x.take(waiting) {
		return compute.Unavailable(ipc.ReasonServiceTimeout, "its turn did not come in time; it was not sent")
	}
	defer x.give()
	starting, cancel := context.WithTimeout(ctx, proxyStart)
	p, err := x.ready(starting)
	cancel()
	if err != nil {
		return compute.Unavailable(ipc.ReasonServiceProxyLost, "the proxy did not start: "+printable(err.Error()))
	}
	within := x.cfg.Service.Timeout
	if !t.Deadline.IsZero() {
		within = min(within, time.Until(t.Deadline))
	}
	payload, f := p.ask(ctx, x.dial, t.Payload, within)
	if f != nil {
		if f.reason == ipc.ReasonServiceProxyLost {
			x.drop(p)
		}
		return compute.Unavailable(f.reason, printable(f.err.Error()))
	}
	return compute.Done(payload)
}

// ready returns the proxy, a new one when there is none or it has ended.
func (x *Executor) ready(ctx context.Context) (*proxy, error) {
	x.mu.Lock()
	p, closed := x.proxy, x.closed
	x.mu.Unlock()
	if closed {
		return nil, errors.New("the service is closed")
	}
	if p != nil && p.alive() {
		return p, nil
	}
	if p != nil {
		x.drop(p)
	}
	p, err := startProxy(ctx, x.cfg.Sandbox, x.Spec(), &x.setup)
	if err != nil {
		return nil, err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.closed {
		return nil, errors.Join(errors.New("the service is closed"), p.end())
	}
	x.proxy = p
	return p, nil
}

// drop ends a proxy that is of no use any more.
func (x *Executor) drop(p *proxy) {
	x.mu.Lock()
	if x.proxy == p {
		x.proxy = nil
	}
	x.mu.Unlock()
	if err := p.end(); err != nil {
		x.log.Warn("ending the proxy of a service failed", "err", err)
	}
}

// Close ends the proxy. A task under way gets no answer.
func (x *Executor) Close() error {
	x.mu.Lock()
	x.closed = true
	p := x.proxy
	x.proxy = nil
	x.mu.Unlock()
	if p == nil {
		return nil
	}
	return p.end()
}
