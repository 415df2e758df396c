package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/sandbox"
	"github.com/msup/msup/statedb"
	"github.com/msup/msup/supervisor"
	"github.com/msup/msup/supervisor/boundary/feed"
	"github.com/msup/msup/supervisor/descriptor"
	"github.com/msup/msup/supervisor/lease"
	"github.com/msup/msup/supervisor/pack"
)

// Every kind of error ends with its own code, and under the reason that msup explain knows, however deep it is wrapped.
//
// Proves: SB-8, AD-5
func TestErrorsEndWithTheirCode(t *testing.T) {
	malformed := descriptor.Findings{{Code: "X", File: "strategy.toml", Line: 3, Problem: "no", Remedy: "x"}}
	for name, c := range map[string]struct {
		err    error
		code   int
		reason ipc.ReasonCode
	}{
		"nothing":           {nil, exitOK, ""},
		"anything":          {errors.New("x"), exitFailed, ""},
		"usage":             {errUsage, exitUsage, ""},
		"coded":             {exit(exitHalted, "x"), exitHalted, ""},
		"findings":          {malformed, exitRefused, ipc.ReasonDescriptorInvalid},
		"incompatible":      {&supervisor.IncompatibleError{Reason: ipc.ReasonStateSchemaIncompatible}, exitRefused, ipc.ReasonStateSchemaIncompatible},
		"feed":              {feed.ErrMalformed, exitFeed, ipc.ReasonFeedMalformed},
		"feed cut off":      {feed.ErrTruncated, exitFeed, ipc.ReasonFeedMalformed},
		"state in use":      {&statedb.Error{Kind: statedb.ErrLocked}, exitState, ipc.ReasonLeaseHeld},
		"disk full":         {&statedb.Error{Kind: statedb.ErrDiskFull}, exitState, ipc.ReasonLedgerFull},
		"rows lost":         {&statedb.Error{Kind: statedb.ErrRowsLost}, exitState, ipc.ReasonRowsLost},
		"chain broken":      {&statedb.Error{Kind: statedb.ErrChain}, exitState, ipc.ReasonLedgerCorrupt},
		"lease":             {&lease.Error{Reason: ipc.ReasonLeaseHeld}, exitState, ipc.ReasonLeaseHeld},
		"sandbox":           {&sandbox.Error{Reason: sandbox.ReasonSetupFailed}, exitSandbox, ipc.ReasonSandboxSetupFailed},
		"trial killed":      {&sandbox.Error{Reason: sandbox.ReasonSignaled}, exitFailed, ipc.ReasonRunnerSignaled},
		"diverged":          {&supervisor.Divergence{}, exitDiverged, ipc.ReasonDiverged},
		"package tampered":  {&pack.HashMismatch{}, exitFailed, ipc.ReasonPackageHashMismatch},
		"interrupted":       {context.Canceled, exitInterrupted, ""},
		"I cannot be asked": {&exitError{exitBoundary, errors.New("x")}, exitBoundary, ""},
	} {
		for _, err := range []error{c.err, wrapped(c.err), errors.Join(c.err)} {
			if got := codeOf(err); got != c.code {
				t.Errorf("%s: %v ends with %d, want %d", name, err, got, c.code)
			}
			if got := reasonOf(err); got != c.reason {
				t.Errorf("%s: %v has reason %q, want %q", name, err, got, c.reason)
			}
		}
		if c.reason != "" {
			if _, known := ipc.Lookup(c.reason); !known {
				t.Errorf("%s: msup explain does not know %s", name, c.reason)
			}
		}
	}
}

func wrapped(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("running: %w", fmt.Errorf("deeper: %w", err))
}

// There is one table of exit codes: the verb prints it, its help does, and the operator's document has it word for word.
//
// Proves: SB-8
func TestTheExitCodesAreDocumented(t *testing.T) {
	document, err := os.ReadFile("../../docs/operating.md")
	if err != nil {
		t.Fatal(err)
	}
	var verb, help bytes.Buffer
	if code := execute(t.Context(), []string{"exit-codes"}, &verb, &verb); code != exitOK {
		t.Fatalf("msup exit-codes ended with %d: %s", code, verb.String())
	}
	if code := execute(t.Context(), []string{"help", "exit-codes"}, &help, &help); code != exitOK {
		t.Fatalf("msup help exit-codes ended with %d: %s", code, help.String())
	}
	seen := map[int]bool{}
	for _, c := range exitCodes {
		if seen[c.Code] {
			t.Errorf("code %d has two meanings", c.Code)
		}
		seen[c.Code] = true
		if row := fmt.Sprintf("| %d | %s | %s |\n", c.Code, c.Name, c.Meaning); !strings.Contains(string(document), row) {
			t.Errorf("docs/operating.md lacks\n%s", row)
		}
		for _, out := range []string{verb.String(), help.String()} {
			if !strings.Contains(out, c.Meaning) {
				t.Errorf("code %d is not in\n%s", c.Code, out)
			}
		}
	}
	if rows := strings.Count(string(document[:bytes.Index(document, []byte("## Reason codes"))]), "\n| "); rows != len(exitCodes)+1 {
		t.Errorf("docs/operating.md has %d rows, the table %d", rows-1, len(exitCodes))
	}
}
