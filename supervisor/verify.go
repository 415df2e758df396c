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
	FromStep   ipc.Step    `json:"from_step"` // first step whose verdicts were compared; its answer too, unless Unasked
	ToStep     ipc.Step    `json:"to_step"`
	Steps      int         `json:"steps"`             // answers that were compared
	Unasked    string      `json:"unasked,omitempty"` // why the strategy was not asked again about all steps
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
	s := core.New(p.cfg.Address, p.cfg.Ledger.Lineage())
	if checkpoint != nil {
		if s, err = core.Restore(checkpoint.Core, p.cfg.Address, p.cfg.Ledger.Lineage()); err != nil {
			return err
		}
	}
	v.FromStep = s.StepNo + 1
	slots, _ := p.cfg.Ledger.Checkpoints()
	span, err := p.replaySpan(s, checkpoint, slots)
	if err != nil {
		return err
	}
	v.Unasked = span.why
	var r *replayer
	if span.ask {
		if r, err = p.replayFrom(ctx, span.at); err != nil {
			return err
		}
	}
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
		if r == nil || span.at != nil && s.InputNo <= span.at.InputNo {
			return nil
		}
		return r.input(in)
	})
	v.ToStep = s.StepNo
	if r == nil {
		return err
	}
	if err == nil {
		err = r.flush()
	}
	v.Steps = r.steps
	return err
}

// span says from where on a strategy can be asked again.
type span struct {
	ask bool
	at  *Checkpoint // nil: from the log's first input
	why string      // not empty: not all of it, and why
}

// replaySpan finds the longest part at the log's end that the package at hand can be asked about: no answer of another package in it, and
// no place where the strategy was told what had happened instead of a replay. s is the core where the verification begins, slots are newest
// first.
func (p *Instance) replaySpan(s *core.State, checkpoint *Checkpoint, slots []Checkpoint) (span, error) {
	if p.state.Informs() {
		return span{why: `recovery = "inform": the strategy says that it cannot replay`}, nil
	}
	barred, why, no, answerer, init := ipc.InputNo(0), "", s.InputNo, s.PackageHash, false
	err := p.eachInput(s.InputNo+1, func(in core.Input) error {
		no++
		switch in := in.(type) {
		case *core.Start:
			answerer = in.PackageHash
		case *core.Inform:
			barred, why = no, fmt.Sprintf("the strategy was told what had happened since step %d instead of a replay", in.Step)
		case *core.Delivery:
			init = len(in.Event) == 0
		case *core.Answer:
			failed := in.Outcome == core.Killed || in.Outcome == core.Faulted && init // nobody applied it
			if !failed && answerer != p.cfg.PackageHash {
				barred, why = no, fmt.Sprintf("step %d was answered by package %.16s…", in.Step, answerer)
			}
		}
		return nil
	})
	if err != nil || barred == 0 {
		return span{ask: true, at: checkpoint}, err
	}
	for i := len(slots) - 1; i >= 0; i-- {
		if slots[i].InputNo >= barred {
			return span{ask: true, at: &slots[i], why: fmt.Sprintf("answers are compared after step %d: %s", slots[i].Step, why)}, nil
		}
	}
	return span{why: why}, nil
}

// replayFrom starts a runner on a checkpoint, or anew.
func (p *Instance) replayFrom(ctx context.Context, at *Checkpoint) (*replayer, error) {
	if err := p.startSession(ctx); err != nil {
		return nil, err
	}
	r := &replayer{p: p, session: p.session}
	r.fresh = func() error {
		p.killRunner()
		err := p.startSession(ctx)
		r.session = p.session
		return err
	}
	if at == nil {
		return r, nil
	}
	return r, r.restore(at)
}

// firstReplayable returns the first input to replay: the log's first one, or, when that was pruned, the one after the older checkpoint.
func (p *Instance) firstReplayable() (ipc.InputNo, *Checkpoint, error) {
	err := p.reads(1)
	if !errors.Is(err, ErrPruned) {
		return 1, nil, err
	}
	valid, _ := p.cfg.Ledger.Checkpoints()
	for i := len(valid) - 1; i >= 0; i-- {
		if err = p.reads(valid[i].InputNo + 1); !errors.Is(err, ErrPruned) {
			return valid[i].InputNo + 1, &valid[i], err
		}
	}
	return 0, nil, fmt.Errorf("%s: no checkpoint reaches what is left of the log: %w", p.cfg.Address, err)
}

// reads tells whether the log can be read from an input on.
func (p *Instance) reads(from ipc.InputNo) error {
	err := p.cfg.Ledger.ReadInputs(from, func(_, _ ipc.InputNo, _ []byte) error { return errEnough })
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
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
