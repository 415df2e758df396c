package container

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/msup/msup/sandbox"
	"golang.org/x/sys/unix"
)

// keeper keeps one private containerd alive. The process that holds the lock file runs it as its child; others on the
// same folders join it, and the first of them to get the lock goes on when the owner ends.
type keeper struct {
	cfg     DaemonConfig
	address string
	cancel  context.CancelFunc
	done    chan struct{} // closed when run has returned

	mu      sync.Mutex
	up      chan struct{} // closed while the daemon answers
	upErr   error         // why the last start failed
	stopErr error
	child   *os.Process // nil while somebody else owns the daemon, or none runs
	starts  int
}

const (
	joinPeriod   = 100 * time.Millisecond // how often one who joined looks whether the owner has ended
	askPeriod    = 5 * time.Second        // how often a running daemon is asked whether it lives
	firstBackoff = 100 * time.Millisecond
	lastBackoff  = 5 * time.Second
	stopTimeout  = 5 * time.Second
	maxLogBytes  = 1 << 20
)

func startKeeper(ctx context.Context, cfg DaemonConfig, address string) (*keeper, error) {
	k := &keeper{cfg: cfg, address: address, done: make(chan struct{}), up: make(chan struct{})}
	fail := func(op string, err error, remedy string) (*keeper, error) {
		return nil, &sandbox.Error{Reason: sandbox.ReasonSetupFailed, Op: op, Err: err, Remedy: remedy}
	}
	if os.Geteuid() != 0 {
		return fail("run a private containerd", errors.New("only root may"), "run msup as root, or let isolation choose the process sandbox")
	}
	const maxAddress = 107 - len(".ttrpc") // sun_path without its zero byte; containerd listens beside its address, too
	if len(address) > maxAddress {
		return nil, &sandbox.Error{Reason: sandbox.ReasonSocketTooLong, Op: "use runtime directory " + cfg.RuntimeDir,
			Err: fmt.Errorf("its socket would have a path of %d bytes, %d are possible", len(address), maxAddress), Remedy: "choose a shorter one"}
	}
	var err error
	if k.cfg.Binary, err = exec.LookPath(cfg.Binary); err != nil {
		return fail("find "+cfg.Binary, err, "install it (Debian: apt-get install containerd runc), or name its path")
	}
	if k.cfg.RuncBinary, err = exec.LookPath(cfg.RuncBinary); err != nil {
		return fail("find "+cfg.RuncBinary, err, "install it (Debian: apt-get install runc), or name its path")
	}
	// Runners have to pass the one, where their roots are mounted. The other is nobody's but root's: containerd itself opens
	// its folders for all users in many versions (CVE-2024-25621).
	for dir, mode := range map[string]os.FileMode{cfg.RuntimeDir: 0o711, cfg.StateDir: 0o700} {
		err := os.MkdirAll(dir, mode)
		if err == nil {
			err = os.Chmod(dir, mode) // whatever the umask is
		}
		if err != nil {
			return fail("make the folder "+dir, err, "choose a writable one of msup's own")
		}
	}
	if err := passable(cfg.RuntimeDir); err != nil {
		return nil, err
	}
	run, cancel := context.WithCancel(context.Background())
	k.cancel = cancel
	go k.run(run)
	ctx, stop := context.WithTimeout(ctx, cfg.StartTimeout)
	defer stop()
	if err := k.waitUp(ctx); err != nil {
		return nil, errors.Join(err, k.close())
	}
	return k, nil
}

// passable refuses a folder to which a foreign user id cannot get: the kernel would tell only that a mount failed.
func passable(dir string) error {
	for at := filepath.Clean(dir); ; at = filepath.Dir(at) {
		st, err := os.Stat(at)
		if err == nil && st.Mode().Perm()&0o001 == 0 {
			err = fmt.Errorf("%s has mode %v, through which the runners' own user ids cannot pass", at, st.Mode().Perm())
		}
		if err != nil {
			return &sandbox.Error{Reason: sandbox.ReasonSetupFailed, Op: "use runtime directory " + dir, Err: err,
				Remedy: "chmod o+x " + at + ", or choose a folder elsewhere"}
		}
		if at == "/" {
			return nil
		}
	}
}

