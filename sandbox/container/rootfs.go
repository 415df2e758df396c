package container

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"github.com/msup/msup/sandbox"
	"github.com/msup/msup/sandbox/folder"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// A runner's root is read-only and holds nothing of its own but the places that others are mounted on. Without an image
// it is a folder of such empty places (the skeleton) and everything comes by binds. With an image the skeleton lies over
// the image's layers, so that every image will do, whether its maker knew msup's places or not.

// place is something that is mounted inside.
type place struct {
	mount  specs.Mount
	source string // host path, resolved; "" for a file system of the sandbox's own
	dir    bool
}

// ownPlaces are the file systems that belong to every runner.
func ownPlaces(l sandbox.Limits) []place {
	own := func(target, kind string, options ...string) place {
		return place{dir: true, mount: specs.Mount{Destination: target, Type: kind, Source: kind, Options: options}}
	}
	return []place{
		// subset=pid hides everything but processes: no /proc/sys, kcore, kallsyms, meminfo.
		own("/proc", "proc", "ro", "nosuid", "nodev", "noexec", "subset=pid", "hidepid=2"),
		own("/proc", "proc", "ro", "nosuid", "nodev", "noexec"), // over it, for runc's init only: see proc.go
		own("/dev", "tmpfs", "ro", "nosuid", "noexec", "mode=0755", "size=64k", "nr_inodes=64"),
		own("/tmp", "tmpfs", "nosuid", "nodev", "noexec", fmt.Sprintf("size=%d", l.TmpBytes), fmt.Sprintf("nr_inodes=%d", l.TmpInodes),
			"mode=0700", fmt.Sprintf("uid=%d", innerID), fmt.Sprintf("gid=%d", innerID)),
	}
}

// places resolves all that a spec wants to see, outer places before those inside them.
func places(spec sandbox.Spec, socketDir string) ([]place, error) {
	out := ownPlaces(spec.Limits)
	if spec.NeedSocket {
		out = append(out, bound(sandbox.SocketDir, socketDir, true, true, true))
	}
	for _, b := range spec.Binds {
		p, ok, err := bind(b)
		if err != nil {
			return nil, err
		}
		if ok {
			out = append(out, p)
		}
	}
	for _, w := range spec.Writable {
		if w.Source != "" {
			out = append(out, bound(w.Target, w.Source, true, true, false))
			continue
		}
		out = append(out, place{dir: true, mount: specs.Mount{Destination: w.Target, Type: "tmpfs", Source: "tmpfs",
			Options: []string{"nosuid", "nodev", "noexec", fmt.Sprintf("size=%d", w.Bytes), "mode=0700", fmt.Sprintf("uid=%d", innerID), fmt.Sprintf("gid=%d", innerID)}}})
	}
	slices.SortStableFunc(out, func(a, b place) int {
		return strings.Count(a.mount.Destination, "/") - strings.Count(b.mount.Destination, "/")
	})
	for i, p := range out[1:] {
		if p.mount.Type != "proc" && slices.ContainsFunc(out[:i+1], func(o place) bool { return o.mount.Destination == p.mount.Destination }) {
			return nil, specError("mount "+p.mount.Destination, errors.New("two things are to be mounted there"), "drop one of them")
		}
	}
	return out, nil
}

func specError(op string, err error, remedy string) error {
	return &sandbox.Error{Reason: sandbox.ReasonSpec, Op: op, Err: err, Remedy: remedy}
}

// bound makes a bind mount. The r-forms hold for what is mounted below the source, too (Linux 5.12).
func bound(target, source string, dir, noExec, readOnly bool) place {
	options := []string{"rbind", "rprivate", "rnosuid", "rnodev"}
	if readOnly {
		options = append(options, "rro")
	}
	if noExec {
		options = append(options, "rnoexec")
	}
	return place{source: source, dir: dir, mount: specs.Mount{Destination: target, Source: source, Type: "bind", Options: options}}
}

