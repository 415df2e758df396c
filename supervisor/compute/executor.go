package compute

import (
	"context"
	"time"

	"github.com/msup/msup/ipc"
)

// Task is one request of an LL part, as its answer asked for it. Its bytes are untrusted: only their length has been checked (64 KiB).
type Task struct {
	Address     ipc.Address // the instance that asked
	Step        ipc.Step    // with Ordinal the request's name: no two requests of an instance share it, in any run
	Ordinal     uint32
	Name        string // what ctx.submit_compute calls the task, at most 64 bytes
	Payload     []byte
	RequestedTS ipc.Nanos // processed time of the step that asked
	// Deadline is when an answer is of no use to anybody any more (the request's ttl; in lock step, where the feed's time stands still
	// meanwhile, the executor's own limit alone). The zero time means none.
	Deadline time.Time
}

// Result is what became of a task: a payload, or the reason why there is none.
type Result struct {
	Payload []byte         // at most [ipc.MaxAnswerBytes] less 1 KiB; may be empty
	Reason  ipc.ReasonCode // not empty: there is no payload
	Detail  string         // for the log and the note: what happened, in one sentence; never shown to the strategy
}

// Done is a task that was carried out.
func Done(payload []byte) Result { return Result{Payload: payload} }

// Unavailable is a task that will not be carried out, or of which nobody knows whether it was.
func Unavailable(reason ipc.ReasonCode, detail string) Result {
	return Result{Reason: reason, Detail: detail}
}

// Executor carries out tasks: a compute runner, or an external service (EX-2).
//
// A [Lane] calls Submit at most once a task, from a goroutine of its own, with at most as many calls under way as the lane allows; the
// request was durable before. Submit returns when the task is done, or failed, or ctx has ended, and soon after the latter: a lane that is
// closed waits for it. It never panics and never blocks on an LL part. Whatever it returns after [Task.Deadline] is discarded by the lane.
type Executor interface {
	Submit(ctx context.Context, t Task) Result
	// Close ends what the executor holds; Submit is not called any more.
	Close() error
}
