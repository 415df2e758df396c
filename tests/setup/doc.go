// Package setup tests what make setup leaves behind and the scripts that people call by themselves.
//
// What is guaranteed by a pass: a strategy in Rust compiles to a module that exports its memory, with the compiler that
// scripts/wasm-cargo chooses; where none can, it says what to do; and set-up without root says which packages are missing
// and how to install them, but goes on without containers.
//
// What you may not assume: that set-up works on a machine that has nothing. That is shown by hand, in a fresh Debian 12.
package setup
