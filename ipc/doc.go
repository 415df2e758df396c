// Package ipc is the contract between msup and everything around it: strategies in their runners, market sources (H), the
// execution side (I), risk and safety (J/E). It holds every message, event and intent as a Go type, its msgpack form, the
// framing, and what is derived from the bytes: idempotency keys, digests, the ledger's hash chain, ctx.rng. PROTOCOL.md is the
// normative page; vectors/ holds the golden bytes that Go, Python and Rust all read and write.
//
// # What is guaranteed
//
// Decoding never panics, never recurses, and allocates in proportion to the bytes that were really sent: every count and
// length is compared with its limit and with the bytes that are left before anything is allocated. What a decoder accepts,
// an encoder can write, and the second writing gives the same bytes; canonical bytes come back identical. An error says
// which message, field and byte broke which rule ([DecodeError]).
//
// Encoding is canonical (shortest forms, sorted keys), so equal values have equal bytes and digests. It refuses what the
// other side would refuse. The two hot directions cost no allocation to write and one to read.
//
// [Decimal] arithmetic is exact or refused; nothing here rounds money.
//
// [FrameReader] loses nothing when a deadline ends a read in the middle of a frame.
//
// # What you may not assume
//
// That metadata is there: an intent without it decodes, and the gate discards it with a reason. That ids are valid for your
// purpose: they are UTF-8 and at most 128 bytes, nothing more ([CheckID]). That numbers make sense: a price may be zero or
// negative, a bid above the ask. That a reason code is in the catalogue: peers may send others. That a frame stays valid
// after the next read; decoded values do.
//
// [Reader], [FrameReader] and [FrameWriter] belong to one goroutine each.
//
// # How to test against it
//
// Read vectors/README.md and run your codec over vectors/*.bin and vectors/invalid/*.bin. For a peer in a Go test, put a
// [Conn] on each end of a net.Pipe or socket pair, with the opposite [Direction].
package ipc
