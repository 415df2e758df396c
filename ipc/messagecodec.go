package ipc

import (
	"encoding/hex"
	"fmt"

	"github.com/tinylib/msgp/msgp"
)

// AppendMessage appends the msgpack array of m, without the length prefix of a frame; see AppendFrame.
func AppendMessage(b []byte, m Message) ([]byte, error) {
	w := writer{b: b}
	w.message(m)
	if w.err != nil {
		return b, fmt.Errorf("encoding a message: %w", w.err)
	}
	return w.b, nil
}

// DecodeMessage decodes one frame without its length prefix. Sessions use a Reader, which reuses the strings of ids.
func DecodeMessage(frame []byte, from Direction) (Message, error) {
	r := Reader{from: from}
	return r.Message(frame)
}

// PeekType reads the type of a message and nothing else: the head of a frame is enough.
func PeekType(frame []byte) (MessageType, error) {
	n, rest, err := msgp.ReadArrayHeaderBytes(frame)
	if err == nil && n == 0 {
		return 0, &DecodeError{Class: ClassShortArray, Detail: "an empty array"}
	}
	if err != nil {
		return 0, &DecodeError{Class: classify(err), Detail: err.Error()}
	}
	v, _, err := msgp.ReadUint64Bytes(rest)
	if err != nil {
		return 0, &DecodeError{Class: classify(err), Field: "type", Offset: len(frame) - len(rest), Detail: err.Error()}
	}
	if t := MessageType(v); v <= 255 && FromAnyone.Allows(t) {
		return t, nil
	}
	return 0, &DecodeError{
		Class: ClassUnknownType, Field: "type", Offset: len(frame) - len(rest), Detail: fmt.Sprintf("there is no message of type %d", v),
	}
}

// Message decodes one frame without its length prefix.
func (r *Reader) Message(frame []byte) (Message, error) {
	r.reset(frame)
	t, err := PeekType(frame)
	if err != nil {
		return nil, err
	}
	if !r.from.Allows(t) {
		return nil, &DecodeError{Class: ClassDirection, Type: t, Detail: fmt.Sprintf("a %s may not send it", r.from)}
	}
	if limit := r.from.MaxFrame(t); len(frame) > limit {
		return nil, &DecodeError{
			Class: ClassFrameTooLarge, Type: t, Detail: fmt.Sprintf("%d bytes; at most %d are allowed", len(frame), limit),
		}
	}
	r.typ = t
	codec := &messageCodecs[t]
	n := r.array("", 1+codec.fields)
	r.u8("type")
	m := codec.read(r)
	r.end(n, 1+codec.fields)
	if err := r.finish(); err != nil {
		return nil, err
	}
	return m, nil
}

// messageCodec says how many fields a type has after it, and how they are read.
type messageCodec struct {
	fields int
	read   func(*Reader) Message
}

// messageCodecs is indexed by type.
var messageCodecs = [...]messageCodec{
	TypeHello:             {9, (*Reader).hello},
	TypeInit:              {21, (*Reader).init},
	TypeAnswer:            {8, (*Reader).answer},
	TypeDeliver:           {5, (*Reader).deliver},
	TypeBatch:             {3, (*Reader).batch},
	TypeBatchAnswer:       {9, (*Reader).batchAnswer},
	TypeCheckpointRequest: {3, (*Reader).checkpointRequest},
	TypeChunk:             {5, (*Reader).chunk},
	TypeHealthcheck:       {1, (*Reader).healthcheck},
	TypeHealthReport:      {3, (*Reader).healthReport},
	TypeStop:              {1, (*Reader).stop},
	TypeBoundaryHello:     {6, (*Reader).boundaryHello},
	TypeWelcome:           {4, (*Reader).welcome},
	TypeRefused:           {4, (*Reader).refused},
	TypeOffer:             {8, (*Reader).offer},
	TypeQuery:             {4, (*Reader).query},
	TypeStatus:            {6, (*Reader).status},
	TypeTombstone:         {4, (*Reader).tombstone},
	TypeLastStep:          {3, (*Reader).lastStep},
	TypeEvent:             {6, (*Reader).sourceEvent},
	TypeAck:               {3, (*Reader).ack},
	TypeResume:            {3, (*Reader).resume},
	TypeSnapshotRequest:   {2, (*Reader).snapshotRequest},
	TypeApprovalRequest:   {8, (*Reader).approvalRequest},
	TypeApproval:          {5, (*Reader).approval},
	TypeSync:              {1, (*Reader).sync},
}

// open starts a message: its type and seq.
func (w *writer) open(t MessageType, seq uint64) {
	w.array(1 + messageFields[t])
	w.uint(uint64(t))
	w.uint(seq)
}

// messageFields is the writer's copy of the field counts (messageCodecs refers to the readers, they to the writers' types).
var messageFields = func() (f [len(messageCodecs)]int) {
	for t := range messageCodecs {
		f[t] = messageCodecs[t].fields
	}
	return f
}()

