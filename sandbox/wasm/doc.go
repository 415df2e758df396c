// Package wasm is the sandbox of level L2: a strategy as a WebAssembly module in wazero, inside a process of level L1 (SB-L2).
// Each instance is a process of its own, because nothing inside a Go process can stop a module: a loop-free tree of calls
// runs past every check and blocks the collector with it. The supervisor's SIGKILL stops everything.
//
// # How a module gets to run
//
//  1. Inspect reads the module in the supervisor and refuses what is broken, bloated, or asks for more than there is. It
//     allocates in proportion to the bytes, so that a module of 16 bytes cannot ask for 96 GiB.
//  2. Compile has it compiled by a one-shot process behind all walls, with a ceiling for memory and time, into the store. The
//     supervisor copies the one file that comes of it and writes down its checksum.
//  3. Start compares the checksums, makes the code again where they differ, and starts the process sandbox with the built-in
//     program "msup:wasm": stage two goes on in process as the runner, without an exec, so nothing of the host is bound but
//     the module's folder. The runner connects and loads; then a second seccomp filter takes away opening, connecting and
//     executable pages; then the first instruction of the guest runs.
//  4. The runner carries frames: msup_buffer, a copy, msup_handle, a write. It looks into them as far as the clock needs.
//
// # What is guaranteed
//
//   - The guest has its memory, its frames, and the WASI functions in wasi.go: a log, the environment of its spec, a clock and
//     random numbers that belong to the step. Everything else of WASI answers with an error; every other import is refused by
//     name before anything is compiled.
//   - Clock and random numbers are the step's: the same delivery sees the same (NN-7). In a batch they are those of its
//     first step.
//   - An address, a length and the framing of what the guest returns are checked against its memory before a byte is read.
//   - After a trap the module is never called again: the process prints one line and ends with a status that the guest cannot
//     forge (see status.go); Exit translates it to WASM_TRAP, WASM_RETURN_INVALID, WASM_INVALID or ABI_MISMATCH.
//   - A step allocates nothing in the runner, and memory that grows neither moves nor is copied.
//
// # What you may not assume
//
//   - That a module which passed Inspect is valid: only its numbers and its surface are. The compiler decides, in its sandbox.
//   - That the frames which come out are well-formed inside: that is the supervisor's to judge, as with every runner.
//   - That Conn means that the guest is well: the runner connects before the guest's first instruction. Its Hello tells.
//   - That a guest has all of Limits.MemoryBytes: 48 MiB of it, or what is left above 16 MiB, are the runner's own.
//   - That Close closes the process sandbox. It belongs to whoever opened it, and serves others as well.
//
// # Figures
//
// On a 2-core machine under load, a Rust module of 100 KB: cold start to the first answer 12.6 ms at best, 15 ms in the
// median. Of these: the supervisor's preparation 2.0, the clone with its namespaces 1.6, Go's start 2.5, the control groups
// 2 (and up to 8), the walls 1.5, connecting and loading the module 2.5 from the cache, the first event 0.1. The control group
// of an idle instance holds 1.2 to 2.6 MB. One event costs the runner 70 ns besides the socket, wazero called bare 16 ns.
//
// # How to use and test it
//
// main and TestMain call process.Init(wasm.Programs()...) first. wasmtest assembles modules without a toolchain.
package wasm
