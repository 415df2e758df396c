package warden

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/sandbox"
	"golang.org/x/sync/semaphore"
	"golang.org/x/sys/unix"
)

const (
	// maxStarts and maxAsked bound what one supervisor asks at a time, below what the helper takes (maxPending). Starts are apart, so that
	// a kill never waits for them.
	maxStarts = 128
	maxAsked  = 128
	// endTimeout bounds how long a helper may take to end everything when it is closed.
	endTimeout = 60 * time.Second
)

// Client is the supervisor's side of one helper. Its methods may be called from any goroutine.
type Client struct {
	link   *link
	log    *slog.Logger
	starts *semaphore.Weighted
	asked  *semaphore.Weighted
	child  *os.Process   // nil in tests that serve themselves
	exited chan struct{} // closed when the child is gone
	state  *os.ProcessState
	gone   chan struct{} // closed when nothing more will be heard of the helper

	mu       sync.Mutex
	closing  bool
	lost     error // why nothing will be heard
	last     uint64
	answers  map[uint64]asking
	runners  map[uint64]*runner
	waitings sync.WaitGroup // of runners whose lines are still being read
}

// asking is a question that was not answered yet.
type asking struct {
	answer chan answer
	start  *sandbox.Spec // of a start: its runner comes to be with the answer
}

type answer struct {
	reply
	file   *os.File
	runner *runner
}

// Config says how to start a helper.
type Config struct {
	Logger *slog.Logger // nil discards; the helper itself logs to stderr
	// Verbose makes the helper log what happens inside, not only warnings.
	Verbose bool
}

// Start makes this program a second time as its own helper, which has whatever rights this process has now. Init must be the first thing in
// main.
func Start(cfg Config) (*Client, error) {
	ours, theirs, err := pair()
	if err != nil {
		return nil, err
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open the null device: %w", err), ours.close(), theirs.Close())
	}
	argv := []string{processName}
	if cfg.Verbose {
		argv = append(argv, verboseArg)
	}
	// A session of its own: Ctrl-C of the terminal is the supervisor's, which ends its helper in order.
	child, err := os.StartProcess("/proc/self/exe", argv, &os.ProcAttr{Dir: "/", Env: os.Environ(), Files: []*os.File{null, null, os.Stderr, theirs},
		Sys: &unix.SysProcAttr{Setsid: true}})
	if err = errors.Join(err, null.Close(), theirs.Close()); err != nil {
		return nil, errors.Join(fmt.Errorf("start the helper: %w", err), ours.close())
	}
	c := newClient(ours, cfg.Logger)
	c.child = child
	go func() {
		state, err := child.Wait()
		if err != nil {
			c.log.Error("waiting for the helper failed", "err", err)
		}
		c.state = state
		close(c.exited)
	}()
	return c, nil
}

func newClient(l *link, log *slog.Logger) *Client {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	c := &Client{link: l, log: log, starts: semaphore.NewWeighted(maxStarts), asked: semaphore.NewWeighted(maxAsked), exited: make(chan struct{}),
		gone: make(chan struct{}), answers: map[uint64]asking{}, runners: map[uint64]*runner{}}
	go c.listen()
	return c
}

// PID is the helper's process id, for messages.
func (c *Client) PID() int { return c.child.Pid }

// Gone is closed when the helper is gone, for whatever reason.
func (c *Client) Gone() <-chan struct{} { return c.gone }

// listen hands out answers and events until the helper is gone.
func (c *Client) listen() {
	buf := make([]byte, MaxMessageBytes+1)
	var err error
	for err == nil {
		var b []byte
		var file *os.File
		if b, file, err = c.link.receive(buf); err != nil {
			break
		}
		var r reply
		if err = decode(b, &r); err != nil {
			err = errors.Join(err, closeFile(file))
			break
		}
		err = c.take(answer{reply: r, file: file})
	}
	c.lose(err)
}

func closeFile(f *os.File) error {
	if f == nil {
		return nil
	}
	return f.Close()
}

func (c *Client) take(a answer) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if a.Event == "" {
		waiting, ok := c.answers[a.ID]
		delete(c.answers, a.ID)
		if !ok {
			return closeFile(a.file)
		}
		if waiting.start != nil && a.Err == nil {
			a.runner = newRunner(c, waiting.start, a)
			c.runners[a.Runner] = a.runner
		}
		waiting.answer <- a // has room for one
		return nil
	}
	r := c.runners[a.Runner]
	if r == nil { // its start was given up
		return closeFile(a.file)
	}
	return r.take(a)
}

