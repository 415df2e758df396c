package gate

import "github.com/msup/msup/ipc"

// Tracked is an intent from the moment of its verdict until nothing more can come of it.
type Tracked struct {
	Key        ipc.Key
	Step       ipc.Step
	Ordinal    uint32
	InputNo    ipc.InputNo // the input whose durability releases it
	Epoch      ipc.Epoch   // of the verdict
	Digest     ipc.Digest
	ValidCore  ipc.Nanos   // valid_until, core_ts
	ValidWall  ipc.Nanos   // valid_until, wall time
	SizeFactor ipc.Decimal // of the mode that it was judged under
	Status     ipc.Status
	Unsettled  bool // may have been sent before a restart: I must be asked by key before anything else (GT-6)
	Again      bool // offered before a restart, and I has not seen it: the next release offers it once more
	Asked      bool // J/E have been asked for their approval in this epoch
	Working    bool // committed at I, final execution report not seen yet
	EarlyFinal bool // the final execution report came before I's final status
	Passed     bool `json:",omitempty"` // a snapshot did not list it before I gave its word: when it is committed, only another one says whether it is over
	Side       ipc.Side
	Remaining  ipc.Decimal // open quantity on Side
	Reported   bool        // Remaining is I's word, not M's assumption
	Obligation uint64      // of M itself; 0 = the strategy's
	Proposed   bool        `json:",omitempty"` // it increases risk, and rests on the proposal that it names (EX-3)
	Taken      ipc.Decimal `json:",omitzero"`  // of that proposal
	CancelTS   ipc.Nanos   // an obligation has asked for its cancel and repeats it from here on, core_ts
	Intent     *ipc.Intent // after the gate
}

// Expired reports whether valid_until has passed, by either clock.
func (t *Tracked) Expired(coreTS, wall ipc.Nanos) bool {
	return coreTS > t.ValidCore || (t.ValidWall != 0 && wall > t.ValidWall)
}
