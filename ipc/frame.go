package ipc

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync/atomic"
)

// Sizes of framing buffers. A session starts small, as there may be hundreds; a buffer that a large frame blew up is
// given back once the frame is done.
const (
	lengthBytes   = 4
	headBytes     = 16 // enough for the array header and the type in any form
	startBuffer   = 8 << 10
	keepBuffer    = 256 << 10
	maxEmptyReads = 100
)

// AppendFrame appends the frame of m: length prefix and array.
func AppendFrame(b []byte, m Message) ([]byte, error) {
	start := len(b)
	out, err := AppendMessage(append(b, 0, 0, 0, 0), m)
	if err != nil {
		return b, err
	}
	return EndFrame(out, start)
}

// BeginFrame appends a length prefix that EndFrame fills in; what is appended in between is one message.
func BeginFrame(b []byte) []byte { return append(b, 0, 0, 0, 0) }

// EndFrame writes the length of everything after the prefix at start.
func EndFrame(b []byte, start int) ([]byte, error) {
	n := len(b) - start - lengthBytes
	if n > MaxFrameBytes {
		return b[:start], fmt.Errorf("a frame of %d bytes; at most %d are allowed", n, MaxFrameBytes)
	}
	binary.BigEndian.PutUint32(b[start:], uint32(n))
	return b, nil
}

// FrameReader cuts a byte stream into frames. Small frames cost one read; it may read ahead. It is not safe for
// concurrent use.
//
// A read that a deadline ends in the middle of a frame loses nothing: the next Next goes on where it stopped. So a blocked
// reader can be poked by moving the deadline.
type FrameReader struct {
	src    io.Reader
	from   Direction
	answer int // limit of Answer and BatchAnswer, at most MaxAnswerBytes from a runner
	buf    []byte
	start  int // of the first byte not handed out
	broken error
	budget *Budget      // of buffers above freeBytes; nil = not counted
	held   atomic.Int64 // taken from budget
}

// NewFrameReader reads the frames of one side.
func NewFrameReader(src io.Reader, from Direction) *FrameReader {
	return &FrameReader{src: src, from: from, buf: make([]byte, 0, startBuffer)}
}

// SetAnswerLimit lowers the limit of Answer and BatchAnswer to what the descriptor allows.
func (f *FrameReader) SetAnswerLimit(n int) { f.answer = n }

// SetBudget makes large frames wait until b has room for them, or fail with a *BudgetError; frames up to MaxAnswerBytes are not counted.
// What a frame has taken is given back with its bytes: by GiveBack, by the next call of Next, or at the end of the stream.
func (f *FrameReader) SetBudget(b *Budget) { f.budget = b }

// GiveBack says that the frame handed out last is not needed any more. Without a budget it does nothing.
func (f *FrameReader) GiveBack() {
	if f.held.Load() > 0 && f.Buffered() == 0 {
		f.buf, f.start = make([]byte, 0, startBuffer), 0
		f.settle()
	}
}

// settle pays back what is held. It may be called beside a reader, which pays back what it takes after that.
func (f *FrameReader) settle() {
	if n := f.held.Swap(0); n > 0 {
		f.budget.Give(n)
	}
}

// charge pays for a buffer of size bytes that has to hold a frame of whole bytes: all of it at once, so that frames that are half there
// never wait for each other.
func (f *FrameReader) charge(size, whole int) error {
	if f.budget == nil || size <= freeBytes || int64(size) <= f.held.Load() {
		return nil
	}
	if err := f.budget.Take(int64(whole)); err != nil {
		return err
	}
	f.held.Add(int64(whole))
	return nil
}

// Buffered is the number of bytes that have been read and not handed out. Above zero between two questions, the peer has
// said more than it was asked.
func (f *FrameReader) Buffered() int { return len(f.buf) - f.start }

