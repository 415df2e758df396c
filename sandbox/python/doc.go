// Package python finds out what a Python interpreter of the host needs to run inside a sandbox: which folders must be
// bound read-only, with which environment, and how to call it.
//
// It asks the interpreter itself (prefixes, sys.path, mapped libraries), so that Debian's python3, one built below a home
// (pyenv), and a virtual environment on either work alike.
//
// # What is guaranteed
//
//   - The environment is the determinism contract's: hash seed 0, one BLAS and OpenMP thread, UTC, UTF-8, no bytecode
//     written, output unbuffered (lines printed before a crash would be lost otherwise).
//   - Every link from the interpreter's path to its file lies inside the binds; where one does not, Discover says which.
//
// # What you may not assume
//
//   - That `python -I` may be used: -I implies -E, with which Python ignores PYTHONHASHSEED, and every start would hash
//     differently. Runtime.Argv uses -P and -s instead; the environment is complete, so there is nothing else to ignore.
//   - That the host's interpreter is the same on the next host. An image is reproducible; this is not.
//
// # How to test against it
//
// Discover with any interpreter of 3.11 or later, then start Runtime.Argv in a process sandbox.
package python
