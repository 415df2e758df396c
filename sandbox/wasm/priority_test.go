package wasm

import (
	"slices"
	"testing"

	"github.com/msup/msup/sandbox"
)

// lowerable is a process that tells what priority it was given.
type lowerable struct {
	sandbox.Runner
	told []bool
}

func (l *lowerable) SetLowered(lowered bool) error {
	l.told = append(l.told, lowered)
	return nil
}

// A module is lowered as the process is that runs it; where that cannot be, it is said.
//
// Proves: LN-7
func TestAModuleIsLoweredWithItsProcess(t *testing.T) {
	inner := &lowerable{}
	var r sandbox.Runner = &runner{Runner: inner}
	for _, lowered := range []bool{true, false} {
		if err := r.(sandbox.Prioritised).SetLowered(lowered); err != nil {
			t.Fatal(err)
		}
	}
	if !slices.Equal(inner.told, []bool{true, false}) {
		t.Errorf("its process was told %v", inner.told)
	}
	if err := (&runner{Runner: struct{ sandbox.Runner }{}}).SetLowered(true); err == nil {
		t.Error("nothing was lowered, and that is no error")
	}
}
