package wasm

import (
	"encoding/binary"

	"github.com/msup/msup/ipc"
)

// stepClock is the guest's clock and randomness: both belong to the step that is being handled, so that a replay sees the
// same (NN-7). Before Init it is the moment 0, the run seed 0 and step 0.
//
// A Batch is several steps in one call. The runner cannot see where the guest is in it, so for the whole batch the clock and
// the stream are those of its first step; the SDK's ctx.now and ctx.rng are exact.
type stepClock struct {
	now      ipc.Nanos
	runSeed  uint64
	instance ipc.InstanceID
	step     ipc.Step

	rng    ipc.RNG
	seeded bool
	word   [8]byte
	left   int // bytes of word that have not been given out
}

// begin moves the clock to the step of a delivery.
func (c *stepClock) begin(step ipc.Step, now ipc.Nanos) {
	c.step, c.now, c.seeded, c.left = step, now, false, 0
}

// walltime is WASI's realtime clock.
func (c *stepClock) walltime() (sec int64, nsec int32) {
	const second = 1_000_000_000
	sec, nsec = int64(c.now)/second, int32(int64(c.now)%second)
	if nsec < 0 { // before 1970
		sec, nsec = sec-1, nsec+second
	}
	return sec, nsec
}

// nanotime is WASI's monotonic clock.
func (c *stepClock) nanotime() int64 { return int64(c.now) }

// Read gives the bytes of the step's stream: words of ctx.rng, little-endian, whatever the sizes of the reads are. Seeding
// costs a SHA-256 and few strategies draw, so it waits for the first read.
func (c *stepClock) Read(p []byte) (int, error) {
	if !c.seeded {
		c.rng, c.seeded = ipc.NewRNG(c.runSeed, c.instance, c.step), true
	}
	for i := range p {
		if c.left == 0 {
			binary.LittleEndian.PutUint64(c.word[:], c.rng.Uint64())
			c.left = len(c.word)
		}
		p[i] = c.word[len(c.word)-c.left]
		c.left--
	}
	return len(p), nil
}