// bind resolves one bind. A runner has a foreign user id.
func bind(b sandbox.Bind) (place, bool, error) {
	at, ok, err := folder.Resolve(b, true)
	if !ok || err != nil {
		return place{}, false, err
	}
	return bound(at.Target, at.Source, at.Dir, b.NoExec, true), true, nil
}

// layersOf are the folders of an image's read-only view, the uppermost first.
func layersOf(mounts []mount.Mount) ([]string, error) {
	if len(mounts) == 1 && (mounts[0].Type == "bind" || mounts[0].Type == "overlay") {
		if mounts[0].Type == "bind" {
			return []string{mounts[0].Source}, nil
		}
		for _, o := range mounts[0].Options {
			if lower, ok := strings.CutPrefix(o, "lowerdir="); ok {
				return strings.Split(lower, ":"), nil
			}
		}
	}
	return nil, &sandbox.Error{Reason: sandbox.ReasonSetupFailed, Op: "read the image's layers", Err: fmt.Errorf("the snapshotter gave %+v", mounts),
		Remedy: "use containerd's overlayfs snapshotter"}
}

// lookUp finds a path in layers as the kernel would, without following links. fs.ErrNotExist says that it is missing.
func lookUp(layers []string, target string) (fs.FileInfo, error) {
	var found fs.FileInfo
	at := "/"
	for _, name := range strings.Split(strings.Trim(target, "/"), "/") {
		at = path.Join(at, name)
		found = nil
		for _, layer := range layers {
			st, err := os.Lstat(filepath.Join(layer, at))
			if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
				continue
			}
			if err != nil {
				return nil, fmt.Errorf("look for %s in the image: %w", at, err)
			}
			if st.Mode()&fs.ModeCharDevice == 0 { // a whiteout: a layer above took it away
				found = st
			}
			break
		}
		if found == nil {
			return nil, fs.ErrNotExist
		}
		if found.Mode()&fs.ModeSymlink != 0 {
			return found, nil
		}
	}
	return found, nil
}

// skeleton makes the empty places in root. Over an image it makes only those that the image lacks; it tells whether it
// made any.
func skeleton(root string, layers []string, all []place) (made bool, err error) {
	for i, p := range all {
		target := p.mount.Destination
		if inside := outer(all[:i], target); inside != nil {
			if err := insideExists(*inside, p); err != nil {
				return made, err
			}
			continue
		}
		st, err := lookUp(layers, target)
		switch {
		case err == nil && st.Mode()&fs.ModeSymlink == 0 && st.IsDir() == p.dir:
			continue
		case err == nil:
			return made, specError("mount "+target, fmt.Errorf("the image has a %s there, or a link on the way", st.Mode().Type()),
				"choose a place that the image does not use")
		case !errors.Is(err, fs.ErrNotExist):
			return made, err
		}
		if err := makePlace(filepath.Join(root, target), p.dir); err != nil {
			return made, fmt.Errorf("make the place for %s: %w", target, err)
		}
		made = true
	}
	return made, nil
}

// outer is the bind that a target lies in; nil when it lies in the root itself.
func outer(before []place, target string) *place {
	for i := len(before) - 1; i >= 0; i-- {
		if strings.HasPrefix(target, before[i].mount.Destination+"/") {
			return &before[i]
		}
	}
	return nil
}

// insideExists checks a place inside another bind: it must be there as a plain folder or file, since binds are read-only,
// and no link may lead it elsewhere.
func insideExists(inside, p place) error {
	if inside.source == "" {
		return nil // a file system of the sandbox's own: runc makes the place in it
	}
	rest := strings.TrimPrefix(p.mount.Destination, inside.mount.Destination)
	st, err := lookUp([]string{inside.source}, rest)
	if err == nil && (st.Mode()&fs.ModeSymlink != 0 || st.IsDir() != p.dir) {
		err = fmt.Errorf("it is a %s, or a link is on the way", st.Mode().Type())
	}
	if err != nil {
		return specError("mount "+p.mount.Destination, err, "a place inside another bind must exist there as a plain file or folder, since binds are read-only")
	}
	return nil
}

