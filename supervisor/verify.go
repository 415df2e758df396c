package supervisor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/supervisor/core"
)

// Verification is what a replay of a whole log found (NN-7).
type Verification struct {
	Address    ipc.Address `json:"address"`
	FromStep   ipc.Step    `json:"from_step"` // first step that was replayed
	ToStep     ipc.Step    `json:"to_step"`
	Steps      int         `json:"steps"`
	Inputs     uint64      `json:"inputs"`
	Intents    int         `json:"intents"`
	Head       string      `json:"head"` // hash of the chain's last row: two equal heads are two equal logs
	Identical  bool        `json:"identical"`
	Difference string      `json:"difference,omitempty"`
	Divergence *Divergence `json:"divergence,omitempty"`
	Took       float64     `json:"took_s"`
}

// RecordedIntent is an intent row as the ledger holds it, for comparison.
type RecordedIntent struct {
	Step          ipc.Step
	Ordinal       uint32
	Verdict       uint8
	RequestDigest ipc.Digest
	Digest        ipc.Digest
}

// Recordings gives Verify what it compares with.
type Recordings interface {
	// Intent returns the row of a key; false when there is none.
	Intent(k ipc.Key) (RecordedIntent, bool, error)
}

// Verify replays the whole log of an instance through core and strategy: every answer, every intent and verdict, and every checkpoint of
// the core must come out as recorded. Nothing is written and nothing is offered. The instance must not run.
func (p *Instance) Verify(ctx context.Context, recorded Recordings) (v Verification, err error) {
	begin := time.Now()
	v = Verification{Address: p.cfg.Address, Identical: true}
	defer p.killRunner()
	head, err := p.cfg.Ledger.Flush()
	if err != nil {
		return v, err
	}
	v.Head = head.Hash.String()
	if err := p.recoverCore(); err != nil {
		return v, err
	}
	if p.state.StepNo == 0 {
		return v, nil
	}
	var diverged *Divergence
	var differs *differenceError
	err = p.verify(ctx, recorded, &v)
	switch {
	case errors.As(err, &diverged):
		v.Identical, v.Divergence, v.Difference, err = false, diverged, diverged.Error(), nil
	case errors.As(err, &differs):
		v.Identical, v.Difference, err = false, differs.Error(), nil
	}
	v.Took = time.Since(begin).Seconds()
	return v, err
}

// differenceError says that core or gate decided differently from what was recorded.
type differenceError struct{ text string }

func (e *differenceError) Error() string { return e.text }

func (p *Instance) verify(ctx context.Context, recorded Recordings, v *Verification) error {
	from, checkpoint, err := p.firstReplayable()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, p.cfg.Deadlines.Init)
	defer cancel()
	if err := p.startSession(ctx); err != nil {
		return err
	}
	s := core.New(p.cfg.Address, p.cfg.Ledger.Lineage())
	if checkpoint != nil {
		if s, err = core.Restore(checkpoint.Core, p.cfg.Address, p.cfg.Ledger.Lineage()); err != nil {
			return err
		}
		if err := p.initRestored(checkpoint); err != nil {
			return err
		}
	}
	v.FromStep = s.StepNo + 1
	slots, _ := p.cfg.Ledger.Checkpoints()
	r := &replayer{p: p, session: p.session}
	err = p.eachInput(from, func(in core.Input) error {
		v.Inputs++
		e, err := s.Step(in)
		if err != nil {
			return err
		}
		if err := compareIntents(e, recorded, v); err != nil {
			return err
		}
		if err := compareCheckpoint(s, slots); err != nil {
			return err
		}
		return r.input(in)
	})
	if err == nil {
		err = r.flush()
	}
	v.ToStep, v.Steps = s.StepNo, r.steps
	return err
}

// firstReplayable returns the first input to replay: the log's first one, or, when that was pruned, the one after the older checkpoint.
func (p *Instance) firstReplayable() (ipc.InputNo, *Checkpoint, error) {
	first := ipc.InputNo(0)
	err := p.cfg.Ledger.ReadInputs(1, func(no, _ ipc.InputNo, _ []byte) error {
		first = no
		return errEnough
	})
	if err != nil && !errors.Is(err, errEnough) {
		return 0, nil, err
	}
	if first == 1 {
		return 1, nil, nil
	}
	valid, _ := p.cfg.Ledger.Checkpoints()
	for i := len(valid) - 1; i >= 0; i-- {
		if valid[i].InputNo+1 >= first {
			return valid[i].InputNo + 1, &valid[i], nil
		}
	}
	return 0, nil, fmt.Errorf("%s: the log begins at input %d and no checkpoint reaches it", p.cfg.Address, first)
}

var errEnough = errors.New("enough")

func compareIntents(e *core.Effects, recorded Recordings, v *Verification) error {
	for i := range e.Intents {
		row := &e.Intents[i]
		v.Intents++
		was, ok, err := recorded.Intent(row.Key)
		if err != nil {
			return err
		}
		if !ok {
			return &differenceError{fmt.Sprintf("step %d intent %d (key %s) is not in the ledger", row.Step, row.Ordinal, row.Key)}
		}
		is := RecordedIntent{Step: row.Step, Ordinal: row.Ordinal, Verdict: uint8(row.Verdict.Outcome),
			RequestDigest: row.Verdict.RequestDigest, Digest: row.Verdict.Digest}
		if is != was {
			return &differenceError{fmt.Sprintf("step %d intent %d: verdict was %d (digest %.16s…), is %d (digest %.16s…)", row.Step, row.Ordinal,
				was.Verdict, was.Digest, is.Verdict, is.Digest)}
		}
	}
	return nil
}

func compareCheckpoint(s *core.State, slots []Checkpoint) error {
	for i := range slots {
		if slots[i].InputNo != s.InputNo {
			continue
		}
		now, err := s.Marshal()
		if err != nil {
			return err
		}
		if string(now) != string(slots[i].Core) {
			return &differenceError{fmt.Sprintf("the core's state after input %d is not the one of its checkpoint", s.InputNo)}
		}
	}
	return nil
}