// Next returns the next frame without its prefix; it is valid until the following call. io.EOF means that the stream
// ended between two frames. After an error of a rule (a *DecodeError) the stream is lost and every call returns it again.
func (f *FrameReader) Next() ([]byte, error) {
	if f.broken != nil {
		return nil, f.broken
	}
	f.GiveBack()
	empty := 0
	for {
		frame, need, err := f.cut()
		if err != nil {
			f.broken = err
			f.settle()
			return nil, err
		}
		if need == 0 {
			return frame, nil
		}
		n, err := f.read(need)
		switch {
		case n > 0:
			empty = 0
		case err == nil:
			if empty++; empty >= maxEmptyReads {
				return nil, io.ErrNoProgress
			}
		case errors.Is(err, io.EOF):
			f.settle()
			if f.Buffered() > 0 {
				return nil, fmt.Errorf("the stream ended inside a frame: %w", io.ErrUnexpectedEOF)
			}
			return nil, io.EOF
		default:
			if !errors.Is(err, os.ErrDeadlineExceeded) { // after a deadline the frame goes on
				f.settle()
			}
			return nil, fmt.Errorf("reading a frame: %w", err)
		}
	}
}

// cut hands out the frame at the front, or says how many bytes more are wanted at least.
func (f *FrameReader) cut() (frame []byte, need int, err error) {
	b := f.buf[f.start:]
	if len(b) < lengthBytes {
		return nil, lengthBytes - len(b), nil
	}
	n := int(binary.BigEndian.Uint32(b))
	if n == 0 {
		return nil, 0, &DecodeError{Class: ClassFrameEmpty, Detail: "the length prefix is 0"}
	}
	if n > MaxFrameBytes {
		return nil, 0, tooLarge(0, n, MaxFrameBytes)
	}
	b = b[lengthBytes:]
	err = f.checkHead(b[:min(n, len(b))], n)
	if len(b) < min(n, headBytes) && ClassOf(err) == ClassTruncated {
		return nil, 1, nil // the type itself is not there yet
	}
	if err != nil {
		return nil, 0, err
	}
	if len(b) < n {
		return nil, n - len(b), nil
	}
	f.start += lengthBytes + n
	return b[:n:n], 0, nil
}

// checkHead judges the length by the type, from the first bytes: a runner must not make the supervisor hold megabytes.
func (f *FrameReader) checkHead(head []byte, n int) error {
	t, err := PeekType(head)
	if err != nil {
		return err
	}
	if !f.from.Allows(t) {
		return &DecodeError{Class: ClassDirection, Type: t, Detail: fmt.Sprintf("a %s may not send it", f.from)}
	}
	limit := f.from.MaxFrame(t)
	if f.answer > 0 && (t == TypeAnswer || t == TypeBatchAnswer) {
		limit = min(limit, f.answer)
	}
	if n > limit {
		return tooLarge(t, n, limit)
	}
	return nil
}

func tooLarge(t MessageType, n, limit int) error {
	return &DecodeError{Class: ClassFrameTooLarge, Type: t, Detail: fmt.Sprintf("%d bytes; at most %d are allowed", n, limit)}
}

// read makes room for need bytes, but grows by doubling only: a peer that promises megabytes has to send them first.
func (f *FrameReader) read(need int) (int, error) {
	have := f.Buffered()
	switch {
	case have == 0 && cap(f.buf) > keepBuffer:
		f.buf, f.start = make([]byte, 0, startBuffer), 0
	case f.start > 0 && cap(f.buf)-len(f.buf) < need:
		copy(f.buf[:have], f.buf[f.start:])
		f.buf, f.start = f.buf[:have], 0
	case have == 0:
		f.buf, f.start = f.buf[:0], 0
	}
	if cap(f.buf) == len(f.buf) {
		size := min(2*cap(f.buf), max(have+need, startBuffer))
		if err := f.charge(size, have+need); err != nil {
			return 0, err
		}
		grown := make([]byte, have, size)
		copy(grown, f.buf[f.start:])
		f.buf, f.start = grown, 0
	}
	n, err := f.src.Read(f.buf[len(f.buf):cap(f.buf)])
	if n < 0 || n > cap(f.buf)-len(f.buf) {
		return 0, fmt.Errorf("the stream returned %d bytes for a buffer of %d", n, cap(f.buf)-len(f.buf))
	}
	f.buf = f.buf[:len(f.buf)+n]
	return n, err
}

