package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/sandbox"
	"github.com/msup/msup/sandbox/privilege"
	"github.com/msup/msup/sandbox/warden"
	"github.com/msup/msup/statedb"
	"github.com/msup/msup/supervisor/descriptor"
	"github.com/msup/msup/supervisor/lease"
)

// privilegeFlags say whether a run that root has begun goes on as root.
type privilegeFlags struct {
	mode string
	user string
}

// The values of --privileges.
const (
	privilegesAuto     = "auto"
	privilegesSeparate = "separate"
	privilegesKeep     = "keep"
)

func (f *privilegeFlags) register(c *cobra.Command) {
	c.Flags().StringVar(&f.mode, "privileges", envOr("MSUP_PRIVILEGES", privilegesAuto),
		"begun as root: separate (a helper keeps root, the supervisor gives it up before the first event), keep, or auto (separate where nothing stands against it)")
	c.Flags().StringVar(&f.user, "user", os.Getenv("MSUP_USER"),
		fmt.Sprintf("whom the supervisor becomes (default: the owner of the state directory, else the user msup, else the id %d)", privilege.DefaultID))
}

// wanted reports whether this process has root to give up, and is to.
func (f privilegeFlags) wanted() (bool, error) {
	switch f.mode {
	case "", privilegesKeep: // verbs that end with their answer do not register the flag
		return false, nil
	case privilegesAuto, privilegesSeparate:
		return os.Geteuid() == 0, nil
	}
	return false, fmt.Errorf("%w: --privileges %q: write auto, separate or keep", errUsage, f.mode)
}

// dialer connects to the sockets of others: with this process's rights, or, once those are given up, with the helper's.
type dialer struct{ helper atomic.Pointer[warden.Client] }

func (d *dialer) dial(ctx context.Context, socket string) (net.Conn, error) {
	if h := d.helper.Load(); h != nil {
		return h.Dial(ctx, socket)
	}
	var plain net.Dialer
	return plain.DialContext(ctx, "unix", socket)
}

// separate gives up root, once and for all, when everything is open that only root could open: packages, interpreter, engine, leases, the
// feed. What comes after, from the ledger on, has the rights of an unprivileged user (SB-6).
func (r *runner) separate(ctx context.Context, h *host, f *deploymentFlags, out string) error {
	if h.helper == nil {
		return nil
	}
	w := r.wiring
	u, err := privilege.Choose(f.privileges.user, f.namedState(r.deployment))
	if err != nil {
		return exit(exitUsage, "%w", err)
	}
	own, err := statedb.Own(w.stateDir)
	if err != nil {
		return err
	}
	if len(own) > 0 && statedb.InUse(w.stateDir) {
		return nil // opening it says who has it, and nothing is started
	}
	if err := r.reachable(u, f, own); err != nil {
		err = &sandbox.Error{Reason: ipc.ReasonPrivilegesKept, Op: "give up root and become user " + u.String(), Err: err,
			Remedy: "let it pass (chmod o+x on the folders above), name another place, name a user who may with --user, or say --privileges keep"}
		if f.privileges.mode == privilegesSeparate {
			return err
		}
		h.log.Warn("the supervisor keeps root", "err", err)
		return nil
	}
	if err := w.placeAll(ctx, r.deployment.Instances); err != nil {
		return err
	}
	if err := r.permit(ctx, h, f); err != nil {
		return fmt.Errorf("tell the helper what this run may start: %w", err)
	}
	if out != "" {
		if w.out, err = createOut(out); err != nil {
			return err
		}
		r.onClose(w.out.close)
	}
	if err := os.MkdirAll(w.stateDir, 0o700); err != nil {
		return exit(exitState, "making the state directory: %w", err)
	}
	if err := privilege.HandOver(u, w.stateDir, own); err != nil {
		return exit(exitState, "%w; or say --privileges keep", err)
	}
	if err := h.helper.Seal(ctx); err != nil {
		return err
	}
	if err := privilege.Drop(u); err != nil {
		return exit(exitSandbox, "%w; say --privileges keep where this host does not have it", err)
	}
	r.app.dialer.helper.Store(h.helper)
	h.log.Info("gave up root", "user", u.String(), "helper", h.helper.PID())
	return nil
}

// namedState is the state directory that somebody named; "" where the run makes one of its own.
func (f *deploymentFlags) namedState(d *descriptor.Deployment) string {
	if f.state != "" {
		return f.state
	}
	return d.Run.StateDir
}

