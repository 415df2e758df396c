package statedb

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/msup/msup/ipc"
)

// failingCalls are the system calls by which the ledger, its log, the checkpoints and the mark reach the disk.
var failingCalls = []string{"pwrite64", "fdatasync", "fsync", "ftruncate"}

// childFailing persists a fixed amount of work, going back to the last durable input after every failure, and prints what was reported. It
// opens the directory before the faults begin to count: strace follows from the marker line on.
func childFailing(dir string) error {
	db, err := Open(dir, Options{Logger: quiet(), CommitDelay: -1, WALTarget: 64 << 10})
	if err != nil {
		fmt.Println("refused", err)
		return nil
	}
	in, err := db.OpenInstance(address("i0"))
	if err != nil {
		fmt.Println("refused", err)
		return nil
	}
	for tries := 0; in.LastInput() < 40 && tries < 400; tries++ {
		n := in.LastInput() + 1
		b := inputBatch(n, n)
		b.Inputs = append(b.Inputs, make([]byte, 3000)...)
		if n%4 == 0 {
			b.Intents = []IntentRow{intentRow(int(n))}
			b.Statuses = []StatusRow{{Key: nthKey(int(n)), Status: ipc.StatusStaged}}
		}
		h, err := persist(in, b)
		if err != nil {
			fmt.Println("failed", kindOf(err))
			_, _, _ = in.Reset() // it fails while the disk does; the next round tries again
			continue
		}
		fmt.Println("done", 0, n, h.RowNo, h.Hash)
		if n%10 == 0 {
			if err := in.SaveCheckpoint(Checkpoint{State: make([]byte, 9000), InputNo: n, Head: h}); err != nil {
				fmt.Println("failed", kindOf(err))
				continue
			}
			fmt.Println("checkpoint", 0, h.RowNo)
		}
	}
	if err := db.Close(); err != nil {
		fmt.Println("failed", kindOf(err))
	}
	return nil
}

// kindOf names what an error is; one that nobody can act on has none.
func kindOf(err error) string {
	for _, k := range []error{ErrDiskFull, ErrIO, ErrVoided, ErrCorrupt, ErrReadOnly, ErrClosed} {
		if errors.Is(err, k) {
			return k.Error()
		}
	}
	return "untyped: " + err.Error()
}

// The n-th write, sync or truncation fails, once or from then on, with EIO or for want of space: nothing that was reported is missing
// afterwards, and every failure says what it is.
//
// Proves: NN-3, RS-5, ST-4
func TestEveryWriteMayFail(t *testing.T) {
	t.Parallel()
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Fatalf("%v; install strace (apt-get install strace)", err)
	}
	most := trialsOf(t, 100)
	failures, refused := 0, 0
	for n := 1; n <= most; n++ {
		call := failingCalls[n%len(failingCalls)]
		fault, when := "EIO", fmt.Sprint(n)
		if n%3 == 0 {
			fault = "ENOSPC"
		}
		if n%5 == 0 {
			when += "+" // from then on
		}
		dir := filepath.Join(t.TempDir(), "state")
		cmd := child("failing", dir)
		cmd.Path, cmd.Args = strace, []string{"strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=" + strings.Join(failingCalls, ","),
			"-e", "inject=" + call + ":error=" + fault + ":when=" + when, os.Args[0], dir}
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s %s at %s: %v\n%s", call, fault, when, err, out)
		}
		said := map[int]*reported{}
		lines := bufio.NewScanner(strings.NewReader(string(out)))
		for lines.Scan() {
			f := strings.Fields(lines.Text())
			if len(f) == 0 {
				continue
			}
			if said[0] == nil {
				said[0] = &reported{}
			}
			switch f[0] {
			case "refused":
				refused++
			case "failed":
				if failures++; strings.Contains(lines.Text(), "untyped") {
					t.Errorf("%s %s at %s: %s", call, fault, when, lines.Text())
				}
			case "done":
				said[0].input, _ = strconv.ParseUint(f[2], 10, 64)
				said[0].row, _ = strconv.ParseUint(f[3], 10, 64)
				said[0].head = f[4]
			case "checkpoint":
				said[0].checkpoint, _ = strconv.ParseUint(f[2], 10, 64)
			}
		}
		if s := said[0]; s == nil || s.input == 0 {
			continue // it could not begin
		}
		// The disk is well again: the directory opens and holds what was reported.
		r := mustVerify(t, dir)
		if what := missing(r, said); what != "" {
			t.Fatalf("%s %s at %s: %s\n%s", call, fault, when, what, out)
		}
		db := open(t, dir, Options{})
		fill(t, openInstance(t, db, "i0"), 1)
		if err := db.Close(); err != nil {
			t.Error(err)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	}
	if failures < most/4 {
		t.Errorf("only %d failures in %d runs: the faults did not reach the writer", failures, most)
	}
	t.Logf("%d runs, %d failures reported, %d directories refused at open", most, failures, refused)
}
