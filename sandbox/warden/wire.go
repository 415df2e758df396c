package warden

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/sandbox"
)

// Limits of the interface, checked before anything is allocated for a message.
const (
	// MaxMessageBytes bounds one message in either direction. The spec of a Python runner takes about 4 KiB.
	MaxMessageBytes = 128 << 10
	maxPathBytes    = 4096
	maxNameBytes    = 64
	// maxStrings bounds the arguments, environment and binds of a spec, each.
	maxStrings = 4096
)

// verb is what the supervisor asks for.
type verb string

// The verbs. Those marked "before the seal" are refused afterwards.
const (
	verbOpen   verb = "open"   // a sandbox of a kind; before the seal
	verbPermit verb = "permit" // a spec, or a socket to dial; before the seal
	verbSeal   verb = "seal"   // from now on only what was permitted
	verbReap   verb = "reap"   // before the seal
	verbStart  verb = "start"
	verbCancel verb = "cancel" // a start that nobody waits for any more
	verbKill   verb = "kill"
	verbUsage  verb = "usage"
	verbLogs   verb = "logs"
	verbLower  verb = "lower" // let the neighbours of a runner go first, or not any more
	verbDial   verb = "dial"  // a permitted socket
	verbClose  verb = "close"
)

var verbs = []verb{verbOpen, verbPermit, verbSeal, verbReap, verbStart, verbCancel, verbKill, verbUsage, verbLogs, verbLower, verbDial, verbClose}

// request is one question of the supervisor. Fields that its verb does not have are refused.
type request struct {
	ID     uint64          `json:"id"`
	Verb   verb            `json:"verb"`
	Box    string          `json:"box,omitempty"`    // kind of sandbox
	Params json.RawMessage `json:"params,omitempty"` // of open
	Spec   *spec           `json:"spec,omitempty"`   // of permit and start
	Runner uint64          `json:"runner,omitempty"` // of kill, usage, logs and lower
	Lower  bool            `json:"lower,omitempty"`  // of lower
	Other  uint64          `json:"other,omitempty"`  // of cancel: the id of the start
	Path   string          `json:"path,omitempty"`   // of permit and dial
	Lives  int             `json:"lives,omitempty"`  // of permit: runners that may live at a time
}

// spec is a sandbox.Spec as it is sent: everything but the function that takes the lines.
type spec struct {
	sandbox.Spec
	Log bool // lines are wanted
}

// event says what a message to the supervisor is about.
type event string

// The events; an answer has none.
const (
	eventConnected event = "connected" // one descriptor: the runner's connection
	eventNoConn    event = "no_connection"
	eventEnded     event = "ended"
)

// reply is one answer, or one event of a runner.
type reply struct {
	ID     uint64            `json:"id,omitempty"` // of the request; 0 for an event
	Event  event             `json:"event,omitempty"`
	Runner uint64            `json:"runner,omitempty"`
	PID    int               `json:"pid,omitempty"`
	Name   string            `json:"name,omitempty"`
	Level  sandbox.Level     `json:"level,omitempty"`
	Walls  []sandbox.Wall    `json:"walls,omitempty"`
	Reaped *sandbox.Reaped   `json:"reaped,omitempty"`
	Usage  *sandbox.Usage    `json:"usage,omitempty"`
	Logs   *sandbox.LogStats `json:"logs,omitempty"`
	Exit   *sandbox.Exit     `json:"exit,omitempty"`
	Err    *failure          `json:"err,omitempty"`
}

// failure is an error on its way.
type failure struct {
	Reason sandbox.ReasonCode `json:"reason,omitempty"` // "" = no *sandbox.Error
	Op     string             `json:"op,omitempty"`
	Text   string             `json:"text"`
	Remedy string             `json:"remedy,omitempty"`
	Lost   bool               `json:"lost,omitempty"`
	Cancel bool               `json:"cancel,omitempty"`
}

// maxErrorBytes bounds each text of a failure, so that it fits into a message.
const maxErrorBytes = 8 << 10

func failureOf(err error) *failure {
	if err == nil {
		return nil
	}
	f := &failure{Text: err.Error(), Lost: errors.Is(err, sandbox.ErrLost), Cancel: errors.Is(err, context.Canceled)}
	if typed, ok := errors.AsType[*sandbox.Error](err); ok {
		f.Reason, f.Op, f.Remedy = typed.Reason, cut(typed.Op), cut(typed.Remedy)
		// What was joined to it must not get lost; reason and place are said already.
		f.Text = strings.TrimSuffix(strings.TrimPrefix(f.Text, fmt.Sprintf("%s: %s: ", typed.Reason, typed.Op)), "; "+typed.Remedy)
	}
	f.Text = cut(f.Text)
	return f
}

func cut(s string) string {
	if len(s) <= maxErrorBytes {
		return s
	}
	return strings.ToValidUTF8(s[:maxErrorBytes], "") + "…"
}

