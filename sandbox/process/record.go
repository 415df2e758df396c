package process

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/sandbox"
	"github.com/msup/msup/sandbox/cgroup"
	"github.com/msup/msup/sandbox/owned"
	"golang.org/x/sys/unix"
)

// record is what Reap needs to know about a runner whose supervisor died. The supervisor holds an flock on it for the
// runner's life, so a record that can be locked belongs to nobody alive.
type record struct {
	path string
	file *os.File
	recordData
}

type recordData struct {
	ID           string
	Address      string
	Lane         ipc.Lane
	CgroupParent string
	Supervisor   int
	BootID       string
	PID          int    // 0 until the process exists
	StartTicks   uint64 // field 22 of /proc/PID/stat
}

var recordName = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^(r[0-9a-f]{12})\.json$`) })

func (s *Sandbox) newRecord(id string, spec sandbox.Spec) (*record, error) {
	boot, err := bootID()
	if err != nil {
		return nil, err
	}
	rec := &record{path: filepath.Join(s.dir, id+".json"), recordData: recordData{
		ID: id, Address: spec.Address.String(), Lane: groupLane(spec), CgroupParent: s.cgroups.Parent(), Supervisor: s.owner, BootID: boot}}
	rec.file, err = owned.Create(rec.path, func(f *os.File) error {
		rec.file = f
		return rec.save()
	})
	if err != nil {
		return nil, &sandbox.Error{Reason: sandbox.ReasonSetupFailed, Op: "record a runner", Err: err, Remedy: "make the runtime directory writable"}
	}
	return rec, nil
}

func (rec *record) save() error {
	body, err := json.Marshal(rec.recordData)
	if err != nil {
		return fmt.Errorf("encode the record: %w", err)
	}
	if _, err := rec.file.WriteAt(append(body, '\n'), 0); err != nil { // it only grows
		return fmt.Errorf("write the record: %w", err)
	}
	return nil
}

func (rec *record) setProcess(pid int) error {
	ticks, err := startTicks(pid)
	if err != nil {
		return err
	}
	rec.PID, rec.StartTicks = pid, ticks
	return rec.save()
}

// remove deletes the record and then lets go of it.
func (rec *record) remove() error { return owned.Remove(rec.path, rec.file) }

// Reap removes what dead supervisors left in this runtime directory.
func (s *Sandbox) Reap(ctx context.Context) (sandbox.Reaped, error) {
	var out sandbox.Reaped
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return out, fmt.Errorf("reap: %w", err)
	}
	var errs []error
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".json"+owned.Suffix) {
			errs = append(errs, removeIfUnlocked(filepath.Join(s.dir, e.Name())))
			continue
		}
		if recordName().MatchString(e.Name()) {
			errs = append(errs, s.reapOne(ctx, filepath.Join(s.dir, e.Name()), &out))
		}
	}
	return out, errors.Join(errs...)
}

func removeIfUnlocked(path string) error {
	rec, err := lockRecord(path)
	if rec == nil || err != nil {
		return err
	}
	return rec.remove()
}

// lockRecord opens a record that nobody holds; nil when somebody does or it is gone.
func lockRecord(path string) (*record, error) {
	f, err := owned.Take(path)
	if f == nil || err != nil {
		return nil, err
	}
	return &record{path: path, file: f}, nil
}

func (s *Sandbox) reapOne(ctx context.Context, path string, out *sandbox.Reaped) error {
	rec, err := lockRecord(path)
	if rec == nil || err != nil {
		return err
	}
	id := recordName().FindStringSubmatch(filepath.Base(path))[1]
	body, err := os.ReadFile(path)
	if err != nil {
		return errors.Join(fmt.Errorf("reap %s: %w", path, err), rec.file.Close())
	}
	if err := json.NewDecoder(strings.NewReader(string(body))).Decode(&rec.recordData); err != nil {
		// A record torn by a crash: the supervisor died while writing it, before its process had orders. Its name still
		// tells the directory and, on both lanes, the group.
		s.log.Warn("reap: unreadable record", "path", path, "error", err)
		rec.recordData = recordData{CgroupParent: s.cgroups.Parent()}
	}
	did := sandbox.Reaped{Details: []string{fmt.Sprintf("runner %s of %s, left by supervisor %d", id, rec.Address, rec.Supervisor)}}
	errs := []error{rec.killProcess(ctx, &did), s.reapGroups(ctx, rec, id, &did)}
	dir := filepath.Join(s.dir, id)
	if _, err := os.Stat(dir); err == nil {
		did.Dirs++
		errs = append(errs, os.RemoveAll(dir))
	}
	if err := errors.Join(errs...); err != nil {
		return errors.Join(fmt.Errorf("reap runner %s: %w", id, err), rec.file.Close()) // the record stays for the next time
	}
	out.Processes += did.Processes
	out.Cgroups += did.Cgroups
	out.Dirs += did.Dirs
	out.Details = append(out.Details, did.Details...)
	return rec.remove()
}

func (s *Sandbox) reapGroups(ctx context.Context, rec *record, id string, did *sandbox.Reaped) error {
	m := s.cgroups
	if rec.CgroupParent != m.Parent() {
		var err error
		if m, err = cgroup.New(cgroup.Config{Parent: rec.CgroupParent, Shallow: true}); err != nil {
			return err
		}
	}
	var errs []error
	for _, lane := range []ipc.Lane{ipc.LaneLL, ipc.LaneCompute} {
		g := m.Open(lane, id)
		if len(g.Paths()) == 0 {
			continue
		}
		inside, err := g.PIDs()
		did.Processes += len(inside)
		did.Cgroups += len(g.Paths())
		errs = append(errs, err, g.Kill(ctx), g.Remove(ctx))
	}
	return errors.Join(errs...)
}

// killProcess kills the recorded process if it is still the same one.
func (rec *record) killProcess(ctx context.Context, did *sandbox.Reaped) error {
	if rec.PID <= 0 {
		return nil
	}
	if boot, err := bootID(); err != nil || boot != rec.BootID {
		return err // the host was started again since: nothing is left of it
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
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) {
			err = nil
		}
		return err
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("kill process %d: %w", rec.PID, err)
	}
	did.Processes++
	return waitPidfd(ctx, fd)
}

// waitPidfd waits until the process behind a pidfd has ended.
func waitPidfd(ctx context.Context, fd int) error {
	deadline := time.Now().Add(killTimeout)
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 20)
		switch {
		case n > 0:
			return nil
		case err != nil && !errors.Is(err, unix.EINTR):
			return fmt.Errorf("wait for a killed process: %w", err)
		case ctx.Err() != nil:
			return fmt.Errorf("wait for a killed process: %w", ctx.Err())
		case time.Now().After(deadline):
			return fmt.Errorf("a killed process did not end within %s", killTimeout)
		}
	}
}

func bootID() (string, error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("read the boot id: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}

// statFields returns the fields of /proc/PID/stat after the command, which may hold spaces and brackets.
func statFields(pid int) ([]string, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil, fmt.Errorf("read process %d: %w", pid, err)
	}
	_, rest, ok := strings.Cut(string(b[strings.LastIndexByte(string(b), ')')+1:]), " ")
	fields := strings.Fields(rest)
	if !ok || len(fields) < 22 {
		return nil, fmt.Errorf("read process %d: unexpected %q", pid, b)
	}
	return fields, nil
}

func startTicks(pid int) (uint64, error) {
	fields, err := statFields(pid)
	if err != nil {
		return 0, err
	}
	ticks, err := strconv.ParseUint(fields[19], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("read the start time of process %d: %w", pid, err)
	}
	return ticks, nil
}
