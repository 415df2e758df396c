package thread

import (
	"github.com/msup/msup/ipc"
	"github.com/msup/msup/sandbox"
	"github.com/msup/msup/sandbox/syscalls"
)

// attributed takes away what cannot be told apart: which of several instances was refused a thread, or a system call. An instance is not blamed
// for another, nor, once it is alone, for what was counted while it was not.
func (p *sharedProcess) attributed(u sandbox.Usage, sharers int) sandbox.Usage {
	if sharers > 1 {
		u.PIDsRefused, u.Refused = -1, syscalls.Counts{}
		return u
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	u.Refused = u.Refused.Since(p.nobodys)
	return u
}

// forgive keeps in mind what refusals are nobody's, because several lived until now.
func (p *sharedProcess) forgive() {
	<-p.started
	if p.failed != nil || p.neighbours() < 2 {
		return
	}
	u, err := p.inner.Usage()
	if err != nil {
		p.box.log.Warn("reading the counters of a shared process failed", "instance", p.spec.Address.String(), "process", p.name, "error", err)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.nobodys = u.Refused
}

// confess logs what was refused to a process that nobody can be blamed for.
func (p *sharedProcess) confess(u sandbox.Usage, left int) {
	if n := u.PIDsRefused; n > 0 && left > 1 {
		p.box.log.Warn("a shared process was refused threads above its ceiling", "process", p.name, "reason", sandbox.ReasonPIDs, "refused", n)
	}
	p.mu.Lock()
	refused := p.nobodys
	p.mu.Unlock()
	if left > 1 {
		refused = u.Refused
	}
	if n := refused.Total(); n > 0 {
		p.box.log.Warn("a shared process was refused what its sandbox forbids; which of its instances asked for it cannot be told", "process", p.name,
			"reason", ipc.ReasonSandboxCall, "refused", n, "calls", refused.Names())
	}
}