func (k *keeper) logPath() string    { return filepath.Join(k.cfg.StateDir, "containerd.log") }
func (k *keeper) runcRoot() string   { return filepath.Join(k.cfg.RuntimeDir, "runc") } // its notes lie in a folder for the namespace
func (k *keeper) lockPath() string   { return filepath.Join(k.cfg.RuntimeDir, "lock") }
func (k *keeper) recordPath() string { return filepath.Join(k.cfg.RuntimeDir, "daemon.json") }

// waitUp waits until the daemon answers.
func (k *keeper) waitUp(ctx context.Context) error {
	k.mu.Lock()
	up := k.up
	k.mu.Unlock()
	select {
	case <-up:
		return nil
	case <-k.done:
	case <-ctx.Done():
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	err := k.upErr
	if err == nil {
		err = ctx.Err()
	}
	if err == nil {
		err = errors.New("it was closed")
	}
	return &sandbox.Error{Reason: sandbox.ReasonSetupFailed, Op: "start a private containerd (" + k.cfg.Binary + ")",
		Err: fmt.Errorf("it does not answer at %s: %w%s", k.address, err, k.lastWords()), Remedy: "see its log " + k.logPath()}
}

// lastWords are the last lines of the daemon's log.
func (k *keeper) lastWords() string {
	b, err := os.ReadFile(k.logPath())
	if err != nil || len(b) == 0 {
		return ""
	}
	text, _ := sandbox.Sanitize(b[max(0, len(b)-600):], 800)
	return "; its log ends: " + text
}

// run owns the daemon while the lock can be had, and joins another's otherwise.
func (k *keeper) run(ctx context.Context) {
	defer close(k.done)
	backoff := firstBackoff
	for ctx.Err() == nil {
		lock, err := lockFile(k.lockPath())
		switch {
		case err != nil:
			k.note(err)
		case lock == nil: // somebody else owns it
			if ask(ctx, k.address, time.Second) == nil {
				k.setUp(true)
			} else {
				k.setUp(false)
			}
			sleep(ctx, joinPeriod)
			continue
		default:
			began := time.Now()
			err = errors.Join(k.own(ctx), lock.Close())
			k.setUp(false)
			if time.Since(began) > time.Minute {
				backoff = firstBackoff
			}
			if ctx.Err() != nil {
				k.mu.Lock()
				k.stopErr = err
				k.mu.Unlock()
				return
			}
			k.note(err)
		}
		sleep(ctx, backoff)
		backoff = min(2*backoff, lastBackoff)
	}
}

func (k *keeper) note(err error) {
	k.mu.Lock()
	k.upErr = err
	k.mu.Unlock()
	k.cfg.Logger.Error("the private containerd does not run; it is started again", "error", err)
}

func (k *keeper) setUp(up bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	select {
	case <-k.up:
		if !up {
			k.up = make(chan struct{})
		}
	default:
		if up {
			k.upErr = nil
			close(k.up)
		}
	}
}

// endTimeout is how long the end of a process that is gone from /proc may take to be told.
const endTimeout = time.Second

// own runs one daemon from its start to its end, which ctx asks for. Any other end is an error.
func (k *keeper) own(ctx context.Context) error {
	if err := k.reap(); err != nil {
		return err
	}
	if err := k.writeConfig(); err != nil {
		return err
	}
	cmd, ended, err := k.spawn()
	if err != nil {
		return err
	}
	kill := func(why error) error {
		err := cmd.Process.Kill()
		<-ended
		return errors.Join(why, err, os.Remove(k.recordPath()))
	}
	byItself := func(err error) error {
		return fmt.Errorf("containerd %d ended by itself: %w%s", cmd.Process.Pid, ignoreNil(err), k.lastWords())
	}
	if err := k.record(cmd.Process.Pid); err != nil {
		select {
		case ended := <-ended: // so quickly that there was nothing to be recorded
			return byItself(ended)
		case <-time.After(endTimeout):
			return kill(err)
		}
	}
	k.mu.Lock()
	k.child, k.starts = cmd.Process, k.starts+1
	k.mu.Unlock()
	defer func() {
		k.mu.Lock()
		k.child = nil
		k.mu.Unlock()
	}()
	deadline := time.Now().Add(k.cfg.StartTimeout)
	ready := false
	next := time.NewTimer(10 * time.Millisecond)
	defer next.Stop()
	for {
		select {
		case err := <-ended:
			return errors.Join(byItself(err), os.Remove(k.recordPath()))
		case <-ctx.Done():
			return k.stop(cmd.Process, ended)
		case <-next.C:
		}
		patience := k.cfg.CallTimeout
		if !ready {
			patience = time.Second
		}
		err := ask(ctx, k.address, patience)
		switch {
		case ctx.Err() != nil:
			return k.stop(cmd.Process, ended)
		case err == nil:
			if !ready {
				ready = true
				k.setUp(true)
			}
			next.Reset(askPeriod)
		case ready:
			return kill(fmt.Errorf("containerd %d hangs, it was killed: %w", cmd.Process.Pid, err))
		case time.Now().After(deadline):
			return kill(fmt.Errorf("containerd %d did not answer within %s of its start, it was killed: %w", cmd.Process.Pid, k.cfg.StartTimeout, err))
		default:
			next.Reset(10 * time.Millisecond)
		}
	}
}

func ignoreNil(err error) error {
	if err == nil {
		return errors.New("exit status 0")
	}
	return err
}

// stop asks the daemon to end, and kills it when it does not.
func (k *keeper) stop(p *os.Process, ended <-chan error) error {
	err := p.Signal(syscall.SIGTERM)
	select {
	case <-ended: // with whatever status: it was asked to
		return errors.Join(err, os.Remove(k.recordPath()))
	case <-time.After(stopTimeout):
	}
	err = errors.Join(err, p.Kill())
	<-ended
	return errors.Join(err, os.Remove(k.recordPath()))
}

// spawn starts the daemon on an operating-system thread that lives as long as it: the kernel sends PDEATHSIG when the
// thread that forked ends. So a supervisor that dies by SIGKILL takes its daemon along; the runners' shims stay, for the
// next supervisor's Reap.
func (k *keeper) spawn() (*exec.Cmd, <-chan error, error) {
	log, err := k.openLog()
	if err != nil {
		return nil, nil, err
	}
	cmd := exec.Command(k.cfg.Binary, "--config", filepath.Join(k.cfg.StateDir, "config.toml"))
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = log, log
	// The shim is looked for beside containerd first; runc is named in full.
	path := filepath.Dir(k.cfg.Binary) + ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	cmd.Env = []string{"PATH=" + path, "TMPDIR=" + os.TempDir()}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true} // no Ctrl-C of the terminal
	started, ended := make(chan error, 1), make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with this goroutine, after the child
		err := cmd.Start()
		started <- err
		if err == nil {
			ended <- cmd.Wait()
		}
	}()
	err = errors.Join(<-started, log.Close())
	if err != nil {
		return nil, nil, fmt.Errorf("start %s: %w", k.cfg.Binary, err)
	}
	return cmd, ended, nil
}

