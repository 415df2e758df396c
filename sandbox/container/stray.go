package container

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	api "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/containerd/ttrpc"
	"github.com/msup/msup/sandbox"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/types/known/emptypb"
)

// A stray is what a containerd that was killed while it made a task has left: its folder of the task (the bundle), and the shim, which goes on
// waiting for orders. The containerd that comes after it takes up neither where the container is no longer in its memory, and up to 1.6 not even
// where it is: 445 random kills left 43 shims of 10 MB, for ever. They are found by the folder, which is always there before the shim is, and only
// in a private daemon's state: what another's daemon loses is not msup's to remove.

// strayTimeout bounds what a shim is asked; it answers within a ms, or hangs.
const strayTimeout = 5 * time.Second

// bundles is the folder in which a private daemon keeps one folder for each task; "" of another's daemon.
func (d *Daemon) bundles() string {
	if d.keeper == nil {
		return ""
	}
	return filepath.Join(d.keeper.cfg.RuntimeDir, "state", "io.containerd.runtime.v2.task", Namespace)
}

// dropStray removes what is left of a task whose container containerd no longer knows: usually nothing, which costs one look for its folder.
func (d *Daemon) dropStray(ctx context.Context, id string) error {
	if d.keeper == nil {
		return nil
	}
	bundle := filepath.Join(d.bundles(), id)
	if _, err := os.Lstat(bundle); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, strayTimeout)
	defer cancel()
	at := shimOf(bundle)
	err := at.release(ctx, id)
	if err == nil {
		err = d.deleteTask(ctx, bundle, id)
	}
	if err == nil {
		err = dropShimSocket(at.path)
	}
	if err != nil {
		return fmt.Errorf("remove what a killed containerd left of %s: %w", id, err)
	}
	d.cfg.Logger.Info("removed a shim's folder that a killed containerd left", "container", id)
	return nil
}

// shimAddress is where a shim listens, and which version of the task service it has.
type shimAddress struct {
	path    string // "" = it cannot be told: containerd died before it was written
	version int
}

// shimOf reads the address of a task's shim: containerd 2 writes it in one form, and a shim of 1.6 and 1.7 in another.
func shimOf(bundle string) shimAddress {
	var at struct {
		Version int    `json:"version"`
		Address string `json:"address"`
	}
	text, err := os.ReadFile(filepath.Join(bundle, "bootstrap.json"))
	if err != nil || json.Unmarshal(text, &at) != nil || at.Address == "" {
		at.Version, at.Address = 2, ""
		if text, err = os.ReadFile(filepath.Join(bundle, "address")); err == nil {
			at.Address = string(text)
		}
	}
	path, ok := strings.CutPrefix(strings.TrimSpace(at.Address), "unix://")
	if !ok || !filepath.IsAbs(path) {
		return shimAddress{}
	}
	return shimAddress{path: path, version: at.Version}
}

// release makes a shim forget a task that has ended, and end unless it has others. A shim that is no more has forgotten.
func (at shimAddress) release(ctx context.Context, id string) error {
	if at.path == "" {
		return nil
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", at.path)
	if errors.Is(err, unix.ECONNREFUSED) || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("connect to the shim at %s: %w", at.path, err)
	}
	c := ttrpc.NewClient(conn)
	defer c.Close()
	service := fmt.Sprintf("containerd.task.v%d.Task", at.version)
	for {
		// What both messages hold is the same in all versions of the service.
		err = c.Call(ctx, service, "Delete", &api.DeleteRequest{ID: id}, &api.DeleteResponse{})
		if native := errgrpc.ToNative(err); err == nil || errdefs.IsNotFound(native) || errors.Is(err, ttrpc.ErrClosed) {
			break
		}
		// Its process was killed, and the shim is about to notice; or the shim hangs.
		if sleep(ctx, noticeTime); ctx.Err() != nil {
			return fmt.Errorf("let the shim at %s forget its task: %w", at.path, err)
		}
	}
	err = c.Call(ctx, service, "Shutdown", &api.ShutdownRequest{ID: id}, &emptypb.Empty{})
	if err != nil && !errors.Is(err, ttrpc.ErrClosed) { // closed: it has ended while it answered
		return fmt.Errorf("end the shim at %s: %w", at.path, err)
	}
	return nil
}

// deleteTask lets the shim's program remove runc's notes and the mount of the root, as containerd does after a dead shim, and removes the folder.
// Nothing is removed recursively: should the root still be mounted, that would reach the files of the host.
func (d *Daemon) deleteTask(ctx context.Context, bundle, id string) error {
	program, err := os.ReadFile(filepath.Join(bundle, "shim-binary-path"))
	if err != nil {
		program = []byte("containerd-shim-runc-v2")
	}
	if _, err := os.Stat(filepath.Join(bundle, "config.json")); err == nil { // else runc never heard of it
		cmd := exec.CommandContext(ctx, strings.TrimSpace(string(program)), "-namespace", Namespace, "-address", d.address, "-id", id, "-bundle", bundle, "delete")
		cmd.Dir = bundle
		cmd.Env = append(os.Environ(), "TTRPC_ADDRESS="+d.address+".ttrpc")
		var said bytes.Buffer
		cmd.Stderr = &said
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("%s delete: %w: %s", filepath.Base(string(program)), err, printable(said.String()))
		}
	}
	root := filepath.Join(bundle, "rootfs")
	for {
		err := unix.Unmount(root, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
			break
		}
		if err != nil {
			return fmt.Errorf("unmount %s: %w", root, err)
		}
	}
	work, err := os.Readlink(filepath.Join(bundle, "work"))
	if err == nil && filepath.IsAbs(work) && filepath.Base(work) == id {
		err = removeFlat(work)
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return errors.Join(err, removeFlat(bundle))
}

// removeFlat removes a folder with the files and empty folders in it.
func removeFlat(dir string) error {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		err = errors.Join(err, gone(os.Remove(filepath.Join(dir, e.Name()))))
	}
	return errors.Join(gone(err), gone(os.Remove(dir)))
}

// gone takes the error from the removal of what is no longer there.
func gone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// reapStrays removes the tasks that containerd no longer knows and nobody has a record of. A container is in containerd's memory before its task
// has a folder, and until the folder is gone.
func (s *Sandbox) reapStrays(ctx context.Context, out *sandbox.Reaped) error {
	if !s.engine.Private() {
		return nil
	}
	entries, err := os.ReadDir(s.engine.bundles())
	if err != nil {
		return gone(err)
	}
	var errs []error
	for _, e := range entries {
		id := e.Name()
		if !recordName.MatchString(id + ".json") {
			continue
		}
		if _, err := os.Stat(filepath.Join(s.cfg.RuntimeDir, id+".json")); err == nil {
			continue // its record says whose it is
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
		did := sandbox.Reaped{Dirs: 1, Details: []string{"the shim's folder " + id + " without a container"}}
		err = s.reapProcesses(ctx, s.cgroups.Parent(), id, &did)
		if err == nil {
			err = s.engine.dropStray(ctx, id)
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		out.Processes += did.Processes
		out.Dirs++
		out.Details = append(out.Details, did.Details...)
	}
	return errors.Join(errs...)
}
