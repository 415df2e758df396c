package crash

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const (
	runtimeDir = "/run/msup" // of root's runners
	bundles    = runtimeDir + "/containerd/state/io.containerd.runtime.v2.task/msup"
)

// Runners die without warning, and their supervisor now and then: the strategies go on, I is told the same, and nothing is left behind.
// Proves: NN-2, NN-3, RS-2, LS-1, SB-L1, GT-6
func TestKilledRunners(t *testing.T) {
	killRunners(t, 60, "L1", 2500, []string{"runner", "runner", "runner", "supervisor"})
}

// The same with containers, their shims, and the private containerd, which all worlds share.
// Proves: NN-2, NN-3, RS-2, LS-1, SB-L3, GT-6
func TestKilledContainers(t *testing.T) {
	killRunners(t, 10, "L3", 1200, []string{"containerd", "shim", "runner", "supervisor"})
}

// killRunners kills in turn, then at random: a campaign of few trials has one of each.
func killRunners(t *testing.T, perChange int, isolation string, events int, victims []string) {
	s := newSetting(t, plan{strategies: map[string]map[string]string{"turner": turner("0.001"), "rester": rester("0.001")}, events: events,
		args: []string{"--durability", "process", "--isolation", isolation}, atLeast: events / 10})
	c := newCampaign(t, perChange)
	if isolation == "L3" && !long() {
		c.workers = 1 // one world has its ten kills and more; containers are slow to make
	}
	c.run(func(seed uint64, chance *rand.Rand) (kills int, err error) {
		w, err := s.numbered(seed)
		if err != nil {
			return 0, err
		}
		defer w.close(&err)
		v := &victim{chance: chance, ids: map[string]bool{}, owed: slices.Clone(victims), took: s.took}
		for done := false; !done; {
			p, err := w.start(w.runArgs()...)
			if err != nil {
				return kills, err
			}
			var killed map[string]int
			killed, done, err = v.kill(p, victims, kills)
			for what, n := range killed {
				c.count(what+" kills", n)
				kills += n
			}
			if err != nil {
				return kills, fmt.Errorf("%w\nwhat went wrong in the runs before:\n%s", err, w.story())
			}
			if kills > 200 {
				return kills, errors.New("200 kills, and it has still not come to the end of the feed")
			}
		}
		if w.poisoned() {
			c.count("worlds in which two kills hit one delivery, which is not delivered a third time", 1)
			return kills, v.nothingLeft()
		}
		if err = w.same(); err != nil {
			err = fmt.Errorf("%w\nwhat went wrong in its runs:\n%s", err, w.story())
		}
		return kills, errors.Join(err, v.nothingLeft())
	})
	for _, what := range victims {
		c.demand(what + " kills")
	}
}

// poisoned reports whether a delivery was given up because its runner was lost twice over it. That is what msup promises of it; an undisturbed
// run knows no such step, so there is nothing to compare.
func (w *world) poisoned() bool {
	for _, run := range w.runs {
		for line := range strings.Lines(run.out.String()) {
			if strings.Contains(line, `msg="runner lost" `) && strings.Contains(line, "reason=RUNNER_SIGNALED") {
				return true
			}
		}
	}
	return false
}

// victim chooses who dies, and remembers the runners that it saw.
type victim struct {
	chance *rand.Rand
	ids    map[string]bool
	owed   []string // those whose turn comes before chance has its way
	missed bool     // there was none of the next of them
	took   time.Duration
}

func (v *victim) choose(victims []string) string {
	if len(v.owed) > 0 && !v.missed {
		return v.owed[0]
	}
	v.missed = false
	return victims[v.chance.IntN(len(victims))]
}

func (v *victim) died(what string) {
	if len(v.owed) > 0 && v.owed[0] == what {
		v.owed = v.owed[1:]
	}
}

// A kill comes within a sixth of an undisturbed run after the one before; each further one of a world may come a sixtieth later, so that every
// world comes to its end.
const (
	firstPause  = 6
	laterPauses = 60
)

// kill kills what belongs to a supervisor until that has ended; done says that it came to the end of the feed. So many were killed before.
func (v *victim) kill(p *started, victims []string, before int) (killed map[string]int, done bool, err error) {
	killed = map[string]int{}
	for {
		select {
		case <-p.ended:
			if code := p.cmd.ProcessState.ExitCode(); code != 0 {
				return killed, false, fmt.Errorf("after %v the run ended with %s:\n%s", killed, p.cmd.ProcessState, tail(p.out.String()))
			}
			return killed, true, nil
		case <-time.After(between(v.chance, 20*time.Millisecond, 100*time.Millisecond+v.took/firstPause+time.Duration(before)*v.took/laterPauses)):
		}
		what := v.choose(victims)
		if what == "supervisor" {
			if p.kill(0) {
				v.died(what)
				killed[what]++
				return killed, false, nil
			}
			continue
		}
		pid, err := v.find(p.cmd.Process.Pid, what)
		if err != nil {
			return killed, false, err
		}
		if pid == 0 {
			v.missed = true // there is none at the moment
			continue
		}
		if err := unix.Kill(pid, unix.SIGKILL); err == nil {
			v.died(what)
			killed[what]++
			before++
		} else if !errors.Is(err, unix.ESRCH) {
			return killed, false, fmt.Errorf("killing %s %d: %w", what, pid, err)
		}
	}
}

