package ipc

import (
	"fmt"

	"github.com/tinylib/msgp/msgp"
)

// DecodeAnswer reads an answer as M itself has stored it in its log.
func DecodeAnswer(b []byte) (*Answer, error) {
	m, err := DecodeMessage(b, FromAnyone)
	if err != nil {
		return nil, err
	}
	a, ok := m.(*Answer)
	if !ok {
		return nil, fmt.Errorf("a stored %s where an answer is due", m.Type())
	}
	return a, nil
}

// PeekEventKind returns the kind of an encoded event without decoding the rest.
func PeekEventKind(b []byte) (EventKind, error) {
	n, rest, err := msgp.ReadArrayHeaderBytes(b)
	if err != nil {
		return 0, fmt.Errorf("an event that is no array: %w", err)
	}
	if n == 0 {
		return 0, fmt.Errorf("an event without a kind")
	}
	kind, _, err := msgp.ReadUint8Bytes(rest)
	if err != nil {
		return 0, fmt.Errorf("the kind of an event: %w", err)
	}
	return EventKind(kind), nil
}
