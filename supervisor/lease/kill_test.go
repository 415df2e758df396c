package lease

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"testing"
)

// An operator may end an owner that lives: by its recorded identity, never by its number alone, and the lease is free when that is done.
//
// Proves: LS-1, LS-3
func TestKillEndsALiveOwner(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "leases")
	if _, err := Kill(t.Context(), dir, address); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an instance that never ran here: %v", err)
	}
	owner := startWorker(t, dir, t.TempDir(), DefaultTTL)
	owner.must(acquire(false), "")
	before, err := Kill(t.Context(), dir, address)
	if err != nil || before.State != Live || before.Owner.PID != owner.cmd.Process.Pid {
		t.Fatalf("%+v, %v", before, err)
	}
	after, err := Show(dir, address)
	if err != nil || after.State != Dead {
		t.Errorf("then it is %+v, %v", after, err)
	}
	if before, err = Kill(t.Context(), dir, address); err != nil || before.State != Dead {
		t.Errorf("a second time: %+v, %v", before, err)
	}
	// Never this process, whatever a record says.
	l := take(t, open(t, Options{Dir: dir}))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Kill(ctx, dir, l.Address()); err == nil {
		t.Error("it killed itself, or said so")
	}
}