func (k *keeper) openLog() (*os.File, error) {
	flags := os.O_CREATE | os.O_WRONLY | os.O_APPEND
	if st, err := os.Stat(k.logPath()); err == nil && st.Size() > maxLogBytes {
		flags |= os.O_TRUNC
	}
	f, err := os.OpenFile(k.logPath(), flags, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open containerd's log: %w", err)
	}
	return f, nil
}

// disabledPlugins are not needed. The CRI plugin would open a second control plane on the host; opt would make /opt/containerd; restart runs what a
// label names, as root. Some have other names from 2.0 or 2.2 on, and each version passes over the names that it does not know.
var disabledPlugins = []string{
	"io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime", "io.containerd.podsandbox.controller.v1.podsandbox",
	"io.containerd.internal.v1.opt", "io.containerd.internal.v1.restart", "io.containerd.monitor.container.v1.restart", "io.containerd.nri.v1.nri", "io.containerd.internal.v1.tracing",
	"io.containerd.tracing.processor.v1.otlp", "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
	"io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.blockfile",
	"io.containerd.snapshotter.v1.erofs", "io.containerd.image-verifier.v1.bindir", "io.containerd.transfer.v1.local", "io.containerd.grpc.v1.transfer",
}

// writeConfig writes the one form that every containerd from 1.3 to 2.4 reads: versions 3 and 4 are refused by 1.x, and 2.x turns version 2 into its
// own in some us, which it calls a warning.
func (k *keeper) writeConfig() error {
	var b strings.Builder
	quote := func(s string) string { q, _ := json.Marshal(s); return string(q) } // a JSON string is a TOML one; marshalling one cannot fail
	fmt.Fprintf(&b, "# Written by msup at every start of its private containerd; changes are lost.\nversion = 2\nroot = %s\nstate = %s\ndisabled_plugins = [\n",
		quote(filepath.Join(k.cfg.StateDir, "root")), quote(filepath.Join(k.cfg.RuntimeDir, "state")))
	for _, p := range disabledPlugins {
		fmt.Fprintf(&b, "  %s,\n", quote(p))
	}
	fmt.Fprintf(&b, "]\n[grpc]\naddress = %s\n[debug]\nlevel = \"warn\"\n", quote(k.address))
	if err := os.WriteFile(filepath.Join(k.cfg.StateDir, "config.toml"), []byte(b.String()), 0o600); err != nil {
		return fmt.Errorf("write containerd's configuration: %w", err)
	}
	return nil
}

