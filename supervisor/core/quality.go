package core

import (
	"fmt"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/supervisor/guard"
)

// flaws are the flags that count against the input, the worst first. One event counts once.
var flaws = []struct {
	flag   ipc.Quality
	reason ipc.ReasonCode
}{
	{ipc.QualityStale, ipc.ReasonQualityStale},
	{ipc.QualityGap, ipc.ReasonQualityGap},
	{ipc.QualityClockSkew, ipc.ReasonQualityClockSkew},
	{ipc.QualityOutOfOrder, ipc.ReasonQualityOutOfOrder},
	{ipc.QualityDup, ipc.ReasonQualityDup},
}

// judgesQuality reports whether the descriptor has a ladder for flawed input. Without one the flags are the strategy's to read, and nothing is counted:
// real recordings have many.
func (p *Params) judgesQuality() bool {
	rule := p.Ladders[guard.Quality]
	return rule.Warn > 0 || rule.Degrade > 0 || rule.Halt > 0
}

// quality counts a delivery whose market event is flagged (CB-1). History is delivered as it was, and counts for nothing.
func (s *State) quality(in *Delivery, e *Effects) error {
	if s.Pending.Kind == EventInit || s.Pending.Kind > ipc.KindTradingStatus {
		return nil
	}
	event, err := ipc.DecodeEvent(in.Event)
	if err != nil {
		return fmt.Errorf("step %d: %w", in.Step, err)
	}
	m, ok := event.(ipc.MarketEvent)
	if !ok || m.Header().Quality&ipc.QualityWarmup != 0 {
		return nil
	}
	for _, f := range flaws {
		if m.Header().Quality&f.flag != 0 {
			s.violate(f.reason, fmt.Sprintf("step %d: %s of %s", in.Step, event.Kind(), m.Header().Instrument), e)
			return nil
		}
	}
	return nil
}
