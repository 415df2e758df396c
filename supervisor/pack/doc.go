// Package pack makes packages: descriptor and code, identified by a hash, in a store that only the supervisor writes.
//
// A folder that somebody wrote is untrusted. Build copies it into the store while hashing it, installs its locked
// dependencies inside a sandbox into a layer, and asks the strategy for its config schema inside a sandbox. What runs
// later is mounted from the store alone. A folder with a Cargo.toml is compiled first, inside a sandbox (DM-1, NN-1).
//
//	<store>/packages/<binary_hash>/code/…         what runners see as /strategy, read-only, with bytecode
//	<store>/packages/<binary_hash>/package.json   manifest: schema, hooks, every file with its sha256
//	<store>/packages/<binary_hash>/strategy.sig   signature, when there is one
//	<store>/layers/<layer_hash>/files/…           installed wheels, what runners see as /layer
//	<store>/layers/<layer_hash>/layer.json        manifest
//	<store>/layers/by-lock/<key>                  layer hash by lock file, Python version and architecture
//	<store>/wheels/<lock sha256>/…                downloaded wheels
//	<store>/built/<key>                           compiled Rust strategies, by sources, toolchain and target; the least used go above 1 GiB
//	<store>/staging/…                             unfinished work, removed by the next Build
//
// # The hash
//
// The canonical archive is a tar stream (PAX) of the regular files, sorted by path bytewise, mode 0444, without times,
// owners or folders. code_hash is its SHA-256; the lock file is one of its files. layer_hash is that of the archive of
// the installed wheels without bytecode. binary_hash is the SHA-256 of "msup-package/1\n", code_hash and layer_hash (both
// 32 bytes, zeros when there is no layer). The manifest is not covered, it has a checksum of its own.
//
// Left out of the archive: everything whose name starts with a dot; folders named __pycache__, node_modules, target,
// tests, venv; test_*.py, *_test.py and conftest.py; files ending in .pyc, .pyo, .swp or ~; and strategy.sig, which signs
// the hash.
//
// A compiled package is its descriptor and the artifact under the name of the entry; sources are not part of it.
//
// # How Rust is compiled
//
// Cargo reads the manifests and fetches crates outside, away from the crate's own settings: this runs no code of anybody. The
// sources, with the crates beside them, are hashed; when they were compiled before, by the same toolchain, that is the artifact.
// Else they are copied, hashed again, and shown to cargo as /src and /dep, the fetched crates as /vendor, the toolchain as
// /rust: read-only, in a job of the process sandbox that may start processes but has no network (sandbox.Spec.BuildJob). Every
// build begins from nothing: what an earlier, perhaps hostile, build left would be part of a later package.
//
// # What is guaranteed
//
//   - The same files give the same hash, whatever their times, owners, modes and order on disk.
//   - What was hashed is what was stored: there is one pass, and links are never followed.
//   - Code of the strategy or of its dependencies runs only inside the sandbox that the caller gave. Wheels are fetched
//     outside, by pip, which runs no code of a wheel; there are no source distributions, no index options and no URLs. Crates
//     are fetched outside, by cargo, which runs no build script then.
//   - The same sources, lock and toolchain give the same artifact, wherever they lie on disk.
//   - Open re-reads every file; one that changed, vanished or was added is a *HashMismatch that names it (AD-3).
//   - A build that fails or is killed leaves nothing under packages or layers.
//
// # What you may not assume
//
//   - That a layer is the same on another architecture or Python version: then the binary_hash differs.
//   - That bytecode is reproducible. It is listed in the manifest, and checked by Open, but not part of any hash.
//   - That the derived schema is true. It is validated, but the strategy's code wrote it; the gate trusts none of it.
//   - That an artifact is the same from another version of rustc, or of the C compiler that links a program: then the
//     binary_hash differs.
//   - That an entry of built/ says anything but what this machine compiled: it is a cache, and may be removed at any time.
//
// # How to test against it
//
// Give Build a real process sandbox (see the tests). A package that is compiled already needs none, only a Describe.
package pack
