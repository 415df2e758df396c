package supervisor

import (
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"

	"github.com/msup/msup/ipc"
)

// brokenSlots is a ledger whose checkpoints cannot be read.
type brokenSlots struct {
	Ledger
	problems []error
}

func (l brokenSlots) Lineage() ipc.Lineage                 { return ipc.Lineage{} }
func (l brokenSlots) Checkpoints() ([]Checkpoint, []error) { return nil, l.problems }
func (l brokenSlots) ReadInputs(ipc.InputNo, func(first, last ipc.InputNo, payload []byte) error) error {
	return nil
}

// Proves: ST-4
func TestAnInstanceDoesNotStartWhenBothCheckpointsAreBroken(t *testing.T) {
	torn := errors.New("slot 0: checksum")
	open := func(problems ...error) error {
		p := NewInstance(InstanceConfig{Address: ipc.Address{Bot: "b", Strategy: "s", Instance: "i"}, QueueEvents: 1, Clock: &FeedClock{},
			Ledger: brokenSlots{problems: problems}, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
		return p.Recover()
	}
	if err := open(); err != nil {
		t.Fatalf("without any checkpoint: %v", err)
	}
	err := open(torn, errors.New("slot 1: checksum"))
	if !errors.Is(err, torn) || !strings.Contains(err.Error(), string(ipc.ReasonCheckpointCorrupt)) {
		t.Fatalf("with both broken: %v", err)
	}
}