// find gives the process of a supervisor's runner, of that one's shim, or of its containerd; 0 = there is none.
func (v *victim) find(supervisor int, what string) (int, error) {
	all, err := records(supervisor)
	if err != nil {
		return 0, err
	}
	for _, r := range all {
		v.ids[r.ID] = true
	}
	if what == "containerd" {
		return childOf(supervisor, "containerd")
	}
	if len(all) == 0 {
		return 0, nil
	}
	r := all[v.chance.IntN(len(all))]
	if r.PID == 0 {
		if r.PID, err = firstIn(r.ID); err != nil || r.PID == 0 {
			return 0, err
		}
	}
	if what == "runner" {
		return r.PID, nil
	}
	parent, _ := parentOf(r.PID)
	if parent <= 1 || parent == supervisor {
		return 0, nil
	}
	if name := commOf(parent); !strings.HasPrefix(name, "containerd-shim") {
		return 0, nil // runc, which is making the container
	}
	return parent, nil
}

// record is what a sandbox writes down about a runner.
type record struct {
	ID         string
	Address    string
	Supervisor int
	PID        int // 0 of a container
}

func records(supervisor int) (all []record, err error) {
	for _, pattern := range []string{"r*.json", "runners/c*.json"} {
		paths, err := filepath.Glob(filepath.Join(runtimeDir, pattern))
		if err != nil {
			return nil, err
		}
		for _, path := range paths {
			text, err := os.ReadFile(path)
			if errors.Is(err, fs.ErrNotExist) {
				continue // its runner has ended
			}
			var r record
			if err == nil && json.Unmarshal(text, &r) == nil && r.Supervisor == supervisor && strings.HasPrefix(r.Address, "default/") {
				// One that is being written is no JSON yet; others than the bot's are tried before the run begins.
				all = append(all, r)
			}
		}
	}
	return all, nil
}

// groupsOf are the control groups of a runner, in every hierarchy.
func groupsOf(id string) (all []string, err error) {
	for _, pattern := range []string{"/sys/fs/cgroup/msup/*/", "/sys/fs/cgroup/*/msup/*/", "/sys/fs/cgroup/*/", "/sys/fs/cgroup/*/msup-compute/", "/sys/fs/cgroup/*/msup-"} {
		found, err := filepath.Glob(pattern + id)
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	return all, nil
}

// firstIn is the first process of a container, 0 while it has none.
func firstIn(id string) (pid int, err error) {
	groups, err := groupsOf(id)
	for _, group := range groups {
		if text, readErr := os.ReadFile(filepath.Join(group, "cgroup.procs")); readErr == nil { // readErr: it has gone
			if first, _, found := strings.Cut(string(text), "\n"); found {
				return strconv.Atoi(first)
			}
		}
	}
	return 0, err
}

// shimsOf are the shims that were started for one of these containers.
func shimsOf(ids map[string]bool) (found []string, err error) {
	paths, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return nil, err
	}
	for _, path := range paths {
		line, readErr := os.ReadFile(path)
		args := strings.Split(string(line), "\x00")
		if readErr != nil || !strings.HasPrefix(filepath.Base(args[0]), "containerd-shim") {
			continue
		}
		if at := slices.Index(args, "-id"); at > 0 && at+1 < len(args) && ids[args[at+1]] {
			found = append(found, "shim "+filepath.Base(filepath.Dir(path))+" of "+args[at+1])
		}
	}
	return found, nil
}

// parentOf reads the parent of a process and its state, from /proc/PID/stat; 0 = it has ended.
func parentOf(pid int) (parent int, state string) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, ""
	}
	rest := string(text[strings.LastIndexByte(string(text), ')')+1:])
	if _, err := fmt.Sscan(rest, &state, &parent); err != nil {
		return 0, ""
	}
	return parent, state
}

func commOf(pid int) string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

// descends reports whether a process is a child of another, or the child of a helper of it.
func descends(pid, from int) bool {
	for range 3 {
		if pid, _ = parentOf(pid); pid == from {
			return true
		}
	}
	return false
}

