package core

import (
	"errors"
	"fmt"

	"github.com/tinylib/msgp/msgp"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/supervisor/gate"
)

// ErrRecord says that a recorded input cannot be read: the log is corrupt or of another version.
var ErrRecord = errors.New("recorded input cannot be read")

// AppendInput appends the record of one input: a msgpack array [kind, core_ts, fields…], fields in the order of the struct. Records of one
// batch stand one behind the other; their input numbers follow from the batch's first one.
func AppendInput(b []byte, in Input) []byte {
	w := writer{b}
	switch in := in.(type) {
	case *Start:
		w.head(11, in)
		w.uint(uint64(in.Epoch))
		w.str(string(in.RunID))
		w.str(in.StrategyVersion)
		w.bin(in.PackageHash[:])
		w.bin(in.ConfigHash[:])
		w.int(in.WallTS)
		w.str(in.MSUPVersion)
		w.bin(in.Params)
		w.bin(in.Init)
	case *Delivery:
		w.head(7, in)
		w.uint(uint64(in.Step))
		w.int(in.ProcessedTS)
		w.str(string(in.TraceID))
		w.bool(in.Queued)
		w.bin(in.Event)
	case *Answer:
		w.head(8, in)
		w.uint(uint64(in.Step))
		w.uint(uint64(in.Outcome))
		w.bin(in.Digest[:])
		w.int(in.DurationNS)
		w.str(string(in.Reason))
		w.bin(in.Body)
	case *Arrival:
		w.head(7, in)
		w.str(string(in.Cursor.Source))
		w.uint(in.Cursor.Epoch)
		w.uint(in.Cursor.Seq)
		w.str(string(in.TraceID))
		w.bin(in.Event)
	case *Status:
		w.head(6, in)
		w.str(string(in.Key))
		w.uint(uint64(in.Status))
		if in.Digest == nil {
			w.bin(nil)
		} else {
			w.bin(in.Digest[:])
		}
		w.str(string(in.Reason))
	case *Approval:
		w.head(5, in)
		w.str(string(in.Key))
		w.bool(in.Approved)
		w.str(string(in.Reason))
	case *Release:
		w.head(4, in)
		w.uint(uint64(in.Upto))
		w.int(in.WallTS)
	case *Guard:
		w.head(9, in)
		w.bool(in.Lift)
		w.held(&in.Held)
	case *Command:
		w.head(6, in)
		w.uint(uint64(in.Op))
		w.str(in.Who)
		w.str(string(in.Reason))
		w.restriction(in.Restriction)
	case *Config:
		w.head(4, in)
		w.bin(in.Event)
		w.bin(in.Init)
	case *Tick:
		w.head(3, in)
		w.int(in.WallTS)
	case *Inform:
		w.head(4, in)
		w.uint(uint64(in.Step))
		w.bin(in.Event)
	case *Computed:
		w.head(6, in)
		w.uint(uint64(in.Step))
		w.uint(uint64(in.Ordinal))
		w.str(string(in.Reason))
		w.bin(in.Payload)
	case *Violation:
		w.head(6, in)
		w.str(string(in.Reason))
		w.int(ipc.Nanos(in.Limit))
		w.int(ipc.Nanos(in.Observed))
		w.str(in.Unit)
	}
	return w.b
}

type writer struct{ b []byte }

func (w *writer) head(fields uint32, in Input) {
	w.b = msgp.AppendArrayHeader(w.b, fields)
	w.uint(uint64(in.InputKind()))
	w.int(in.coreTS())
}
func (w *writer) uint(v uint64)   { w.b = msgp.AppendUint64(w.b, v) }
func (w *writer) int(v ipc.Nanos) { w.b = msgp.AppendInt64(w.b, int64(v)) }
func (w *writer) str(v string)    { w.b = msgp.AppendString(w.b, v) }
func (w *writer) bin(v []byte)    { w.b = msgp.AppendBytes(w.b, v) }
func (w *writer) bool(v bool)     { w.b = msgp.AppendBool(w.b, v) }
func (w *writer) restriction(r ipc.Restriction) {
	w.b = msgp.AppendArrayHeader(w.b, 5)
	w.b = msgp.AppendInt64(w.b, r.SizeFactor.M)
	w.b = msgp.AppendInt64(w.b, int64(r.SizeFactor.E))
	w.bool(r.LimitOnly)
	w.bool(r.ReduceOnly)
	w.bool(r.NoTrade)
}

func (w *writer) held(h *gate.Held) {
	w.str(h.ID)
	w.str(string(h.Origin))
	w.restriction(h.Restriction)
	w.str(string(h.Reason))
	w.uint(uint64(h.Release))
	w.b = msgp.AppendArrayHeader(w.b, 2)
	w.int(h.Since)
	w.int(h.Until)
}

// ReadInput reads the first record of b and returns what follows it. Byte slices of the input alias b.
func ReadInput(b []byte) (Input, []byte, error) {
	r := reader{b: b}
	fields := r.array()
	kind := InputKind(r.uint())
	at := At{CoreTS: r.int()}
	in, want := r.input(kind, at)
	if r.err != nil {
		return nil, nil, fmt.Errorf("%w: kind %d: %w", ErrRecord, kind, r.err)
	}
	if in == nil || fields != want {
		return nil, nil, fmt.Errorf("%w: kind %d with %d fields", ErrRecord, kind, fields)
	}
	return in, r.b, nil
}

