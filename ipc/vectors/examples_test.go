package vectors

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/tinylib/msgp/msgp"
)

// The annotated frames of PROTOCOL.md stand between these lines; they are made from golden files.
const (
	protocol     = "../PROTOCOL.md"
	examplesFrom = "<!-- examples: written by go test ./ipc/vectors -update -->\n"
	examplesTo   = "<!-- end of examples -->\n"
)

// example is one golden file and the names of its values, in the order of their bytes.
type example struct {
	title, file string
	labels      []string
}

var examples = []example{
	{"A deliver with a quote, `deliver-quote.bin`:", "deliver-quote.bin", []string{
		"deliver, 6 elements", "type", "seq", "step", "processed_ts", "trace_id", "event: 12 elements", "kind: quote", "instrument",
		"source", "event_ts", "recv_ts", "seq", "venue_seq", "quality", "bid", "bid_size", "ask", "ask_size",
	}},
	{"An answer with one order, `answer-order.bin`:", "answer-order.bin", []string{
		"answer, 9 elements", "type", "seq", "step", "intents: 1", "intent: 3 elements", "kind: order", "meta: 10 elements", "bot",
		"strategy", "strategy_version", "instance", "run_id", "trace_id", "key", "risk_context: 4 elements", "max_slippage", "max_delay",
		"holding_time", "budget", "name", "proposal", "body: 9 elements", "instrument", "side: buy", "type: limit", "quantity",
		"limit_price", "stop_price: none", "time_in_force: gtc", "reduce_only", "post_only", "state_updates: none", "timers: 0",
		"compute: 0", "telemetry: 0", "fault: none",
	}},
}

// annotate writes one line for each msgpack value: offset in the file, bytes, value, name.
func annotate(frame []byte, labels []string) (string, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "%4d  %s  %-34s length: %d bytes follow\n", 0, hexBytes(frame[:4]), "", binary.BigEndian.Uint32(frame))
	rest := frame[4:]
	for _, label := range labels {
		size, text, err := headOf(rest)
		if err != nil {
			return "", fmt.Errorf("%s: %w", label, err)
		}
		if text != "" {
			label += " = " + text
		}
		offset := len(frame) - len(rest)
		for at := 0; at < size; at += 16 {
			line := fmt.Sprintf("%4d  %-47s %s", offset+at, hexBytes(rest[at:min(size, at+16)]), label)
			b.WriteString(strings.TrimRight(line, " ") + "\n")
			label = "" // the lines after the first have bytes only
		}
		rest = rest[size:]
	}
	if len(rest) != 0 {
		return "", fmt.Errorf("%d bytes without a name", len(rest))
	}
	return b.String(), nil
}

func hexBytes(b []byte) string { return strings.TrimSpace(fmt.Sprintf("% x", b)) }

// headOf returns the size of the value at the front (of an array: of its head) and its text, "" for arrays and nil.
func headOf(b []byte) (int, string, error) {
	var rest []byte
	var text string
	var err error
	switch msgp.NextType(b) {
	case msgp.ArrayType:
		_, rest, err = msgp.ReadArrayHeaderBytes(b)
	case msgp.StrType:
		var s string
		s, rest, err = msgp.ReadStringBytes(b)
		text = quote(s)
	case msgp.IntType, msgp.UintType:
		var i int64
		i, rest, err = msgp.ReadInt64Bytes(b)
		text = fmt.Sprint(i)
	case msgp.BoolType:
		var v bool
		v, rest, err = msgp.ReadBoolBytes(b)
		text = fmt.Sprint(v)
	case msgp.ExtensionType:
		rest, err = msgp.Skip(b)
		text = fmt.Sprintf("%d·10^%d", int64(binary.BigEndian.Uint64(b[3:])), int8(b[11]))
	default:
		rest, err = msgp.Skip(b)
	}
	return len(b) - len(rest), text, err
}

// withExamples returns PROTOCOL.md as it ought to be.
func withExamples(page []byte) ([]byte, error) {
	from, to := bytes.Index(page, []byte(examplesFrom)), bytes.Index(page, []byte(examplesTo))
	if from < 0 || to < from {
		return nil, fmt.Errorf("%s lacks the line %q or %q", protocol, examplesFrom, examplesTo)
	}
	var b bytes.Buffer
	b.Write(page[:from+len(examplesFrom)])
	for _, e := range examples {
		frame, err := os.ReadFile(e.file)
		if err != nil {
			return nil, err
		}
		text, err := annotate(frame, e.labels)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", e.file, err)
		}
		fmt.Fprintf(&b, "\n%s\n\n```\n%s```\n", e.title, text)
	}
	b.WriteByte('\n')
	b.Write(page[to:])
	return b.Bytes(), nil
}

func updateExamples() error {
	page, err := os.ReadFile(protocol)
	if err != nil {
		return err
	}
	if page, err = withExamples(page); err != nil {
		return err
	}
	return os.WriteFile(protocol, page, 0o644)
}

// Proves: BC-F
func TestExamplesOfTheProtocolPageAreGolden(t *testing.T) {
	page, err := os.ReadFile(protocol)
	if err != nil {
		t.Fatal(err)
	}
	want, err := withExamples(page)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(page, want) {
		t.Errorf("the byte examples of %s are not those of the golden files; run go test ./ipc/vectors -update", protocol)
	}
}
