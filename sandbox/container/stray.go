package container

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"

	"github.com/containerd/errdefs"
	"github.com/msup/msup/sandbox"
	"golang.org/x/sys/unix"
)

// A stray is what a containerd that was killed while it made or removed a task has left: the task's folder (the bundle), runc's notes, and the shim,
// which goes on waiting for orders. The containerd that comes after it takes up no task whose container is not in its memory, and 1.6 removes the
// folder then, and not the shim: 445 random kills left 43 shims of 10 MB, for ever. Strays are removed from a private daemon's folders only: what
// another's daemon loses is not msup's to remove.

// bundles is the folder in which a private daemon keeps one folder for each task; "" of another's daemon.
func (d *Daemon) bundles() string {
	if d.keeper == nil {
		return ""
	}
	return filepath.Join(d.keeper.cfg.RuntimeDir, "state", taskPlugin, Namespace)
}

// taskPlugin names the folders of containerd's tasks, in its state and in its root.
const taskPlugin = "io.containerd.runtime.v2.task"

// notes is the folder in which runc keeps one folder for each container of a private daemon.
func (d *Daemon) notes() string { return filepath.Join(d.keeper.runcRoot(), Namespace) }

// dropStray removes what is left of a task whose container containerd no longer knows: usually nothing, which costs two looks.
func (d *Daemon) dropStray(ctx context.Context, id string) error {
	if d.keeper == nil {
		return nil
	}
	bundle, notes := filepath.Join(d.bundles(), id), filepath.Join(d.notes(), id)
	if !exists(bundle) && !exists(notes) {
		return nil
	}
	ctx, cancel := d.bound(ctx)
	defer cancel()
	socket := shimAddress(bundle)
	err := d.deleteNotes(ctx, id)
	if err == nil {
		err = unmountAll(filepath.Join(bundle, "rootfs"))
	}
	if err == nil {
		err = removeFlat(filepath.Join(d.keeper.cfg.StateDir, "root", taskPlugin, Namespace, id))
	}
	if err == nil {
		err = removeFlat(bundle)
	}
	if err == nil {
		err = d.endIdleShims()
	}
	if err == nil {
		err = dropShimSocket(socket)
	}
	if err != nil {
		return fmt.Errorf("remove what a killed containerd left of %s: %w", id, err)
	}
	d.cfg.Logger.Info("removed what a killed containerd left of a task", "container", id)
	return nil
}

// exists reports whether a path is there; one that cannot be looked at is.
func exists(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

// deleteNotes makes runc forget a container, whose processes were killed.
func (d *Daemon) deleteNotes(ctx context.Context, id string) error {
	if !exists(filepath.Join(d.notes(), id)) {
		return nil
	}
	said, err := exec.CommandContext(ctx, d.keeper.cfg.RuncBinary, "--root", d.notes(), "delete", "--force", id).CombinedOutput()
	if err != nil && exists(filepath.Join(d.notes(), id)) {
		return fmt.Errorf("runc delete: %w: %s", err, printable(string(said)))
	}
	return nil
}

// unmountAll takes every mount off a path.
func unmountAll(path string) error {
	for {
		err := unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("unmount %s: %w", path, err)
		}
	}
}

// removeFlat removes a folder with the files and empty folders in it. It is never recursive: should a root still be mounted, that would reach the
// files of the host.
func removeFlat(dir string) error {
	entries, err := os.ReadDir(dir)
	err = gone(err)
	for _, e := range entries {
		err = errors.Join(err, gone(os.Remove(filepath.Join(dir, e.Name()))))
	}
	return errors.Join(err, gone(os.Remove(dir)))
}

// gone takes the error from the removal of what is no longer there.
func gone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// endIdleShims ends the private daemon's shims that have no task: the folder of the task for which a shim was started is there before it, each of
// its other tasks' folders names its address, and a shim whose last task was removed ends by itself.
func (d *Daemon) endIdleShims() error {
	if d.keeper == nil {
		return nil
	}
	shims, err := d.shims()
	if len(shims) == 0 || err != nil {
		return err
	}
	busy := map[string]bool{}
	folders, err := os.ReadDir(d.bundles())
	if gone(err) != nil {
		return fmt.Errorf("look for tasks: %w", err)
	}
	for _, f := range folders {
		busy[shimAddress(filepath.Join(d.bundles(), f.Name()))] = true
	}
	var errs []error
	for _, s := range shims {
		if exists(filepath.Join(d.bundles(), s.id)) || slices.ContainsFunc(s.sockets, func(path string) bool { return busy[path] }) {
			continue
		}
		errs = append(errs, s.end())
	}
	return errors.Join(errs...)
}

// reapStrays removes the tasks that containerd no longer knows and nobody has a record of, and shims without any. A container is in containerd's
// memory before its task has a folder, and until that is gone.
func (s *Sandbox) reapStrays(ctx context.Context, out *sandbox.Reaped) error {
	if !s.engine.Private() {
		return nil
	}
	ids := map[string]bool{}
	for _, dir := range []string{s.engine.bundles(), s.engine.notes()} {
		entries, err := os.ReadDir(dir)
		if gone(err) != nil {
			return fmt.Errorf("look for tasks: %w", err)
		}
		for _, e := range entries {
			ids[e.Name()] = recordName.MatchString(e.Name() + ".json")
		}
	}
	var errs []error
	for id, ours := range ids {
		if !ours || exists(filepath.Join(s.cfg.RuntimeDir, id+".json")) { // a record says whose it is
			continue
		}
		load, cancel := s.engine.bound(ctx)
		_, err := s.engine.client.LoadContainer(load, id)
		cancel()
		if err == nil {
			continue
		}
		if !errdefs.IsNotFound(err) {
			return errors.Join(append(errs, s.engine.failed("look for container "+id, err))...)
		}
		did := sandbox.Reaped{Dirs: 1, Details: []string{"task " + id + " without a container"}}
		err = s.reapProcesses(ctx, s.cgroups.Parent(), id, &did)
		if err == nil {
			err = s.engine.dropStray(ctx, id)
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		add(out, did)
	}
	return errors.Join(append(errs, s.engine.endIdleShims())...)
}
