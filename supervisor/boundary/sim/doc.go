// Package sim is the simulated I: the execution domain of a workstation, in a process of its own (BC-I).
//
// # What it is
//
// Serve answers the boundary protocol on a unix socket for any number of instances. It takes offers, turns orders into fills at the
// touch of the last quote, and reports executions back. It is no backtester: there is no queue position, no size at the touch, no
// latency, no fee, no market impact. An order fills wholly or not at all. What it simulates faithfully is I's side of the
// contract, so that double orders, restarts and take-overs are tried against a receiver that behaves as a real one must.
//
// # How orders fill
//
//   - A market order fills at the opposite touch of the last quote; without one it is rejected, NO_QUOTE.
//   - A limit order that can be matched on arrival fills at the touch. One that cannot rests, and fills at its own limit when the
//     touch reaches it. IOC and FOK orders that cannot be matched are canceled; post-only orders that can be are rejected.
//   - A stop order waits for the touch to pass its price, then is a market (or limit) order. Day orders end with the UTC day.
//   - Reduce-only quantities are cut to the open position, when the order comes and again when it fills.
//   - A position intent becomes an order for the difference to the position, and replaces the working order of an earlier one.
//   - The touch is that of quotes; for an instrument without quotes that of its book, else of its quote bars, else the last price of
//     its trades or bars on both sides. A halted instrument does not fill.
//
// The status of an intent says whether I took it (committed); what became of the order is told by execution events. A venue's
// refusal (NO_QUOTE, POST_ONLY …) is therefore a committed intent with a rejected execution.
//
// # What is guaranteed
//
//   - Durable before told: keys with digest and status, epochs, orders, positions, reports and their cursor are in one SQLite
//     transaction, synced, before anything that follows from them is sent. A restarted sim goes on where it was.
//   - The status of an offer is sent after the execution events that it caused at once.
//   - The same key is applied once, for ever. With another digest it is answered rejected, KEY_CONFLICT, and nothing changes.
//   - A lower epoch, or an equal one of another owner, is refused; a higher one bars the former owner's offers.
//   - Time is recv_ts of the newest market event: the same feed and the same offers give the same reports.
//   - A connection that breaks the protocol is closed; the others do not notice.
//
// # What you may not assume
//
// That quotes survive a restart (they come anew with the feed), that keys are ever forgotten, or that the fills resemble what a
// venue would have done.
//
// # How to test against it
//
// Listen on a socket in a temporary directory, go Serve, and dial with package execution.
package sim
