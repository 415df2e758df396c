// Package wasm runs Wasm modules that were made to break out, hang, lie or blow up whatever reads them, each in the real Wasm
// sandbox, and shows that every one is refused with a typed error, bounded, or killed (SB-L2, SB-2 … SB-8).
//
// The modules are assembled here, byte by byte: most of them no compiler would make. While each one acts, a ticker of 1 ms
// in the test's own process, which stands for the supervisor, may never be late by more than 100 ms, and a well-behaved
// neighbour must answer after it. At the end nothing may be left on the host.
//
// What this may not be taken for: a proof. It is a list of doors that were tried.
package wasm
