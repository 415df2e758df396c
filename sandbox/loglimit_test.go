package sandbox

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func pumped(t *testing.T, limits Limits, in string) ([]LogLine, *LogLimiter) {
	t.Helper()
	var got []LogLine
	l := NewLogLimiter(limits, func(line LogLine) { got = append(got, line) })
	at := time.Unix(0, 0)
	l.now, l.last = func() time.Time { return at }, at // no refill while the test runs
	if err := l.Pump(Stderr, io.MultiReader(strings.NewReader(in))); err != nil {
		t.Fatal(err)
	}
	return got, l
}

// Proves: SB-4
func TestLogLinesAreSanitisedAndCut(t *testing.T) {
	got, l := pumped(t, Limits{LogLineBytes: 32}, "plain\n\x1b[31mred\x07\t\n"+strings.Repeat("x", 100)+"\nbad\xffutf\u202e\nlast")
	want := []LogLine{
		{Stderr, "plain", false}, {Stderr, `\x1b[31mred\x07\t`, false}, {Stderr, strings.Repeat("x", 32), true},
		{Stderr, `bad\xffutf\u202e`, false}, {Stderr, "last", false},
	}
	if len(got) != len(want) {
		t.Fatalf("got %d lines %v, want %d", len(got), got, len(want))
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("line %d: got %+v, want %+v", i, got[i], want[i])
		}
	}
	if s := l.Stats(); s.Lines != 5 || s.Truncated != 1 || s.DroppedBytes != 68 {
		t.Errorf("stats %+v", s)
	}
	if tail := l.StderrTail(); !strings.HasSuffix(tail, "\nlast\n") {
		t.Errorf("stderr tail %q", tail)
	}
}

// Proves: SB-4
func TestLogRateAndBudgetDropAndCount(t *testing.T) {
	in := strings.Repeat("0123456789\n", 1000)
	got, l := pumped(t, Limits{LogBurstLines: 10, LogLinesPerSecond: 1}, in)
	if s := l.Stats(); len(got) != 10 || s.Lines != 10 || s.DroppedLines != 990 || s.Bytes+s.DroppedBytes != int64(len(in)) {
		t.Errorf("rate: %d lines, stats %+v of %d bytes", len(got), s, len(in))
	}
	got, l = pumped(t, Limits{LogBytesPerRun: 110}, in)
	if s := l.Stats(); len(got) != 10 || s.Bytes != 110 || s.Bytes+s.DroppedBytes != int64(len(in)) {
		t.Errorf("budget: %d lines, stats %+v", len(got), s)
	}
}

// Proves: SB-4
func TestLogFloodWithoutLineEndStaysBounded(t *testing.T) {
	got, l := pumped(t, Limits{}, strings.Repeat("a", 200_000))
	if s := l.Stats(); len(got) != 1 || !got[0].Truncated || len(got[0].Text) != 1024 || s.DroppedBytes != 200_000-1024 {
		t.Errorf("%d lines, stats %+v", len(got), s)
	}
	l = NewLogLimiter(Limits{LogBurstLines: 1 << 20}, nil)
	if err := l.Pump(Stderr, strings.NewReader(strings.Repeat("b\n", 50_000))); err != nil {
		t.Fatal(err)
	}
	if n := len(l.StderrTail()); n > StderrTailBytes {
		t.Errorf("stderr tail of %d bytes", n)
	}
}

// Proves: SB-4
func FuzzSanitize(f *testing.F) {
	f.Add([]byte("\x1b]0;title\x07"), 8)
	f.Fuzz(func(t *testing.T, raw []byte, limit int) {
		limit = min(max(limit, 0), 4096)
		text, short := Sanitize(raw, limit)
		if len(text) > limit || !utf8.ValidString(text) || bytes.ContainsAny([]byte(text), "\x00\x1b\x07\x7f\n\r\t") {
			t.Fatalf("%q from %q at %d", text, raw, limit)
		}
		if !short && len(raw) > 0 && text == "" {
			t.Fatalf("%q vanished", raw)
		}
	})
}

// One line without an end drops no line, only bytes: it is a violation all the same.
//
// Proves: SB-4, SB-8
func TestAnEndlessLineIsAViolation(t *testing.T) {
	_, l := pumped(t, Limits{}, strings.Repeat("a", 1<<20))
	want := Violation{ViolationLog, 1024, 1 << 20, "bytes", ReasonLogCeiling}
	if got := Violations(Limits{}.OrDefault(), Exit{Cause: CauseKilled}, l.Stats()); len(got) != 1 || got[0] != want {
		t.Errorf("violations %v, want %v", got, want)
	}
	_, l = pumped(t, Limits{}, "a line\n")
	if got := Violations(Limits{}.OrDefault(), Exit{Cause: CauseKilled}, l.Stats()); len(got) != 0 {
		t.Errorf("violations %v of an honest line", got)
	}
}