// input reads the fields behind the head and says how many the record must have had.
func (r *reader) input(kind InputKind, at At) (Input, uint32) {
	switch kind {
	case KindStart:
		return &Start{At: at, Epoch: ipc.Epoch(r.uint()), RunID: ipc.RunID(r.str()), StrategyVersion: r.str(), PackageHash: r.digest(),
			ConfigHash: r.digest(), WallTS: r.int(), MSUPVersion: r.str(), Params: r.bin(), Init: r.bin()}, 11
	case KindDelivery:
		return &Delivery{At: at, Step: ipc.Step(r.uint()), ProcessedTS: r.int(), TraceID: ipc.TraceID(r.str()), Queued: r.bool(),
			Event: r.bin()}, 7
	case KindAnswer:
		return &Answer{At: at, Step: ipc.Step(r.uint()), Outcome: Outcome(r.uint()), Digest: r.digest(), DurationNS: r.int(),
			Reason: ipc.ReasonCode(r.str()), Body: r.bin()}, 8
	case KindArrival:
		return &Arrival{At: at, Cursor: ipc.Cursor{Source: ipc.SourceID(r.str()), Epoch: r.uint(), Seq: r.uint()},
			TraceID: ipc.TraceID(r.str()), Event: r.bin()}, 7
	case KindStatus:
		in := &Status{At: at, Key: ipc.Key(r.str()), Status: ipc.Status(r.uint())}
		switch raw := r.bin(); {
		case len(raw) == len(ipc.Digest{}):
			d := ipc.Digest(raw)
			in.Digest = &d
		case len(raw) > 0 && r.err == nil:
			r.err = fmt.Errorf("a digest of %d bytes", len(raw))
		}
		in.Reason = ipc.ReasonCode(r.str())
		return in, 6
	case KindApproval:
		return &Approval{At: at, Key: ipc.Key(r.str()), Approved: r.bool(), Reason: ipc.ReasonCode(r.str())}, 5
	case KindRelease:
		return &Release{At: at, Upto: ipc.InputNo(r.uint()), WallTS: r.int()}, 4
	case KindGuard:
		return &Guard{At: at, Lift: r.bool(), Held: r.held()}, 9
	case KindCommand:
		return &Command{At: at, Op: CommandOp(r.uint()), Who: r.str(), Reason: ipc.ReasonCode(r.str()), Restriction: r.restriction()}, 6
	case KindConfig:
		return &Config{At: at, Event: r.bin(), Init: r.bin()}, 4
	case KindTick:
		return &Tick{At: at, WallTS: r.int()}, 3
	case KindInform:
		return &Inform{At: at, Step: ipc.Step(r.uint()), Event: r.bin()}, 4
	case KindComputed:
		return &Computed{At: at, Step: ipc.Step(r.uint()), Ordinal: uint32(r.uint()), Reason: ipc.ReasonCode(r.str()), Payload: r.bin()}, 6
	case KindViolation:
		return &Violation{At: at, Reason: ipc.ReasonCode(r.str()), Limit: int64(r.int()), Observed: int64(r.int()), Unit: r.str()}, 6
	}
	return nil, 0
}

// reader reads msgpack with a sticky error.
type reader struct {
	b   []byte
	err error
}

func read[T any](r *reader, f func([]byte) (T, []byte, error)) T {
	var zero T
	if r.err != nil {
		return zero
	}
	v, rest, err := f(r.b)
	if err != nil {
		r.err = err
		return zero
	}
	r.b = rest
	return v
}

func (r *reader) array() uint32  { return read(r, msgp.ReadArrayHeaderBytes) }
func (r *reader) uint() uint64   { return read(r, msgp.ReadUint64Bytes) }
func (r *reader) int() ipc.Nanos { return ipc.Nanos(read(r, msgp.ReadInt64Bytes)) }
func (r *reader) str() string    { return read(r, msgp.ReadStringBytes) }
func (r *reader) bool() bool     { return read(r, msgp.ReadBoolBytes) }

// bin returns nil for no bytes, as the live input had them: a State of the log equals the live one to the byte.
func (r *reader) bin() []byte {
	if raw := read(r, msgp.ReadBytesZC); len(raw) > 0 {
		return raw
	}
	return nil
}

func (r *reader) digest() ipc.Digest {
	raw := r.bin()
	if r.err == nil && len(raw) != len(ipc.Digest{}) {
		r.err = fmt.Errorf("a digest of %d bytes", len(raw))
	}
	if r.err != nil {
		return ipc.Digest{}
	}
	return ipc.Digest(raw)
}

func (r *reader) restriction() ipc.Restriction {
	if n := r.array(); r.err == nil && n != 5 {
		r.err = fmt.Errorf("a restriction of %d fields", n)
	}
	m, e := int64(r.int()), r.int()
	factor := ipc.Decimal{M: m, E: int8(e)}
	if r.err == nil && (ipc.Nanos(factor.E) != e || !factor.Valid()) {
		r.err = fmt.Errorf("a size factor of %d·10^%d, which is not canonical", m, e)
	}
	return ipc.Restriction{SizeFactor: factor, LimitOnly: r.bool(), ReduceOnly: r.bool(), NoTrade: r.bool()}
}

func (r *reader) held() gate.Held {
	h := gate.Held{ID: r.str(), Origin: gate.Origin(r.str()), Restriction: r.restriction(), Reason: ipc.ReasonCode(r.str()),
		Release: gate.Release(r.uint())}
	if n := r.array(); r.err == nil && n != 2 {
		r.err = fmt.Errorf("times of %d fields", n)
	}
	h.Since, h.Until = r.int(), r.int()
	return h
}
