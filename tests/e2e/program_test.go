package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

const (
	patience = 150 * time.Second // for what takes seconds on an idle machine
	nobody   = 65534
)

// program is one started msup.
type program struct {
	args           []string
	cmd            *exec.Cmd
	stdout, stderr buffer
	done           chan struct{} // closed when it has ended
	runtime        string        // folder of its runners' records
	sockets        string        // folder for its temporary files
	killed         bool          // by a signal that it cannot handle: what it leaves behind is for its successor
	helpless       bool          // its helper was killed: what that leaves behind is for the next one
}

// programs are those of one script.
type programs struct {
	mu     sync.Mutex
	byName map[string]*program
	all    []*program
}

type programsKey struct{}

func programsOf(ts *testscript.TestScript) *programs { return ts.Value(programsKey{}).(*programs) }

// buffer is a bytes.Buffer that may be read while it is written.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// start starts the program in the script's folder and environment; uid 0 leaves the user as it is.
func start(ts *testscript.TestScript, uid uint32, args []string) *program {
	p := &program{args: args, cmd: exec.Command(built.msup, args...), done: make(chan struct{}),
		runtime: runtimeDir(ts.Getenv("XDG_RUNTIME_DIR")), sockets: ts.Getenv("TMPDIR")}
	p.cmd.Dir = ts.MkAbs(".")
	for _, name := range []string{"PATH", "HOME", "TMPDIR", "MSUP_PYTHON", "MSUP_STORE", "MSUP_ISOLATION", "MSUP_PRIVILEGES", "MSUP_IMAGES", "RUSTUP_HOME", "CARGO_HOME",
		"MSUP_TOOLCHAINS", "MSUP_WASM_RUST", "XDG_RUNTIME_DIR", "GORACE"} {
		p.cmd.Env = append(p.cmd.Env, name+"="+ts.Getenv(name))
	}
	if uid == 0 { // nobody's leases are by default where its runtime directory is
		p.cmd.Env = append(p.cmd.Env, "MSUP_LEASE_DIR="+ts.Getenv("MSUP_LEASE_DIR"))
	}
	p.cmd.Stdout, p.cmd.Stderr = &p.stdout, &p.stderr
	if uid != 0 && os.Geteuid() == 0 {
		p.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
		p.runtime = filepath.Join(ts.Getenv("XDG_RUNTIME_DIR"), "msup")
	}
	if err := p.cmd.Start(); err != nil {
		ts.Fatalf("starting msup %s: %v", strings.Join(args, " "), err)
	}
	go func() {
		_ = p.cmd.Wait() // finish looks at the exit code
		close(p.done)
	}()
	all := programsOf(ts)
	all.mu.Lock()
	defer all.mu.Unlock()
	all.all = append(all.all, p)
	return p
}

// finish waits for the end of a program and checks all that must hold after every run.
func (p *program) finish(ts *testscript.TestScript, want int) {
	select {
	case <-p.done:
	case <-time.After(patience):
		_ = p.cmd.Process.Signal(syscall.SIGQUIT) // shows where it hangs
		<-p.done
		ts.Fatalf("msup %s did not end within %s:\n%s", strings.Join(p.args, " "), patience, tail(p.stderr.String()))
	}
	if _, err := io.WriteString(ts.Stdout(), p.stdout.String()); err != nil {
		ts.Fatalf("%v", err)
	}
	if _, err := io.WriteString(ts.Stderr(), p.stderr.String()); err != nil {
		ts.Fatalf("%v", err)
	}
	if p.killed {
		return
	}
	if got := p.cmd.ProcessState.ExitCode(); got != want {
		ts.Fatalf("msup %s ended with %d, want %d:\n%s\n%s", strings.Join(p.args, " "), got, want, tail(p.stdout.String()), tail(p.stderr.String()))
	}
	if slices.Contains(p.args, "--json") {
		p.checkJSON(ts)
	}
	p.checkLeftovers(ts)
}

// checkJSON wants one document on standard output, or a line each where a listing is longer than memory.
func (p *program) checkJSON(ts *testscript.TestScript) {
	d := json.NewDecoder(strings.NewReader(p.stdout.String()))
	documents := 0
	for {
		var v any
		err := d.Decode(&v)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			ts.Fatalf("msup %s printed no JSON: %v\n%s", strings.Join(p.args, " "), err, tail(p.stdout.String()))
		}
		documents++
	}
	if documents != 1 && p.args[0] != "intents" {
		ts.Fatalf("msup %s printed %d JSON documents; whoever reads them wants one:\n%s", strings.Join(p.args, " "), documents, tail(p.stdout.String()))
	}
}

