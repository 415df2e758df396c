package crash

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// A supervisor is killed within a quarter of an undisturbed run from its start, which hits its start and its recovery; each further kill of a
// world may come a tenth of such a run later, so that every world comes to its end. An idle machine's trades 150 ms after its start.
const (
	firstWindow  = 4
	laterWindows = 10
)

// The supervisor is killed without warning, at random moments of its start, its recovery and its work, until a run reaches the end of the
// feed. What the simulated I was told and holds is the same as without, and the log replays to the same answers.
// Proves: NN-3, NN-6, NN-7, GT-5, GT-6, LS-3, ST-1, DOD-3
func TestKilledSupervisor(t *testing.T) {
	s := newSetting(t, plan{strategies: map[string]map[string]string{"turner": turner("0.0005"), "rester": rester("0.0005")}, events: 3000,
		args: []string{"--durability", "process", "--keep-log"}, atLeast: 100})
	c := newCampaign(t, 75)
	c.run(func(seed uint64, chance *rand.Rand) (kills int, err error) {
		kills, err = s.killed(seed, chance, func(w *world) error {
			out, err := w.must(0, "replay", "--state", w.state)
			if err != nil {
				return fmt.Errorf("replay: %w\n%s", err, out)
			}
			return nil
		})
		c.count("kills", kills)
		return kills, err
	})
}

// The same against the SDK's receiver, which repeats, reorders and stalls.
// Proves: NN-3, NN-6, GT-5, GT-6, LS-3, BC-I, DOD-6
func TestKilledSupervisorOfPythonI(t *testing.T) {
	s := newSetting(t, plan{strategies: map[string]map[string]string{"turner": turner("0.0005")}, events: 2500, python: true,
		args: []string{"--durability", "process"}, atLeast: 80})
	c := newCampaign(t, 30)
	c.run(func(seed uint64, chance *rand.Rand) (kills int, err error) {
		kills, err = s.killed(seed, chance, func(*world) error { return nil })
		c.count("kills", kills)
		return kills, err
	})
}

// killed plays one world: kills until a run comes to its end.
func (s *setting) killed(seed uint64, chance *rand.Rand, then func(*world) error) (kills int, err error) {
	w, err := s.numbered(seed)
	if err != nil {
		return 0, err
	}
	defer w.close(&err)
	if err := w.startI(); err != nil {
		return 0, err
	}
	for {
		p, err := w.start(w.runArgs()...)
		if err != nil {
			return kills, err
		}
		if p.kill(between(chance, 0, s.took/firstWindow+time.Duration(kills)*s.took/laterWindows)) {
			if kills++; kills > 400 {
				return kills, errors.New("400 kills, and it has still not come to the end of the feed")
			}
			continue
		}
		if code, err := p.code(patience); err != nil || code != 0 {
			return kills, errors.Join(fmt.Errorf("after %d kills a run ended with %d, want 0:\n%s", kills, code, tail(p.out.String())), err)
		}
		break
	}
	if err := w.stopI(); err != nil {
		return kills, err
	}
	if err := w.same(); err != nil {
		return kills, fmt.Errorf("after %d kills: %w", kills, err)
	}
	return max(kills, 1), then(w)
}
