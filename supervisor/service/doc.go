// Package service asks external services for strategies: models, and language models that make proposals (EX-1, EX-2, EX-3, SB-3).
//
// A strategy has no network. It asks with ctx.submit_compute(NAME, payload, ttl), where NAME is a [[service]] of its descriptor; the compute
// lane hands the task to an [Executor], and what comes of it is delivered as compute_result or compute_unavailable. There is no other way out.
//
// # Who touches what
//
// Three processes take part in a request, so that none of them both parses what a service says and can reach anything else:
//
//   - The supervisor resolves the service's host once, when the instance is opened, refuses addresses that the host policy does not allow,
//     and connects to the pinned address. It writes and reads no byte of HTTP.
//   - The proxy ([Load]) is msup itself behind the walls of L1: no network of its own, no files, no exec, and no system call that could make or
//     connect a socket. It gets the connected socket by SCM_RIGHTS, speaks TLS, HTTP and JSON over it, and holds both documents against
//     their schemas. A fault in a parser is a fault of a process that has one connection to the one service which caused it, and its secret.
//     Each service of each instance has a proxy of its own.
//   - The strategy gets the response written anew: what is not in the schema, or is written in two ways, does not reach it.
//
// Why not let the proxy connect by itself? It would need a network namespace with routes, a resolver and a filter for addresses inside the
// wall that hostile bytes are parsed in: whoever broke the parser would have the network. A passed socket cannot be pointed elsewhere.
//
// # What is guaranteed
//
//   - A request is sent at most once. Nothing repeats it: not a timeout, not a redirect, not a broken connection, not a restart. The compute
//     lane persists it before Submit is called; what was under way at a crash is COMPUTE_LOST.
//   - Redirects are not followed, and names are not resolved again: the address is that of the start.
//   - Link-local, multicast, unspecified and metadata addresses are refused whatever the policy says; private and loopback ones unless it
//     allows them. If a name resolves to one refused address, it is refused as a whole.
//   - A request that does not fit its schema is not sent, and no connection is made for it. A response that does not fit reaches nobody.
//   - Size, time and rate are bounded by what the descriptor asks for, within the host policy. A proxy that does not answer in time is killed.
//   - Every failure has a reason code; texts from a service are never part of it.
//
// # What you may not assume
//
//   - That a request without an answer was not carried out. SERVICE_TIMEOUT and SERVICE_UNREACHABLE after sending mean: nobody knows.
//   - That a response is true, or the same twice. It is recorded as an input; a replay reads the record and asks nobody.
//   - That two tasks of one service run at once: they wait for each other, within their time.
//
// # How to test against it
//
// TestMain calls process.Init with a Program of [ProgramName] and [Load]; then [Open] with a process.Sandbox and a listener of your own as
// the service. [exchange] is the proxy without its walls.
package service
