// Package execution is M's side of the boundary with I (BC-I).
//
// # What it is
//
// A Client is one connection to I, shared by all instances of a supervisor. Hello announces an instance with the Handler that
// takes what comes back for it; Offer, Query, Tombstone, RequestSnapshot, Ack and Resume speak for it. Publish and Sync exist for
// the simulated I, which has its market from M.
//
// # What is guaranteed
//
//   - Everything goes out in the order of the calls, over one connection: an offer comes after the market events published before it.
//   - Nothing that speaks for an instance waits for the peer: Offer, Ack, Resume and RequestSnapshot answer ErrBusy when the queue to
//     it is full. Only Publish waits, as a feed may be held back, and Query, Tombstone, Hello and Sync for their answer.
//   - Each instance has its own queue and goroutine. A Handler that hangs holds up its own instance, nobody else's.
//   - One instance's messages reach its Handler in the order in which I sent them. I sends the status of an offer after the executions
//     that it caused at once, so a Handler that has the status has them too.
//   - Sync returns when I has worked off everything sent before it and every Handler has taken everything that I sent before its answer.
//   - The end is told once, and typed: Done is closed, Err says why, waiting calls return ErrDisconnected, every Handler gets Lost.
//
// # What you may not assume
//
//   - That an Offer which was accepted here has reached I. Only its status says so; after a disconnect ask with Query.
//   - That the client reconnects: a Link does, and tells each Party, whose work it then is to say Hello anew and to Query what is open. The
//     durable reports that the Party has not acknowledged come again by themselves.
//   - That an event comes once: after Hello and Resume I repeats what it has no ack for. Deduplicate by cursor.
//   - That a Handler may call Sync, Query, Tombstone or Hello and wait: Sync waits for the Handlers.
//
// # How to test against it
//
// Serve a simulated I (package sim) on a socket in a temporary directory.
package execution
