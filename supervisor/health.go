package supervisor

import (
	"time"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/supervisor/core"
	"github.com/msup/msup/supervisor/guard"
)

// healthEvery is how often a strategy is asked to judge itself, in real time. It is no step: a replay asks at other moments.
const healthEvery = 10 * time.Second

func (p *Instance) healthcheckDue() bool {
	return p.session.JudgesItself() && p.state.Began() && p.state.Pending == nil && time.Since(p.lastHealth) >= healthEvery
}

// checkHealth asks on_healthcheck within the hard deadline. What the strategy says of itself is told, and restricts nothing: guards measure.
func (p *Instance) checkHealth() error {
	p.lastHealth = time.Now()
	p.late.Store(false)
	p.watch.Reset(p.cfg.Deadlines.Hard)
	r, err := p.session.Healthcheck()
	p.watch.Stop()
	if err != nil {
		p.restart = p.blame(err)
		p.log.Warn("runner lost in on_healthcheck", "reason", p.restart, "err", err)
		p.killRunner()
		return nil
	}
	if r.Health != 0 {
		p.cfg.Observer.Noted(p.cfg.Address, core.Note{Reason: ipc.ReasonStrategyUnwell, Level: guard.Warn, Detail: r.Tag})
		p.log.Warn("the strategy calls itself unwell", "reason", ipc.ReasonStrategyUnwell, "health", r.Health, "tag", r.Tag)
	}
	return nil
}
