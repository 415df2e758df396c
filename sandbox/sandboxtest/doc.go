// Package sandboxtest is the one conformance suite for every implementation of sandbox.Sandbox: start and handshake,
// unconditional kill, each limit with its typed violation, each refusal, bounded logs, no leftovers, reaping.
//
// A sandbox joins in ten lines:
//
//	func TestConformance(t *testing.T) {
//		sandboxtest.Run(t, sandboxtest.Config{
//			Open:      func(dir string) (sandbox.Sandbox, error) { return process.New(process.Config{RuntimeDir: dir}) },
//			Program:   sandboxtest.PythonProgram(t, runtime),
//			Leftovers: func(dir string) ([]string, error) { … },
//		})
//	}
//
// # What is guaranteed
//
//   - No case passes because a wall is missing: where Walls says that one does not stand, the suite checks what stands in
//     for it, and reports the missing wall in the log.
//   - After the suite nothing is left: it compares processes, mounts, descriptors of this process and what Leftovers sees.
//
// # What you may not assume
//
// That passing it makes a sandbox safe. It shows that the walls that msup builds on stand; tests/hostile tries to get
// through them.
//
// # How the programs work
//
// testdata/probe.py holds them; each does one thing and reports one line of JSON. A sandbox that cannot run Python
// gives Program its own programs of the same names, with the same reports. GuestProgram has those for Wasm: where a guest
// cannot even try what a case tries (there is no fork in Wasm, and no file), the case's counterpart in cases_guest.go shows
// that the door is not there. SharedProgram runs the Python programs as threads of one process (L0); cases_shared.go shows there what
// neighbours can do to each other, and that Walls and Exit say so.
package sandboxtest
