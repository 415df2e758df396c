package sim

import (
	"fmt"

	"github.com/msup/msup/ipc"
)

// strategy is a function of its deliveries: what it remembers is made from them alone.
type strategy struct {
	seed  uint64
	sent  []ipc.Key // of its orders, newest last
	named int
}

// answer is what the strategy answers to one delivery. run is not part of its decision.
func (s *strategy) answer(step ipc.Step, event []byte, processed ipc.Nanos, run ipc.RunID) (*ipc.Answer, error) {
	a := &ipc.Answer{Step: step}
	if len(event) == 0 {
		a.Timers = append(a.Timers, ipc.TimerRequest{Op: ipc.TimerSet, TimerID: "beat", DueTS: processed + 50*ms})
		return a, nil
	}
	decoded, err := ipc.DecodeEvent(event)
	if err != nil {
		return nil, err
	}
	rng := ipc.NewRNG(s.seed, here.Instance, step)
	draw := func(n uint64) uint64 { return rng.Uint64() % n }
	switch e := decoded.(type) {
	case *ipc.Timer:
		a.Timers = append(a.Timers, ipc.TimerRequest{Op: ipc.TimerSet, TimerID: "beat", DueTS: processed + ipc.Nanos(1+draw(100))*ms})
	case *ipc.IntentsDiscarded:
		for _, k := range e.Keys {
			s.forget(k)
		}
		return a, nil
	case *ipc.Recovered: // what it remembers of its orders is the checkpoint's; these are the ones that stand
		s.sent = nil
		for _, o := range e.Open {
			if _, order := o.Intent.Body.(*ipc.OrderIntent); order && o.Intent.Meta.Name == "" {
				s.sent = append(s.sent, o.Key)
			}
		}
		if draw(3) > 0 {
			return a, nil
		}
	case *ipc.Quote:
	default:
		return a, nil
	}
	for range draw(4) {
		s.decide(a, draw, run)
	}
	return a, nil
}

func (s *strategy) forget(k ipc.Key) {
	for i := range s.sent {
		if s.sent[i] == k {
			s.sent = append(s.sent[:i], s.sent[i+1:]...)
			return
		}
	}
}

func (s *strategy) decide(a *ipc.Answer, draw func(uint64) uint64, run ipc.RunID) {
	name := ""
	var body ipc.IntentBody
	quantity := ipc.Decimal{M: int64(1 + draw(9))}
	switch kind := draw(10); {
	case kind < 6 || len(s.sent) == 0:
		o := &ipc.OrderIntent{Instrument: btc, Side: ipc.Side(1 + draw(2)), Type: ipc.OrderMarket, Quantity: quantity, TimeInForce: ipc.TIFGoodTillCancel,
			ReduceOnly: draw(4) == 0}
		if draw(2) == 0 {
			price := ipc.Decimal{M: 1000 + 2*int64(draw(9)) + 1, E: -1}
			o.Type, o.LimitPrice = ipc.OrderLimit, &price
		}
		if draw(6) == 0 {
			name = fmt.Sprintf("n%d", draw(uint64(s.named)+2)) // some are used again
			s.named++
		}
		body = o
	case kind < 8:
		body = &ipc.CancelIntent{Instrument: btc, TargetKey: s.sent[draw(uint64(len(s.sent)))]}
	case kind < 9:
		body = &ipc.PositionIntent{Instrument: btc, TargetQuantity: ipc.FromInt(int64(draw(11)) - 5)}
	default:
		body = &ipc.AmendIntent{Instrument: btc, TargetKey: s.sent[draw(uint64(len(s.sent)))], Quantity: &quantity}
	}
	i := &ipc.Intent{Body: body, Meta: ipc.IntentMeta{Bot: here.Bot, Strategy: here.Strategy, StrategyVersion: "1.0.0", Instance: here.Instance, RunID: run,
		TraceID: "t", Key: owner.IntentKey(a.Step, uint32(len(a.Intents)), name), Name: name,
		RiskContext: &ipc.RiskContext{MaxDelayNS: ipc.Nanos(1+draw(300)) * ms}}}
	if _, order := body.(*ipc.OrderIntent); order && name == "" {
		s.sent = append(s.sent, i.Meta.Key)
	}
	a.Intents = append(a.Intents, i)
}
