// Package risk is M's side of the boundary with J and E: restrictions, safety commands, signals of people, and approvals (GT-7, BP-3, BC-J).
//
// # What it is
//
// A Link is one connection, shared by all instances of a supervisor and made anew whenever it ends. Attach names who hears what is said to an
// instance; Resume asks for what comes after the cursors that are durable; Request puts a staged intent; Ack says what has become durable.
//
// # What is guaranteed
//
//   - Nothing waits for the peer: Request, Resume and Ack only enqueue, and what cannot be sent now is sent on the next connection.
//   - Events of one instance reach its Party in the order in which they were sent. A gap in their numbers is passed on too, as what restricts
//     must act at once, and everything from the gap on is asked for again.
//   - A request is put again on every new connection until it is answered; J and E answer the same key with the same word.
//   - Only risk, safety and manual_signal events pass: J and E cannot report executions.
//
// # What you may not assume
//
//   - That an event comes once: deduplicate by cursor.
//   - That a request is ever answered. An intent that nobody approves expires by its valid_until.
//   - That instances are restricted while J and E are away: Options.Lost tells, and the caller decides.
//
// # How to test against it
//
// Serve a socket in a temporary directory with package ipc's frames, or run msup.boundary's Approver.
package risk
