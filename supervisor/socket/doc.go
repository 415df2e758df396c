// Package socket is the supervisor's end of the conversation with a runner: a unix socket whose reads and writes the Go scheduler does
// not hear of.
//
// Why: a write wakes the runner, and where both share a processor the kernel runs the runner before the write returns. To the scheduler
// that looks like a system call that takes long. After 20 µs its monitor takes the processor away and gives it to another thread, the
// exchange becomes slower by the switches, and so the next write looks long as well: once this begins it goes on. An event then took 28
// to 33 µs instead of 17 to 18, with three switches of threads instead of one, in about one of ten runs. A raw call cannot be mistaken so.
//
// What is guaranteed: bytes, deadlines, Close and errors are those of net.UnixConn, and nothing is allocated. A raw call
// never waits, whatever the mode of the socket: it copies, or Go's poller waits, as for every other connection.
//
// What you may not assume: that two goroutines may read at once, or write at once. One may read while another writes.
//
// Test against it with a pair of connected sockets; other connections, such as net.Pipe, are handed back as they are.
package socket