// childOf is the descendant of a process that has a name and runs with a configuration.
func childOf(parent int, name string) (int, error) {
	paths, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return 0, err
	}
	for _, path := range paths {
		pid, err := strconv.Atoi(filepath.Base(path))
		if err != nil {
			return 0, err
		}
		if commOf(pid) != name || !descends(pid, parent) {
			continue
		}
		// One that is only asked for its version is none.
		if line, err := os.ReadFile(filepath.Join(path, "cmdline")); err == nil && strings.Contains(string(line), "\x00--config\x00") {
			return pid, nil
		}
	}
	return 0, nil
}

// nothingLeft looks for what the runners that it saw have left: records, control groups, mounts, shims.
func (v *victim) nothingLeft() (err error) {
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		err = nil
		for id := range v.ids {
			for _, path := range []string{filepath.Join(runtimeDir, id+".json"), filepath.Join(runtimeDir, "runners", id+".json"), filepath.Join(runtimeDir, "runners", id),
				filepath.Join(bundles, id)} {
				if _, statErr := os.Stat(path); statErr == nil {
					err = errors.Join(err, fmt.Errorf("left behind: %s", path))
				}
			}
			groups, globErr := groupsOf(id)
			for _, group := range groups {
				err = errors.Join(err, fmt.Errorf("left behind: control group %s", group))
			}
			err = errors.Join(err, globErr, mountsWith(id))
		}
		shims, listErr := shimsOf(v.ids)
		err = errors.Join(err, listErr)
		for _, shim := range shims {
			err = errors.Join(err, fmt.Errorf("left behind: %s", shim))
		}
		if err == nil || time.Now().After(deadline) {
			return err
		}
	}
}

// A supervisor and its runner die, and two bystanders get their process ids before the next start cleans up after them: they live.
// Proves: NN-2, LS-1, LS-3
func TestNoBystanderDies(t *testing.T) {
	s := newSetting(t, plan{strategies: map[string]map[string]string{"turner": turner("0.0005")}, events: 1500,
		args: []string{"--durability", "process", "--takeover"}, atLeast: 50})
	c := newCampaign(t, 6)
	c.run(func(seed uint64, _ *rand.Rand) (trials int, err error) {
		w, err := s.numbered(seed)
		if err != nil {
			return 0, err
		}
		defer w.close(&err)
		p, err := w.start(w.runArgs()...)
		if err != nil {
			return 0, err
		}
		supervisor, runner := p.cmd.Process.Pid, 0
		for deadline := time.Now().Add(patience); runner == 0 && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
			all, err := records(supervisor)
			if err != nil {
				return 0, err
			}
			for _, r := range all {
				runner = r.PID
			}
		}
		if !p.kill(0) || runner == 0 {
			return 0, fmt.Errorf("the run ended before it was killed, with runner %d:\n%s", runner, tail(p.out.String()))
		}
		for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
			if _, state := parentOf(runner); state == "" {
				break
			}
		}
		bystanders, err := w.bystanders(supervisor, runner)
		defer func() {
			for _, b := range bystanders {
				err = errors.Join(err, b.cmd.Process.Kill())
				<-b.ended
			}
		}()
		if err != nil {
			return 0, err
		}
		if err := w.finish(); err != nil {
			return 1, err
		}
		if len(bystanders) == 0 {
			c.count("ids that others were faster with", 1)
			return 0, w.same()
		}
		for _, b := range bystanders {
			select {
			case <-b.ended:
				return 1, fmt.Errorf("the bystander with the id %d of a dead one ended: %s", b.cmd.Process.Pid, b.cmd.ProcessState)
			default:
				c.count("bystanders", 1)
			}
		}
		return 1, w.same()
	})
}

// bystanders starts processes with the ids of others that have ended; whoever was faster with an id is left alone.
func (w *world) bystanders(pids ...int) (all []*started, err error) {
	for _, pid := range pids {
		for try := 0; ; try++ {
			if try > 200 {
				break
			}
			if err := os.WriteFile("/proc/sys/kernel/ns_last_pid", []byte(strconv.Itoa(pid-1)), 0); err != nil {
				return all, fmt.Errorf("asking for the next process id: %w", err)
			}
			b := &started{cmd: w.command(), ended: make(chan struct{})}
			b.cmd.Path, b.cmd.Args = "/bin/sleep", []string{"sleep", "1000"}
			b.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
			if err := b.cmd.Start(); err != nil {
				return all, err
			}
			go func() {
				_ = b.cmd.Wait() // it is killed in the end
				close(b.ended)
			}()
			if b.cmd.Process.Pid == pid {
				all = append(all, b)
				break
			}
			if err := b.cmd.Process.Kill(); err != nil {
				return all, err
			}
			<-b.ended
		}
	}
	return all, nil
}
