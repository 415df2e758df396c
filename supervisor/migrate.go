package supervisor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/supervisor/core"
)

// hookMigrate makes the state of an older schema version a current one.
const hookMigrate = "migrate"

// IncompatibleError says that a package cannot go on from the saved state, or from the log after it (AD-2, ST-5). Nothing was overwritten.
type IncompatibleError struct {
	Address ipc.Address
	Reason  ipc.ReasonCode
	Why     string
}

func (e *IncompatibleError) Error() string {
	return fmt.Sprintf("%s: %s: the package cannot take over: %s", e.Reason, e.Address, e.Why)
}

// Admit compares the saved state's schema version with the package's. Ask it between Recover and Run; Run asks it again.
func (p *Instance) Admit() error {
	if p.cfg.Params != nil && p.cfg.Params.ExternalApproval && p.cfg.Approver == nil && p.cfg.Sink != nil {
		return fmt.Errorf(`%s: approval = "external", and nobody to ask for it; connect J or E, or set approval = "auto"`, p.cfg.Address)
	}
	c, err := p.newestCheckpoint()
	if err != nil || c == nil || c.StateVersion == p.cfg.StateVersion {
		return err
	}
	refuse := func(format string, args ...any) error {
		return &IncompatibleError{Address: p.cfg.Address, Reason: ipc.ReasonStateSchemaIncompatible, Why: fmt.Sprintf(format, args...)}
	}
	switch {
	case c.StateVersion > p.cfg.StateVersion:
		return refuse("the state of step %d has schema version %d, the package knows %d; run the newer package, or one that goes back with a migrate of its own",
			c.Step, c.StateVersion, p.cfg.StateVersion)
	case !slices.Contains(p.cfg.MigratesFrom, c.StateVersion):
		return refuse("the state of step %d has schema version %d, the package has %d and migrates from %v; add %d to state.migrates_from, and to migrate()",
			c.Step, c.StateVersion, p.cfg.StateVersion, p.cfg.MigratesFrom, c.StateVersion)
	}
	return nil
}

// refused turns the failure of a bring-up on another package's state into an end of Run: nothing is recorded, so that the package which
// wrote the state can be started again as if nobody had tried.
func (p *Instance) refused(err error) error {
	var s *SessionError
	if !errors.As(err, &s) || (s.Reason != ipc.ReasonStateSchemaIncompatible && s.Reason != ipc.ReasonPackageHashMismatch) {
		return nil
	}
	return &IncompatibleError{Address: p.cfg.Address, Reason: s.Reason, Why: s.Err.Error()}
}

// passesBarrier reports whether the runner that stands now took over from another package, or under another schema version: both slots are
// then written before its first step, so that no later start needs what came before (design section 12).
func (p *Instance) passesBarrier() error {
	p.barrier = 0
	c, err := p.newestCheckpoint()
	if err != nil {
		return err
	}
	if !p.state.Began() || (c == nil || c.PackageHash == p.cfg.PackageHash) && !p.takenOver {
		return nil
	}
	p.barrier = 2
	return nil
}

// passBarrier writes one slot. Where that fails it is tried again: nothing is delivered meanwhile.
func (p *Instance) passBarrier(ctx context.Context) error {
	if wait := time.Until(p.barrierNext); wait > 0 {
		return p.waitAtMost(ctx, wait)
	}
	p.barrierNext = time.Now().Add(retryMost)
	if err := p.awaitSave(); err != nil { // one that was under way
		p.log.Error("a checkpoint was not saved", "reason", ipc.ReasonCheckpointFailed, "err", err)
	}
	if err := p.saveCheckpoint(); err != nil {
		return err
	}
	if p.session == nil {
		return nil // lost over it: the next one begins anew
	}
	if p.saving == nil {
		p.log.Error("the state cannot be saved under the new package; halting the instance", "reason", ipc.ReasonCheckpointFailed)
		return p.apply(p.stamp(&core.Command{Op: core.OpHalt, Who: "supervisor", Reason: ipc.ReasonCheckpointFailed, Restriction: unrestricted}))
	}
	if err := p.flush(); err != nil {
		p.voided = true
		return nil
	}
	if err := p.awaitSave(); err != nil {
		p.log.Error("a checkpoint of the new package was not saved; nothing is delivered until it is", "reason", ipc.ReasonCheckpointFailed, "err", err)
		return nil
	}
	p.barrierNext = time.Time{}
	if p.barrier--; p.barrier == 0 {
		p.takenOver = false
		p.log.Info("the package has taken over; both checkpoint slots hold its state", "step", p.state.StepNo, "package", p.cfg.PackageHash)
	}
	return nil
}
