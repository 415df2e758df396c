package container

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/msup/msup/sandbox"
)

// Namespace is containerd's namespace in which everything of msup lies: images, containers and tasks.
const Namespace = "msup"

// The oldest engine that knows all that the specs ask for.
const (
	minContainerdMajor = 1
	minContainerdMinor = 6
)

// DaemonConfig says which containerd to use, and where a private one keeps what. The zero value runs a private one.
type DaemonConfig struct {
	// Address is the socket of a containerd that somebody else runs, for example /run/containerd/containerd.sock. "" runs
	// a private one as a child process, or joins the one that another msup on the same folders runs.
	Address string
	// RuntimeDir holds the private daemon's socket, state and mounts, and is lost at a reboot. Every folder above it must
	// be passable for everybody (o+x), since runners have user ids of their own. "" means /run/msup/containerd.
	RuntimeDir string
	// StateDir holds the private daemon's images, configuration and log. "" means /var/lib/msup/containerd.
	StateDir string
	// Binary and RuncBinary are the programs; "" looks for containerd and runc in PATH.
	Binary, RuncBinary string
	// StartTimeout bounds the start of a private daemon; 0 means 15 s. On an idle machine it takes 60 to 90 ms.
	StartTimeout time.Duration
	// CallTimeout bounds one question to the daemon; 0 means 20 s. On an idle machine the slowest, the making of a task,
	// takes 60 ms. A private daemon that leaves Version unanswered for so long is killed and started again.
	CallTimeout time.Duration
	Logger      *slog.Logger // nil discards
}