// reachable looks whether the user can get to all that the run needs later on.
func (r *runner) reachable(u privilege.User, f *deploymentFlags, own []string) error {
	// The heartbeat looks whether its file is still there; the names in the folder say nothing, the files stay closed.
	dir := f.lease.dir
	if info, err := os.Stat(dir); err != nil {
		return err
	} else if err := os.Chmod(dir, info.Mode().Perm()|0o011); err != nil {
		return fmt.Errorf("open the lease directory for passing: %w", err)
	}
	state := r.wiring.stateDir
	return privilege.Try(u, func() error {
		for _, d := range r.deployment.Instances {
			if _, err := os.Lstat(filepath.Join(dir, lease.FileName(d.Address))); err != nil {
				return err
			}
		}
		if _, err := os.Lstat(state); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		// Links lead to places that somebody chose, and that stay whose they are.
		for _, name := range own {
			inside := filepath.Join(state, name)
			if info, err := os.Lstat(inside); err != nil || info.Mode().Type() != fs.ModeSymlink {
				continue
			}
			if err := unix.Faccessat(unix.AT_FDCWD, inside, unix.R_OK|unix.W_OK, unix.AT_EACCESS); err != nil {
				return fmt.Errorf("write behind the link %s: %w", inside, err)
			}
		}
		if r.fresh { // it has to be removed at the end
			probe, err := os.MkdirTemp(filepath.Dir(state), freshPrefix+"probe-")
			if err := errors.Join(err, os.RemoveAll(probe)); err != nil {
				return err
			}
		}
		// The simulated I is this program, and is started again when it dies.
		if err := unix.Faccessat(unix.AT_FDCWD, "/proc/self/exe", unix.X_OK, unix.AT_EACCESS); err != nil {
			return fmt.Errorf("execute this program: %w", err)
		}
		return readable(f.reads)
	})
}

// readable looks whether every file of a feed can be opened: those of a folder are opened one after the other, as the feed comes to them.
func readable(feed string) error {
	if feed == "" {
		return nil
	}
	return filepath.WalkDir(feed, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		return f.Close()
	})
}

// placeAll chooses where every runner of the run will be started, while that can still be prepared.
func (w *wiring) placeAll(ctx context.Context, instances []descriptor.Instance) error {
	placed := map[ipc.Address]start{}
	for _, d := range instances {
		p, ok := w.packages[d.Package.Hash]
		if !ok {
			return fmt.Errorf("%s: package %.16s… was not opened", d.Address, d.Package.Hash)
		}
		s, err := w.place.of(ctx, d, p, w.spec(d))
		if err != nil {
			return err
		}
		s.lives = 1
		placed[s.spec.Address] = s
		if err := w.placeServices(ctx, d, placed); err != nil {
			return err
		}
		if d.Descriptor.Compute.Entry == "" {
			continue
		}
		if s, err = w.placePart(ctx, d, p); err != nil {
			return fmt.Errorf("%s: the compute part: %w", d.Address, err)
		}
		s.lives = int(d.Descriptor.Compute.Runners)
		placed[s.spec.Address] = s
	}
	w.place.placed = placed
	return nil
}

// permit tells the helper what the run may start and connect to later on; nothing else will be possible.
func (r *runner) permit(ctx context.Context, h *host, f *deploymentFlags) error {
	for address, s := range r.wiring.place.placed {
		box, ok := s.in.(*warden.Box)
		if !ok {
			return fmt.Errorf("%s: its sandbox %s is none of the helper's", address, s.box)
		}
		if err := box.Permit(ctx, s.spec, s.lives); err != nil {
			return err
		}
	}
	b := r.deployment.Boundary
	sockets := append(serviceSockets(r.deployment.Instances), f.execution, f.risk, f.market, b.Execution, b.Risk, b.Market)
	for _, socket := range sockets {
		if socket == "" {
			continue
		}
		if err := h.helper.PermitSocket(ctx, socket); err != nil {
			return err
		}
	}
	return nil
}

// rights is what msup doctor says of whom a run becomes.
type rights struct {
	Separated  bool   `json:"separated"`  // msup run gives up root
	Supervisor string `json:"supervisor"` // user of the process that trades
	Helper     string `json:"helper,omitempty"`
	Detail     string `json:"detail"`
	Remedy     string `json:"remedy,omitempty"`
}

// examineRights says under which users a run of this process's would go on.
func examineRights() rights {
	if euid := os.Geteuid(); euid != 0 {
		return rights{Supervisor: fmt.Sprint(euid), Detail: "begun without root there is none to give up, and no helper: runners have the supervisor's user id, and no control groups unless they are delegated",
			Remedy: "begin msup run as root: it gives root up itself"}
	}
	u, err := privilege.Choose(os.Getenv("MSUP_USER"), "")
	if err == nil {
		err = privilege.Try(u, func() error { return nil })
	}
	if err != nil {
		return rights{Supervisor: "root", Detail: err.Error(), Remedy: "name a user that this host has with --user, or add one: useradd --system " + privilege.Account}
	}
	return rights{Separated: true, Supervisor: u.String(), Helper: "root",
		Detail: "the supervisor has no capability and no_new_privs before the first event; a helper keeps root for processes, containers, control groups and mounts"}
}
