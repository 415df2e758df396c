package sandbox

// Stream tells where a line was printed.
type Stream uint8

// The streams.
const (
	Stdout Stream = 1
	Stderr Stream = 2
)

// String returns "stdout" or "stderr".
func (s Stream) String() string {
	if s == Stderr {
		return "stderr"
	}
	return "stdout"
}

// LogLine is one line that a runner printed. Text is valid UTF-8 without control characters (they are escaped as in
// Go strings), so that it can be shown on a terminal; it holds no line end.
type LogLine struct {
	Stream    Stream
	Text      string
	Truncated bool // the line was longer than LogLineBytes; the rest is dropped
}

// LogStats counts what a runner printed (SB-4). Lines + DroppedLines is everything; bytes are raw, line ends included.
type LogStats struct {
	Lines        int64
	Bytes        int64
	DroppedLines int64
	DroppedBytes int64
	Truncated    int64 // passed-on lines that were cut
}
