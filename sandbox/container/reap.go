package container

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/errdefs"
	"github.com/msup/msup/ipc"
	"github.com/msup/msup/sandbox"
	"github.com/msup/msup/sandbox/cgroup"
	"github.com/msup/msup/sandbox/owned"
	"golang.org/x/sync/errgroup"
)

// Reap removes what dead supervisors left in this runtime directory: processes by their control groups, tasks and
// containers in containerd, folders. After kill -9 of supervisor and containerd the strategies' processes and shims live
// on; a new containerd finds them by its state folder.
func (s *Sandbox) Reap(ctx context.Context) (out sandbox.Reaped, err error) {
	err = s.engine.again(ctx, func() error { return s.reap(ctx, &out) })
	if err != nil {
		s.leftover.Store(true)
	}
	return out, err
}

func (s *Sandbox) reap(ctx context.Context, out *sandbox.Reaped) error {
	entries, err := os.ReadDir(s.cfg.RuntimeDir)
	if err != nil {
		return fmt.Errorf("reap: %w", err)
	}
	var errs []error
	var paths []string
	for _, e := range entries {
		path := filepath.Join(s.cfg.RuntimeDir, e.Name())
		if strings.HasSuffix(e.Name(), ".json"+owned.Suffix) {
			rec, err := lockRecord(path)
			if rec != nil {
				err = errors.Join(err, rec.remove())
			}
			errs = append(errs, err)
			continue
		}
		if recordName.MatchString(e.Name()) {
			paths = append(paths, path)
		}
	}
	errs = append(errs, s.reapRecorded(ctx, paths, out), s.reapUnrecorded(ctx, out), s.reapStrays(ctx, out))
	return errors.Join(errs...)
}

// reapers bounds how many runners are removed at a time. One takes 30 ms, of which most is waiting for its shim's end: a supervisor that was killed
// with 20 instances left 40 containers, and removing them one after the other took a third of the time until all traded again.
const reapers = 8

// reapRecorded removes the runners of these records, and returns when the last is gone.
func (s *Sandbox) reapRecorded(ctx context.Context, paths []string, out *sandbox.Reaped) error {
	did, errs := make([]sandbox.Reaped, len(paths)), make([]error, len(paths))
	var all errgroup.Group
	all.SetLimit(reapers)
	for i, path := range paths {
		all.Go(func() error {
			errs[i] = s.reapOne(ctx, path, &did[i])
			return nil // one that fails does not keep the others
		})
	}
	err := all.Wait()
	for _, d := range did {
		add(out, d)
	}
	return errors.Join(append(errs, err)...)
}

// add counts what one more removal did.
func add(out *sandbox.Reaped, did sandbox.Reaped) {
	out.Processes += did.Processes
	out.Cgroups += did.Cgroups
	out.Dirs += did.Dirs
	out.Details = append(out.Details, did.Details...)
}

// reapLeftovers tries again in the background what an earlier clean-up could not do.
func (s *Sandbox) reapLeftovers() {
	if !s.leftover.CompareAndSwap(true, false) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	s.busy.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*s.engine.cfg.CallTimeout)
		defer cancel()
		reaped, err := s.Reap(ctx)
		if err != nil {
			s.log.Warn("removing leftovers failed; it is tried again at the next start", "error", err)
			return
		}
		s.log.Info("removed leftovers", "details", reaped.Details)
	})
}

func (s *Sandbox) reapOne(ctx context.Context, path string, out *sandbox.Reaped) error {
	rec, err := lockRecord(path)
	if rec == nil || err != nil {
		return err
	}
	id := recordName.FindStringSubmatch(filepath.Base(path))[1]
	body, err := os.ReadFile(path)
	if err == nil {
		if jerr := json.Unmarshal(body, &rec.recordData); jerr != nil {
			// Torn by a crash. Its name still tells container, folders and, on both lanes, the group.
			s.log.Warn("reap: unreadable record", "path", path, "error", jerr)
			rec.recordData = recordData{CgroupParent: s.cgroups.Parent()}
		}
	}
	did := sandbox.Reaped{Details: []string{fmt.Sprintf("runner %s of %s, left by supervisor %d", id, rec.Address, rec.Supervisor)}}
	if err == nil {
		err = s.reapProcesses(ctx, rec.CgroupParent, id, &did)
	}
	if err == nil {
		err = s.reapContainer(ctx, id)
	}
	if err == nil {
		err = s.reapFolders(id, &did)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("reap runner %s: %w", id, err), rec.file.Close()) // the record stays for the next time
	}
	*out = did
	return rec.remove()
}

// reapProcesses kills what is in the runner's group. Whatever is in there is the runner's, so no process id is trusted.
func (s *Sandbox) reapProcesses(ctx context.Context, parent, id string, did *sandbox.Reaped) error {
	ctx, cancel := context.WithTimeout(ctx, killTimeout)
	defer cancel()
	m := s.cgroups
	if parent != m.Parent() {
		var err error
		if m, err = cgroup.New(cgroup.Config{Parent: parent}); err != nil {
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
	return errors.Join(append(errs, dropGroups(s.points, parent, id))...)
}

func (s *Sandbox) reapContainer(ctx context.Context, id string) error {
	load, cancel := s.engine.bound(ctx)
	defer cancel()
	c, err := s.engine.client.LoadContainer(load, id)
	switch {
	case errdefs.IsNotFound(err):
		err = s.engine.dropStray(ctx, id)
	case err == nil:
		err = s.engine.discard(ctx, c)
	}
	if err != nil {
		return s.engine.failed("remove container "+id, err)
	}
	return nil
}

func (s *Sandbox) reapFolders(id string, did *sandbox.Reaped) error {
	var errs []error
	found := false
	for _, dir := range []string{filepath.Join(s.cfg.RuntimeDir, id), s.workDir(id)} {
		if _, err := os.Stat(dir); err == nil {
			found = true
			errs = append(errs, removeWorkDir(dir))
		}
	}
	if found {
		did.Dirs++
	}
	return errors.Join(errs...)
}

// reapUnrecorded removes containers of this runtime directory that have no record: the directory was lost (a reboot, a
// tmpfs) while containerd's own memory was not.
func (s *Sandbox) reapUnrecorded(ctx context.Context, out *sandbox.Reaped) error {
	list, cancel := s.engine.bound(ctx)
	defer cancel()
	all, err := s.engine.client.Containers(list, fmt.Sprintf("labels.%q==%q", labelRuntimeDir, s.cfg.RuntimeDir))
	if err != nil {
		return s.engine.failed("list containers", err)
	}
	var errs []error
	for _, c := range all {
		if _, err := os.Stat(filepath.Join(s.cfg.RuntimeDir, c.ID()+".json")); err == nil || !ownID(c) {
			continue
		}
		if _, err := s.engine.client.LoadContainer(list, c.ID()); errdefs.IsNotFound(err) {
			continue // its runner ended between the list and the look for its record
		}
		did := sandbox.Reaped{Details: []string{"container " + c.ID() + " without a record"}}
		err := s.reapProcesses(ctx, s.cgroups.Parent(), c.ID(), &did)
		if err == nil {
			err = s.engine.discard(ctx, c)
		}
		if err == nil {
			err = s.reapFolders(c.ID(), &did)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("reap container %s: %w", c.ID(), err))
			continue
		}
		did.Processes = max(1, did.Processes)
		add(out, did)
	}
	return errors.Join(errs...)
}

// ownID tells whether a container's name is one of ours: it becomes part of paths.
func ownID(c client.Container) bool { return recordName.MatchString(c.ID() + ".json") }
