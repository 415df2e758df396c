package ipc

import (
	"crypto/sha256"
	"encoding/binary"
	"math/bits"

	"github.com/tinylib/msgp/msgp"
)

// RNG is the generator behind ctx.rng: xoshiro256++ seeded for one step, so that replay draws the same numbers (RS-2). It
// exists here as the reference of the SDKs' own; it is no source of secrets.
type RNG struct{ s [4]uint64 }

// NewRNG seeds the generator of one step: its four words, little-endian, are SHA-256 over msgpack [run_seed, instance, step].
func NewRNG(runSeed uint64, instance InstanceID, step Step) RNG {
	var buf [256]byte
	b := msgp.AppendArrayHeader(buf[:0], 3)
	b = msgp.AppendUint64(b, runSeed)
	b = msgp.AppendString(b, string(instance))
	b = msgp.AppendUint64(b, uint64(step))
	sum := sha256.Sum256(b)
	var g RNG
	for i := range g.s {
		g.s[i] = binary.LittleEndian.Uint64(sum[8*i:])
	}
	return g
}

// Uint64 is next_u64.
func (g *RNG) Uint64() uint64 {
	s := &g.s
	result := bits.RotateLeft64(s[0]+s[3], 23) + s[0]
	t := s[1] << 17
	s[2] ^= s[0]
	s[3] ^= s[1]
	s[1] ^= s[2]
	s[0] ^= s[3]
	s[2] ^= t
	s[3] = bits.RotateLeft64(s[3], 45)
	return result
}

// Float64 is random(): 53 bits, at least 0 and below 1.
func (g *RNG) Float64() float64 { return float64(g.Uint64()>>11) * 0x1p-53 }
