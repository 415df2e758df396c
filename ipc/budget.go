package ipc

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"
)

// What all runners together may make the supervisor hold while it reads from them: the process has one of each. A thousand runners that
// send their largest frame at once would else take a gigabyte, and their states sixteen. Frames and states are counted apart, because a
// state is held while its frames come: with one count, states alone could use it up and then wait for each other's frames.
var (
	RunnerFrames = NewBudget("frames of runners", 64<<20, budgetWait)
	RunnerStates = NewBudget("states of runners", 192<<20, budgetWait)
)

// budgetWait is how long what is large waits for its turn. A frame is decoded, and its bytes given back, within milliseconds of its last
// byte, so that only a crowd of runners that promise much and send little can use up so much time; each of them has a deadline.
const budgetWait = 2 * time.Second

// freeBytes is how large a reader's buffer may be uncounted: every answer fits, so that no answer ever waits.
const freeBytes = MaxAnswerBytes + startBuffer

// Budget bounds bytes that are held at a time, over all who share it, in the order in which they ask (SB-2). Its methods may be called
// from any goroutine.
type Budget struct {
	name    string
	bytes   int64
	wait    time.Duration
	turn    *semaphore.Weighted
	held    atomic.Int64
	refused atomic.Uint64
}

// NewBudget makes a budget of so many bytes, for which Take waits at most so long. name is what errors call it.
func NewBudget(name string, bytes int64, wait time.Duration) *Budget {
	return &Budget{name: name, bytes: bytes, wait: wait, turn: semaphore.NewWeighted(bytes)}
}

// Take waits for n bytes. The error is a *BudgetError, and then nothing is taken.
func (b *Budget) Take(n int64) error {
	if !b.turn.TryAcquire(n) {
		ctx, cancel := context.WithTimeout(context.Background(), b.wait)
		defer cancel()
		if n > b.bytes || b.turn.Acquire(ctx, n) != nil {
			b.refused.Add(1)
			return &BudgetError{Budget: b.name, Bytes: n, Held: b.held.Load(), Limit: b.bytes, Waited: b.wait}
		}
	}
	b.held.Add(n)
	return nil
}

// Give returns what Take has taken.
func (b *Budget) Give(n int64) {
	b.held.Add(-n)
	b.turn.Release(n)
}

// Held tells how many bytes are taken, and Refused how often Take has refused.
func (b *Budget) Held() int64 { return b.held.Load() }

// Refused counts the refusals.
func (b *Budget) Refused() uint64 { return b.refused.Load() }

// BudgetError says that all runners together hold too much for one more message. Whoever sent it has broken no rule of the wire.
type BudgetError struct {
	Budget             string
	Bytes, Held, Limit int64
	Waited             time.Duration
}

// Error names the budget and how far it is used up.
func (e *BudgetError) Error() string {
	return fmt.Sprintf("%d bytes are wanted of the budget for %s, %d of %d are in use, and none came free within %s", e.Bytes, e.Budget, e.Held, e.Limit, e.Waited)
}