func (c DaemonConfig) orDefault() DaemonConfig {
	if c.RuntimeDir == "" {
		c.RuntimeDir = "/run/msup/containerd"
	}
	if c.StateDir == "" {
		c.StateDir = "/var/lib/msup/containerd"
	}
	if c.Binary == "" {
		c.Binary = "containerd"
	}
	if c.RuncBinary == "" {
		c.RuncBinary = "runc"
	}
	if c.StartTimeout == 0 {
		c.StartTimeout = 15 * time.Second
	}
	if c.CallTimeout == 0 {
		c.CallTimeout = 20 * time.Second
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// Daemon is a connection to containerd: to a private one, which it keeps alive, or to the system's (SB-L3). Its methods
// may be called from any goroutine.
type Daemon struct {
	cfg     DaemonConfig
	address string
	client  *client.Client
	version string
	keeper  *keeper // nil when somebody else runs the daemon

	closing   chan struct{}
	closeOnce sync.Once
	closeErr  error
}

// OpenDaemon finds or starts containerd and asks for its version. It returns an *sandbox.Error when there is none, when
// it does not answer in time, or when it is too old.
func OpenDaemon(ctx context.Context, cfg DaemonConfig) (*Daemon, error) {
	d := &Daemon{cfg: cfg.orDefault(), closing: make(chan struct{})}
	var err error
	if d.address = d.cfg.Address; d.address == "" {
		d.address = filepath.Join(d.cfg.RuntimeDir, "s")
		if d.keeper, err = startKeeper(ctx, d.cfg, d.address); err != nil {
			return nil, err
		}
	} else if st, err := os.Stat(d.address); err != nil || st.Mode().Type() != os.ModeSocket {
		if err == nil {
			err = fmt.Errorf("it is a %s, not a socket", st.Mode().Type())
		}
		return nil, &sandbox.Error{Reason: sandbox.ReasonSetupFailed, Op: "find containerd at " + d.address, Err: err,
			Remedy: "start containerd, correct its address, or configure none: msup then runs a private one"}
	}
	if err = d.connect(ctx); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

// connect makes the client, which connects again by itself, and checks the version.
func (d *Daemon) connect(ctx context.Context) error {
	var err error
	if d.client, err = client.New(d.address, client.WithDefaultNamespace(Namespace), client.WithTimeout(time.Second)); err != nil {
		return &sandbox.Error{Reason: sandbox.ReasonSetupFailed, Op: "connect to containerd at " + d.address, Err: err}
	}
	var v client.Version
	err = d.again(ctx, func() error {
		ctx, cancel := d.bound(ctx)
		defer cancel()
		var err error
		if v, err = d.client.Version(ctx); err != nil {
			return d.failed("ask containerd for its version", err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	d.version = v.Version
	if !newEnough(v.Version, minContainerdMajor, minContainerdMinor, 0) {
		return &sandbox.Error{Reason: sandbox.ReasonSetupFailed, Op: "use containerd at " + d.address,
			Err:    fmt.Errorf("its version is %s; msup needs %d.%d or later", printable(v.Version), minContainerdMajor, minContainerdMinor),
			Remedy: "install a newer containerd (Debian 12's own will do), or name its binary"}
	}
	return nil
}

// Address is the daemon's socket.
func (d *Daemon) Address() string { return d.address }

// Version is what the daemon answered, for example "1.6.20~ds1".
func (d *Daemon) Version() string { return d.version }

// Client is the connection itself, in namespace "msup".
func (d *Daemon) Client() *client.Client { return d.client }

// Private tells whether the daemon is one that msup runs.
func (d *Daemon) Private() bool { return d.keeper != nil }

// bound limits one question to the daemon, so that a hung one is an error and not a hang.
func (d *Daemon) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, d.cfg.CallTimeout)
}

// failed says what a failed question means and what to do about it.
func (d *Daemon) failed(op string, err error) error {
	var known *sandbox.Error
	if errors.As(err, &known) {
		return err
	}
	out := &sandbox.Error{Reason: sandbox.ReasonSetupFailed, Op: op, Err: err}
	where := "containerd at " + d.address
	switch text := err.Error(); {
	case errors.Is(err, context.Canceled):
	case errors.Is(err, context.DeadlineExceeded), strings.Contains(text, "DeadlineExceeded"), strings.Contains(text, "deadline exceeded"):
		out.Err = fmt.Errorf("%s does not answer, it may hang or the machine be overloaded: %w", where, err)
		out.Remedy = "see whether the process is stopped (state T) or waits for its disk (state D), and restart it"
		if d.keeper != nil {
			out.Remedy = "msup restarts its private containerd by itself; its log is " + d.keeper.logPath()
		}
	case strings.Contains(text, "Unavailable"), strings.Contains(text, "connection refused"), strings.Contains(text, "connection error"), strings.Contains(text, "error reading from server"):
		out.Err = fmt.Errorf("%s %w: %w", where, errGone, err)
		out.Remedy = "start it again"
		if d.keeper != nil {
			out.Remedy = "msup restarts its private containerd by itself; its log is " + d.keeper.logPath()
		}
	}
	return out
}

// errGone says that the daemon went away while it was asked.
var errGone = fmt.Errorf("is gone, %w", sandbox.ErrLost)

// again does something once more when the daemon went away under it and is back.
func (d *Daemon) again(ctx context.Context, do func() error) error {
	for try := 1; ; try++ {
		err := do()
		if err == nil || try == startTries || !errors.Is(err, errGone) || !d.back(ctx) {
			return err
		}
		d.cfg.Logger.Warn("containerd went away while it was asked; it is asked again", "error", err)
	}
}

// backPeriod is how often back looks. The first look waits, too: the socket of a daemon that is being killed may still answer.
const backPeriod = 50 * time.Millisecond

// back waits for a private daemon to be there again, and reports whether it is: a connection of its own and the shared one answer. The shared
// one refuses every call for up to a second after it could not connect, as if the daemon were still away, unless it is told to try at once.
func (d *Daemon) back(ctx context.Context) bool {
	if d.keeper == nil {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, d.cfg.StartTimeout)
	defer cancel()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-d.closing:
			return false
		case <-time.After(backPeriod):
		}
		if ask(ctx, d.address, time.Second) == nil && d.askShared(ctx) == nil {
			return true
		}
	}
}

// askShared asks over the shared connection.
func (d *Daemon) askShared(ctx context.Context) error {
	if c, ok := d.client.Conn().(interface{ ResetConnectBackoff() }); ok {
		c.ResetConnectBackoff()
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	_, err := d.client.Version(ctx)
	return err
}

// Close ends the connection and stops a daemon that this process started. It may be called any number of times.
func (d *Daemon) Close() error {
	d.closeOnce.Do(func() {
		close(d.closing)
		var errs []error
		if d.client != nil {
			errs = append(errs, d.client.Close())
		}
		if d.keeper != nil {
			errs = append(errs, d.keeper.close())
		}
		d.closeErr = errors.Join(errs...)
	})
	return d.closeErr
}

var versionNumbers = regexp.MustCompile(`(\d{1,6})\.(\d{1,6})(?:\.(\d{1,6}))?`)

// parseVersion finds the first version in a text such as "1.6.20~ds1" or "runc version 1.1.5+ds1".
func parseVersion(text string) (v [3]int, ok bool) {
	m := versionNumbers.FindStringSubmatch(text)
	if m == nil {
		return v, false
	}
	for i, s := range m[1:] {
		if s == "" {
			continue
		}
		n, err := strconv.Atoi(s)
		if err != nil {
			return v, false
		}
		v[i] = n
	}
	return v, true
}

// newEnough compares a version text; one that holds no number is not.
func newEnough(text string, major, minor, patch int) bool {
	v, ok := parseVersion(text)
	if !ok {
		return false
	}
	for i, want := range [3]int{major, minor, patch} {
		if v[i] != want {
			return v[i] > want
		}
	}
	return true
}

// printable bounds text that another program chose.
func printable(text string) string {
	out, _ := sandbox.Sanitize([]byte(text), 200)
	return out
}
