// Package stage2 begins the second stage of the process sandbox before main, and is imported for that effect alone:
//
//	import _ "github.com/msup/msup/sandbox/stage2"
//
// Why: every runner begins as msup itself, started again to build its walls from within. Most of what msup is made of is of no use to it:
// the client of containerd, gRPC, the schemas of descriptors. Go initialises all of that before main; it took half of a runner's start.
//
// What is guaranteed: Go initialises packages in the order of their import paths, each after those that it imports. So what sandbox/process and
// sandbox/wasm import comes before this package, and what needs a package of a larger path comes after it. A stage two that is to become a
// program that is not known here, such as the proxy of external services, goes on to main and process.Init. In any other process nothing happens.
//
// What you may not assume: that a package is initialised which sandbox/process and sandbox/wasm do not import.
//
// Test against it by starting the program as a stage two without orders, with GODEBUG=inittrace=1, as cmd/msup's test does.
package stage2
