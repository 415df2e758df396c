package sim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strconv"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/supervisor/boundary/outbox"
)

const (
	// DefaultSource is the source id of the simulated I's cursors.
	DefaultSource = ipc.SourceID("sim")

	maxSocketPath = 107      // the kernel's sun_path, less its zero
	batchMessages = 512      // messages that share one commit at most
	queueBytes    = 64 << 20 // answers that a peer may leave unread
	queueBatches  = 4
)

// Options say how to serve.
type Options struct {
	Dir          string       // state directory: keys, positions, orders, reports
	Source       ipc.SourceID // of the cursors; "" = DefaultSource
	Logger       *slog.Logger // nil = slog.Default
	NoSync       bool         // survive a kill, not a power cut: for tests and research
	ExitWhenIdle bool         // return when the last connection has closed

	committed func() // for tests: see store.committed
}

// Listen makes the socket, readable by its owner only. A socket that nobody listens on any more is replaced.
func Listen(path string) (net.Listener, error) {
	if len(path) > maxSocketPath {
		return nil, fmt.Errorf("socket path %s: %d bytes, the kernel allows %d; choose a shorter directory", path, len(path), maxSocketPath)
	}
	if stat, err := os.Lstat(path); err == nil {
		if stat.Mode()&os.ModeSocket == 0 {
			return nil, fmt.Errorf("socket path %s: something that is no socket is there; choose another path", path)
		}
		if c, err := net.Dial("unix", path); err == nil {
			return nil, errors.Join(fmt.Errorf("socket path %s: another process listens there; stop it or choose another path", path), c.Close())
		}
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("removing the stale socket: %w", err)
		}
	}
	old := syscall.Umask(0o177) // between bind and chmod anybody could connect
	ln, err := net.Listen("unix", path)
	syscall.Umask(old)
	if err != nil {
		return nil, fmt.Errorf("listening for M: %w", err)
	}
	return ln, nil
}

// batch is what one connection has said since the last one, or its end.
type batch struct {
	from     *peer
	messages []ipc.Message
	end      bool
}

// server connects connections and engine.
type server struct {
	options Options
	log     *slog.Logger
	engine  *engine
	batches chan batch
	stop    context.CancelFunc
	mu      sync.Mutex
	conns   map[net.Conn]bool
	served  int
}

// Serve answers on ln until ctx ends, the listener fails, the state cannot be written, or nobody is left and ExitWhenIdle is set. It
// closes ln and everything it opened. A state that cannot be written is an error: nothing that depended on it has been told.
func Serve(ctx context.Context, ln net.Listener, o Options) error {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Source == "" {
		o.Source = DefaultSource
	}
	store, err := openStore(o.Dir, o.NoSync)
	if err != nil {
		return errors.Join(err, ln.Close())
	}
	store.committed = o.committed
	engine, err := newEngine(store, o.Source, o.Logger)
	if err != nil {
		return errors.Join(err, store.close(), ln.Close())
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s := &server{options: o, log: o.Logger, engine: engine, batches: make(chan batch, queueBatches), stop: cancel, conns: make(map[net.Conn]bool)}
	o.Logger.Info("simulated I serves", "socket", ln.Addr(), "state", o.Dir, "keys", len(engine.keys), "open_orders", len(engine.orders))

	var conns sync.WaitGroup
	worked := make(chan error, 1)
	go func() { worked <- s.work() }()
	stopped := context.AfterFunc(ctx, func() {
		_ = ln.Close() // a second close below reports the same
		s.mu.Lock()
		defer s.mu.Unlock()
		for c := range s.conns {
			_ = c.Close()
		}
	})
	defer stopped()
	err = s.accept(ctx, ln, &conns)
	cancel()
	conns.Wait()
	close(s.batches)
	err = errors.Join(err, <-worked)
	return errors.Join(err, store.close())
}

func (s *server) accept(ctx context.Context, ln net.Listener, conns *sync.WaitGroup) error {
	for n := 1; ; n++ {
		c, err := ln.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("accepting M: %w", err)
		}
		name := "conn-" + strconv.Itoa(n)
		if err := checkPeer(c); err != nil {
			s.log.Warn("a connection is refused", "peer", name, "err", err)
			_ = c.Close()
			continue
		}
		if !s.add(ctx, c) {
			continue
		}
		conns.Go(func() { s.converse(name, c) })
	}
}

func (s *server) add(ctx context.Context, c net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ctx.Err() != nil {
		_ = c.Close()
		return false
	}
	s.conns[c] = true
	s.served++
	return true
}

