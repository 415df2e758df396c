// Package warden is the root helper: it keeps root in a small process of its own, so that the supervisor need not have it (SB-2, SB-6).
//
// The supervisor, begun as root, starts its own binary again as the helper ([Start], [Init]), opens in it the sandboxes that it needs
// ([Client.Open]), and tells it every spec that this run may start and every socket it may connect to ([Box.Permit], [Client.PermitSocket]).
// Then it seals the helper ([Client.Seal]) and gives up root (package privilege). All this happens before a runner of the run is
// started and the ledger is opened. From then on the two talk through one socketpair: a [Box] is a sandbox.Sandbox like any other, and nobody in
// the supervisor can tell that its runners are started elsewhere.
//
// # Threat model
//
// Assets: root on the host, other users' files and processes, the other runners. The attacker has taken over the sealed supervisor, by bytes
// of a strategy, a market, I, J or E, and sends the helper what it likes. It can
//
//   - start runners of the permitted specs, one more of each than the run has, kill the runners of this run, read their counters, change
//     their priority (each at most four times a second), and connect to the permitted sockets, which it could do before
//   - end its helper and with it every runner: by closing the socket, or by breaking a rule of the interface
//
// It cannot
//
//   - start anything else. A start after the seal carries a spec, and the SHA-256 of its canonical form with the kind of sandbox has to be
//     one of those permitted: program, arguments, environment, binds, limits, lane and address are those of the run to the last byte, so no
//     path, id or limit is taken from the supervisor at all. What writes to a host folder, and build jobs, cannot even be permitted.
//   - open sandboxes, remove leftovers, or permit more. It cannot name a process id, user id, control group, mount or descriptor: the
//     interface has none. Runners have numbers, which are never used again.
//   - make the helper hold more than its bounds: a message has at most 128 KiB and is received into one buffer, no descriptor may come with
//     it, 512 questions are worked on at a time, lines go through a pipe for each runner and wait there. A flood ends the helper.
//   - get at the helper by other ways: it has another user id, is not dumpable, and no descriptor of it but the socket is shared.
//   - make itself root: it has no capability and no_new_privs, and the helper's only effect on it is the descriptors of the runners'
//     connections and lines.
//
// What is not covered: a hole in the kernel, or in the JSON decoder, json.Decoder of the standard library; what is read
// before the seal, which is what packages tell of themselves while they are built (build them beforehand, with msup build, as another user)
// and the first messages of H; the attacker's rights as the supervisor's
// own user: the state directory, the connections to I, J, E and H, and with them the intents of this run. Walls between instances stand as
// before: each has a user id, or a range of them, of its own.
//
// # What is guaranteed
//
//   - The runner's connection is handed over once, as a descriptor that the helper has verified and keeps no copy of: no event or answer
//     passes through the helper, and latency is what it is without one.
//   - The helper listens to what its runners' filters refuse, answers, and counts it in Usage and Exit. It does not hand those descriptors over:
//     whoever holds one can let a refused call pass.
//   - When the supervisor ends, however it ends, the helper kills its runners, removes what belongs to them, and ends.
//   - When the helper ends, every runner's Done is closed with the reason SANDBOX_HELPER_LOST, and every start fails with it. The kernel kills the
//     process sandbox's runners with the helper; containers lose their connection, and the next msup's Reap removes them.
//   - A runner's events come in order, and Done is closed after the last line was handed out.
//
// # What you may not assume
//
//   - That a helper without a seal keeps anybody from anything. Before the seal both sides have the same rights.
//   - That a spec that differs in nothing that matters is permitted. It has to be the same.
//   - That PIDs of runners are children of this process.
//
// # How to test against it
//
// TestMain calls process.Init and then Init with the kinds to open; Start makes a real helper in milliseconds. The conformance suite passes
// through it (Config.ClearsUp); hostile_test.go speaks to it as a compromised supervisor would.
package warden
