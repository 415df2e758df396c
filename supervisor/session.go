package supervisor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/sandbox"
	"github.com/msup/msup/supervisor/socket"
)

// ErrPoked says that a wait for the runner was interrupted because something urgent arrived; the wait can be taken up again.
var ErrPoked = errors.New("poked")

// SessionError says what the runner did wrong, with the reason code that an operator looks up.
type SessionError struct {
	Reason ipc.ReasonCode
	Err    error
}

func (e *SessionError) Error() string { return fmt.Sprintf("%s: %v", e.Reason, e.Err) }
func (e *SessionError) Unwrap() error { return e.Err }

// exitImport is how an SDK's runner ends that could not load the strategy.
const exitImport = 78

func sessionError(reason ipc.ReasonCode, format string, args ...any) error {
	return &SessionError{Reason: reason, Err: fmt.Errorf(format, args...)}
}

// Session is the conversation with one runner: one question open at a time. All methods but Poke belong to the pump.
type Session struct {
	runner sandbox.Runner
	conn   *ipc.Conn
	seq    uint64
	hello  ipc.Hello

	mu    sync.Mutex // guards the read deadline against Poke
	waits bool
	poked bool
}

// OpenSession waits for the runner's connection and its Hello, and compares versions and package hash with what was started.
func OpenSession(ctx context.Context, r sandbox.Runner, packageHash string, maxAnswerBytes uint64) (opened *Session, err error) {
	stream, err := r.Conn(ctx)
	if err != nil {
		return nil, unconnected(ctx, r, err)
	}
	direct, err := socket.Direct(stream)
	if err != nil {
		return nil, fmt.Errorf("taking the runner's socket: %w", errors.Join(err, stream.Close()))
	}
	conn := ipc.NewConn(direct, ipc.FromRunner)
	conn.Frames().SetBudget(ipc.RunnerFrames)
	defer func() {
		if err != nil {
			_ = conn.Close() // the session's error tells more
		}
	}()
	if maxAnswerBytes > 0 {
		conn.Frames().SetAnswerLimit(int(min(maxAnswerBytes, ipc.MaxAnswerBytes)))
	}
	s := &Session{runner: r, conn: conn}
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetReadDeadline(deadline); err != nil {
			return nil, fmt.Errorf("setting the handshake's deadline: %w", err)
		}
	}
	m, err := conn.Receive()
	if err != nil {
		return nil, s.ended(err, ipc.ReasonHandshakeFailed)
	}
	if err := conn.SetReadDeadline(time.Time{}); err != nil {
		return nil, fmt.Errorf("clearing the handshake's deadline: %w", err)
	}
	hello, ok := m.(*ipc.Hello)
	switch {
	case !ok:
		return nil, sessionError(ipc.ReasonHandshakeFailed, "the runner's first message is a %s, not hello", m.Type())
	case hello.ABI != ipc.ABIVersion || hello.EventContract != ipc.EventContractVersion || hello.IntentContract != ipc.IntentContractVersion:
		return nil, sessionError(ipc.ReasonABIMismatch, "the runner (%s SDK %s) speaks ABI %d, events %d, intents %d; this msup speaks %d, %d, %d",
			hello.SDK, hello.SDKVersion, hello.ABI, hello.EventContract, hello.IntentContract,
			ipc.ABIVersion, ipc.EventContractVersion, ipc.IntentContractVersion)
	case hello.PackageHash != packageHash:
		return nil, sessionError(ipc.ReasonPackageHashMismatch, "the runner was made from package %.16s…, %.16s… was started", hello.PackageHash, packageHash)
	}
	s.hello = *hello
	return s, nil
}

// unconnected says why there is no connection: how the runner ended, if it has, as it is said of one that had connected. A runner may connect
// and end before its sandbox has looked at the connection.
func unconnected(ctx context.Context, r sandbox.Runner, err error) error {
	if ctx.Err() == nil {
		select {
		case <-r.Done():
			return (&Session{runner: r}).ended(err, ipc.ReasonHandshakeFailed)
		case <-time.After(2 * time.Second): // a sandbox tells that nobody will connect before it has cleaned up
		}
	}
	return &SessionError{Reason: ipc.ReasonHandshakeFailed, Err: err}
}

func (s *Session) send(m ipc.Message) error { return s.sent(s.conn.Send(m)) }

func (s *Session) sent(err error) error {
	if err == nil {
		return nil
	}
	return s.ended(err, ipc.ReasonRunnerExited)
}

// endPatience is how long a runner whose connection has ended may take to be gone: on a busy machine what cleans up behind it took more than 2 s,
// and an operator's kill was then taken for a fault of the delivery. A runner that lives on without its connection meets its deadline before.
const endPatience = 10 * time.Second

