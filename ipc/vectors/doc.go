// Package vectors holds the golden bytes of the msup protocol: what Go, Python and Rust all must read and write.
//
// README.md says what is in the files. The corpus is written by this package's tests:
//
//	go test ./ipc/vectors -update
//
// A difference without -update is a test failure: bytes on disk change only together with PROTOCOL.md, and on purpose.
// Nothing here is imported by the product.
package vectors
