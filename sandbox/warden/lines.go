package warden

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"time"

	"github.com/msup/msup/sandbox"
)

// What a runner prints reaches the supervisor through a pipe of its own, so that a flood of one, or somebody who does not take lines,
// stands in nobody else's way: a full pipe makes this runner wait, as it does where there is no helper.

// lineHead is stream, mark and length in front of every line.
const lineHead = 6

// maxLine is more than any line that the sandboxes let through (Limits.LogLineBytes).
const maxLine = 128 << 10

// drainTimeout is how long somebody who takes no lines may keep the end of a runner waiting.
const drainTimeout = 2 * time.Second

// lineWriter is the helper's end.
type lineWriter struct {
	pipe   *os.File
	dead   atomic.Bool
	closed atomic.Bool
	buf    []byte // the sandboxes call write from one goroutine at a time
}

func (w *lineWriter) write(l sandbox.LogLine) {
	if w.dead.Load() {
		return
	}
	w.buf = append(w.buf[:0], byte(l.Stream), 0)
	if l.Truncated {
		w.buf[1] = 1
	}
	w.buf = binary.BigEndian.AppendUint32(w.buf, uint32(len(l.Text)))
	w.buf = append(w.buf, l.Text...)
	if _, err := w.pipe.Write(w.buf); err != nil {
		w.dead.Store(true) // nobody takes lines any more; the sandbox goes on counting them
	}
}

// hurry ends the patience with a reader who does not read.
func (w *lineWriter) hurry() error {
	if w == nil {
		return nil
	}
	if err := w.pipe.SetWriteDeadline(time.Now().Add(drainTimeout)); err != nil && !w.closed.Load() {
		return fmt.Errorf("hurry the lines of a runner: %w", err)
	}
	return nil
}

func (w *lineWriter) close() error {
	if w == nil {
		return nil
	}
	w.closed.Store(true)
	return w.pipe.Close()
}

// readLines hands out the lines of one runner until its end.
func readLines(pipe io.Reader, emit func(sandbox.LogLine)) error {
	in := bufio.NewReader(pipe)
	var head [lineHead]byte
	for {
		if _, err := io.ReadFull(in, head[:]); err != nil {
			if errors.Is(err, io.EOF) || errors.Is(err, os.ErrClosed) {
				return nil
			}
			return fmt.Errorf("read a runner's lines: %w", err)
		}
		n := binary.BigEndian.Uint32(head[2:])
		if n > maxLine {
			return fmt.Errorf("read a runner's lines: one of %d bytes", n)
		}
		text := make([]byte, n)
		if _, err := io.ReadFull(in, text); err != nil {
			return fmt.Errorf("read a runner's lines: %w", err)
		}
		emit(sandbox.LogLine{Stream: sandbox.Stream(head[0]), Text: string(text), Truncated: head[1] == 1})
	}
}
