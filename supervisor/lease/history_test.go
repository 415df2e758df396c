package lease

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/msup/msup/ipc"
)

// More schedules for a soak: -schedules N or MSUP_SCHEDULES=N; -seed N or MSUP_SEED=N repeats or resumes at a seed that a failure printed.
var (
	schedules = flag.Int("schedules", number("MSUP_SCHEDULES", 24), "random schedules of the lease histories")
	firstSeed = flag.Uint64("seed", uint64(number("MSUP_SEED", 1)), "seed of the first schedule")
)

func number(name string, otherwise int) int {
	n, err := strconv.Atoi(os.Getenv(name))
	if err != nil {
		return otherwise
	}
	return n
}

// What a history is made of. Faults are operations, too: from the moment a kill is called the owner may be gone.
type input struct {
	Op    string // acquire, renew, release, hello, act, kill
	Key   string
	Who   ipc.Nonce
	Epoch ipc.Epoch // of hello and act
}

type output struct {
	OK      bool
	Epoch   ipc.Epoch // of acquire
	Unknown bool      // the worker died over it: it may have taken the lease before, or not
	Err     string    // the worker's own words, for who reads a history that was refused
}

// owned is the model of one key: at most one holder, epochs that only grow, and I, which takes acts of the newest owner alone.
type owned struct {
	Holder ipc.Nonce // zero: free
	Issued ipc.Epoch // the highest that anybody was given
	At     ipc.Epoch // that I knows
	Owner  ipc.Nonce // that I knows
}

// step gives the states that an operation with its outcome may lead to; none when it cannot have happened.
func step(state, in, out any) []any {
	s, i, o := state.(owned), in.(input), out.(output)
	free := ipc.Nonce{}
	only := func(may bool, next owned) []any {
		if !may {
			return nil
		}
		return []any{next}
	}
	next := s
	switch i.Op {
	case "acquire":
		next.Holder, next.Issued = i.Who, max(o.Epoch, s.Issued)
		switch {
		case o.Unknown && s.Holder == free:
			return []any{s, next}
		case o.OK:
			return only(s.Holder == free && o.Epoch > s.Issued, next)
		}
		return only(o.Unknown || s.Holder != free, s)
	case "renew":
		return only(o.OK == (s.Holder == i.Who), s)
	case "release", "kill":
		if s.Holder == i.Who {
			next.Holder = free
		}
		return only(true, next)
	case "hello":
		if o.OK {
			next.At, next.Owner = i.Epoch, i.Who
		}
		return only(o.OK == (i.Epoch > s.At || i.Epoch == s.At && i.Who == s.Owner), next)
	case "act":
		return only(o.OK == (i.Epoch == s.At && i.Who == s.Owner), s)
	}
	return nil
}

var model = (&porcupine.NondeterministicModel{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		byKey := map[string][]porcupine.Operation{}
		for _, op := range history {
			key := op.Input.(input).Key
			byKey[key] = append(byKey[key], op)
		}
		var parts [][]porcupine.Operation
		for _, part := range byKey {
			parts = append(parts, part)
		}
		return parts
	},
	Init:              func() []any { return []any{owned{}} },
	Step:              step,
	DescribeOperation: func(in, out any) string { return fmt.Sprintf("%+v → %+v", in, out) },
}).ToModel()

// receiver is I reduced to its bars.
type receiver struct {
	mu    sync.Mutex
	epoch map[string]ipc.Epoch
	owner map[string]ipc.Nonce
}

func (r *receiver) hello(i input) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if i.Epoch < r.epoch[i.Key] || i.Epoch == r.epoch[i.Key] && i.Who != r.owner[i.Key] {
		return false
	}
	r.epoch[i.Key], r.owner[i.Key] = i.Epoch, i.Who
	return true
}

func (r *receiver) act(i input) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return i.Epoch == r.epoch[i.Key] && i.Who == r.owner[i.Key]
}

// schedule is one random history: workers with state directories of their own contend for a few keys, are stopped, continued and killed,
// and their acts reach I late, also after they have died.
type schedule struct {
	t       testing.TB
	began   time.Time
	dir     string
	private bool // every worker has a lease directory of its own: what the lease is there to prevent
	i       *receiver

	takeovers atomic.Int64
	mu        sync.Mutex
	history   []porcupine.Operation
}

func (s *schedule) run(client int, in input, f func() output) output {
	return s.since(time.Since(s.began), client, in, f)
}

