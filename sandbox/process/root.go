package process

import (
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// The places of the host that the new root may cover while it is built, in this order: the first that exists.
var stagingDirs = []string{"/tmp", "/mnt", "/run", "/var"}

// devices are shown in /dev. They are bound, since a user namespace cannot make them.
var devices = []string{"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"}

// buildRoot makes the root that the strategy sees and enters it. It returns why /proc is missing, if it is.
func buildRoot(o orders) (procMissing string, err error) {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return "", step("make the mounts private", remedyUserNS, err)
	}
	// All sources are opened before anything is covered.
	trees := make([]int, len(o.Mounts))
	for i, m := range o.Mounts {
		switch {
		case m.Tmpfs > 0:
			trees[i] = -1
		case m.FD > 0:
			trees[i] = m.FD
		default:
			if trees[i], err = openTree(m); err != nil {
				return "", err
			}
		}
	}
	base, err := stage()
	if err != nil {
		return "", err
	}
	root, err := unix.Open(base, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", step("open the new root", "", err)
	}
	for _, dir := range []string{"/proc", "/dev", "/tmp", "/run"} {
		if err := os.Mkdir(base+dir, 0o755); err != nil {
			return "", step("make "+dir, "", err)
		}
	}
	if procMissing, err = mountOwn(base, o); err != nil {
		return "", err
	}
	for i, m := range o.Mounts {
		if err := attach(root, trees[i], m); err != nil {
			return "", err
		}
	}
	if err := finishDev(base + "/dev"); err != nil {
		return "", err
	}
	if err := unix.Close(root); err != nil {
		return "", step("close the new root", "", err)
	}
	return procMissing, enter(base)
}

// stage covers a folder of the host, in this mount namespace only, with the tmpfs that becomes the root.
func stage() (string, error) {
	for _, base := range stagingDirs {
		if st, err := os.Stat(base); err != nil || !st.IsDir() {
			continue
		}
		err := unix.Mount("tmpfs", base, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755,size=1m,nr_inodes=4096")
		return base, step("mount the new root", remedyUserNS, err)
	}
	return "", step("mount the new root", "make a folder /tmp", errors.New("the host has none of "+strings.Join(stagingDirs, ", ")))
}

// mountOwn mounts the file systems that belong to the sandbox itself.
func mountOwn(base string, o orders) (procMissing string, err error) {
	const plain = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	// subset=pid hides everything but processes: no /proc/sys, kcore, kallsyms, meminfo. A host whose own /proc is
	// partly masked (an ordinary container) refuses a new one: then there is none, which is no weaker wall.
	if err := unix.Mount("proc", base+"/proc", "proc", plain|unix.MS_RDONLY, "subset=pid,hidepid=2"); err != nil {
		if !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.EINVAL) {
			return "", step("mount /proc", "", err)
		}
		procMissing = fmt.Sprintf("the kernel refuses a new /proc here: %v", err)
	}
	if err := unix.Mount("tmpfs", base+"/dev", "tmpfs", unix.MS_NOSUID|unix.MS_NOEXEC, "mode=0755,size=64k,nr_inodes=64"); err != nil {
		return "", step("mount /dev", "", err)
	}
	opts := fmt.Sprintf("mode=0700,size=%d,nr_inodes=%d", o.TmpBytes, o.TmpInodes)
	if err := unix.Mount("tmpfs", base+"/tmp", "tmpfs", plain, opts); err != nil {
		return "", step("mount /tmp", "", err)
	}
	return procMissing, nil
}

func finishDev(dev string) error {
	for _, l := range [...][2]string{{"/proc/self/fd", "/fd"}, {"/proc/self/fd/0", "/stdin"}, {"/proc/self/fd/1", "/stdout"}, {"/proc/self/fd/2", "/stderr"}} {
		if err := os.Symlink(l[0], dev+l[1]); err != nil {
			return step("fill /dev", "", err)
		}
	}
	err := unix.MountSetattr(unix.AT_FDCWD, dev, 0, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY})
	return step("make /dev read-only", remedyKernel, err)
}

