package main

import (
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/statedb"
	"github.com/msup/msup/supervisor"
)

// ledger lets one instance of statedb serve the supervisor's port.
type ledger struct {
	instance *statedb.Instance
}

var _ supervisor.Ledger = ledger{}

func (l ledger) Lineage() ipc.Lineage   { return l.instance.Lineage() }
func (l ledger) LastInput() ipc.InputNo { return l.instance.LastInput() }

// NextEpoch records this process as the owner of the next epoch.
func (l ledger) NextEpoch(owner ipc.Nonce) (ipc.Epoch, error) {
	start, boot, err := processIdentity()
	if err != nil {
		return 0, err
	}
	return l.instance.NextEpoch(statedb.LeaseRow{PID: os.Getpid(), StartTime: start, BootID: boot, Nonce: owner,
		WallTS: ipc.Nanos(time.Now().UnixNano())})
}

// processIdentity returns what makes this process unique beside its number: when it started, in ticks since boot, and the boot.
func processIdentity() (startTime uint64, bootID string, err error) {
	stat, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		return 0, "", fmt.Errorf("reading this process's start time: %w", err)
	}
	// The command in parentheses may hold spaces; fields are counted from behind it. Start time is field 22.
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	if len(fields) < 20 {
		return 0, "", fmt.Errorf("/proc/self/stat has %d fields behind the command; 20 are needed", len(fields))
	}
	if _, err := fmt.Sscan(fields[19], &startTime); err != nil {
		return 0, "", fmt.Errorf("the start time in /proc/self/stat: %w", err)
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return 0, "", fmt.Errorf("reading the boot id: %w", err)
	}
	return startTime, strings.TrimSpace(string(boot)), nil
}

func (l ledger) Persist(b *supervisor.Batch) {
	out := &statedb.Batch{FirstInput: b.First, LastInput: b.Last, Inputs: b.Inputs, Urgent: b.Urgent}
	for i := range b.Intents {
		r := &b.Intents[i]
		out.Intents = append(out.Intents, statedb.IntentRow{Key: r.Key, Step: r.Step, Ordinal: r.Ordinal, Bytes: r.Bytes,
			RequestDigest: r.Verdict.RequestDigest, Digest: r.Verdict.Digest, Verdict: uint8(r.Verdict.Outcome),
			ValidUntilCore: r.ValidCore, ValidUntilWall: r.ValidWall, Epoch: r.Epoch})
	}
	for i := range b.Statuses {
		r := &b.Statuses[i]
		out.Statuses = append(out.Statuses, statedb.StatusRow{Key: r.Key, Status: r.Status, CoreTS: r.CoreTS, Reason: string(r.Reason), Epoch: r.Epoch})
	}
	if b.Done != nil {
		out.Done = func(h statedb.Head, err error) { b.Done(supervisor.Head(h), err) }
	}
	l.instance.Persist(out)
}

func (l ledger) Flush() (supervisor.Head, error) {
	h, err := l.instance.Flush()
	return supervisor.Head(h), err
}

func (l ledger) Reset() (ipc.InputNo, error) {
	_, last, err := l.instance.Reset()
	return last, err
}

func (l ledger) ReadInputs(from ipc.InputNo, fn func(first, last ipc.InputNo, payload []byte) error) error {
	return l.instance.ReadInputs(from, fn)
}

func (l ledger) SaveCheckpoint(c supervisor.Checkpoint) error {
	return l.instance.SaveCheckpoint(statedb.Checkpoint{State: c.State, StateSchemaVersion: c.StateVersion, Cursors: c.Cursors,
		InputNo: c.InputNo, Step: c.Step, Core: c.Core, PackageHash: c.PackageHash, ConfigHash: c.ConfigHash,
		Head: statedb.Head(c.Head), SavedCoreTS: c.CoreTS})
}

func (l ledger) Checkpoints() ([]supervisor.Checkpoint, []error) {
	valid, problems := l.instance.Checkpoints()
	out := make([]supervisor.Checkpoint, 0, len(valid))
	for _, c := range valid {
		out = append(out, supervisor.Checkpoint{State: c.State, StateVersion: c.StateSchemaVersion, Cursors: c.Cursors,
			InputNo: c.InputNo, Step: c.Step, Core: c.Core, PackageHash: c.PackageHash, ConfigHash: c.ConfigHash,
			Head: supervisor.Head(c.Head), CoreTS: c.SavedCoreTS})
	}
	return out, problems
}