// FrameWriter writes frames, one call of Write each, from one reused buffer. It is not safe for concurrent use.
type FrameWriter struct {
	dst    io.Writer
	buf    []byte
	broken error
}

// NewFrameWriter writes frames to dst.
func NewFrameWriter(dst io.Writer) *FrameWriter { return &FrameWriter{dst: dst} }

// Write encodes m and sends it. An encoding error sends nothing and leaves the stream intact; an error of the stream is
// final, as half a frame may be out.
func (f *FrameWriter) Write(m Message) error {
	b, err := AppendFrame(f.buf[:0], m)
	if err != nil {
		return err
	}
	return f.send(b)
}

// WriteDeliver sends an event that is already encoded, as AppendDeliver.
func (f *FrameWriter) WriteDeliver(seq uint64, step Step, processed Nanos, trace TraceID, event []byte) error {
	b, err := AppendDeliver(BeginFrame(f.buf[:0]), seq, step, processed, trace, event)
	if err != nil {
		return err
	}
	if b, err = EndFrame(b, 0); err != nil {
		return err
	}
	return f.send(b)
}

// WriteBatch sends events that are already encoded, as AppendBatch.
func (f *FrameWriter) WriteBatch(seq uint64, first Step, events []EncodedEvent) error {
	b, err := AppendBatch(BeginFrame(f.buf[:0]), seq, first, events)
	if err != nil {
		return err
	}
	if b, err = EndFrame(b, 0); err != nil {
		return err
	}
	return f.send(b)
}

func (f *FrameWriter) send(b []byte) error {
	if cap(b) <= keepBuffer {
		f.buf = b
	}
	if f.broken != nil {
		return f.broken
	}
	if _, err := f.dst.Write(b); err != nil {
		f.broken = fmt.Errorf("writing a frame: %w", err)
	}
	return f.broken
}

// Conn is one side of a session: frames in, frames out. One goroutine may receive while another sends.
type Conn struct {
	net.Conn
	in     *FrameReader
	out    *FrameWriter
	reader *Reader
}

// NewConn wraps a stream on which the other side is from.
func NewConn(c net.Conn, from Direction) *Conn {
	return &Conn{Conn: c, in: NewFrameReader(c, from), out: NewFrameWriter(c), reader: NewReader(from)}
}

// Frames gives the reading half, for its limits and its Buffered.
func (c *Conn) Frames() *FrameReader { return c.in }

// Receive reads and decodes one message. After a timeout (os.ErrDeadlineExceeded) it may be called again.
func (c *Conn) Receive() (Message, error) {
	frame, err := c.in.Next()
	if err != nil {
		return nil, err
	}
	m, err := c.reader.Message(frame)
	c.in.GiveBack() // a message does not refer to its frame
	return m, err
}

// Close ends the session, and pays back what a frame that never came to its end has taken of a budget.
func (c *Conn) Close() error {
	err := c.Conn.Close()
	c.in.settle()
	return err
}

// ReceiveFrame reads one message without decoding it; it is valid until the next Receive or ReceiveFrame.
func (c *Conn) ReceiveFrame() ([]byte, error) { return c.in.Next() }

// Send writes one message.
func (c *Conn) Send(m Message) error { return c.out.Write(m) }

// SendDeliver writes an event that is already encoded.
func (c *Conn) SendDeliver(seq uint64, step Step, processed Nanos, trace TraceID, event []byte) error {
	return c.out.WriteDeliver(seq, step, processed, trace, event)
}

// SendBatch writes events that are already encoded.
func (c *Conn) SendBatch(seq uint64, first Step, events []EncodedEvent) error {
	return c.out.WriteBatch(seq, first, events)
}
