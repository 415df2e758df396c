// Package sandboxtest is the one conformance suite for every implementation of sandbox.Sandbox: start and handshake,
// unconditional kill, each limit with its typed violation, each refusal, bounded logs, no leftovers, reaping.
//
// A sandbox joins in ten lines:
//
//	func TestConformance(t *testing.T) {
//		parent := sandboxtest.CgroupParent(t)
//		sandboxtest.Run(t, sandboxtest.Config{
//			Open:      func(dir string) (sandbox.Sandbox, error) { return process.New(process.Config{RuntimeDir: dir, CgroupParent: parent}) },
//			Program:   sandboxtest.PythonProgram(t, runtime),
//			Leftovers: sandboxtest.Leftovers(parent),
//		})
//	}
//
// It runs against processes (as root, as nobody, with a native binary), containers (on the host's files, with an image, with a shared shim, with
// a native binary), Wasm and threads of one process (each as root and as nobody), and through the root helper against processes, containers
// and Wasm (package wardentest).
//
// # What is guaranteed
//
//   - What a test leaves out (Config.Without) it names, with the reason; a name that is none fails.
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
// testdata/probe.py holds them; each does one thing, reports one line of JSON, and stays until the supervisor hangs up. Other
// languages have programs of the same names, with the same reports. NativeProgram has them as a binary for this machine, of
// testdata/probe.rs; rustc has to be there. GuestProgram has those for Wasm: where a guest cannot even try what a case tries
// (there is no fork in Wasm, and no file), the case's counterpart in cases_guest.go shows that the door is not there.
// SharedProgram runs the Python programs as threads of one process (L0); cases_shared.go shows there what neighbours can do
// to each other, and that Walls and Exit say so.
package sandboxtest
