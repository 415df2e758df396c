// Package mailbox holds what waits for one instance, by class.
//
// Everything that acts on the core without the runner (risk, safety and operator inputs, execution reports, statuses, the persister's word)
// is *urgent*: it is taken first, in the order of its class, and it pokes a pump that is blocked on the runner. Market events wait behind it.
//
// Market events of a live or paced feed ([Mailbox.PutMarket]) are conflated with what waits, per source and instrument: the newest quote
// stays, trades become a TradeAggregate, book deltas one merged delta or a snapshot; docs/feeds.md has the rules. Those of a feed in lock step
// ([Mailbox.PutMarketWait]) never are, and wait instead.
//
// What is guaranteed:
//   - Urgent items are never dropped, and keep their order within a class (BP-2, BP-3). No market event is taken while one waits: what I reports
//     of an event is known before the event itself, however the taker and those who put are scheduled.
//   - Put = Taken + Conflated + Dropped + Waiting, always (BP-1).
//   - Bars and trading statuses are never merged, and are dropped only where they alone fill the queue. Nothing that comes after one is merged
//     into what stood before it.
//   - Only what continues is merged: applying a merged delta gives the book of its parts, and an event that a strategy may want to leave out
//     (repeated, out of order in a book, after a gap) is delivered as it came. Quality flags are OR-ed (DQ-1).
//   - A merged delivery keeps the place of its oldest part and carries the header of its newest. So nobody starves, and an instrument that
//     never rests cannot push another one back.
//   - Deliveries and bytes that wait have a ceiling, whatever comes. Above it the oldest give way (BP-1), the next delivery of their stream is
//     flagged gap, and the caller's item of [Mailbox.OnCeiling] is put, until the queue is half empty (BP-4).
//   - One goroutine takes; any number put. For quotes neither put nor take allocates.
//
// What you may not assume: that receive times never go back between two kinds or instruments; that a delta is delivered while a book waits for
// a snapshot; that the bytes of a delivery live longer than until the next one is taken.
//
// Test against it with a Mailbox of any item type; it has no clock and starts no goroutine.
package mailbox
