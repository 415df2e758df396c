// Package api is the control plane of a running supervisor: HTTP and JSON on a unix socket in the state directory (design section 13).
//
// # What it is
//
// A Server serves the instances of one run. POST /v1/command carries out an operator's command on some of them, GET /v1/instances shows what
// they are. A Client, found by the state directory, talks to it: the verbs halt, resume, mode, cancel-all, hedge, abandon and inspect do.
//
// # What is guaranteed
//
//   - A command is answered "ok" only when it is durable in the log of its instance, with the name of who gave it (design section 6).
//   - A command takes the urgent way into the core: no strategy, however hung, delays it (BP-3).
//   - Only the user that the supervisor runs as, and root, are served; the kernel says who connects. The log names that user too, when it is not
//     the one that the command names.
//   - The socket is in the state directory whatever the length of its path, open to its owner alone, and gone after Close. One that a killed
//     supervisor left behind is replaced: whoever holds the directory's lock owns the name.
//   - Requests are small, decoded strictly, and answered in bounded time.
//
// # What you may not assume
//
// That an instance which is not running yet, or is being brought up, answers within the time: then the answer says so, and the command may still
// be carried out. That an Inspection is the durable state: it is that of the core at that moment.
//
// # How to test against it
//
// Serve instances of your own: [Instance] is an interface. The verbs are told from outside in tests/e2e.
package api
