package service

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/sandbox"
	"github.com/msup/msup/supervisor/descriptor"
)

// grace is what a proxy gets beyond a request's time to say that it was over; then it is killed. It is long because the compute lane gets
// only what the others leave.
const grace = 5 * time.Second

// proxy is the supervisor's end of one walled process.
type proxy struct {
	runner sandbox.Runner
	conn   *net.UnixConn
	once   sync.Once
	err    error
}

// startProxy starts a proxy and tells it of its service.
func startProxy(ctx context.Context, box sandbox.Sandbox, spec sandbox.Spec, s *setup) (_ *proxy, err error) {
	r, err := box.Start(ctx, spec)
	if err != nil {
		return nil, err
	}
	p := &proxy{runner: r}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.end())
		}
	}()
	conn, err := r.Conn(ctx)
	if err != nil {
		return nil, err
	}
	var ok bool
	if p.conn, ok = conn.(*net.UnixConn); !ok {
		return nil, errors.Join(fmt.Errorf("the sandbox %s gives a %T, over which no socket can be passed", box.Name(), conn), conn.Close())
	}
	stop := context.AfterFunc(ctx, p.interrupt)
	defer stop()
	if err := writeFrame(p.conn, s); err != nil {
		return nil, fmt.Errorf("tell the proxy of its service: %w", err)
	}
	var ready reply
	if err := readFrame(p.conn, &ready); err != nil {
		return nil, fmt.Errorf("the proxy is not ready: %w", errors.Join(err, ctx.Err()))
	}
	if !ready.OK {
		return nil, errors.New("the proxy says that it is not ready")
	}
	return p, nil
}

// interrupt ends what blocks on the connection.
func (p *proxy) interrupt() { _ = p.conn.SetDeadline(time.Now()) } // fails only when it is closed, and then nothing blocks

func (p *proxy) alive() bool {
	select {
	case <-p.runner.Done():
		return false
	default:
		return true
	}
}

// end kills the process and waits for it; it may be called twice.
func (p *proxy) end() error {
	p.once.Do(func() {
		if p.conn != nil {
			p.err = p.conn.Close()
		}
		p.err = errors.Join(p.err, p.runner.Kill())
	})
	return p.err
}

// ask has the proxy check a document, connects, and has it sent. A failure for ReasonServiceProxyLost leaves the conversation in the
// middle: the proxy is of no use any more. So does the end of ctx, which interrupts it.
func (p *proxy) ask(ctx context.Context, dial func(context.Context) (net.Conn, error), payload []byte, within time.Duration) ([]byte, *failure) {
	if len(payload) > descriptor.MaxServiceBytes {
		return nil, failed(ipc.ReasonServiceTooLarge, "the request has %d bytes, %d are allowed", len(payload), descriptor.MaxServiceBytes)
	}
	by := time.Now().Add(within)
	if err := p.conn.SetDeadline(by.Add(grace)); err != nil {
		return nil, p.lost(err)
	}
	stop := context.AfterFunc(ctx, p.interrupt)
	defer stop()
	if _, f := p.converse(order{Payload: payload}, nil); f != nil {
		return nil, f
	}
	dialing, cancel := context.WithDeadline(ctx, by)
	conn, err := dial(dialing)
	cancel()
	if err != nil {
		if _, f := p.converse(order{}, nil); f != nil { // takes the request back
			return nil, f
		}
		return nil, dialFailure(err)
	}
	out, f := p.converse(order{Within: time.Until(by)}, conn)
	if f == nil && len(out) > descriptor.MaxServiceBytes {
		return nil, p.lost(fmt.Errorf("a response of %d bytes", len(out)))
	}
	return out, f
}

func dialFailure(err error) *failure {
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return failed(ipc.ReasonServiceTimeout, "no connection in time; nothing was sent")
	}
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		return failed(ipc.ReasonServiceUnreachable, "no connection; nothing was sent")
	}
	return failed(ipc.ReasonServiceUnreachable, "no connection: %s; nothing was sent", errno.Error())
}

// converse sends one frame, with a socket or without, and takes the reply.
func (p *proxy) converse(o order, socket net.Conn) ([]byte, *failure) {
	if err := p.send(o, socket); err != nil {
		return nil, p.lost(err)
	}
	var r reply
	if err := readFrame(p.conn, &r); err != nil {
		return nil, p.lost(err)
	}
	switch {
	case r.OK && r.Reason == "":
		return r.Payload, nil
	case r.OK || !known[r.Reason]:
		return nil, p.lost(errors.New("its reply is neither a response nor a failure"))
	}
	return nil, failed(r.Reason, "%s", printable(r.Detail))
}

// send closes the socket: from then on the proxy alone has it.
func (p *proxy) send(o order, socket net.Conn) (err error) {
	frame, err := appendFrame(o)
	if socket == nil || err != nil {
		if err == nil {
			_, err = p.conn.Write(frame)
		}
		return err
	}
	defer func() { err = errors.Join(err, socket.Close()) }()
	raw, ok := socket.(syscall.Conn)
	if !ok {
		return fmt.Errorf("a %T has no descriptor", socket)
	}
	c, err := raw.SyscallConn()
	if err != nil {
		return err
	}
	var sent int
	var sendErr error
	if err := c.Control(func(fd uintptr) {
		sent, _, sendErr = p.conn.WriteMsgUnix(frame, unix.UnixRights(int(fd)), nil)
	}); err != nil || sendErr != nil {
		return errors.Join(err, sendErr)
	}
	_, err = p.conn.Write(frame[sent:])
	return err
}

// lost is the end of a conversation that cannot go on.
func (p *proxy) lost(err error) *failure {
	return failed(ipc.ReasonServiceProxyLost, "the proxy ended, hung or broke its protocol: %w", err)
}
