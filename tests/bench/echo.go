package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/msup/msup/sandbox"
)

//go:embed echo/echo.c
var echoSource []byte

// buildEcho compiles the C side of the floor.
func buildEcho(ctx context.Context, dir string) (string, error) {
	dir = filepath.Join(dir, "e") // of its own: it is shown inside the sandbox
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", fmt.Errorf("making a folder for the echo: %w", err)
	}
	source, program := filepath.Join(dir, "echo.c"), filepath.Join(dir, "echo")
	if err := os.WriteFile(source, echoSource, 0o644); err != nil {
		return "", fmt.Errorf("writing the echo's source: %w", err)
	}
	// Static: it runs on root file systems without this host's libraries, too.
	if out, err := exec.CommandContext(ctx, "cc", "-O2", "-Wall", "-static", "-o", program, source).CombinedOutput(); err != nil {
		return "", fmt.Errorf("compiling the echo (a C compiler is needed; make setup installs one): %w\n%s", err, out)
	}
	return program, nil
}

// echo is the floor under a round trip: this process and a C program, frames of given sizes over a unix stream socket.
type echo struct {
	pid      int
	end      func() error // ends the C side; conn is closed before
	conn     *net.UnixConn
	file     *os.File // the same socket
	fd       int
	question []byte
	answer   []byte
}

// startEcho starts the C side; its frames have the sizes of the frames that msup exchanges.
func (r *rig) startEcho(ctx context.Context, question, answer int) (_ *echo, err error) {
	socket := filepath.Join(r.dir, "e.sock")
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("listening for the echo: %w", err)
	}
	defer func() { err = errors.Join(err, listener.Close()) }()
	cmd := exec.CommandContext(ctx, r.echo, socket, fmt.Sprint(question), fmt.Sprint(answer))
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting the echo: %w", err)
	}
	conn, err := acceptWithin(listener, 10*time.Second)
	if err != nil {
		_ = cmd.Process.Kill() // it waits for a connection that will not come, and ends by that signal
		_ = cmd.Wait()
		return nil, err
	}
	return newEcho(conn, cmd.Process.Pid, cmd.Wait, question, answer)
}

func acceptWithin(l *net.UnixListener, limit time.Duration) (*net.UnixConn, error) {
	if err := l.SetDeadline(time.Now().Add(limit)); err != nil {
		return nil, fmt.Errorf("waiting for the echo: %w", err)
	}
	conn, err := l.AcceptUnix()
	if err != nil {
		return nil, fmt.Errorf("waiting for the echo: %w", err)
	}
	return conn, nil
}

// startWalledEcho starts the same program behind the walls of a runner: what they cost is not the SDK's.
func (r *rig) startWalledEcho(ctx context.Context, k *kind, question, answer int) (*echo, error) {
	spec := base(r.address(), k.pack)
	spec.Argv = []string{"/echo/echo", sandbox.SocketPath, fmt.Sprint(question), fmt.Sprint(answer)}
	spec.Binds = []sandbox.Bind{{Source: filepath.Dir(r.echo), Target: "/echo"}}
	runner, err := k.walls.Start(ctx, spec)
	if err != nil {
		return nil, err
	}
	conn, err := runner.Conn(ctx)
	if err != nil {
		return nil, errors.Join(err, runner.Kill())
	}
	unix, ok := conn.(*net.UnixConn)
	if !ok {
		return nil, errors.Join(fmt.Errorf("the sandbox gave a %T", conn), runner.Kill())
	}
	return newEcho(unix, runner.PID(), runner.Kill, question, answer)
}

func newEcho(conn *net.UnixConn, pid int, end func() error, question, answer int) (*echo, error) {
	e := &echo{conn: conn, pid: pid, end: end, question: make([]byte, question), answer: make([]byte, answer)}
	file, err := conn.File()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("taking the echo's socket: %w", err), conn.Close(), end())
	}
	e.file, e.fd = file, int(file.Fd())
	return e, nil
}

// raw measures n round trips with plain blocking system calls: the floor.
func (e *echo) raw(n int) (sample, error) {
	if err := syscall.SetNonblock(e.fd, false); err != nil {
		return nil, fmt.Errorf("making the echo's socket blocking: %w", err)
	}
	return e.measure(n, func() error {
		if _, err := syscall.Write(e.fd, e.question); err != nil {
			return err
		}
		for have := 0; have < len(e.answer); {
			got, err := syscall.Read(e.fd, e.answer[have:])
			if err != nil {
				return err
			}
			if got == 0 {
				return io.ErrUnexpectedEOF
			}
			have += got
		}
		return nil
	})
}

// polled measures the same through net.UnixConn, as every Go program does it: what Go's poller adds is not msup's.
func (e *echo) polled(n int) (sample, error) {
	if err := syscall.SetNonblock(e.fd, true); err != nil {
		return nil, fmt.Errorf("making the echo's socket non-blocking: %w", err)
	}
	return e.measure(n, func() error {
		if _, err := e.conn.Write(e.question); err != nil {
			return err
		}
		_, err := io.ReadFull(e.conn, e.answer)
		return err
	})
}

func (e *echo) measure(n int, once func() error) (sample, error) {
	s := make(sample, n)
	for i := range s {
		begin := time.Now()
		if err := once(); err != nil {
			return nil, fmt.Errorf("round trip %d with the echo: %w", i, err)
		}
		s[i] = int64(time.Since(begin))
	}
	return s, nil
}

// close ends the C side.
func (e *echo) close() error { return errors.Join(e.conn.Close(), e.file.Close(), e.end()) }