func (w *writer) message(m Message) {
	switch m := m.(type) {
	case *Deliver:
		w.open(TypeDeliver, m.Seq)
		w.step(m.Step)
		w.nanos(m.ProcessedTS)
		w.id("trace_id", string(m.TraceID))
		w.event(m.Event)
	case *Answer:
		w.open(TypeAnswer, m.Seq)
		w.step(m.Step)
		w.answerParts(m)
	case *BatchAnswer:
		w.open(TypeBatchAnswer, m.Answer.Seq)
		w.uint(uint64(m.Consumed))
		w.step(m.Answer.Step)
		w.answerParts(&m.Answer)
	case *Batch:
		w.batch(m)
	case *Hello:
		w.hello(m)
	case *Init:
		w.init(m)
	case *CheckpointRequest:
		w.open(TypeCheckpointRequest, m.Seq)
		w.step(m.Step)
		w.uint(m.MaxBytes)
	case *Chunk:
		w.open(TypeChunk, m.Seq)
		w.uint(m.Offset)
		w.uint(m.Total)
		w.uint(uint64(m.StateVersion))
		w.bin("data", m.Data, MaxChunkBytes)
	case *Healthcheck:
		w.open(TypeHealthcheck, m.Seq)
	case *HealthReport:
		w.open(TypeHealthReport, m.Seq)
		w.enum("health", m.Health, 0, 2)
		w.tag("tag", m.Tag)
	case *Stop:
		w.open(TypeStop, m.Seq)
	default:
		w.boundary(m)
	}
	if w.err != nil && m != nil {
		w.err = fmt.Errorf("%s: %w", m.Type(), w.err)
	}
}

func (w *writer) step(s Step) { w.uint(uint64(s)) }

func (r *Reader) step(field string) Step { return Step(r.u64(field)) }

// seq reads the seq that every message starts with.
func (r *Reader) seq() uint64 { return r.u64("seq") }

func (w *writer) hello(m *Hello) {
	w.open(TypeHello, m.Seq)
	w.uint(uint64(m.ABI))
	w.tag("sdk", m.SDK)
	w.tag("sdk_version", m.SDKVersion)
	w.uint(uint64(m.EventContract))
	w.uint(uint64(m.IntentContract))
	w.packageHash(m.PackageHash)
	w.list("hooks", len(m.Hooks), MaxHooks)
	for _, hook := range m.Hooks {
		w.tag("hooks", hook)
	}
	w.uint(uint64(m.StateSchemaVersion))
}

func (w *writer) packageHash(hash string) {
	if b, err := hex.DecodeString(hash); err != nil || len(b) != len(Digest{}) {
		w.fail("package_hash", "%q is not 64 hex characters", hash)
	}
	w.tag("package_hash", hash)
}

func (r *Reader) hello() Message {
	m := &Hello{
		Seq: r.seq(), ABI: r.u32("abi"), SDK: r.tag("sdk"), SDKVersion: r.tag("sdk_version"),
		EventContract: r.u32("event_contract"), IntentContract: r.u32("intent_contract"),
	}
	at := r.rest
	m.PackageHash = r.tag("package_hash")
	if b, err := hex.DecodeString(m.PackageHash); r.err == nil && (err != nil || len(b) != len(Digest{})) {
		r.rest = at
		r.fail(ClassRange, "package_hash", "not 64 hex characters")
	}
	for range r.list("hooks", MaxHooks, leastString) {
		m.Hooks = append(m.Hooks, r.tag("hooks"))
	}
	r.endList()
	m.StateSchemaVersion = r.u32("state_schema_version")
	return m
}

func (r *Reader) deliver() Message {
	return &Deliver{
		Seq: r.seq(), Step: r.step("step"), ProcessedTS: r.nanos("processed_ts"), TraceID: TraceID(r.id("trace_id")),
		Event: r.event(),
	}
}

func (w *writer) batch(m *Batch) {
	w.open(TypeBatch, m.Seq)
	w.step(m.FirstStep)
	w.list("events", len(m.Events), MaxBatchEvents)
	for i := range m.Events {
		w.array(3)
		w.nanos(m.Events[i].ProcessedTS)
		w.id("trace_id", string(m.Events[i].TraceID))
		w.event(m.Events[i].Event)
		if w.err != nil {
			w.within("events", i)
			return
		}
	}
}

// leastBatchEvent is [processed_ts, trace_id, [kind, reason]].
const leastBatchEvent = 6

func (r *Reader) batch() Message {
	m := &Batch{Seq: r.seq(), FirstStep: r.step("first_step")}
	if n := r.list("events", MaxBatchEvents, leastBatchEvent); n > 0 {
		m.Events = make([]BatchEvent, n)
	}
	for i := range m.Events {
		n := r.array("", 3)
		m.Events[i] = BatchEvent{ProcessedTS: r.nanos("processed_ts"), TraceID: TraceID(r.id("trace_id")), Event: r.event()}
		r.end(n, 3)
		if r.err != nil {
			r.within("events", i)
			return m
		}
	}
	r.endList()
	return m
}

func (r *Reader) checkpointRequest() Message {
	return &CheckpointRequest{Seq: r.seq(), Step: r.step("step"), MaxBytes: r.u64("max_bytes")}
}

func (r *Reader) chunk() Message {
	return &Chunk{
		Seq: r.seq(), Offset: r.u64("offset"), Total: r.u64("total"), StateVersion: r.u32("state_version"),
		Data: r.bin("data", MaxChunkBytes),
	}
}

func (r *Reader) healthcheck() Message { return &Healthcheck{Seq: r.seq()} }

func (r *Reader) healthReport() Message {
	return &HealthReport{Seq: r.seq(), Health: r.enum("health", 0, 2), Tag: r.tag("tag")}
}

func (r *Reader) stop() Message { return &Stop{Seq: r.seq()} }