// daemonRecord identifies the daemon for a supervisor that finds it without its parent.
type daemonRecord struct {
	PID        int
	StartTicks uint64
	BootID     string
}

func (k *keeper) record(pid int) error {
	ticks, err := startTicks(pid)
	if err != nil {
		return err
	}
	boot, err := bootID()
	if err != nil {
		return err
	}
	body, err := json.Marshal(daemonRecord{PID: pid, StartTicks: ticks, BootID: boot})
	if err == nil {
		err = os.WriteFile(k.recordPath(), body, 0o600)
	}
	if err != nil {
		return fmt.Errorf("record the daemon: %w", err)
	}
	return nil
}

// reap ends the daemon that a dead owner left, and removes its sockets. Only the holder of the lock calls it.
func (k *keeper) reap() error {
	var rec daemonRecord
	body, err := os.ReadFile(k.recordPath())
	if err == nil {
		err = json.Unmarshal(body, &rec)
		if err == nil {
			err = killRecorded(rec)
		} else {
			err = nil // torn by a crash: its daemon died with its owner
		}
	} else if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if err != nil {
		return fmt.Errorf("end the containerd of a dead supervisor: %w", err)
	}
	for _, p := range []string{k.recordPath(), k.address, k.address + ".ttrpc"} {
		if err := os.Remove(p); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove what a dead containerd left: %w", err)
		}
	}
	return nil
}

// killRecorded kills a recorded process if it is still the same one.
func killRecorded(rec daemonRecord) error {
	if boot, err := bootID(); err != nil || boot != rec.BootID || rec.PID <= 0 {
		return err
	}
	fd, err := unix.PidfdOpen(rec.PID, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open process %d: %w", rec.PID, err)
	}
	defer unix.Close(fd)
	// Compared after the pidfd is held: from here on it cannot become another process.
	if ticks, err := startTicks(rec.PID); err != nil || ticks != rec.StartTicks {
		return nil // it ended meanwhile, or another process has its number
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("kill process %d: %w", rec.PID, err)
	}
	return waitPidfd(fd, stopTimeout)
}

// close stops the daemon if this process owns it, and removes what is in the runtime directory then.
func (k *keeper) close() error {
	k.cancel()
	<-k.done
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.stopErr
}

// lockFile returns a locked file, or nil when somebody else holds it.
func lockFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock %s: %w", path, err)
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, f.Close()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), f.Close())
	}
	return f, nil
}

// ask tells whether a daemon answers at an address, by a connection of its own: the shared one may be backing off.
func ask(ctx context.Context, address string, patience time.Duration) error {
	if _, err := os.Stat(address); err != nil {
		return fmt.Errorf("look for containerd's socket: %w", err)
	}
	c, err := client.New(address, client.WithTimeout(patience))
	if err != nil {
		return fmt.Errorf("connect to containerd: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	_, err = c.Version(ctx)
	if err = errors.Join(err, c.Close()); err != nil {
		return fmt.Errorf("ask containerd for its version: %w", err)
	}
	return nil
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
