package sandbox

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"
)

// LogLimiter turns what a runner prints into bounded, sanitised lines (SB-4). One limiter serves both streams of a
// runner, so that rate and budget hold for their sum. Every implementation of Sandbox uses it.
//
// A flood costs little: once a line is over the limit the reader stops decoding, counts line ends, and sleeps between
// reads, so that the pipe fills and the runner blocks in its own write. Read without the pause, a runner that prints
// as fast as it can takes a whole core of the supervisor.
type LogLimiter struct {
	limits Limits
	emit   func(LogLine)
	now    func() time.Time

	emitting sync.Mutex // held while emit runs; never together with mu, so that a slow sink does not block Stats

	mu     sync.Mutex
	tokens float64
	last   time.Time
	stats  LogStats
	tail   []byte // of stderr, sanitised, for Exit.Stderr
}

const (
	logReadBytes  = 32 << 10
	logFloodPause = 5 * time.Millisecond // 32 KiB each 5 ms: at most 6.4 MB/s are read from a flooding runner
)

// NewLogLimiter returns a limiter that passes lines to emit, which is never called by two goroutines at once.
func NewLogLimiter(limits Limits, emit func(LogLine)) *LogLimiter {
	l := &LogLimiter{limits: limits.OrDefault(), emit: emit, now: time.Now}
	l.tokens = float64(l.limits.LogBurstLines)
	l.last = l.now()
	return l
}

// Stats returns the counts so far.
func (l *LogLimiter) Stats() LogStats {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.stats
}

// StderrTail returns the last lines of stderr, at most StderrTailBytes.
func (l *LogLimiter) StderrTail() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.tail)
}

// Pump reads r until it ends. A closed or timed-out pipe is an end like any other.
func (l *LogLimiter) Pump(stream Stream, r io.Reader) error {
	buf := make([]byte, logReadBytes)
	line := make([]byte, 0, l.limits.LogLineBytes)
	cut := false
	for {
		n, err := r.Read(buf)
		var dropped bool
		line, cut, dropped = l.take(stream, line, cut, buf[:n])
		switch {
		case err == nil && dropped:
			time.Sleep(logFloodPause)
		case err == nil:
		default:
			if len(line) > 0 {
				l.line(stream, line, cut, 0)
			}
			if errors.Is(err, io.EOF) || errors.Is(err, os.ErrClosed) || errors.Is(err, os.ErrDeadlineExceeded) {
				return nil
			}
			return fmt.Errorf("read %s of the runner: %w", stream, err)
		}
	}
}

// take consumes one read: complete lines are passed on or dropped, the rest is carried over.
func (l *LogLimiter) take(stream Stream, line []byte, cut bool, data []byte) ([]byte, bool, bool) {
	dropped := false
	for len(data) > 0 {
		end := bytes.IndexByte(data, '\n')
		part := data
		if end >= 0 {
			part = data[:end]
		}
		if room := l.limits.LogLineBytes - len(line); len(part) > room {
			l.count(func(s *LogStats) { s.DroppedBytes += int64(len(part) - room) })
			part, cut, dropped = part[:room], true, true
		}
		line = append(line, part...)
		if end < 0 {
			break
		}
		data = data[end+1:]
		if l.line(stream, line, cut, 1) {
			line, cut = line[:0], false
			continue
		}
		// Over the limit: what remains of this read is not worth decoding, only counting.
		last := bytes.LastIndexByte(data, '\n') + 1
		l.count(func(s *LogStats) {
			s.DroppedLines += int64(bytes.Count(data[:last], []byte{'\n'}))
			s.DroppedBytes += int64(last)
		})
		data, line, cut, dropped = data[last:], line[:0], false, true
	}
	return line, cut, dropped
}

func (l *LogLimiter) count(f func(*LogStats)) {
	l.mu.Lock()
	f(&l.stats)
	l.mu.Unlock()
}

// line passes one line on if rate and budget allow it, and tells whether they did.
func (l *LogLimiter) line(stream Stream, raw []byte, cut bool, lineEnd int64) bool {
	line, ok := l.admit(stream, raw, cut, lineEnd)
	if ok && l.emit != nil {
		l.emitting.Lock()
		defer l.emitting.Unlock()
		l.emit(line)
	}
	return ok
}

// admit counts a line, and sanitises it if it may pass.
func (l *LogLimiter) admit(stream Stream, raw []byte, cut bool, lineEnd int64) (LogLine, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	l.tokens = min(float64(l.limits.LogBurstLines), l.tokens+now.Sub(l.last).Seconds()*l.limits.LogLinesPerSecond)
	l.last = now
	size := int64(len(raw)) + lineEnd
	if l.tokens < 1 || l.stats.Bytes+size > l.limits.LogBytesPerRun {
		l.stats.DroppedLines++
		l.stats.DroppedBytes += size
		return LogLine{}, false
	}
	l.tokens--
	l.stats.Lines++
	l.stats.Bytes += size
	text, short := Sanitize(raw, l.limits.LogLineBytes)
	cut = cut || short
	if cut {
		l.stats.Truncated++
	}
	if stream == Stderr {
		l.keepTail(text)
	}
	return LogLine{Stream: stream, Text: text, Truncated: cut}, true
}

// keepTail appends a line to the tail and drops whole lines from its front.
func (l *LogLimiter) keepTail(text string) {
	l.tail = append(append(l.tail, text...), '\n')
	over := len(l.tail) - StderrTailBytes
	if over <= 0 {
		return
	}
	if nl := bytes.IndexByte(l.tail[over:], '\n'); nl >= 0 && over+nl+1 < len(l.tail) {
		over += nl + 1
	}
	l.tail = append(l.tail[:0], l.tail[over:]...)
}

// Sanitize makes text from an untrusted source safe to show: control characters, line separators, bidirectional
// overrides and broken UTF-8 are escaped as in Go strings. The result is at most limit bytes; short tells that it was cut.
func Sanitize(raw []byte, limit int) (text string, short bool) {
	var b strings.Builder
	b.Grow(min(len(raw), limit))
	for len(raw) > 0 {
		r, n := utf8.DecodeRune(raw)
		var piece string
		switch {
		case r == utf8.RuneError && n == 1:
			piece = fmt.Sprintf(`\x%02x`, raw[0])
		case r == '\t':
			piece = `\t`
		case r == '\r':
			piece = `\r`
		case r < 0x20 || r == 0x7f:
			piece = fmt.Sprintf(`\x%02x`, r)
		case !unicode.IsPrint(r) && r != ' ':
			piece = fmt.Sprintf(`\u%04x`, r)
		default:
			piece = string(raw[:n])
		}
		if b.Len()+len(piece) > limit {
			return b.String(), true
		}
		b.WriteString(piece)
		raw = raw[n:]
	}
	return b.String(), false
}
