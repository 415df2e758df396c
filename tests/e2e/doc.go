// Package e2e tells the stories of msup's user with everything real: the built program, the process sandbox, the Python SDK, the
// simulated I in a process of its own, recordings of real markets.
//
// Each story is a script in testdata, with its own files and a fresh folder; its first comment tells the story, and its Proves line names
// the requirements that it would miss. The commands of the scripts are those of testscript and the ones listed beside [commands]. The
// program is built once, with the race detector where the tests are, and every data race of any of its processes fails the package.
//
// What is guaranteed after every run of the program: its exit code is the expected one, it left no runner, control group or socket
// behind, and its standard output is JSON where JSON was asked for.
//
// What you may not assume: that a strategy is fast. The machine is shared, and the race detector slows everything; scripts give their
// strategies generous deadlines, except where lateness is the story.
package e2e
