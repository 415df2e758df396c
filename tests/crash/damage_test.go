package crash

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const exitDiverged = 8

// Between two runs 8 bytes of a file of the state directory change, or its end is cut off; the first run was stopped in order, or killed. The
// second run says so and overwrites nothing, or I is told in the end what it is told without.
// Proves: NN-3, NN-7, ST-4, RS-5, GT-6
func TestDamagedStateDirectory(t *testing.T) {
	s := newSetting(t, plan{strategies: map[string]map[string]string{"turner": turner("0.002")}, events: 700, args: []string{"--durability", "process"}, atLeast: 40})
	// A run that is stopped in order ends with a step of its own, on_shutdown: each base has its own undisturbed end.
	bases := []*setting{halfWay(t, s, false), halfWay(t, s, true)}
	c := newCampaign(t, 100)
	c.run(func(seed uint64, chance *rand.Rand) (_ int, err error) {
		w, err := bases[seed%2].numbered(seed)
		if err != nil {
			return 0, err
		}
		defer w.close(&err)
		name, what, err := damage(w.state, chance)
		if err != nil {
			return 0, err
		}
		result, err := w.afterDamage(name)
		c.count(result, 1)
		if err != nil {
			return 1, fmt.Errorf("%s: %w", what, err)
		}
		return 1, nil
	})
	c.demand("harmless", "refused")
}

// halfWay is a setting whose state directory is in the middle of a run.
func halfWay(t *testing.T, s *setting, killed bool) *setting {
	t.Helper()
	w, err := s.world(fmt.Sprintf("half-%v", killed))
	if err != nil {
		t.Fatal(err)
	}
	if killed {
		err = w.killWithLog()
	} else {
		_, err = w.must(0, w.runArgs("--events", "350")...)
	}
	if err = errors.Join(err, w.untilIEnded()); err != nil {
		t.Fatal(err)
	}
	half := *s
	half.fresh = w.state
	whole, err := half.world(fmt.Sprintf("end-%v", killed))
	if err != nil {
		t.Fatal(err)
	}
	if err := whole.finish(); err != nil {
		t.Fatal(err)
	}
	if half.want, err = whole.book(); err != nil {
		t.Fatal(err)
	}
	if len(half.want.told) != len(s.want.told) {
		t.Fatalf("in two runs I was told of %d intents, in one of %d", len(half.want.told), len(s.want.told))
	}
	return &half
}

// killWithLog kills a run in the middle, when a write-ahead log is there that it leaves.
func (w *world) killWithLog() error {
	p, err := w.start(w.runArgs()...)
	if err != nil {
		return err
	}
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if info, err := os.Stat(filepath.Join(w.state, "ledger.db-wal")); err == nil && info.Size() > 60<<10 {
			break
		}
	}
	if !p.kill(0) {
		return fmt.Errorf("the run ended before it was killed: %s\n%s", p.cmd.ProcessState, tail(p.out.String()))
	}
	return nil
}

// untilIEnded waits for the simulated I, which outlives a killed supervisor until it has closed its database: a copy has all of it or fails.
func (w *world) untilIEnded() (err error) {
	lock, err := os.Open(filepath.Join(w.state, "i", "sim.lock"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case err == nil:
			return nil
		case !errors.Is(err, unix.EWOULDBLOCK) || time.Now().After(deadline):
			return fmt.Errorf("waiting for the simulated I to give up %s: %w", lock.Name(), err)
		}
	}
}

// damage changes or cuts one file of msup's own.
func damage(state string, chance *rand.Rand) (name, what string, err error) {
	var files []string
	for _, name := range []string{"ledger.db", "ledger.db-wal", "checkpoints.db", "checkpoints.db-wal", "mark"} {
		if info, err := os.Stat(filepath.Join(state, name)); err == nil && info.Size() > 0 {
			files = append(files, name)
		}
	}
	name = files[chance.IntN(len(files))]
	path := filepath.Join(state, name)
	text, err := os.ReadFile(path)
	if err != nil {
		return "", "", err
	}
	at := chance.IntN(len(text))
	if chance.IntN(4) == 0 {
		return name, fmt.Sprintf("%s cut off at byte %d of %d", name, at, len(text)), os.Truncate(path, int64(at))
	}
	for i := at; i < min(at+8, len(text)); i++ {
		text[i] ^= byte(1 + chance.IntN(255))
	}
	return name, fmt.Sprintf("8 bytes changed at %d of %s, %d bytes", at, name, len(text)), os.WriteFile(path, text, 0o600)
}

// afterDamage runs on the damaged directory to the end of the feed.
func (w *world) afterDamage(name string) (result string, err error) {
	before, err := contents(w.state)
	if err != nil {
		return "", err
	}
	p, err := w.start(w.runArgs()...)
	if err != nil {
		return "", err
	}
	code, err := p.code(patience)
	if err != nil {
		return "hung", err
	}
	said := tail(p.out.String())
	switch code {
	case 0:
		if err := w.same(); err != nil {
			return "silently lost", fmt.Errorf("the run ended with 0, and %w\n%s", err, said)
		}
		return "harmless", nil
	case exitState:
		if kept, err := w.kept(name, before[name]); err != nil || !kept {
			return "overwritten", errors.Join(fmt.Errorf("the run was refused, and nothing holds the damaged %s any more:\n%s", name, said), err)
		}
		return "refused", w.nothingMore()
	case exitHalted, exitDiverged:
		evidence, err := os.ReadDir(filepath.Join(w.state, "evidence"))
		if err != nil || len(evidence) == 0 {
			return "no evidence", errors.Join(fmt.Errorf("ended with %d and kept no evidence:\n%s", code, said), err)
		}
		return "halted with evidence", w.nothingMore()
	}
	return "wrong code", fmt.Errorf("the run ended with %d:\n%s", code, said)
}

// nothingMore: a run that stopped has told I nothing but what the undisturbed one tells it.
func (w *world) nothingMore() error {
	got, err := w.book()
	if err != nil {
		return err
	}
	known := map[told]bool{}
	for _, one := range w.want.told {
		known[one] = true
	}
	for _, one := range got.told {
		if !known[one] {
			return fmt.Errorf("I was told of %+v, which the undisturbed run never decided", one)
		}
	}
	return nil
}

// contents are the files of a ledger, but those that SQLite makes anew at each opening.
func contents(state string) (map[string][]byte, error) {
	all := map[string][]byte{}
	for _, name := range []string{"ledger.db", "ledger.db-wal", "checkpoints.db", "checkpoints.db-wal", "mark"} {
		text, err := os.ReadFile(filepath.Join(state, name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		if err == nil && (!strings.HasSuffix(name, "-wal") || len(text) > 0) {
			all[name] = text
		}
	}
	return all, nil
}

// kept reports whether a damaged file is as it was found, or was copied to the evidence.
func (w *world) kept(name string, text []byte) (bool, error) {
	now, err := os.ReadFile(filepath.Join(w.state, name))
	if err == nil && bytes.Equal(now, text) {
		return true, nil
	}
	found := false
	err = filepath.WalkDir(filepath.Join(w.state, "evidence"), func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		copied, err := os.ReadFile(path)
		found = found || bytes.Equal(copied, text)
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		err = nil // there is no evidence
	}
	return found, err
}
