// Package descriptor reads the three files that people write for msup (strategy.toml, msup.toml, instruments.toml),
// validates them once, and hands out values that never change afterwards.
//
// Each file has a table of rows (strategytable.go, deploymenttable.go, instrument.go). The decoder, the JSON Schema and the
// reference page docs/strategy-toml.md are all made from those rows; rules between several values are code beside them.
//
// A deployment is read in two stages, because only packages know their config schema: LoadDeployment (or NewDeployment
// for `msup run DIR…`), then Resolve with a function that opens packages (supervisor/pack).
//
// # What is guaranteed
//
//   - Every error is Findings: everything that is wrong at once, each with code, file, line, column, key, problem and
//     remedy, safe to print on a terminal. Secrets are never shown.
//   - An unknown key, a value of another type, a float where money belongs, a unit that does not exist are findings. Nothing
//     is rounded, cut or guessed. Ceilings above the host policy are refused, not lowered.
//   - At most 1 MiB is read of any file, and only of regular files; hostile nesting costs milliseconds.
//   - Config values of a resolved Instance are complete, in their types, and hashed over their canonical msgpack.
//
// # What you may not assume
//
//   - That a value returned from here may be changed: pointers and slices are shared. Copy before you change.
//   - That a package exists, or holds what its descriptor says: that is supervisor/pack's and admission's business.
//   - That the schema in a descriptor is the whole one: Python strategies may leave [config] out. Use the descriptor of
//     a pack.Package, in which the derived schema is filled in.
//   - That the JSON Schema refuses all that the decoder refuses: rules between several values are not in it.
//
// # How to test against it
//
// Parse, ParseDeployment and ParseInstruments take bytes; nothing touches the disk but an instruments file that a
// deployment names. A finding is compared by Line, Key and Code, as in testdata/broken.
package descriptor