// checkLeftovers looks for runners, and sockets of the simulated I, that outlived their supervisor.
func (p *program) checkLeftovers(ts *testscript.TestScript) {
	all := programsOf(ts)
	all.mu.Lock()
	defer all.mu.Unlock()
	for _, r := range records(p.runtime) {
		for _, one := range all.all {
			// A program that was killed is cleaned up after by the next one that starts strategies.
			if r.Supervisor == one.cmd.Process.Pid && one.ended() && (!one.killed && !one.helpless || p != one && p.startsStrategies()) {
				ts.Fatalf("msup %s left the runner %s (process %d) behind", strings.Join(one.args, " "), r.ID, r.PID)
			}
		}
	}
	if all.alive() {
		return
	}
	left, err := filepath.Glob(filepath.Join(p.sockets, "msup-*"))
	if err != nil {
		ts.Fatalf("%v", err)
	}
	if len(left) > 0 && p.startsStrategies() {
		ts.Fatalf("msup %s left %v behind", strings.Join(p.args, " "), left)
	}
}

func (p *program) startsStrategies() bool { return p.args[0] == "run" || p.args[0] == "replay" }

func (p *program) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

func (all *programs) alive() bool {
	return slices.ContainsFunc(all.all, func(p *program) bool { return !p.ended() })
}

func (all *programs) killAll() {
	all.mu.Lock()
	defer all.mu.Unlock()
	for _, p := range all.all {
		if !p.ended() {
			_ = p.cmd.Process.Signal(syscall.SIGTERM) // in order, so that it takes its runners along
			select {
			case <-p.done:
			case <-time.After(10 * time.Second):
				_ = p.cmd.Process.Kill()
				<-p.done
			}
		}
	}
}

// record is what the sandbox writes down about a runner.
type record struct {
	ID         string
	Supervisor int
	PID        int
	Address    string
}

// records are those of the process sandbox, r….json, and of the container sandbox, runners/c….json, whose process is the first one of
// its control group.
func records(dir string) []record {
	var all []record
	for _, pattern := range []string{"r*.json", "runners/c*.json"} {
		paths, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			panic(err) // the patterns stand above
		}
		for _, path := range paths {
			body, err := os.ReadFile(path)
			if err != nil {
				continue // gone since: its runner has ended
			}
			var r record
			if json.NewDecoder(bytes.NewReader(body)).Decode(&r) != nil {
				continue
			}
			if r.PID == 0 {
				r.PID = firstOf(r.ID)
			}
			all = append(all, r)
		}
	}
	return all
}

// firstOf is the first process of a container, 0 while it has none.
func firstOf(id string) (pid int) {
	groups, err := filepath.Glob("/sys/fs/cgroup/*/msup/*/" + id)
	if err != nil {
		panic(err) // the pattern stands above
	}
	for _, group := range append(groups, "/sys/fs/cgroup/msup/ll/"+id, "/sys/fs/cgroup/msup/compute/"+id) {
		if text, err := os.ReadFile(filepath.Join(group, "cgroup.procs")); err == nil {
			if _, err := fmt.Sscan(string(text), &pid); err == nil {
				return pid
			}
		}
	}
	return 0
}

// runnerOf waits for a runner of the program whose address matches, and that is not the one given.
func (p *program) runnerOf(address *regexp.Regexp, not int) (int, error) {
	deadline := time.Now().Add(patience)
	for time.Now().Before(deadline) && !p.ended() {
		for _, r := range records(p.runtime) {
			if r.Supervisor == p.cmd.Process.Pid && r.PID > 0 && r.PID != not && address.MatchString(r.Address) {
				return r.PID, nil
			}
		}
		time.Sleep(2 * time.Millisecond)
	}
	return 0, fmt.Errorf("msup %s has no runner whose address matches %s:\n%s", strings.Join(p.args, " "), address, tail(p.stderr.String()))
}

// killRunner kills a runner by its address and returns which process it was. What a container's group lists first may be a process of
// its making, gone when the signal comes.
func (p *program) killRunner(ts *testscript.TestScript, address *regexp.Regexp) int {
	for {
		pid, err := p.runnerOf(address, 0)
		ts.Check(err)
		err = syscall.Kill(pid, syscall.SIGKILL)
		if err == nil {
			return pid
		}
		if !errors.Is(err, syscall.ESRCH) {
			ts.Fatalf("killing runner %d: %v", pid, err)
		}
	}
}

// tail keeps what a person wants to read of a long output.
func tail(text string) string {
	const most = 6000
	if len(text) > most {
		return "…" + text[len(text)-most:]
	}
	return text
}
