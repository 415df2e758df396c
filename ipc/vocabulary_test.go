package ipc

import (
	"strings"
	"testing"
)

// Proves: GT-7
func TestStatusesFollowTheTable(t *testing.T) {
	next := map[Status]string{
		StatusNotSeen: "staged", StatusStaged: "approved expired withdrawn", StatusApproved: "offered committed rejected expired withdrawn",
		StatusOffered: "committed rejected expired", StatusCommitted: "", StatusRejected: "", StatusExpired: "", StatusWithdrawn: "",
	}
	for from, allowed := range next {
		for to := StatusNotSeen; to <= StatusWithdrawn+1; to++ {
			want := false
			for _, name := range strings.Fields(allowed) {
				want = want || name == to.String()
			}
			if from.CanBecome(to) != want {
				t.Errorf("%s to %s: %t", from, to, !want)
			}
		}
		if from.Terminal() != (allowed == "" && from != StatusNotSeen) {
			t.Errorf("%s is terminal: %t", from, from.Terminal())
		}
	}
}

// Proves: DM-2
func TestIdsAreChecked(t *testing.T) {
	for _, id := range []string{"", strings.Repeat("x", MaxIDBytes+1), "\xff", "a\nb", "a\x7f"} {
		if CheckID(id) == nil {
			t.Errorf("%q counts as an id", id)
		}
		for i := range 3 {
			parts := []string{"a", "b", "c"}
			parts[i] = id
			a := Address{Bot: BotID(parts[0]), Strategy: StrategyID(parts[1]), Instance: InstanceID(parts[2])}
			if a.Validate() == nil {
				t.Errorf("%q counts as an address", a)
			}
		}
	}
	good := Address{Bot: "α", Strategy: "s-1", Instance: "BTC/USDT"}
	if err := good.Validate(); err != nil || good.String() != "α/s-1/BTC/USDT" {
		t.Errorf("%s: %v", good, err)
	}
}

// Proves: BC-F
func TestDirectionsSeparateTheSides(t *testing.T) {
	for kind := MessageType(0); kind < 255; kind++ {
		sides := 0
		for _, d := range []Direction{FromRunner, FromSupervisor, FromM, FromPeer} {
			if d.Allows(kind) {
				sides++
			}
		}
		want := 1
		switch {
		case strings.HasPrefix(kind.String(), "message("):
			want = 0
		case kind == TypeChunk || kind == TypeAck:
			want = 2
		}
		if sides != want || FromAnyone.Allows(kind) != (want > 0) {
			t.Errorf("%s may come from %d sides, expected %d", kind, sides, want)
		}
	}
	for _, c := range []struct {
		from Direction
		kind MessageType
		most int
	}{
		{FromRunner, TypeAnswer, 64 << 10}, {FromRunner, TypeHello, 64 << 10}, {FromRunner, TypeChunk, 1<<20 + 64},
		{FromSupervisor, TypeInit, 16 << 20}, {FromSupervisor, TypeChunk, 16 << 20}, {FromPeer, TypeEvent, 16 << 20},
	} {
		if got := c.from.MaxFrame(c.kind); got != c.most {
			t.Errorf("%s from a %s: %d bytes, expected %d", c.kind, c.from, got, c.most)
		}
	}
}
