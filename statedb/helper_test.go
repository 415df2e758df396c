package statedb

import (
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/msup/msup/ipc"
)

// trialsOf is how many trials a test of chance makes: STATEDB_TRIALS for longer.
func trialsOf(t testing.TB, usual int) int {
	t.Helper()
	s := os.Getenv("STATEDB_TRIALS")
	if s == "" {
		return usual
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

func address(name string) ipc.Address {
	return ipc.Address{Bot: "bot", Strategy: "strat", Instance: ipc.InstanceID(name)}
}

// open opens a directory that lives as long as the test.
func open(t testing.TB, dir string, opt Options) *DB {
	t.Helper()
	opt.Logger = quiet()
	db, err := Open(dir, opt)
	if err != nil {
		t.Fatalf("open %s: %v", dir, err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return db
}

func reopen(t testing.TB, db *DB) *DB {
	t.Helper()
	if err := db.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
	return open(t, db.dir, Options{Durability: db.opt.Durability})
}

func openInstance(t testing.TB, db *DB, name string) *Instance {
	t.Helper()
	in, err := db.OpenInstance(address(name))
	if err != nil {
		t.Fatalf("open instance %s: %v", name, err)
	}
	return in
}

// nthKey gives a valid key per number.
func nthKey(n int) ipc.Key {
	var b [16]byte
	copy(b[:], fmt.Sprintf("%016d", n))
	return ipc.Key(hex.EncodeToString(b[:]))
}

func intentRow(n int) IntentRow {
	return IntentRow{Key: nthKey(n), Step: ipc.Step(n), Bytes: fmt.Appendf(nil, "intent %d", n), RequestDigest: ipc.Digest{1, byte(n)},
		Digest: ipc.Digest{2, byte(n)}, Verdict: 1, ValidUntilCore: 5, ValidUntilWall: 6}
}

func inputBatch(first, last ipc.InputNo) *Batch {
	return &Batch{FirstInput: first, LastInput: last, Inputs: fmt.Appendf(nil, "inputs %d to %d", first, last), Urgent: true}
}

// persist waits for one batch.
func persist(in *Instance, b *Batch) (Head, error) {
	type outcome struct {
		h   Head
		err error
	}
	ch := make(chan outcome, 1)
	b.Done = func(h Head, err error) { ch <- outcome{h, err} }
	in.Persist(b)
	o := <-ch
	return o.h, o.err
}

func mustPersist(t testing.TB, in *Instance, b *Batch) Head {
	t.Helper()
	h, err := persist(in, b)
	if err != nil {
		t.Fatalf("persist: %v", err)
	}
	return h
}

// fill persists n single inputs after the last one.
func fill(t testing.TB, in *Instance, n int) {
	t.Helper()
	for range n {
		next := in.LastInput() + 1
		mustPersist(t, in, inputBatch(next, next))
	}
}

func readAll(in *Instance, from ipc.InputNo) (out []string, err error) {
	err = in.ReadInputs(from, func(_, _ ipc.InputNo, p []byte) error {
		out = append(out, string(p))
		return nil
	})
	return out, err
}

func mustVerify(t testing.TB, dir string) *Report {
	t.Helper()
	r, err := Verify(dir)
	if err != nil {
		t.Fatalf("verify: %v", err)
	}
	for _, p := range r.Problems {
		t.Errorf("verify: %v", p)
	}
	for _, i := range r.Instances {
		for _, p := range i.Problems {
			t.Errorf("verify %s: %v", i.Address, p)
		}
	}
	return r
}

func contains(err error, text string) bool { return err != nil && strings.Contains(err.Error(), text) }
