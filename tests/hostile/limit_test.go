package hostile

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/sandbox"
	"github.com/msup/msup/supervisor/core"
	"github.com/msup/msup/supervisor/guard"
)

// Every limit is reached once, by a strategy that does not hide the error: it comes out as a violation with the reason of that limit, which
// counts on the ladder of that limit.
//
// Proves: SB-1, SB-2, SB-3, SB-4, SB-7, SB-8, DOD-2
func TestEveryLimitIsATypedViolation(t *testing.T) {
	h := newHost(t, levelRoot)
	for _, c := range []struct {
		class   string
		reason  ipc.ReasonCode
		kind    guard.Kind
		outcome core.Outcome
		limits  func(*sandbox.Limits)
	}{
		{class: "OpensTooMany", reason: ipc.ReasonSandboxFiles, kind: guard.Files, outcome: core.Faulted},
		{class: "FillsTmp", reason: ipc.ReasonSandboxTmp, kind: guard.Disk, outcome: core.Faulted},
		{class: "WritesABigFile", reason: ipc.ReasonSandboxFileSize, kind: guard.Disk, outcome: core.Faulted, limits: func(l *sandbox.Limits) { l.FileSizeBytes = 512 << 10 }},
		{class: "Dials", reason: ipc.ReasonSandboxCall, kind: guard.Calls, outcome: core.Faulted},
		{class: "Forks", reason: ipc.ReasonSandboxCall, kind: guard.Calls, outcome: core.Faulted},
		{class: "WritesToTheHost", reason: ipc.ReasonSandboxCall, kind: guard.Calls, outcome: core.Faulted},
		{class: "WantsAll", reason: ipc.ReasonSandboxMemory, kind: guard.Memory, outcome: core.Faulted},
		{class: "Threads", reason: ipc.ReasonSandboxPIDs, kind: guard.Threads, outcome: core.Faulted},
		{class: "Burns", reason: ipc.ReasonSandboxCPU, kind: guard.CPU, outcome: core.Applied, limits: func(l *sandbox.Limits) { l.CPUQuota = 0.05 }},
		{class: "Prints", reason: ipc.ReasonLogCeiling, kind: guard.Log, outcome: core.Applied},
		{class: "Whispers", reason: ipc.ReasonTelemetryUndeclared, kind: guard.Telemetry, outcome: core.Applied},
	} {
		t.Run(c.class, func(t *testing.T) {
			t.Parallel()
			l := limits
			if c.limits != nil {
				c.limits(&l)
			}
			s := h.start(t.Context(), "hostile_limits:"+c.class, l, h.calm())
			if err := s.deliver(t.Context()); err != nil {
				t.Error(err)
			}
			if err := s.end(); err != nil {
				t.Error(err)
			}
			if !slices.Contains(s.noted(), c.reason) || !slices.Contains(s.outcomes, c.outcome) {
				t.Errorf("reasons %v, outcomes %v, want %s and %s; it said %q", s.noted(), s.outcomes, c.reason, c.outcome, s.lines)
			}
			if kind, ok := guard.KindOf(c.reason); !ok || kind != c.kind {
				t.Errorf("%s counts as %q", c.reason, kind)
			}
		})
	}
}

// The table of limits names tests that exist, and reasons of the catalogue.
//
// Proves: SB-8
func TestTheTableOfLimitsIsTrue(t *testing.T) {
	table, err := os.ReadFile("LIMITS.md")
	if err != nil {
		t.Fatal(err)
	}
	row := regexp.MustCompile("(?m)^\\| [^|]+ \\| [^|]+ \\| (`[^|]+) \\| ([^|]+) \\|$")
	named := regexp.MustCompile("`([^`]+)`")
	rows := row.FindAllStringSubmatch(string(table), -1)
	if len(rows) < 25 {
		t.Fatalf("%d rows", len(rows))
	}
	for _, r := range rows {
		for _, code := range named.FindAllStringSubmatch(r[1], -1) {
			if _, known := ipc.Lookup(ipc.ReasonCode(code[1])); !known {
				t.Errorf("%s is not in the catalogue", code[1])
			}
		}
		tests := named.FindAllStringSubmatch(r[2], -1)
		if len(tests) == 0 {
			t.Errorf("no test proves %q", r[0])
		}
		for _, place := range tests {
			file, name, _ := strings.Cut(place[1], ":")
			text, err := os.ReadFile(filepath.Join("../..", filepath.FromSlash(file)))
			if err != nil || !strings.Contains(string(text), name) {
				t.Errorf("%s: %v, or %q is not in it", place[1], err, name)
			}
		}
	}
}
