package crash

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

const patience = 120 * time.Second // for what takes seconds on an idle machine

// world is one state directory, its I, and the supervisors that run on it one after the other.
type world struct {
	*setting
	dir    string
	state  string
	i      string // folder of the Python I
	socket string
	seed   uint64
	ofI    *exec.Cmd
	runs   []*started
}

// world makes a world with a copy of the fresh state, where there is one already.
func (s *setting) world(name string) (*world, error) {
	dir := filepath.Join(s.dir, name)
	w := &world{setting: s, dir: dir, state: filepath.Join(dir, "state"), i: filepath.Join(dir, "i"), socket: filepath.Join(dir, "i.sock")}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	if s.want == nil && name == "first" {
		return w, nil
	}
	if s.python {
		if err := copyTree(s.fresh+"-i", w.i); err != nil {
			return nil, err
		}
	}
	return w, copyTree(s.fresh, w.state)
}

// numbered is the world of a seed.
func (s *setting) numbered(seed uint64) (*world, error) {
	w, err := s.world(fmt.Sprintf("w%d", seed))
	if err == nil {
		w.seed = seed
	}
	return w, err
}

func (w *world) remove() error { return os.RemoveAll(w.dir) }

// close ends the world; what went wrong in it leaves the error, and the folder only where -keep asks for it.
func (w *world) close(err *error) {
	if w.ofI != nil {
		*err = errors.Join(*err, w.stopI())
	}
	if *err != nil {
		*err = errors.Join(*err, w.keep())
	}
	*err = errors.Join(*err, w.remove())
}

// keep copies the world's folder to where -keep says.
func (w *world) keep() error {
	if *keepFlag == "" {
		return nil
	}
	to := filepath.Join(*keepFlag, filepath.Base(w.dir))
	err := copyTree(w.dir, to)
	for i, run := range w.runs {
		err = errors.Join(err, write(filepath.Join(to, fmt.Sprintf("run-%03d.log", i+1)), run.out.String()))
	}
	return err
}

func (w *world) command(args ...string) *exec.Cmd {
	c := exec.Command(built.msup, args...)
	c.Dir = w.dir
	// Leases of its own: worlds run at once, with the same ids.
	c.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + w.dir, "TMPDIR=" + w.dir, "MSUP_PYTHON=" + built.python,
		"MSUP_STORE=" + filepath.Join(built.dir, "store"), "MSUP_IMAGES=" + built.images, "MSUP_ISOLATION=L1",
		"MSUP_LEASE_DIR=" + filepath.Join(w.dir, "leases")}
	return c
}

func (w *world) runArgs(more ...string) []string {
	args := append([]string{"run"}, w.strategies...)
	args = append(args, "--feed", w.feed, "--state", w.state, "--boundary-patience", "5m")
	if w.python {
		args = append(args, "--execution-socket", w.socket)
	}
	return append(append(args, w.args...), more...)
}

// started is a supervisor that runs.
type started struct {
	cmd    *exec.Cmd
	out    locked
	ended  chan struct{}
	killed bool
}

// locked is a bytes.Buffer that may be read while it is written.
type locked struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *locked) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (w *world) start(args ...string) (*started, error) {
	s := &started{cmd: w.command(args...), ended: make(chan struct{})}
	s.cmd.Stdout, s.cmd.Stderr = &s.out, &s.out
	if err := s.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting msup %s: %w", args[0], err)
	}
	w.runs = append(w.runs, s)
	go func() {
		_ = s.cmd.Wait() // code looks at how it ended
		close(s.ended)
	}()
	return s, nil
}

// code waits for the end and gives the exit code, -1 after a signal.
func (s *started) code(most time.Duration) (int, error) {
	select {
	case <-s.ended:
		return s.cmd.ProcessState.ExitCode(), nil
	case <-time.After(most):
		_ = s.cmd.Process.Signal(syscall.SIGQUIT) // shows where it hangs
		<-s.ended
		return -1, fmt.Errorf("msup did not end within %s:\n%s", most, tail(s.out.String()))
	}
}

// kill kills it without warning, unless it ends before.
func (s *started) kill(after time.Duration) (killed bool) {
	select {
	case <-s.ended:
		return false
	case <-time.After(after):
	}
	if s.cmd.Process.Signal(syscall.SIGKILL) != nil {
		<-s.ended
		return false
	}
	<-s.ended
	s.killed = s.cmd.ProcessState.ExitCode() == -1
	return s.killed
}

// story is what the runs before the last printed: a run that halts an instance may be killed before anybody asks it why.
func (w *world) story() string {
	var text strings.Builder
	for i, run := range w.runs {
		for line := range strings.Lines(run.out.String()) {
			if strings.Contains(line, "level=ERROR") || strings.Contains(line, "runner lost") || strings.Contains(line, "halted") || strings.Contains(line, "reason=SANDBOX") {
				line, _, _ = strings.Cut(strings.TrimSpace(line), "its log ends:") // of a killed containerd
				fmt.Fprintf(&text, "run %d: %s\n", i+1, line)
			}
		}
	}
	return tail(text.String())
}

// must runs msup and wants an exit code.
func (w *world) must(want int, args ...string) (out string, err error) {
	s, err := w.start(args...)
	if err != nil {
		return "", err
	}
	code, err := s.code(patience)
	if err == nil && code != want {
		err = fmt.Errorf("msup %s ended with %s, want %d:\n%s", args[0], s.cmd.ProcessState, want, tail(s.out.String()))
	}
	return s.out.String(), err
}

// finish runs to the end of the feed, undisturbed.
func (w *world) finish() error {
	_, err := w.must(0, w.runArgs()...)
	return err
}

// startI starts the SDK's receiver, where the world has it. It stalls, repeats and reorders.
func (w *world) startI() error {
	if !w.python {
		return nil
	}
	w.ofI = exec.Command(built.python, "-m", "msup.boundary.adverse", "--socket", w.socket, "--store", w.i, "--no-clock", "--seed", fmt.Sprint(w.seed),
		"--fault", "repeat=0.1", "--fault", "reorder=0.1", "--fault", "stall=0.02", "--stall-ms", "10")
	w.ofI.Env, w.ofI.Dir, w.ofI.Stderr = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + w.dir}, w.dir, os.Stderr
	out, err := w.ofI.StdoutPipe()
	if err != nil {
		return err
	}
	if err := w.ofI.Start(); err != nil {
		return fmt.Errorf("starting I: %w", err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || strings.TrimSpace(line) != "ready" {
		return errors.Join(fmt.Errorf("I did not start: %q, %w", line, err), w.ofI.Process.Kill())
	}
	return nil
}

func (w *world) stopI() error {
	if w.ofI == nil {
		return nil
	}
	c := w.ofI
	w.ofI = nil
	if err := c.Process.Signal(os.Interrupt); err != nil {
		return fmt.Errorf("ending I: %w", err)
	}
	overdue := time.AfterFunc(patience, func() { _ = c.Process.Kill() }) // Wait says how it ended
	defer overdue.Stop()
	if err := c.Wait(); err != nil {
		return fmt.Errorf("I ended with %w", err)
	}
	return nil
}

// same compares what I was told, and holds, with the undisturbed run.
func (w *world) same() error {
	got, err := w.book()
	if err != nil {
		return err
	}
	return w.want.compare(got)
}

// between is a random time.
func between(chance *rand.Rand, from, to time.Duration) time.Duration {
	return from + time.Duration(chance.Int64N(int64(to-from)))
}
