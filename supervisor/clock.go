package supervisor

import "github.com/msup/msup/ipc"

// Clock gives the times of inputs (BC-F). In a feed run both follow the feed's receive time, so that a run can be repeated exactly.
type Clock interface {
	// Now returns processed time and core time for an input that is caused by an event received at recv; 0 = not caused by an event.
	Now(recv ipc.Nanos) (processed, core ipc.Nanos)
}

// FeedFollower is a Clock whose both times are those of a feed, or a Tee whose reports bear them: they stand still while the feed does.
type FeedFollower interface{ FollowsFeed() bool }

// FollowsFeed reports true.
func (c *FeedClock) FollowsFeed() bool { return true }

// FeedClock follows receive times and never goes back by itself. Each instance has its own.
type FeedClock struct{ last, ahead ipc.Nanos }

// Now returns the latest receive time seen, twice; core time lags behind it where a live run began the log.
func (c *FeedClock) Now(recv ipc.Nanos) (processed, core ipc.Nanos) {
	c.last = max(c.last, recv)
	return c.last, c.last - c.ahead
}

// Rewind goes back to where a log ends: the events after it are delivered again, at their own times.
func (c *FeedClock) Rewind(processed, core ipc.Nanos) { c.last = max(processed, core+c.ahead) }

// Continue goes on where a log ends. In the log of a live run core time is elapsed time, far below processed time: a command that is recorded
// between two runs must not move it to the present, which would end every cooldown.
func (c *FeedClock) Continue(processed, core ipc.Nanos) {
	c.last, c.ahead = max(c.last, processed), max(0, processed-core)
}
