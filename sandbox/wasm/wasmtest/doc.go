// Package wasmtest assembles small Wasm modules by hand, so that tests of the Wasm runner need no toolchain and can hold
// what no compiler would make. Guest is a module that keeps the guest ABI and does one thing; Module is the assembler below
// it.
//
// What is guaranteed: the same calls give the same bytes. What you may not assume: that a module is valid. Nothing is
// checked here; that is what the tests are for.
package wasmtest
