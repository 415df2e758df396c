package service

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/msup/msup/ipc"
)

// What supervisor and proxy say to each other: a length of four bytes, then JSON. The supervisor believes nothing of the proxy but that it
// is one: lengths are compared with maxFrame before anything is allocated, unknown fields are refused.

// maxFrame bounds one frame: the setup holds two schemas and a file of certificates, a reply a response in base64.
const maxFrame = 1 << 20

// setup is the first frame to a proxy: everything about its one service.
type setup struct {
	Name     string `json:"name"`
	URL      string `json:"url"`
	Server   string `json:"server"` // name that the certificate must be for; "" = no TLS
	Header   string `json:"header"`
	Secret   string `json:"secret"` // the header's whole value; "" = none
	CA       []byte `json:"ca"`     // PEM; empty = the system's
	Request  []byte `json:"request"`
	Response []byte `json:"response"`
	LLM      bool   `json:"llm"`
	MaxBytes int64  `json:"max_bytes"`
}

// order is a later frame to a proxy. A request goes in two: first the document, which the proxy checks, then a socket to send it on.
type order struct {
	Payload []byte        `json:"payload"` // of the first
	Within  time.Duration `json:"within"`  // of the second, which comes with a descriptor
}

// reply is a frame from a proxy.
type reply struct {
	OK      bool           `json:"ok"`
	Payload []byte         `json:"payload"` // the response, written anew
	Reason  ipc.ReasonCode `json:"reason"`
	Detail  string         `json:"detail"`
}

func appendFrame(v any) ([]byte, error) {
	body, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	if len(body) > maxFrame {
		return nil, fmt.Errorf("a frame of %d bytes; %d are allowed", len(body), maxFrame)
	}
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...), nil
}

func writeFrame(w io.Writer, v any) error {
	frame, err := appendFrame(v)
	if err != nil {
		return err
	}
	_, err = w.Write(frame)
	return err
}

func readFrame(r io.Reader, v any) error {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n == 0 || n > maxFrame {
		return fmt.Errorf("a frame of %d bytes; 1 to %d are allowed", n, maxFrame)
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(r, body); err != nil {
		return err
	}
	d := json.NewDecoder(strings.NewReader(string(body)))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the frame's document")
	}
	return nil
}

// failure is why a request has no response; it is what a reply carries.
type failure struct {
	reason ipc.ReasonCode
	err    error
}

func (f *failure) Error() string { return string(f.reason) + ": " + f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

func failed(reason ipc.ReasonCode, format string, args ...any) *failure {
	return &failure{reason, fmt.Errorf(format, args...)}
}

// maxDetail bounds what a reply says about a failure.
const maxDetail = 300

// printable keeps what a proxy says fit for a log: a proxy that was taken over may say anything.
func printable(s string) string {
	if len(s) > maxDetail {
		s = s[:maxDetail]
	}
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r > 0x7e {
			return '?'
		}
		return r
	}, s)
}
