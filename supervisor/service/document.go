package service

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/supervisor/descriptor"
	"github.com/msup/msup/supervisor/gate"
)

// contract is what a service and a strategy may say to each other.
type contract struct {
	request, response *jsonschema.Schema
	llm               bool
	maxBytes          int64
}

func newContract(request, response []byte, llm bool, maxBytes int64) (*contract, error) {
	c := contract{llm: llm, maxBytes: maxBytes}
	var err error
	if c.request, err = descriptor.CompileServiceSchema(request); err != nil {
		return nil, fmt.Errorf("the request schema: %w", err)
	}
	if c.response, err = descriptor.CompileServiceSchema(response); err != nil {
		return nil, fmt.Errorf("the response schema: %w", err)
	}
	return &c, nil
}

// checkRequest holds what the strategy wants to send against the schema, and writes it anew.
func (c *contract) checkRequest(payload []byte) ([]byte, *failure) {
	if int64(len(payload)) > c.maxBytes {
		return nil, failed(ipc.ReasonServiceTooLarge, "the request has %d bytes, max_bytes allows %d", len(payload), c.maxBytes)
	}
	doc, err := decode(payload)
	if err != nil {
		return nil, failed(ipc.ReasonServiceRequestInvalid, "the request is no JSON: %w", err)
	}
	if err := c.request.Validate(doc); err != nil {
		return nil, failed(ipc.ReasonServiceRequestInvalid, "the request does not fit its schema: %s", where(err))
	}
	out, err := encode(doc)
	if err != nil {
		return nil, failed(ipc.ReasonServiceRequestInvalid, "the request cannot be written: %w", err)
	}
	return out, nil
}

// checkResponse holds what a service says against the schema, and writes it anew: keys sorted, nothing twice, nothing around it.
func (c *contract) checkResponse(body []byte) ([]byte, *failure) {
	doc, err := decode(body)
	if err != nil {
		return nil, failed(ipc.ReasonServiceMalformed, "the response is no JSON")
	}
	if err := c.response.Validate(doc); err != nil {
		return nil, failed(ipc.ReasonServiceResponseInvalid, "the response does not fit its schema: %s", where(err))
	}
	out, err := encode(doc)
	switch {
	case err != nil:
		return nil, failed(ipc.ReasonServiceResponseInvalid, "the response cannot be written anew")
	case len(out) > descriptor.MaxServiceBytes:
		return nil, failed(ipc.ReasonServiceTooLarge, "the response has %d bytes when written anew, %d are allowed", len(out), descriptor.MaxServiceBytes)
	}
	if c.llm {
		if _, err := gate.ParseProposals(out); err != nil {
			return nil, failed(ipc.ReasonServiceResponseInvalid, "%w", err)
		}
	}
	return out, nil
}

// maxNesting is far above what a schema of a service may describe (descriptor bounds it to 12).
const maxNesting = 32

// decode reads one JSON document: numbers as they are written, no key twice, not nested without end.
func decode(b []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	doc, err := value(d, 0)
	if err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows the document")
	}
	return doc, nil
}

// value reads the next value token by token: encoding/json itself would take the last of two equal keys, and the service or the strategy might
// take the first.
func value(d *json.Decoder, depth int) (any, error) {
	if depth > maxNesting {
		return nil, fmt.Errorf("nested more than %d deep", maxNesting)
	}
	t, err := d.Token()
	if err != nil {
		return nil, errors.New("it ends in the middle, or breaks the syntax")
	}
	switch t := t.(type) {
	case json.Delim:
		if t == '[' {
			return array(d, depth)
		}
		return object(d, depth)
	case json.Number:
		if len(t) > maxNumber || strings.ContainsAny(string(t), "eE") && !small(t) {
			return nil, fmt.Errorf("a number of %d characters, or beyond what a double holds", len(t))
		}
	}
	return t, nil
}

// maxNumber is the longest number: a validator computes exactly, and 1e999999999 would be a gigabyte of digits.
const maxNumber = 40

// small reports whether a number fits a double, and so has a bounded exponent.
func small(n json.Number) bool {
	f, err := n.Float64()
	return err == nil && (f == 0 || f > 1e-300 || f < -1e-300) && len(n) <= maxNumber && exponent(string(n)) <= 300
}

// exponent is the size of a number's exponent as written; 1000 when it is longer than any that fits.
func exponent(n string) int {
	i := strings.IndexAny(n, "eE")
	if i < 0 {
		return 0
	}
	digits := strings.TrimLeft(strings.TrimLeft(n[i+1:], "+-"), "0")
	if len(digits) > 3 {
		return 1000
	}
	e := 0
	for _, c := range digits {
		e = e*10 + int(c-'0')
	}
	return e
}

func array(d *json.Decoder, depth int) (any, error) {
	out := []any{}
	for d.More() {
		v, err := value(d, depth+1)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	_, err := d.Token()
	return out, err
}

func object(d *json.Decoder, depth int) (any, error) {
	out := map[string]any{}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return nil, errors.New("it ends in the middle, or breaks the syntax")
		}
		key, _ := t.(string)
		if _, twice := out[key]; twice {
			return nil, errors.New("a key stands twice in one object")
		}
		v, err := value(d, depth+1)
		if err != nil {
			return nil, err
		}
		out[key] = v
	}
	_, err := d.Token()
	return out, err
}

func encode(doc any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(doc); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// where names the place of the first thing that does not fit, and the rule; not the value, which is a stranger's text.
func where(err error) string {
	var v *jsonschema.ValidationError
	if !errors.As(err, &v) {
		return "it does not fit"
	}
	for len(v.Causes) > 0 {
		v = v.Causes[0]
	}
	depth := len(v.InstanceLocation)
	rule := strings.Join(v.ErrorKind.KeywordPath(), "/")
	if rule == "" {
		rule = "schema"
	}
	// Keys come from the document only where the schema knows them: additionalProperties is reported at the object around them.
	return fmt.Sprintf("at /%s (depth %d): %s", strings.Join(v.InstanceLocation, "/"), depth, rule)
}
