package statedb

import (
	"bufio"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/statedb/statedbtest"
)

// childWriter persists for ever with three instances, and prints what Done reported: instance, input, row, head.
func childWriter(dir, walTarget string) error {
	target, err := strconv.ParseInt(walTarget, 10, 64)
	if err != nil {
		return err
	}
	db, err := Open(dir, Options{Logger: quiet(), WALTarget: target})
	if err != nil {
		return err
	}
	lines := make(chan string, 4096)
	for i := range 3 {
		in, err := db.OpenInstance(address(fmt.Sprint("i", i)))
		if err != nil {
			return err
		}
		if _, err := in.NextEpoch(LeaseRow{PID: os.Getpid()}); err != nil {
			return err
		}
		lines <- fmt.Sprintf("epoch %d %d", i, in.Epoch())
		go childPump(in, i, lines)
	}
	for l := range lines {
		fmt.Println(l) // one write each, unbuffered: what is printed was reported before the kill
	}
	return nil
}

func childPump(in *Instance, i int, lines chan<- string) {
	credit := make(chan struct{}, 32)
	for n := in.LastInput() + 1; ; n++ {
		credit <- struct{}{}
		b := &Batch{FirstInput: n, LastInput: n, Inputs: fmt.Appendf(nil, "input %d of %d", n, i), Urgent: n%5 == 0}
		if n%3 == 0 {
			key := nthKey(int(n))
			b.Intents = []IntentRow{{Key: key, Step: ipc.Step(n), Bytes: make([]byte, n%700)}}
			b.Statuses = []StatusRow{{Key: key, Status: ipc.StatusStaged}, {Key: key, Status: ipc.StatusApproved}}
			if n%6 == 0 {
				b.Statuses = append(b.Statuses, StatusRow{Key: key, Status: ipc.StatusCommitted})
			}
		}
		b.Done = func(h Head, err error) {
			if err != nil {
				lines <- fmt.Sprintf("failed %d %v", i, err)
				return
			}
			lines <- fmt.Sprintf("done %d %d %d %s", i, n, h.RowNo, h.Hash)
			<-credit
		}
		in.Persist(b)
		if n%100 == 0 {
			h, err := in.Flush()
			if err == nil {
				err = in.SaveCheckpoint(Checkpoint{State: make([]byte, 20_000), InputNo: in.LastInput(), Head: h})
			}
			if err == nil && n%300 == 0 {
				_, err = in.Prune()
			}
			if err != nil {
				lines <- fmt.Sprintf("failed %d %v", i, err)
				return
			}
			lines <- fmt.Sprintf("checkpoint %d %d", i, h.RowNo)
		}
	}
}

// reported is what a killed writer had said about one instance.
type reported struct {
	input, row, epoch, checkpoint uint64
	head                          string
}

// runAndKill starts the writer and kills it after a random while.
func runAndKill(t testing.TB, dir string, walTarget int64, pause time.Duration, said map[int]*reported) {
	t.Helper()
	cmd := child("writer", dir, fmt.Sprint(walTarget))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var stderr strings.Builder
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(pause, func() { _ = cmd.Process.Kill() }) // an error means that it has ended, which Wait tells
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) < 3 || f[0] == "failed" {
			t.Errorf("writer: %s", lines.Text())
			continue
		}
		i, _ := strconv.Atoi(f[1])
		n, _ := strconv.ParseUint(f[2], 10, 64)
		if said[i] == nil {
			said[i] = &reported{}
		}
		switch f[0] {
		case "done":
			if len(f) == 5 && len(f[4]) == 64 { // a line that the kill cut is not a report
				row, _ := strconv.ParseUint(f[3], 10, 64)
				said[i].input, said[i].row, said[i].head = n, row, f[4]
			}
		case "epoch":
			said[i].epoch = n
		case "checkpoint":
			said[i].checkpoint = n
		}
	}
	if err := cmd.Wait(); err == nil || stderr.Len() > 0 {
		t.Fatalf("the writer ended by itself: %v %s", err, stderr.String())
	}
}

// missing says what of a report a report of Verify does not hold; "" when nothing.
func missing(r *Report, said map[int]*reported) string {
	for i, s := range said {
		found := false
		for _, in := range r.Instances {
			if in.Address != address(fmt.Sprint("i", i)) {
				continue
			}
			found = true
			switch {
			case uint64(in.LastInput) < s.input, in.Head.RowNo < s.row, in.Head.RowNo == s.row && in.Head.Hash.String() != s.head:
				return fmt.Sprintf("instance %d ends at input %d row %d, reported %d row %d", i, in.LastInput, in.Head.RowNo, s.input, s.row)
			case uint64(in.Epoch) < s.epoch:
				return fmt.Sprintf("instance %d: epoch %d, reported %d", i, in.Epoch, s.epoch)
			case s.checkpoint > 0 && (len(in.Checkpoints) == 0 || in.Checkpoints[0].Head.RowNo < s.checkpoint):
				return fmt.Sprintf("instance %d: checkpoint at row %d is missing", i, s.checkpoint)
			}
		}
		if !found {
			return fmt.Sprintf("instance %d is missing", i)
		}
	}
	return ""
}

