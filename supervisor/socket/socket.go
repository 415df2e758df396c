package socket

import (
	"io"
	"net"
	"os"
	"syscall"
	"unsafe"
)

// conn is a unix socket whose reads and writes the Go scheduler does not see.
type conn struct {
	*net.UnixConn
	raw syscall.RawConn
	in  transfer
	out transfer
}

// transfer is one direction. The function is made once: a closure at every call would be garbage on the hot path.
type transfer struct {
	number uintptr // of the system call
	bytes  []byte
	done   int
	errno  syscall.Errno
	once   func(fd uintptr) bool
}

// Direct returns c with reads and writes that keep the processor of the Go scheduler; a connection that is no unix socket as it is.
// Deadlines, Close and errors are those of c. One goroutine may read while another writes; two may not do the same.
func Direct(c net.Conn) (net.Conn, error) {
	u, ok := c.(*net.UnixConn)
	if !ok {
		return c, nil
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return nil, err
	}
	d := &conn{UnixConn: u, raw: raw}
	d.in.number, d.out.number = syscall.SYS_RECVFROM, syscall.SYS_SENDTO
	d.in.once, d.out.once = d.in.read, d.out.write
	return d, nil
}

// call makes the system call on what is left; false when it would have to wait.
func (t *transfer) call(fd uintptr) (n int, ready bool) {
	left := t.bytes[t.done:]
	for {
		// The flag, whatever the mode of the socket: a raw call that waited would hold up the garbage collector, and so every instance.
		n, _, errno := syscall.RawSyscall6(t.number, fd, uintptr(unsafe.Pointer(&left[0])), uintptr(len(left)), syscall.MSG_DONTWAIT|syscall.MSG_NOSIGNAL, 0, 0)
		switch errno {
		case 0:
			return int(n), true
		case syscall.EINTR:
			continue
		case syscall.EAGAIN:
			return 0, false
		}
		t.errno = errno
		return 0, true
	}
}

func (t *transfer) read(fd uintptr) bool {
	n, ready := t.call(fd)
	t.done = n
	return ready
}

func (t *transfer) write(fd uintptr) bool {
	for t.done < len(t.bytes) {
		n, ready := t.call(fd)
		if !ready {
			return false
		}
		if t.errno != 0 {
			return true
		}
		t.done += n
	}
	return true
}

// begin prepares a transfer of b, and end takes it back.
func (t *transfer) begin(b []byte) { t.bytes, t.done, t.errno = b, 0, 0 }

func (t *transfer) end(call string, err error) (int, error) {
	n, errno := t.done, t.errno
	t.bytes = nil
	if err == nil && errno != 0 {
		err = &net.OpError{Op: call, Net: "unix", Err: os.NewSyscallError(call, errno)}
	}
	return n, err
}

// Read reads what is there, at least one byte.
func (c *conn) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	c.in.begin(b)
	n, err := c.in.end("read", c.raw.Read(c.in.once))
	if n == 0 && err == nil {
		err = io.EOF
	}
	return n, err
}

// Write writes all of b.
func (c *conn) Write(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	c.out.begin(b)
	return c.out.end("write", c.raw.Write(c.out.once))
}