// lose ends everybody's waiting: the helper is gone, and every runner with it.
func (c *Client) lose(err error) {
	c.mu.Lock()
	if errors.Is(err, io.EOF) {
		err = errors.New("it ended")
	}
	c.lost = refuse(ipc.ReasonSandboxHelperLost, "ask the helper that keeps root", err, "stop the run and start it again")
	closing := c.closing
	answers, runners := c.answers, c.runners
	c.answers, c.runners = map[uint64]asking{}, map[uint64]*runner{}
	c.mu.Unlock()
	if !closing {
		c.log.Error("the helper that keeps root is gone; its runners end, and no other can be started", "reason", ipc.ReasonSandboxHelperLost, "err", err)
	}
	for _, waiting := range answers {
		close(waiting.answer)
	}
	for _, r := range runners {
		r.lose(err)
	}
	close(c.gone)
}

// ask sends one request and waits for its answer, whose file is the caller's to close.
func (c *Client) ask(r request) (answer, error) {
	waiting, _, err := c.send(r, nil)
	if err != nil {
		return answer{}, err
	}
	a, ok := <-waiting
	if !ok {
		return answer{}, c.lostError()
	}
	return a, a.Err.error()
}

func (c *Client) send(r request, start *sandbox.Spec) (<-chan answer, uint64, error) {
	waiting := make(chan answer, 1)
	c.mu.Lock()
	if c.lost != nil {
		c.mu.Unlock()
		return nil, 0, c.lostError()
	}
	c.last++
	r.ID = c.last
	c.answers[r.ID] = asking{waiting, start}
	c.mu.Unlock()
	if err := c.link.send(&r, -1); err != nil {
		c.mu.Lock()
		delete(c.answers, r.ID)
		c.mu.Unlock()
		if errors.Is(err, unix.EPIPE) || errors.Is(err, net.ErrClosed) || errors.Is(err, unix.ECONNRESET) {
			return nil, 0, refuse(ipc.ReasonSandboxHelperLost, "ask the helper that keeps root", err, "stop the run and start it again")
		}
		return nil, 0, refuse(sandbox.ReasonSpec, "ask the helper that keeps root", err, "")
	}
	return waiting, r.ID, nil
}

func (c *Client) lostError() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lost
}

// question asks what every client may ask many of at a time.
func (c *Client) question(ctx context.Context, r request) (answer, error) {
	if err := c.asked.Acquire(ctx, 1); err != nil {
		return answer{}, err
	}
	defer c.asked.Release(1)
	return c.ask(r)
}

// Open opens a sandbox of a kind that Init was given, inside the helper. params is what its Opener gets, as JSON.
func (c *Client) Open(ctx context.Context, kind string, params any) (*Box, error) {
	text, err := json.Marshal(params)
	if err != nil {
		return nil, fmt.Errorf("encode the parameters of sandbox %s: %w", kind, err)
	}
	a, err := c.question(ctx, request{Verb: verbOpen, Box: kind, Params: text})
	if err != nil {
		return nil, err
	}
	return &Box{client: c, kind: kind, name: a.Name, level: a.Level, walls: a.Walls}, nil
}

// PermitSocket makes Dial of a socket possible after the seal.
func (c *Client) PermitSocket(ctx context.Context, path string) error {
	_, err := c.question(ctx, request{Verb: verbPermit, Path: path})
	return err
}

// Seal ends the time in which the helper does whatever it is asked: afterwards it starts runners of permitted specs only, and opens, reaps and
// permits nothing. It cannot be taken back.
func (c *Client) Seal(ctx context.Context) error {
	_, err := c.question(ctx, request{Verb: verbSeal})
	return err
}

// Dial connects to a permitted socket with the helper's rights.
func (c *Client) Dial(ctx context.Context, path string) (net.Conn, error) {
	a, err := c.question(ctx, request{Verb: verbDial, Path: path})
	if err != nil {
		return nil, err
	}
	return connOf(a.file)
}

// connOf makes a connection of a descriptor that was received.
func connOf(f *os.File) (net.Conn, error) {
	if f == nil {
		return nil, errors.New("the helper sent no connection")
	}
	conn, err := net.FileConn(f)
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("take over a connection: %w", err)
	}
	return conn, nil
}

// Close ends the helper and everything that it runs, and waits for it. It may be called twice.
func (c *Client) Close() error {
	c.mu.Lock()
	c.closing = true
	c.mu.Unlock()
	// Closing for writing is how the helper hears of the end; what it still has to tell is read.
	if err := c.link.conn.CloseWrite(); err != nil && !errors.Is(err, net.ErrClosed) && !errors.Is(err, unix.ENOTCONN) {
		return fmt.Errorf("end the helper: %w", err)
	}
	if c.child != nil {
		select {
		case <-c.exited:
		case <-time.After(endTimeout):
			return fmt.Errorf("the helper (process %d) does not end within %s", c.child.Pid, endTimeout)
		}
	}
	<-c.gone
	c.waitings.Wait()
	if err := c.link.close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("end the helper: %w", err)
	}
	if c.state != nil && !c.state.Success() {
		return fmt.Errorf("the helper ended with %s: see what it logged before", c.state)
	}
	return nil
}
