package service

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/sandbox"
)

// ProgramName is the proxy's name among the programs that are built into msup; main hands it to process.Init with [Load].
const ProgramName = sandbox.ProgramPrefix + "service-proxy"

// The proxy's memory: Go's heap stays far below the wall. One request is under way at a time, and none is larger than maxFrame.
const (
	proxyHeapBytes   = 32 << 20
	proxyMemoryBytes = 96 << 20
)

// Load prepares the proxy behind its walls, as long as it may still connect to the supervisor's socket. What it returns runs when no socket can be
// made or connected any more.
func Load(_, _ []string) (func() int, error) {
	debug.SetGCPercent(100) // stage two runs with the collector off
	debug.SetMemoryLimit(proxyHeapBytes)
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: sandbox.SocketPath, Net: "unix"})
	if err != nil {
		return nil, &sandbox.Error{Reason: sandbox.ReasonSetupFailed, Op: "connect the service proxy", Err: err, Remedy: "look at the runtime directory of msup"}
	}
	return func() int {
		if err := serve(conn); !errors.Is(err, io.EOF) { // the supervisor has hung up
			fmt.Fprintf(os.Stderr, "service proxy: %v\n", err)
			return 1
		}
		return 0
	}, nil
}

// serve answers the supervisor's frames until it closes the connection, which is io.EOF.
func serve(conn *net.UnixConn) error {
	in := &inbox{conn: conn}
	var s setup
	if err := readFrame(in, &s); err != nil {
		return fmt.Errorf("read the setup: %w", err)
	}
	c, err := newClient(&s)
	if err != nil {
		return fmt.Errorf("set up: %w", err)
	}
	if err := writeFrame(conn, reply{OK: true}); err != nil {
		return err
	}
	for {
		var o order
		if err := readFrame(in, &o); err != nil {
			return err
		}
		payload, f := c.contract.checkRequest(o.Payload)
		if err := writeFrame(conn, replyOf(nil, f)); err != nil {
			return err
		}
		if f != nil {
			continue
		}
		if err := in.send(c, payload); err != nil {
			return err
		}
	}
}

// send takes the frame with the socket and makes the exchange. A frame without one takes the request back: there was no connection.
func (in *inbox) send(c *client, payload []byte) error {
	var o order
	if err := readFrame(in, &o); err != nil {
		return err
	}
	f := in.passed
	in.passed = nil
	if f == nil {
		return writeFrame(in.conn, reply{OK: true})
	}
	out, fault := c.exchange(passedConn{f}, payload, o.Within)
	return writeFrame(in.conn, replyOf(out, fault))
}

func replyOf(payload []byte, f *failure) reply {
	if f != nil {
		return reply{Reason: f.reason, Detail: printable(f.err.Error())}
	}
	return reply{OK: true, Payload: payload}
}

// inbox reads from the supervisor and keeps the descriptor that came along.
type inbox struct {
	conn   *net.UnixConn
	passed *os.File
}

// Read implements io.Reader.
func (in *inbox) Read(p []byte) (int, error) {
	control := make([]byte, unix.CmsgSpace(4))
	n, m, _, _, err := in.conn.ReadMsgUnix(p, control)
	if err != nil {
		return n, err
	}
	if n == 0 && m == 0 && len(p) > 0 {
		return 0, io.EOF
	}
	if m > 0 {
		err = in.take(control[:m])
	}
	return n, err
}

func (in *inbox) take(control []byte) error {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return fmt.Errorf("read a passed socket: %w", err)
	}
	for i := range messages {
		fds, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			return fmt.Errorf("read a passed socket: %w", err)
		}
		for _, fd := range fds {
			if in.passed != nil {
				return errors.New("two sockets were passed for one request")
			}
			in.passed = os.NewFile(uintptr(fd), "service")
		}
	}
	return nil
}

// passedConn is a connected socket as a net.Conn. net.FileConn would ask the kernel for its addresses and options, which the filter refuses; Go's
// poller takes the file as it is, because the supervisor's end is non-blocking and that is a property of the socket itself.
type passedConn struct{ *os.File }

// LocalAddr implements net.Conn.
func (passedConn) LocalAddr() net.Addr { return &net.UnixAddr{Name: "proxy", Net: "unix"} }

// RemoteAddr implements net.Conn.
func (passedConn) RemoteAddr() net.Addr { return &net.UnixAddr{Name: "service", Net: "unix"} }

// Read makes os.File's errors those of a connection.
func (c passedConn) Read(p []byte) (int, error) { return c.File.Read(p) }

// Write implements net.Conn. A broken connection must be an error and no signal: Go raises SIGPIPE for descriptors 1 and 2 alone.
func (c passedConn) Write(p []byte) (int, error) { return c.File.Write(p) }

// SetDeadline implements net.Conn.
func (c passedConn) SetDeadline(t time.Time) error { return c.File.SetDeadline(t) }

// isReset recognises an end of the connection; net/http's own word for one that came before the request was written has no type.
func isReset(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, errSpent) ||
		strings.Contains(err.Error(), "server closed idle connection")
}

// headersTooLarge recognises net/http's error, which has no type.
func headersTooLarge(err error) bool {
	text := err.Error()
	return strings.Contains(text, "headers exceeded") || strings.Contains(text, "header too long") || strings.Contains(text, "too many 1xx")
}

var _ net.Conn = passedConn{}

// known are the reasons that a proxy may give; any other is the word of a proxy that was taken over.
var known = map[ipc.ReasonCode]bool{
	ipc.ReasonServiceRequestInvalid: true, ipc.ReasonServiceUnreachable: true, ipc.ReasonServiceTimeout: true, ipc.ReasonServiceTooLarge: true,
	ipc.ReasonServiceRedirected: true, ipc.ReasonServiceStatus: true, ipc.ReasonServiceMalformed: true, ipc.ReasonServiceResponseInvalid: true,
}
