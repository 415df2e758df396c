// Package mailbox holds what waits for one instance, by class.
//
// Everything that acts on the core without the runner (risk, safety and operator inputs, execution reports, statuses, the persister's word)
// is *urgent*: it is taken first, in the order of its class, and it pokes a pump that is blocked on the runner. Market events and other
// deliveries wait behind it.
//
// What is guaranteed:
//   - Urgent items are never dropped, and keep their order within a class (BP-2, BP-3).
//   - Market events keep their order. At the ceiling [Mailbox.PutMarket] either blocks (a file feed at full speed) or refuses and counts
//     (a paced or live feed, BP-4). taken + waiting + refused = put, always.
//   - One goroutine takes; any number put.
//
// What you may not assume: conflation. A refused market event is gone, and the caller tells so with QUEUE_CEILING.
package mailbox
