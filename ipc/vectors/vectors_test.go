package vectors

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/msup/msup/ipc"
)

var update = flag.Bool("update", false, "write the golden files")

// validFile is the JSON beside NAME.bin.
type validFile struct {
	About    string          `json:"about"`
	From     string          `json:"from"`
	Reencode bool            `json:"reencode"`
	Message  json.RawMessage `json:"message"`
}

// invalidFile is the JSON beside invalid/NAME.bin.
type invalidFile struct {
	About string         `json:"about"`
	From  string         `json:"from"`
	Error ipc.ErrorClass `json:"error"`
	SDK   string         `json:"sdk"` // "must" or "may" refuse
}

func allValid() []valid {
	return slices.Concat(sessionVectors(), marketVectors(), otherEventVectors(), answerVectors(), boundaryVectors(), oddVectors())
}

func allInvalid() []invalid {
	return slices.Concat(frameInvalid(), supervisorInvalid(), runnerInvalid())
}

// pretty is one field a line for people, compact below the second level.
func pretty(v any) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		panic(err) // the corpus is made of plain strings and numbers
	}
	return b.Bytes()
}

// TestMain writes the golden files first where -update asks for it, so that the tests then judge what was written.
func TestMain(m *testing.M) {
	flag.Parse()
	if *update {
		if err := writeGolden(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

func writeGolden() error {
	files, err := corpus()
	if err != nil {
		return err
	}
	old, err := golden()
	if err != nil {
		return err
	}
	for _, name := range old {
		if err := os.Remove(name); err != nil {
			return err
		}
	}
	for name, content := range files {
		if err := os.WriteFile(name, content, 0o644); err != nil {
			return err
		}
	}
	return updateExamples()
}

// corpus returns every golden file by its path.
func corpus() (map[string][]byte, error) {
	digests, err := digestVectors()
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{
		"key.json": pretty(keyVectors()), "digest.json": pretty(digests),
		"rng.json": pretty(rngVectors()), "chain.json": pretty(chainVectors()),
	}
	for _, v := range allValid() {
		frame, m := v.raw, v.message
		var err error
		if frame == nil {
			frame, err = ipc.AppendFrame(nil, m)
		} else {
			m, err = ipc.DecodeMessage(frame[4:], v.from)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", v.name, err)
		}
		text, err := messageJSON(m)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", v.name, err)
		}
		if _, twice := files[v.name+".bin"]; twice {
			return nil, fmt.Errorf("two vectors are named %s", v.name)
		}
		files[v.name+".bin"] = frame
		files[v.name+".json"] = pretty(validFile{v.about, v.from.String(), v.raw == nil, text})
	}
	for _, v := range allInvalid() {
		sdk := "must"
		if v.sdkMay {
			sdk = "may"
		}
		name := "invalid/" + v.name
		if _, twice := files[name+".bin"]; twice {
			return nil, fmt.Errorf("two vectors are named %s", name)
		}
		files[name+".bin"] = v.raw
		files[name+".json"] = pretty(invalidFile{v.about, v.from.String(), v.class, sdk})
	}
	return files, nil
}

// Proves: BC-F, NN-5
func TestGoldenFilesAreWhatGoWrites(t *testing.T) {
	files, err := corpus()
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range files {
		got, err := os.ReadFile(name)
		if err != nil {
			t.Errorf("%v; run go test ./ipc/vectors -update", err)
			continue
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s differs from what Go writes now: if PROTOCOL.md changed on purpose, run go test ./ipc/vectors -update", name)
		}
	}
	onDisk, err := golden()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range onDisk {
		if _, known := files[filepath.ToSlash(name)]; !known {
			t.Errorf("%s belongs to no vector", name)
		}
	}
	if n := len(allValid()) + len(allInvalid()); n < 200 {
		t.Errorf("only %d vectors", n)
	}
}

// golden lists the files on disk.
func golden() ([]string, error) {
	var all []string
	for _, pattern := range []string{"*.bin", "*.json", "invalid/*.bin", "invalid/*.json"} {
		names, err := filepath.Glob(pattern)
		if err != nil {
			return nil, err
		}
		all = append(all, names...)
	}
	return all, nil
}

func direction(t *testing.T, name string) ipc.Direction {
	t.Helper()
	for d := ipc.FromAnyone; d <= ipc.FromPeer; d++ {
		if d.String() == name {
			return d
		}
	}
	t.Fatalf("no direction is named %q", name)
	return 0
}

// read takes the one message of a golden file, as a session would: from a stream.
func read(path string, from ipc.Direction) (ipc.Message, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	frames := ipc.NewFrameReader(bytes.NewReader(b), from)
	frame, err := frames.Next()
	if err != nil {
		return nil, err
	}
	m, err := ipc.NewReader(from).Message(frame)
	if err != nil {
		return nil, err
	}
	if _, err := frames.Next(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("after the frame: %v, expected the end of the file", err)
	}
	return m, nil
}

// Every .bin reads as its .json says, and is written again byte for byte.
// Proves: BC-F, EV-1, DM-3, DM-4
func TestGoldenFilesRead(t *testing.T) {
	names, err := filepath.Glob("*.bin")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	for _, name := range names {
		var file validFile
		readJSON(t, strings.TrimSuffix(name, ".bin")+".json", &file)
		m, err := read(name, direction(t, file.From))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		countKinds(m, seen)
		checkRewritten(t, name, m, file)
	}
	for kind := ipc.MessageType(1); kind <= ipc.TypeSync; kind++ {
		if ipc.FromAnyone.Allows(kind) && seen[kind.String()] == 0 {
			t.Errorf("no vector for message %s", kind)
		}
	}
	for kind := ipc.EventKind(1); kind <= ipc.KindShutdown; kind++ {
		if !strings.HasPrefix(kind.String(), "event(") && seen["event "+kind.String()] == 0 {
			t.Errorf("no vector for event %s", kind)
		}
	}
	for kind := ipc.IntentOrder; kind <= ipc.IntentRiskHint; kind++ {
		if seen["intent "+kind.String()] == 0 {
			t.Errorf("no vector for intent %s", kind)
		}
	}
}

func checkRewritten(t *testing.T, name string, m ipc.Message, file validFile) {
	t.Helper()
	text, err := messageJSON(m)
	if err != nil {
		t.Errorf("%s: %v", name, err)
		return
	}
	if want := compact(t, file.Message); string(text) != want {
		t.Errorf("%s reads as\n%s\nexpected\n%s", name, text, want)
	}
	again, err := ipc.AppendFrame(nil, m)
	if err != nil {
		t.Errorf("%s: %v", name, err)
		return
	}
	original, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(again, original) != file.Reencode {
		t.Errorf("%s: written again it is\n%x, read was\n%x; reencode says %t", name, again, original, file.Reencode)
	}
	back, err := ipc.DecodeMessage(again[4:], ipc.FromAnyone)
	if err != nil {
		t.Errorf("%s: written again it does not read: %v", name, err)
		return
	}
	if second, err := messageJSON(back); err != nil || !bytes.Equal(second, text) {
		t.Errorf("%s: written again it reads as %s (%v)", name, second, err)
	}
}

// Proves: BC-F, NN-7
func TestInvalidGoldenFilesAreRefused(t *testing.T) {
	names, err := filepath.Glob("invalid/*.bin")
	if err != nil {
		t.Fatal(err)
	}
	classes := map[ipc.ErrorClass]int{}
	for _, name := range names {
		var file invalidFile
		readJSON(t, strings.TrimSuffix(name, ".bin")+".json", &file)
		_, err := read(name, direction(t, file.From))
		class := ipc.ClassOf(err)
		if errors.Is(err, io.ErrUnexpectedEOF) {
			class = ipc.ClassTruncated
		}
		if class != file.Error {
			t.Errorf("%s: %v; expected an error of class %s", name, err, file.Error)
		}
		classes[class]++
	}
	for _, class := range []ipc.ErrorClass{
		ipc.ClassTruncated, ipc.ClassWrongType, ipc.ClassRange, ipc.ClassTooLong, ipc.ClassTooMany, ipc.ClassTooDeep,
		ipc.ClassShortArray, ipc.ClassDecimal, ipc.ClassUTF8, ipc.ClassFloat, ipc.ClassDuplicateKey, ipc.ClassUnknownType,
		ipc.ClassDirection, ipc.ClassTrailingBytes, ipc.ClassInvalid, ipc.ClassFrameTooLarge, ipc.ClassFrameEmpty,
	} {
		if classes[class] == 0 {
			t.Errorf("no invalid vector of class %s", class)
		}
	}
}

func readJSON(t *testing.T, path string, into any) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

func compact(t *testing.T, text []byte) string {
	t.Helper()
	var b bytes.Buffer
	if err := json.Compact(&b, text); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// countKinds notes which messages, events and intents the corpus holds.
func countKinds(m ipc.Message, seen map[string]int) {
	seen[m.Type().String()]++
	switch m := m.(type) {
	case *ipc.Deliver:
		seen["event "+m.Event.Kind().String()]++
	case *ipc.Answer:
		for _, i := range m.Intents {
			seen["intent "+i.Kind().String()]++
		}
	}
}
