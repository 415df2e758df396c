package wasm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"unsafe"

	"github.com/msup/msup/ipc"
	"github.com/tetratelabs/wazero/api"
	"golang.org/x/sys/unix"
)

// prefixBytes is the length that stands before every frame.
const prefixBytes = 4

// pipe carries frames between the supervisor's socket and the guest. It looks into them as far as the clock needs.
type pipe struct {
	guest  *guest
	frames *ipc.FrameReader
	out    io.Writer
	prefix [prefixBytes]byte
}

func newPipe(g *guest, socket io.ReadWriter) *pipe {
	return &pipe{guest: g, frames: ipc.NewFrameReader(socket, ipc.FromSupervisor), out: socket}
}

// run sends the guest's hello and handles frames until Stop or the end of the socket.
func (p *pipe) run() error {
	if err := p.handle(nil); err != nil {
		return err
	}
	for {
		frame, err := p.frames.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return &guestError{status: statusPipe, doing: "reading the supervisor's socket", err: err}
		}
		t, err := p.guest.clock.observe(frame)
		if err != nil {
			return &guestError{status: statusPipe, doing: "reading the supervisor's socket", err: err}
		}
		if err := p.handle(frame); err != nil {
			return err
		}
		if t == ipc.TypeStop {
			return nil
		}
	}
}

// handle gives one frame to the guest, nil for the first call, and sends what it answers.
func (p *pipe) handle(frame []byte) error {
	g := p.guest
	length := 0
	if frame != nil {
		length = prefixBytes + len(frame)
		if err := p.put(frame, length); err != nil {
			return err
		}
	}
	g.stack[0] = api.EncodeI32(int32(length))
	if err := g.handle.CallWithStack(g.ctx, g.stack[:]); err != nil {
		return g.trapped(exportHandle, err)
	}
	answer, err := g.result(exportHandle)
	if err != nil {
		return err
	}
	if err := wholeFrames(answer); err != nil {
		return err
	}
	if len(answer) == 0 {
		return nil
	}
	if _, err := p.out.Write(answer); err != nil {
		if errors.Is(err, unix.EPIPE) || errors.Is(err, unix.ECONNRESET) {
			return nil // the supervisor has gone: the next read says so
		}
		return &guestError{status: statusPipe, doing: "writing to the supervisor's socket", err: err}
	}
	return nil
}

// put writes a frame to where the guest wants it.
func (p *pipe) put(frame []byte, length int) error {
	g := p.guest
	g.stack[0] = api.EncodeI32(int32(length))
	if err := g.buffer.CallWithStack(g.ctx, g.stack[:]); err != nil {
		return g.trapped(exportBuffer, err)
	}
	address := api.DecodeU32(g.stack[0])
	binary.BigEndian.PutUint32(p.prefix[:], uint32(len(frame)))
	switch {
	case address == 0:
		return &guestError{status: statusReturn, doing: "calling " + exportBuffer, err: fmt.Errorf("it has no room for a frame of %d bytes", length)}
	case uint64(address)+uint64(length) > uint64(g.memory.Size()):
		return &guestError{status: statusReturn, doing: "calling " + exportBuffer,
			err: fmt.Errorf("%d bytes at address %d lie outside of its memory of %d bytes", length, address, g.memory.Size())}
	}
	if !g.memory.Write(address, p.prefix[:]) || !g.memory.Write(address+prefixBytes, frame) {
		return &guestError{status: statusReturn, doing: "writing a frame", err: errors.New("its memory shrank")}
	}
	return nil
}

// wholeFrames checks that b is a sequence of whole frames. What is in them is the supervisor's to judge.
func wholeFrames(b []byte) error {
	for rest := b; len(rest) > 0; {
		if len(rest) < prefixBytes {
			return &guestError{status: statusReturn, doing: "reading what msup_handle returned", err: fmt.Errorf("%d bytes are left behind its frames", len(rest))}
		}
		n := binary.BigEndian.Uint32(rest)
		if n == 0 || n > ipc.MaxFrameBytes || uint64(n) > uint64(len(rest)-prefixBytes) {
			return &guestError{status: statusReturn, doing: "reading what msup_handle returned",
				err: fmt.Errorf("a frame announces %d bytes, %d follow", n, len(rest)-prefixBytes)}
		}
		rest = rest[prefixBytes+n:]
	}
	return nil
}

// socket is a connected blocking socket. Go's poller would cost two system calls and a wake-up more for every event; a
// runner has nothing else to do while it waits.
//
// Its calls are raw: Go's scheduler does not hear of them, which it does not need to while the one goroutine of a runner
// waits for its next frame. That saves 0.5 to 1 µs of the 3 to 5 µs of processor time that an event costs. A raw call that
// took long would hold up the garbage collector, so after idleAfter without a frame the socket waits in a way that the
// scheduler knows of.
type socket struct{ fd int }

// idleAfter is when a socket without frames counts as idle; the kernel rounds it up to its ticks of 1 to 10 ms.
var idleAfter = unix.Timeval{Usec: 1000}

func dial(path string) (socket, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return socket{}, fmt.Errorf("make a socket: %w", err)
	}
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		return socket{}, errors.Join(fmt.Errorf("connect to %s: %w", path, err), unix.Close(fd))
	}
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &idleAfter); err != nil {
		return socket{}, errors.Join(fmt.Errorf("set the time limit of a read: %w", err), unix.Close(fd))
	}
	return socket{fd: fd}, nil
}

// Read reads what there is, waiting for at least one byte.
func (s socket) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		n, _, errno := unix.RawSyscall(unix.SYS_READ, uintptr(s.fd), uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)))
		switch {
		case errno == unix.EINTR:
			continue
		case errno == unix.EAGAIN:
			if err := s.idle(); err != nil {
				return 0, err
			}
		case errno == unix.ECONNRESET:
			return 0, io.EOF
		case errno != 0:
			return 0, fmt.Errorf("read: %w", errno)
		case n == 0:
			return 0, io.EOF
		default:
			return int(n), nil
		}
	}
}

// idle waits until there is something to read, or an end.
func (s socket) idle() error {
	_, err := unix.Poll([]unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLIN}}, -1)
	if err != nil && !errors.Is(err, unix.EINTR) {
		return fmt.Errorf("wait for a frame: %w", err)
	}
	return nil
}

// Write writes all of p.
func (s socket) Write(p []byte) (int, error) {
	done := 0
	for done < len(p) {
		rest := p[done:]
		n, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(s.fd), uintptr(unsafe.Pointer(&rest[0])), uintptr(len(rest)), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
		if errno == 0 {
			done += int(n)
			continue
		}
		if errno != unix.EAGAIN && errno != unix.EINTR {
			return done, fmt.Errorf("write: %w", errno)
		}
		slow, err := unix.Write(s.fd, rest) // the supervisor is behind: this may take
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return done, fmt.Errorf("write: %w", err)
		}
		done += slow
	}
	return done, nil
}