func makePlace(at string, dir bool) error {
	parent := filepath.Dir(at)
	if dir {
		parent = at
	}
	if err := mkdirAllOpen(parent); err != nil || dir {
		return err
	}
	f, err := os.OpenFile(at, os.O_CREATE|os.O_EXCL|os.O_RDONLY, 0o644)
	if err != nil {
		return err
	}
	return f.Close()
}

// mkdirAllOpen makes folders that every user may enter, whatever the umask is.
func mkdirAllOpen(dir string) error {
	if st, err := os.Lstat(dir); err == nil {
		if !st.IsDir() {
			return fmt.Errorf("%s is a %s", dir, st.Mode().Type())
		}
		return nil
	}
	if err := mkdirAllOpen(filepath.Dir(dir)); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	return os.Chmod(dir, 0o755)
}

// imageRoot is the read-only view of an image that its runners share.
type imageRoot struct {
	digest string
	layers []string
}

// openImage finds an image that was imported and unpacked, and makes its read-only view.
func (d *Daemon) openImage(ctx context.Context, ref, snapshotter string) (*imageRoot, error) {
	ctx, cancel := d.bound(ctx)
	defer cancel()
	op := "use image " + printable(ref)
	img, err := d.client.GetImage(ctx, ref)
	if errdefs.IsNotFound(err) {
		return nil, &sandbox.Error{Reason: sandbox.ReasonSetupFailed, Op: op, Err: err, Remedy: "make or import it first: msup image build"}
	}
	if err != nil {
		return nil, d.failed(op, err)
	}
	if err := d.checkPlatform(ctx, img.Target(), ref); err != nil {
		return nil, d.failed(op, err)
	}
	diffs, err := img.RootFS(ctx)
	if err != nil {
		return nil, d.failed(op, err)
	}
	if len(diffs) == 0 {
		return nil, &sandbox.Error{Reason: sandbox.ReasonSetupFailed, Op: op, Err: errors.New("it has no layer"), Remedy: "build an image with a Python interpreter in it"}
	}
	parent := chainID(diffs)
	key := "msup-view-" + strings.TrimPrefix(parent, "sha256:")
	snap := d.client.SnapshotService(snapshotter)
	mounts, err := snap.View(ctx, key, parent, snapshots.WithLabels(map[string]string{"containerd.io/gc.root": "msup"}))
	if errdefs.IsAlreadyExists(err) {
		mounts, err = snap.Mounts(ctx, key)
	}
	if errdefs.IsNotFound(err) {
		return nil, &sandbox.Error{Reason: sandbox.ReasonSetupFailed, Op: op, Err: fmt.Errorf("it is not unpacked: %w", err), Remedy: "import it again: msup image build"}
	}
	if err != nil {
		return nil, d.failed(op, err)
	}
	layers, err := layersOf(mounts)
	if err != nil {
		return nil, err
	}
	return &imageRoot{digest: img.Target().Digest.String(), layers: layers}, nil
}

// root makes the root of one runner in dir: the path for the specification and what has to be mounted there.
func (i *imageRoot) root(dir string, all []place) (string, []mount.Mount, error) {
	var layers []string
	if i != nil {
		layers = i.layers
	}
	base := filepath.Join(dir, "root")
	if err := mkdirAllOpen(base); err != nil {
		return "", nil, fmt.Errorf("make the runner's root: %w", err)
	}
	made, err := skeleton(base, layers, all)
	if err != nil || i == nil {
		return base, nil, err
	}
	if made {
		layers = append([]string{base}, layers...)
	}
	if len(layers) == 1 {
		return "rootfs", []mount.Mount{{Type: "bind", Source: layers[0], Options: []string{"rbind", "ro"}}}, nil
	}
	return "rootfs", []mount.Mount{{Type: "overlay", Source: "overlay", Options: []string{"lowerdir=" + strings.Join(layers, ":")}}}, nil
}