func (s *server) remove(c net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	if s.options.ExitWhenIdle && len(s.conns) == 0 {
		s.stop()
	}
}

// checkPeer lets in only the user that the server runs as, and root.
func checkPeer(c net.Conn) error {
	u, ok := c.(*net.UnixConn)
	if !ok {
		return nil // tests may serve on something else
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return fmt.Errorf("peer credentials: %w", err)
	}
	var cred *unix.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) { cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); err != nil {
		return fmt.Errorf("peer credentials: %w", err)
	}
	if credErr != nil {
		return fmt.Errorf("peer credentials: %w", credErr)
	}
	if cred.Uid != 0 && int(cred.Uid) != os.Getuid() {
		return fmt.Errorf("peer pid %d has uid %d, only uid %d may connect; run msup and msup sim as the same user", cred.Pid, cred.Uid, os.Getuid())
	}
	return nil
}

// converse runs one connection: it reads, the engine works, the outbox writes.
func (s *server) converse(name string, c net.Conn) {
	out := outbox.New(c, queueBytes)
	p := &peer{name: name, hellos: make(map[ipc.Address]ipc.Nonce)}
	p.drop = func() { _ = c.Close() }
	p.send = func(m ipc.Message) error {
		err := out.Put(m)
		if err != nil {
			_ = c.Close() // reading ends, and with it the connection
		}
		return err
	}
	written := make(chan struct{})
	go func() {
		defer close(written)
		if err := out.Run(); err != nil {
			_ = c.Close()
		}
	}()
	err := s.read(p, c)
	if err != nil && !errors.Is(err, net.ErrClosed) {
		s.log.Warn("a connection is closed", "peer", name, "err", err, "remedy", "its sender must keep to the boundary protocol; other connections go on")
	}
	s.batches <- batch{from: p, end: true}
	out.Close()
	if err != nil {
		_ = c.Close() // a peer that broke the protocol may not read either
	}
	<-written
	_ = c.Close()
	s.remove(c)
}

// read hands messages to the engine, as many at a time as have arrived: they share one commit.
func (s *server) read(p *peer, c net.Conn) error {
	frames := ipc.NewFrameReader(c, ipc.FromAnyone)
	reader := ipc.NewReader(ipc.FromAnyone)
	var messages []ipc.Message
	hand := func() {
		if len(messages) > 0 {
			s.batches <- batch{from: p, messages: messages}
			messages = nil
		}
	}
	for {
		if frames.Buffered() == 0 || len(messages) >= batchMessages {
			hand()
		}
		frame, err := frames.Next()
		if errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			hand()
			return nil
		}
		if err == nil {
			var t ipc.MessageType
			if t, err = ipc.PeekType(frame); err == nil && !accepted(t) {
				err = fmt.Errorf("%w: a %s is no message to I", errProtocol, t)
			}
		}
		if err == nil {
			var m ipc.Message
			if m, err = reader.Message(frame); err == nil {
				messages = append(messages, m)
			}
		}
		if err != nil {
			hand()
			return err
		}
	}
}

// accepted lists what M may say. Market events flow towards the simulated I only, so no direction of the codec allows them.
func accepted(t ipc.MessageType) bool {
	return t == ipc.TypeEvent || ipc.FromM.Allows(t) && t != ipc.TypeApprovalRequest
}

// work is the engine's goroutine. After a state that cannot be written it only drains, so that nobody hangs.
func (s *server) work() error {
	var failed error
	for b := range s.batches {
		if failed != nil {
			continue
		}
		if failed = s.handle(b); failed != nil {
			s.stop()
		}
	}
	if failed != nil {
		return failed
	}
	return s.engine.store.flush(&s.engine.changes, s.engine.nowTS, s.engine.orderNo)
}

func (s *server) handle(b batch) error {
	if b.end {
		s.engine.leave(b.from)
		return nil
	}
	for _, m := range b.messages {
		if b.from.gone {
			break
		}
		err := s.engine.handle(b.from, m)
		if errors.Is(err, errProtocol) {
			s.log.Warn("a connection is dropped", "peer", b.from.name, "err", err, "remedy", "its sender must keep to the boundary protocol; other connections go on")
			if err := s.engine.commit(); err != nil {
				return err
			}
			s.engine.leave(b.from)
			b.from.drop()
			break
		}
		if err != nil {
			return err
		}
	}
	return s.engine.commit()
}