func seedOf(t testing.TB) uint64 {
	t.Helper()
	seed := rand.Uint64()
	if s := os.Getenv("STATEDB_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("seed %d (repeat with STATEDB_SEED=%d)", seed, seed)
	return seed
}

// Arrivals of executions are inputs: what of them was reported is there after every kill, without a gap.
//
// Proves: NN-3, GT-6, ST-3, BP-2
func TestKillLosesNothingReported(t *testing.T) {
	const kills = 25
	rng := rand.New(rand.NewPCG(seedOf(t), 1))
	dir := t.TempDir()
	said := make(map[int]*reported)
	for n := range kills {
		runAndKill(t, dir, 256<<10, time.Duration(20+rng.IntN(180))*time.Millisecond, said)
		r := mustVerify(t, dir)
		if what := missing(r, said); what != "" {
			t.Fatalf("kill %d: %s", n, what)
		}
	}
	if said[0] == nil || said[0].input < 100 || said[0].checkpoint == 0 {
		t.Errorf("the writer got nowhere: %+v", said[0])
	}
	t.Logf("%d kills, %+v", kills, *said[0])
}

// judge opens a damaged directory the way the supervisor does, reads everything, writes once more, and gives what was
// detected and where each instance ends.
func judge(dir string) (detected []error, end map[int]*reported) {
	end = make(map[int]*reported)
	db, err := Open(dir, Options{Logger: quiet()})
	if err != nil {
		return []error{err}, end
	}
	defer func() {
		if err := db.Close(); err != nil {
			detected = append(detected, err)
		}
	}()
	for i := range 3 {
		in, err := db.OpenInstance(address(fmt.Sprint("i", i)))
		if err != nil {
			detected = append(detected, err)
			continue
		}
		if in.Created() {
			continue // end[i] stays nil: a silent loss
		}
		e := &reported{row: in.Head().RowNo, head: in.Head().Hash.String(), input: uint64(in.LastInput()), epoch: uint64(in.Epoch())}
		end[i] = e
		valid, problems := in.Checkpoints()
		detected = append(detected, problems...)
		from := ipc.InputNo(1)
		if len(valid) > 0 {
			e.checkpoint = valid[0].Head.RowNo
			from = valid[len(valid)-1].InputNo + 1
		}
		count := ipc.InputNo(0)
		if err := in.ReadInputs(from, func(first, last ipc.InputNo, _ []byte) error { count += last - first + 1; return nil }); err != nil {
			detected = append(detected, err)
		} else if from+count != in.LastInput()+1 {
			e.input = 0
		}
		// A later write must not turn an unseen damage into a loss.
		next := in.LastInput() + 1
		if _, err := persist(in, inputBatch(next, next)); err != nil {
			detected = append(detected, err)
		}
	}
	return detected, end
}

// Proves: ST-4, NN-3
func TestDamageIsDetectedOrHarmless(t *testing.T) {
	t.Parallel()
	trials := trialsOf(t, 1000)
	seed := seedOf(t)
	rng := rand.New(rand.NewPCG(seed, 2))
	origin := t.TempDir()
	said := make(map[int]*reported)
	for range 3 {
		// The log is not emptied, so that it holds what the last run has reported.
		runAndKill(t, origin, 1<<30, 150*time.Millisecond, said)
	}
	detectedTrials := make(map[string]int)
	harmless := make(map[string]int)
	for n := range trials {
		dir := filepath.Join(t.TempDir(), "state")
		if err := statedbtest.Copy(origin, dir); err != nil {
			t.Fatal(err)
		}
		if n%2 == 0 { // most of the mark is room for later instances: without it every other damage there hits a record
			if err := os.Truncate(filepath.Join(dir, "mark"), 3*2*markRecordLen); err != nil {
				t.Fatal(err)
			}
		}
		d, err := statedbtest.Random(rng, dir)
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Base(d.Path)
		detected, end := judge(dir)
		if len(detected) > 0 {
			detectedTrials[file]++
			for _, err := range detected {
				var e *Error
				if !errors.As(err, &e) {
					t.Errorf("trial %d (%s): untyped error %v", n, d, err)
				}
			}
		} else {
			harmless[file]++
			for i, s := range said {
				e := end[i]
				if e == nil || e.input < s.input || e.row < s.row || e.epoch < s.epoch || e.checkpoint < s.checkpoint ||
					e.row == s.row && e.head != s.head {
					t.Errorf("trial %d (seed %d, %s): silent loss in instance %d: %+v, reported %+v", n, seed, d, i, e, s)
				}
			}
			if r, err := Verify(dir); err != nil || !r.OK() {
				t.Errorf("trial %d (%s): undetected at first, then after a write and a close %v %+v", n, d, err, r)
			}
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d trials: detected %v, harmless %v", trials, detectedTrials, harmless)
}
