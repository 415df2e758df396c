// Package load tests instances of the real supervisor under more input than their strategies can take.
//
// TestLoad puts 100,000 synthetic market events a second to fifty instances, some of them slow, hanging, or with a small mailbox. What is
// guaranteed by a pass: received = delivered + conflated + dropped for every instance at every look, the runner's own count of deliveries
// included; execution and risk events arrive exactly, in order, whatever the market does; no bar is lost where the ceiling is not met; memory
// is flat. It takes 5 s; -load.seconds 60 is `make soak-load`.
//
// TestHaltDuringHang has a real Python strategy behind walls that hangs with orders at I: cancels are offered within 20 ms of the halt.
//
// What you may not assume: that the rate is held on a busy machine. The feed then takes longer; the figure is logged.
//
// Ledger and I are memories here: what they do under faults is tests/sim's.
package load
