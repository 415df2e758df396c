// Package endpoint is the socket at which exactly one runner connects, the same for every kind of sandbox.
//
// What is guaranteed: the socket lies in a directory of its own and belongs to the runner's user id. Accept takes the first peer that
// its caller recognises by the process and user id which the kernel names; anybody else is turned away and does not use up the one
// place. Then the socket is unlinked and closed, so that there is never a second connection. Conn waits for that peer, for the end of the
// runner, or for its time, and gives the same answer to everybody who asks.
//
// What you may not assume: that process ids are enough. An id may belong to somebody else by the time it is compared, so who recognises
// must hold a pidfd and look, after the comparison, that its process is alive.
//
// Test against it with a directory of the test's own and net.Dial; the suite in sandboxtest shows what hostile runners make of it.
package endpoint
