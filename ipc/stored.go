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

// MarketPlace is where a market event stands in its source.
type MarketPlace struct {
	Source []byte // aliases the event
	RecvTS Nanos
	Seq    uint64
}

// PeekMarket returns the place of an encoded market event in its source without decoding the rest; ok is false for any other event.
func PeekMarket(b []byte) (p MarketPlace, ok bool, err error) {
	n, b, err := msgp.ReadArrayHeaderBytes(b)
	if err != nil || n < 7 {
		return p, false, err
	}
	kind, b, err := msgp.ReadUint8Bytes(b)
	if err != nil || EventKind(kind) > KindTradingStatus {
		return p, false, err
	}
	if _, b, err = msgp.ReadStringZC(b); err != nil {
		return p, false, fmt.Errorf("the instrument of a market event: %w", err)
	}
	if p.Source, b, err = msgp.ReadStringZC(b); err != nil {
		return p, false, fmt.Errorf("the source of a market event: %w", err)
	}
	if _, b, err = msgp.ReadInt64Bytes(b); err != nil {
		return p, false, fmt.Errorf("event_ts of a market event: %w", err)
	}
	recv, b, err := msgp.ReadInt64Bytes(b)
	if err != nil {
		return p, false, fmt.Errorf("recv_ts of a market event: %w", err)
	}
	p.RecvTS = Nanos(recv)
	if p.Seq, _, err = msgp.ReadUint64Bytes(b); err != nil {
		return p, false, fmt.Errorf("seq of a market event: %w", err)
	}
	return p, true, nil
}