// ended turns a failed read or write into what the runner did: a broken protocol, or an end whose cause the sandbox knows.
func (s *Session) ended(err error, otherwise ipc.ReasonCode) error {
	var malformed *ipc.DecodeError
	if errors.As(err, &malformed) {
		reason := ipc.ReasonAnswerMalformed
		if ipc.ClassOf(err) == ipc.ClassFrameTooLarge {
			reason = ipc.ReasonFrameTooLarge
		}
		return &SessionError{Reason: reason, Err: err}
	}
	if crowded, ok := errors.AsType[*ipc.BudgetError](err); ok {
		return &SessionError{Reason: ipc.ReasonMessageMemory, Err: crowded}
	}
	select {
	case <-s.runner.Done():
		exit := s.runner.Exit()
		reason := exit.Blame()
		if reason == "" {
			reason = otherwise
		}
		if otherwise == ipc.ReasonHandshakeFailed && exit.Cause == sandbox.CauseExited && exit.Code == exitImport {
			reason = ipc.ReasonImportFailed
		}
		if exit.Cause == sandbox.CauseSetupFailed { // its engine was taken away, and nobody can tell how it ended
			return sessionError(reason, "the runner %s. %s: %w", exit, exit.Detail, sandbox.ErrLost)
		}
		return sessionError(reason, "the runner %s. %s", exit, exit.Detail)
	case <-time.After(endPatience):
		return &SessionError{Reason: otherwise, Err: err}
	}
}

// Ask sends a delivery; Await returns its answer.
func (s *Session) Ask(step ipc.Step, processed ipc.Nanos, trace ipc.TraceID, event []byte) error {
	s.seq++
	return s.sent(s.conn.SendDeliver(s.seq, step, processed, trace, event))
}

// AskBatch sends deliveries of consecutive steps (replay and research only); AwaitBatch returns how many were taken, and the last answer.
func (s *Session) AskBatch(first ipc.Step, events []ipc.EncodedEvent) error {
	s.seq++
	return s.sent(s.conn.SendBatch(s.seq, first, events))
}

// Await waits for the answer to the open question. ErrPoked means: look at the mailbox, then call it again.
func (s *Session) Await() (*ipc.Answer, error) {
	m, err := s.awaitMessage()
	if err != nil {
		return nil, err
	}
	a, ok := m.(*ipc.Answer)
	if !ok {
		return nil, sessionError(ipc.ReasonAnswerMalformed, "a %s where an answer was due", m.Type())
	}
	if a.Seq != s.seq {
		return nil, s.wrongSeq(a.Seq)
	}
	return a, nil
}

// AwaitBatch is Await for AskBatch.
func (s *Session) AwaitBatch() (*ipc.BatchAnswer, error) {
	m, err := s.awaitMessage()
	if err != nil {
		return nil, err
	}
	a, ok := m.(*ipc.BatchAnswer)
	if !ok {
		return nil, sessionError(ipc.ReasonAnswerMalformed, "a %s where a batch answer was due", m.Type())
	}
	if a.Answer.Seq != s.seq {
		return nil, s.wrongSeq(a.Answer.Seq)
	}
	return a, nil
}

func (s *Session) wrongSeq(got uint64) error {
	reason := ipc.ReasonAnswerWrongSeq
	if got == s.seq-1 {
		reason = ipc.ReasonAnswerTwice
	}
	return sessionError(reason, "an answer to question %d while question %d is open", got, s.seq)
}

func (s *Session) awaitMessage() (ipc.Message, error) {
	s.mu.Lock()
	s.waits = true
	if s.poked {
		s.unpoke()
		s.mu.Unlock()
		return nil, ErrPoked
	}
	s.mu.Unlock()
	m, err := s.conn.Receive()
	s.mu.Lock()
	s.waits = false
	wasPoked := s.poked
	if wasPoked {
		s.unpoke()
	}
	s.mu.Unlock()
	if err == nil {
		return m, nil
	}
	if wasPoked && errors.Is(err, os.ErrDeadlineExceeded) {
		return nil, ErrPoked
	}
	return nil, s.ended(err, ipc.ReasonRunnerExited)
}

// Poke interrupts Await, or the next one when nobody waits yet. It may be called from any goroutine.
func (s *Session) Poke() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.poked {
		return
	}
	s.poked = true
	if !s.waits {
		return // Await looks before it waits
	}
	// The error is that of a closed connection, which ends the wait as well.
	_ = s.conn.SetReadDeadline(time.Unix(1, 0))
}

func (s *Session) unpoke() {
	s.poked = false
	_ = s.conn.SetReadDeadline(time.Time{}) // a closed connection shows in the next read
}

// Init sends on_init's message and the state that it restores, and returns the answer.
func (s *Session) Init(m *ipc.Init, state []byte) (*ipc.Answer, error) {
	s.seq++
	m.Seq = s.seq
	if m.Restored {
		n := uint64(len(state))
		m.StateBytes = &n
	}
	if err := s.send(m); err != nil {
		return nil, err
	}
	if m.Restored {
		if err := s.sendState(state, m.StateVersion); err != nil {
			return nil, err
		}
	}
	return s.Await()
}

