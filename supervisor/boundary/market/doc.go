// Package market is M's side of the boundary with H (EV-1, BC-H).
//
// # What it is
//
// A Source is a stream of market events that comes over H's socket: a feed.Source beside files. One goroutine reads the socket into a ring of
// bounded size, Next takes from it.
//
// # What is guaranteed
//
//   - H is never held back: the socket is read as fast as it delivers, whatever the strategies do. What the ring does not hold is dropped, the
//     oldest first, counted, and the next event of that source is flagged as following a gap.
//   - Events of one source come in the order in which H sent them, flagged as DQ-1 asks: gaps, repetitions and disorder of the source's own
//     numbers, a higher source epoch and a new connection included.
//   - A connection that ends is made anew, with a growing pause; that is told once, and seen by the gap flag.
//   - What breaks the protocol, or is no market event, ends that connection, not the program: bytes of H are not trusted.
//
// # What you may not assume
//
// That nothing is lost: market sources may be lossy, and H keeps nothing for those who are away. That Next returns while H is silent: end the
// context that Open was given.
//
// # How to test against it
//
// Serve SourceEvents on a socket in a temporary directory, or run msup.boundary's MarketSource.
package market