func (s *schedule) since(call time.Duration, client int, in input, f func() output) output {
	out := f()
	end := time.Since(s.began)
	if out.Unknown && in.Op != "acquire" {
		return out // what it did, the kill does, too
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.history = append(s.history, porcupine.Operation{ClientId: client, Input: in, Call: int64(call), Output: out, Return: int64(end)})
	return out
}

func (s *schedule) start(n int) *worker {
	dir := s.dir
	if s.private {
		dir = filepath.Join(s.dir, fmt.Sprint(n))
	}
	state := filepath.Join(s.dir+"-state", fmt.Sprint(n))
	if err := os.MkdirAll(state, 0o700); err != nil {
		s.t.Fatal(err)
	}
	return startWorker(s.t, dir, state, 300*time.Millisecond)
}

var keys = []string{"a", "b"}

// client drives one worker through random operations.
func (s *schedule) client(n int, chance *rand.Rand, operations int) {
	w := s.start(n)
	holds := map[string]ipc.Epoch{}
	var acts sync.WaitGroup
	defer acts.Wait()
	var heard time.Duration // it lived then, for it answered later; a take-over of another may have killed it since
	die := func() {
		for _, key := range keys {
			s.since(heard, n, input{Op: "kill", Key: key, Who: w.nonce}, func() output { w.kill(); return output{OK: true} })
		}
		clear(holds)
	}
	for range operations {
		key := keys[chance.IntN(len(keys))]
		in := input{Key: key, Who: w.nonce}
		order := func(op string) output {
			in.Op = op
			return s.run(n, in, func() output {
				r, ok := w.do(order{Op: op, Key: key, Takeover: n%2 == 0})
				return output{OK: r.OK, Epoch: r.Epoch, Unknown: !ok, Err: r.Err}
			})
		}
		sent := time.Since(s.began)
		var o output
		switch p := chance.IntN(100); {
		case p < 4:
			die()
			w = s.start(n)
		case p < 12:
			w.signal(syscall.SIGSTOP)
			time.Sleep(time.Duration(chance.IntN(900)) * time.Millisecond)
			w.signal(syscall.SIGCONT)
			continue
		case holds[key] == 0:
			if o = order("acquire"); o.OK {
				holds[key] = o.Epoch
				in.Op, in.Epoch = "hello", o.Epoch
				s.run(n, in, func() output { return output{OK: s.i.hello(in)} })
			}
		case p < 25:
			o = order("release")
			delete(holds, key)
		case p < 50:
			o = order("renew")
		default: // an act, on its way to I for a while
			in.Op, in.Epoch = "act", holds[key]
			delay := time.Duration(chance.IntN(60)) * time.Millisecond
			acts.Go(func() {
				time.Sleep(delay)
				s.run(n, in, func() output { return output{OK: s.i.act(in)} })
			})
			continue
		}
		if o.Unknown { // somebody's take-over killed it
			s.takeovers.Add(1)
			die()
			w = s.start(n)
		}
		heard = sent
		time.Sleep(time.Duration(chance.IntN(15)) * time.Millisecond)
	}
	die()
}

func (s *schedule) play(seed uint64, clients, operations int) porcupine.CheckResult {
	s.began = time.Now()
	s.i = &receiver{epoch: map[string]ipc.Epoch{}, owner: map[string]ipc.Nonce{}}
	var all sync.WaitGroup
	for n := range clients {
		all.Go(func() { s.client(n, rand.New(rand.NewPCG(seed, uint64(n))), operations) })
	}
	all.Wait()
	sort.Slice(s.history, func(a, b int) bool { return s.history[a].Call < s.history[b].Call })
	result, info := porcupine.CheckOperationsVerbose(model, s.history, time.Minute)
	if result != porcupine.Ok && !s.private {
		file := filepath.Join(os.TempDir(), fmt.Sprintf("lease-history-%d.html", seed))
		if err := porcupine.VisualizePath(model, info, file); err != nil {
			s.t.Error(err)
		}
		s.t.Errorf("the history is drawn in %s", file)
	}
	return result
}

// inMemory is a folder on a file system without a disk, as the one where leases lie by default. On a disk that stands still for the 200 ms after
// which an owner of these histories gives up, it does give up, and a renewal fails that the model lets nobody fail (seen once in 1,100 histories).
func inMemory(t *testing.T) string {
	dir, err := os.MkdirTemp("/dev/shm", "lease-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// At most one owner holds a lease, epochs only grow, and I takes the acts of the newest owner alone, in every history of random starts,
// kills, stops and late acts.
//
// Proves: LS-1, LS-2, LS-3, NN-6, DOD-5
func TestHistoriesAreThoseOfOneOwner(t *testing.T) {
	t.Logf("%d schedules from seed %d", *schedules, *firstSeed)
	var mu sync.Mutex
	counts := map[string]int{}
	var group sync.WaitGroup
	slots := make(chan struct{}, 4)
	for n := range *schedules {
		seed := *firstSeed + uint64(n)
		dir := filepath.Join(inMemory(t), fmt.Sprint(seed))
		slots <- struct{}{}
		group.Go(func() {
			defer func() { <-slots }()
			s := &schedule{t: t, dir: dir}
			if result := s.play(seed, 4, 40); result != porcupine.Ok {
				t.Errorf("seed %d: the history is %s (repeat it with MSUP_SEED=%d MSUP_SCHEDULES=1)", seed, result, seed)
			}
			mu.Lock()
			defer mu.Unlock()
			counts["take-over"] += int(s.takeovers.Load())
			for _, op := range s.history {
				name := op.Input.(input).Op
				if !op.Output.(output).OK {
					name += " refused"
				}
				counts[name]++
			}
		})
	}
	group.Wait()
	t.Logf("operations: %v", counts)
	for _, name := range []string{"acquire", "acquire refused", "renew", "release", "hello", "act", "act refused", "take-over"} {
		if counts[name] == 0 && *schedules >= 20 {
			t.Errorf("no %s in any history: nothing is shown about it", name)
		}
	}
}

// Without a common lease directory the same schedules give histories that the checker refuses: it can tell.
//
// Proves: DOD-5
func TestTheCheckerSeesADoubleStart(t *testing.T) {
	for seed := uint64(1); seed <= 5; seed++ {
		s := &schedule{t: t, dir: filepath.Join(inMemory(t), fmt.Sprint(seed)), private: true}
		if s.play(seed, 3, 15) == porcupine.Illegal {
			return
		}
	}
	t.Error("two owners at once, and the histories pass for those of one")
}
