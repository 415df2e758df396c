package wasm

import (
	"fmt"

	"github.com/msup/msup/ipc"
	"github.com/tinylib/msgp/msgp"
)

// observe takes from a frame (without its prefix) what the clock needs, and tells its type. It decodes no further than that:
// the guest judges the rest. Nothing is allocated, except by Init.
func (c *stepClock) observe(frame []byte) (ipc.MessageType, error) {
	t, err := ipc.PeekType(frame)
	if err != nil {
		return 0, fmt.Errorf("read a frame of the supervisor: %w", err)
	}
	h := head{b: frame}
	h.array() // the message itself
	h.skip(2) // type, seq
	switch t {
	case ipc.TypeDeliver:
		step, now := h.u64(), h.i64()
		if h.err == nil {
			c.begin(ipc.Step(step), ipc.Nanos(now))
		}
	case ipc.TypeBatch:
		first := h.u64()
		if h.array() > 0 {
			h.array()
			now := h.i64()
			if h.err == nil {
				c.begin(ipc.Step(first), ipc.Nanos(now))
			}
		}
	case ipc.TypeInit:
		step, now := h.u64(), h.i64()
		h.skip(1) // trace_id
		h.array() // address
		h.skip(2)
		instance := h.str()
		h.skip(6) // strategy_version, lineage, run_id, epoch, lane, mode
		seed := h.u64()
		if h.err == nil {
			c.runSeed, c.instance = seed, ipc.InstanceID(instance)
			c.begin(ipc.Step(step), ipc.Nanos(now))
		}
	}
	if h.err != nil {
		return t, fmt.Errorf("read the head of a %s: %w", t, h.err)
	}
	return t, nil
}

// head reads the first fields of a message and keeps the first error.
type head struct {
	b   []byte
	err error
}

func (h *head) array() (n uint32) {
	if h.err == nil {
		n, h.b, h.err = msgp.ReadArrayHeaderBytes(h.b)
	}
	return n
}

func (h *head) u64() (v uint64) {
	if h.err == nil {
		v, h.b, h.err = msgp.ReadUint64Bytes(h.b)
	}
	return v
}

func (h *head) i64() (v int64) {
	if h.err == nil {
		v, h.b, h.err = msgp.ReadInt64Bytes(h.b)
	}
	return v
}

func (h *head) str() (v string) {
	if h.err == nil {
		v, h.b, h.err = msgp.ReadStringBytes(h.b)
	}
	return v
}

func (h *head) skip(n int) {
	for range n {
		if h.err == nil {
			h.b, h.err = msgp.Skip(h.b)
		}
	}
}