func (s *Session) sendState(state []byte, version uint32) error {
	for offset := 0; ; {
		part := state[offset:min(len(state), offset+ipc.MaxChunkBytes)]
		if err := s.send(&ipc.Chunk{Seq: s.seq, Offset: uint64(offset), Total: uint64(len(state)), StateVersion: version, Data: part}); err != nil {
			return err
		}
		if offset += len(part); offset >= len(state) {
			return nil
		}
	}
}

// Checkpoint asks for the state after step. A typed fault of the strategy is returned as a SessionError with CHECKPOINT_FAILED.
func (s *Session) Checkpoint(step ipc.Step, maxBytes uint64) ([]byte, uint32, error) {
	s.seq++
	if err := s.send(&ipc.CheckpointRequest{Seq: s.seq, Step: step, MaxBytes: maxBytes}); err != nil {
		return nil, 0, err
	}
	var state []byte
	budgeted := int64(0)
	defer func() { ipc.RunnerStates.Give(budgeted) }()
	for {
		m, err := s.awaitMessage()
		if errors.Is(err, ErrPoked) {
			continue // a checkpoint is short; what is urgent is taken right after it
		}
		if err != nil {
			return nil, 0, err
		}
		switch m := m.(type) {
		case *ipc.Answer:
			if m.Fault != nil {
				return nil, 0, sessionError(ipc.ReasonCheckpointFailed, "%s: %s", m.Fault.Kind, m.Fault.Message)
			}
			return nil, 0, sessionError(ipc.ReasonAnswerMalformed, "an answer without a fault where the state was due")
		case *ipc.Chunk:
			if m.Total > maxBytes {
				return nil, 0, sessionError(ipc.ReasonStateTooLarge, "the state has %d bytes, at most %d are allowed", m.Total, maxBytes)
			}
			if m.Seq != s.seq || m.Offset != uint64(len(state)) || m.Total > maxBytes || m.Offset+uint64(len(m.Data)) > m.Total ||
				(len(m.Data) == 0 && m.Total != 0) {
				return nil, 0, sessionError(ipc.ReasonAnswerMalformed, "chunk at %d of %d with %d bytes after %d bytes (at most %d are allowed)",
					m.Offset, m.Total, len(m.Data), len(state), maxBytes)
			}
			if m.Offset == 0 {
				if err := ipc.RunnerStates.Take(int64(m.Total)); err != nil {
					return nil, 0, s.ended(err, ipc.ReasonMessageMemory)
				}
				budgeted = int64(m.Total)
			}
			if int64(m.Total) != budgeted {
				return nil, 0, sessionError(ipc.ReasonAnswerMalformed, "a chunk of a state of %d bytes after one of %d", m.Total, budgeted)
			}
			if state = append(state, m.Data...); uint64(len(state)) == m.Total {
				return state, m.StateVersion, nil
			}
		default:
			return nil, 0, sessionError(ipc.ReasonAnswerMalformed, "a %s where the state was due", m.Type())
		}
	}
}

// JudgesItself reports whether the strategy has on_healthcheck.
func (s *Session) JudgesItself() bool { return slices.Contains(s.hello.Hooks, "on_healthcheck") }

// Healthcheck asks on_healthcheck (DM-3). It is no step.
func (s *Session) Healthcheck() (*ipc.HealthReport, error) {
	s.seq++
	if err := s.send(&ipc.Healthcheck{Seq: s.seq}); err != nil {
		return nil, err
	}
	m, err := s.awaitMessage()
	for errors.Is(err, ErrPoked) {
		m, err = s.awaitMessage()
	}
	if err != nil {
		return nil, err
	}
	r, ok := m.(*ipc.HealthReport)
	if !ok {
		return nil, sessionError(ipc.ReasonAnswerMalformed, "a %s where a health report was due", m.Type())
	}
	if r.Seq != s.seq {
		return nil, s.wrongSeq(r.Seq)
	}
	return r, nil
}

// Close asks the runner to leave, and kills it when it has not left in time.
func (s *Session) Close(grace time.Duration) error {
	s.seq++
	if err := s.conn.Send(&ipc.Stop{Seq: s.seq}); err == nil {
		select {
		case <-s.runner.Done():
			return s.hangUp()
		case <-time.After(grace):
		}
	}
	return errors.Join(s.runner.Kill(), s.hangUp())
}

// hangUp gives the connection's descriptor back at once: runners that die as fast as they are restored would otherwise hold as many as the
// garbage collector lets them.
func (s *Session) hangUp() error {
	if err := s.conn.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("closing the runner's connection: %w", err)
	}
	return nil
}
