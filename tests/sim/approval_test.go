package sim

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/supervisor/guard"
)

// J says nothing: staged intents count as exposure from their verdict, survive a kill, are asked about again by the next process, and expire by
// the clock alone; nothing was offered.
//
// Proves: GT-7, NN-3
func TestStagedIntentsSurviveAndExpire(t *testing.T) {
	takeOver(t, func(w *shell) {
		w.params.ExternalApproval, w.venue.silent = true, true
		p := w.start(false)
		for range 40 {
			w.publish(p)
		}
		time.Sleep(30 * time.Millisecond)
		w.crash(p)
		asked := w.counted("approvals asked")
		staged := 0
		for _, i := range p.State().Book().Open() {
			if i.Status == ipc.StatusStaged && w.disk.statuses[i.Key] == ipc.StatusStaged {
				staged++
			}
		}
		if staged == 0 || asked == 0 {
			t.Fatalf("%d staged, %d asked", staged, asked)
		}
		p = w.start(false)
		time.Sleep(20 * time.Millisecond)
		if again := w.counted("approvals asked") - asked; again == 0 {
			t.Error("the next process asked about none of them")
		}
		w.command(p, haltNow)
		time.Sleep(2 * time.Second) // no event comes, and nothing is delivered
		w.crash(p)
		for k, s := range w.disk.statuses {
			if s != ipc.StatusExpired {
				t.Errorf("key %s is %s", k, s)
			}
		}
		if w.counted("offers") != 0 || len(w.venue.sink.keys) != 0 {
			t.Errorf("%d offers without an approval", w.counted("offers"))
		}
	})
}

// In a feed run time stands still while the feed does: an intent that J is silent about does not hold the feed up, and expires when the feed
// has come to its time, though no event of it reaches the instance.
//
// Proves: GT-7, BC-N
func TestStagedIntentsExpireByTheFeed(t *testing.T) {
	takeOver(t, func(w *shell) {
		w.params.ExternalApproval, w.venue.silent, w.lockStep = true, true, true
		w.params.Faults = guard.Rule{}
		p := w.start(false)
		staged := func() (keys []ipc.Key) {
			w.disk.mu.Lock()
			defer w.disk.mu.Unlock()
			for k, s := range w.disk.statuses {
				if s == ipc.StatusStaged {
					keys = append(keys, k)
				}
			}
			slices.Sort(keys)
			return keys
		}
		var before []ipc.Key
		for range 50 {
			w.publish(p)
			w.settle(p)
			time.Sleep(100 * time.Millisecond) // what is in a batch becomes durable
			if before = staged(); len(before) > 0 {
				break
			}
		}
		if len(before) == 0 {
			t.Error("nothing is staged")
		}
		time.Sleep(time.Minute)
		w.settle(p)
		if after := staged(); !slices.Equal(before, after) {
			t.Errorf("%d intents are staged although the feed stood still, %d were", len(after), len(before))
		}
		p.Advance(now())
		time.Sleep(time.Second)
		w.settle(p)
		for _, k := range staged() { // timers that the feed has come to may have staged others
			if slices.Contains(before, k) {
				t.Errorf("key %s is staged after its time", k)
			}
		}
		w.crash(p)
	})
}

// Proves: GT-7, AD-5
func TestExternalApprovalNeedsSomebodyToAsk(t *testing.T) {
	takeOver(t, func(w *shell) {
		w.params.ExternalApproval, w.nobody = true, true
		p := w.start(false)
		<-p.Done()
		w.leave(p)
		if err := p.Err(); err == nil || !strings.Contains(err.Error(), "nobody to ask for it") {
			t.Errorf("it ends with: %v", err)
		}
		if w.counted("deliveries") != 0 {
			t.Error("it ran")
		}
	})
}
