// Package thread is isolation level L0: instances of one package as threads of one Python process, for trusted strategies of which a host
// runs many. It is dense (an instance costs its thread and its objects, not an interpreter), and it is asked for by name: a descriptor or a
// deployment says isolation = "L0", and the host policy says allow_l0 = true. Nothing chooses it by itself.
//
// # What is guaranteed
//
//   - The process as a whole stands behind every wall of the process sandbox (L1): trusted code is not on the host either.
//   - An instance is a sandbox.Runner like any other. It has a socket of its own, one end of a pair that only its process was handed, and an
//     output of its own within a log limit of its own.
//   - Only instances whose specs are equal but for address and log share a process: one package, one lane, one set of limits.
//   - Kill is unconditional. A thread is first asked to leave, by the end of its socket; one that does not leave within KillGrace takes the
//     process with it. All instances of the process end then, and each Exit names the instance because of which (SB-8): the one whose thread did
//     not leave, or the one that, by the kernel's count of processor time, held the interpreter meanwhile.
//   - An instance that was taken along ends as by a foreign signal, for which the supervisor repeats its delivery without blame.
//   - SetLowered is the nice value of the instance's own thread (LN-7), where msup was begun as root. Who may not take such a value back does not
//     give it: SetLowered says so then, and changes nothing.
//   - The process ends with its last instance. A Runner's Done is closed when its thread has left, and, for the last one, the process too.
//
// # What you may not assume
//
//   - Any wall between instances of one process. They reach each other's memory, descriptors and files in /tmp, and hold one interpreter lock.
//     WallInstances says so, and never stands.
//   - That limits hold for one instance. They hold for the process: one instance's times PerProcess, at most Ceiling. Whoever is out of memory
//     takes all along.
//   - That Usage is one instance's. CPU is its thread's; all other counters are the process's. Who of several was refused a thread, or a system
//     call, cannot be told, so PIDsRefused is -1 then and Refused is zero, and the refusal is logged for the process when it ends.
//   - That module globals and class attributes are an instance's own. State belongs in self.state, as everywhere; here a global is also
//     everybody's, so what it holds is not the same in a replay.
//   - That a lowered instance stands back everywhere. The interpreter's lock knows no priorities, and a lowered thread that holds it on busy
//     processors may hold it longer; the process's control group, which is the neighbours', too, keeps its weight.
//   - That a thread which a strategy starts ends with its instance. It ends with the process.
//   - That the output of C code, or of a strategy's own threads, is told apart: it is the process's, and goes to Config.Logger.
//
// # How to test against it
//
// The process behind it is python -m msup.shared, or any program that calls msup.shared.host. The conformance suite runs its programs that
// way (sandboxtest.SharedProgram), with Config.Shared, which adds what only threads can do to each other.
package thread