func (f *failure) error() error {
	if f == nil {
		return nil
	}
	err := errors.New(f.Text)
	if f.Lost {
		err = fmt.Errorf("%w: %w", err, sandbox.ErrLost)
	}
	if f.Cancel {
		err = fmt.Errorf("%w: %w", err, context.Canceled)
	}
	if f.Reason == "" {
		return err
	}
	return &sandbox.Error{Reason: f.Reason, Op: f.Op, Err: err, Remedy: f.Remedy}
}

// decodeRequest takes one message apart as if its sender were hostile: unknown fields, fields of another verb, and whatever is too long are
// refused. The size of the message was bounded when it was received.
func decodeRequest(b []byte) (request, error) {
	var r request
	if err := decode(b, &r); err != nil {
		return r, err
	}
	if !slices.Contains(verbs, r.Verb) {
		return r, fmt.Errorf("no verb is called %.32q", r.Verb)
	}
	if r.ID == 0 {
		return r, errors.New("a request without a number")
	}
	has := map[string]bool{"box": r.Box != "", "params": r.Params != nil, "spec": r.Spec != nil, "runner": r.Runner != 0, "other": r.Other != 0, "path": r.Path != "", "lives": r.Lives != 0, "lower": r.Lower}
	for field, there := range has {
		if there && !slices.Contains(fieldsOf[r.Verb], field) {
			return r, fmt.Errorf("%s has no %s", r.Verb, field)
		}
	}
	if len(r.Box) > maxNameBytes || len(r.Path) > maxPathBytes || strings.ContainsRune(r.Path, 0) {
		return r, errors.New("a name or path that is too long, or holds a zero byte")
	}
	if r.Lives < 0 || r.Lives > maxRunners {
		return r, fmt.Errorf("%d lives of a spec; at most %d are allowed", r.Lives, maxRunners)
	}
	if r.Spec != nil {
		return r, r.Spec.check()
	}
	return r, nil
}

var fieldsOf = map[verb][]string{
	verbOpen: {"box", "params"}, verbPermit: {"box", "spec", "path", "lives"}, verbReap: {"box"}, verbStart: {"box", "spec"}, verbCancel: {"other"},
	verbKill: {"runner"}, verbUsage: {"runner"}, verbLogs: {"runner"}, verbLower: {"runner", "lower"},
	verbDial: {"path"}, verbClose: {"box"},
}

// check bounds what the sandbox's own validation takes for granted.
func (s *spec) check() error {
	for _, n := range []int{len(s.Argv), len(s.Env), len(s.Binds), len(s.Writable)} {
		if n > maxStrings {
			return fmt.Errorf("a spec with a list of %d entries; at most %d are allowed", n, maxStrings)
		}
	}
	return nil
}

// decode takes exactly one JSON value.
func decode(b []byte, into any) error {
	if !utf8.Valid(b) {
		return errors.New("a message that is not UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return fmt.Errorf("decode a message: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("decode a message: something follows it")
	}
	return nil
}

// encode refuses what would not arrive as it is, or not at all.
func encode(v any) ([]byte, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode a message: %w", err)
	}
	if len(b) > MaxMessageBytes {
		return nil, fmt.Errorf("encode a message: %d bytes; at most %d are possible", len(b), MaxMessageBytes)
	}
	return b, nil
}

// sendable is a spec as it is sent. JSON would quietly replace bytes that are not UTF-8.
func sendable(s sandbox.Spec) (*spec, error) {
	texts := slices.Concat(s.Argv, s.Env, []string{s.Dir, string(s.Address.Bot), string(s.Address.Strategy), string(s.Address.Instance)})
	for _, b := range s.Binds {
		texts = append(texts, b.Source, b.Target)
	}
	for _, w := range s.Writable {
		texts = append(texts, w.Source, w.Target)
	}
	for _, text := range texts {
		if !utf8.ValidString(text) {
			return nil, refuse(sandbox.ReasonSpec, "start "+s.Address.String(), fmt.Errorf("%q is not UTF-8", text), "")
		}
	}
	wants := s.Log != nil
	s.Log = nil
	return &spec{Spec: s, Log: wants}, nil
}

// identity is the same for two specs only when every field of them is.
type identity [sha256.Size]byte

func (s *spec) identity(box string) (identity, error) {
	b, err := encode(s)
	if err != nil {
		return identity{}, err
	}
	return sha256.Sum256(append([]byte(box+"\x00"), b...)), nil
}

func refuse(reason sandbox.ReasonCode, op string, err error, remedy string) error {
	return &sandbox.Error{Reason: reason, Op: op, Err: err, Remedy: remedy}
}

// forbidden is the refusal of what a sealed helper must not do.
func forbidden(op string, format string, args ...any) error {
	return refuse(ipc.ReasonSandboxHelperRefused, op, fmt.Errorf(format, args...), "this is no mistake of an operator: msup explain says what to do")
}