// openTree copies a mount, detached from the host's tree, with the attributes that it has inside.
func openTree(m mount) (int, error) {
	fd, err := unix.OpenTree(unix.AT_FDCWD, m.Source, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
	if err != nil {
		return -1, step("open bind "+m.Source, remedyKernel, err)
	}
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_NOSUID, Propagation: unix.MS_PRIVATE}
	if !m.Writable {
		attr.Attr_set |= unix.MOUNT_ATTR_RDONLY
	}
	if !m.Device {
		attr.Attr_set |= unix.MOUNT_ATTR_NODEV
	}
	if m.NoExec || (m.Writable && !m.Exec) || m.Device {
		attr.Attr_set |= unix.MOUNT_ATTR_NOEXEC
	}
	if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, &attr); err != nil {
		return -1, errors.Join(step("make bind "+m.Source+" read-only", remedyKernel, err), unix.Close(fd))
	}
	return fd, nil
}

// attach puts one mount at its target.
func attach(root, tree int, m mount) error {
	target, err := makeTarget(root, m.Target, m.Dir)
	if err != nil {
		return step("make the place for "+m.Target, "a place inside another bind must exist there as a plain "+kindOf(m.Dir)+", since binds are read-only", err)
	}
	defer unix.Close(target)
	if m.Tmpfs > 0 {
		at := fmt.Sprintf("/proc/self/fd/%d", target)
		err := unix.Mount("tmpfs", at, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, fmt.Sprintf("mode=0700,size=%d", m.Tmpfs))
		return step("mount a tmpfs on "+m.Target, "", err)
	}
	defer unix.Close(tree)
	err = unix.MoveMount(tree, "", target, "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH)
	return step("mount "+m.Target, remedyKernel, err)
}

func kindOf(dir bool) string {
	if dir {
		return "folder"
	}
	return "file"
}

// makeTarget opens the place of a mount, making what is missing. Symbolic links are refused on the way: a package could
// hold one that leads a nested bind elsewhere.
func makeTarget(root int, target string, dir bool) (int, error) {
	at, err := unix.Dup(root)
	if err != nil {
		return -1, err
	}
	parts := strings.Split(strings.TrimPrefix(path.Clean(target), "/"), "/")
	for i, name := range parts {
		wantDir := dir || i < len(parts)-1
		next, err := openOrMake(at, name, wantDir)
		if cerr := unix.Close(at); err == nil {
			err = cerr
		}
		if err != nil {
			return -1, fmt.Errorf("%s: %w", "/"+path.Join(parts[:i+1]...), err)
		}
		at = next
	}
	return at, nil
}

func openOrMake(at int, name string, dir bool) (int, error) {
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_BENEATH}
	if dir {
		how.Flags |= unix.O_DIRECTORY
	}
	fd, err := unix.Openat2(at, name, &how)
	if !errors.Is(err, unix.ENOENT) {
		return fd, err
	}
	if dir {
		err = unix.Mkdirat(at, name, 0o755)
	} else {
		var file int
		if file, err = unix.Openat(at, name, unix.O_CREAT|unix.O_EXCL|unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0o644); err == nil {
			err = unix.Close(file)
		}
	}
	if err != nil {
		return -1, err
	}
	return unix.Openat2(at, name, &how)
}

// enter makes the new root the only one and read-only.
func enter(base string) error {
	if err := os.Chdir(base); err != nil {
		return step("enter the new root", "", err)
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return step("pivot_root", "msup cannot run from an initramfs; use a real root file system", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil { // the old root lies on top of the new one
		return step("leave the host's root", "", err)
	}
	if err := os.Chdir("/"); err != nil {
		return step("enter the new root", "", err)
	}
	err := unix.MountSetattr(unix.AT_FDCWD, "/", 0, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOEXEC})
	return step("make the root read-only", remedyKernel, err)
}

// sortMounts puts outer places before those inside them.
func sortMounts(ms []mount) {
	slices.SortStableFunc(ms, func(a, b mount) int { return strings.Count(a.Target, "/") - strings.Count(b.Target, "/") })
}
