package container

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// shimProcess is a shim that runs.
type shimProcess struct {
	pid     int
	id      string   // of the task for which it was started
	sockets []string // on which it listens
}

// shims finds the shims of this daemon. Only root's processes are looked at: what a strategy writes over its own command line says nothing.
func (d *Daemon) shims() ([]shimProcess, error) {
	paths, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, fmt.Errorf("look for shims: %w", err)
	}
	var all []shimProcess
	for _, path := range paths {
		pid, err := strconv.Atoi(filepath.Base(path))
		if err != nil {
			continue
		}
		if id, ok := d.shimID(pid); ok {
			all = append(all, shimProcess{pid: pid, id: id})
		}
	}
	if len(all) == 0 {
		return nil, nil
	}
	listening, err := listeners()
	if err != nil {
		return nil, err
	}
	for i := range all {
		all[i].sockets = socketsOf(all[i].pid, listening)
	}
	return all, nil
}

// shimID tells whether a process is a shim of this daemon, and of which task. One that has ended is none.
func (d *Daemon) shimID(pid int) (id string, ok bool) {
	dir := fmt.Sprintf("/proc/%d", pid)
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil || st.Uid != 0 {
		return "", false
	}
	line, err := os.ReadFile(filepath.Join(dir, "cmdline"))
	if err != nil {
		return "", false
	}
	args := strings.Split(string(line), "\x00")
	if !strings.HasPrefix(filepath.Base(args[0]), "containerd-shim-runc-v") {
		return "", false
	}
	said := map[string]string{}
	for i := 1; i+1 < len(args); i++ {
		said[args[i]] = args[i+1]
	}
	id = said["-id"]
	return id, said["-namespace"] == Namespace && said["-address"] == d.address && recordName.MatchString(id+".json")
}

// listeners are the paths of the listening unix sockets of this machine, by inode.
func listeners() (map[string]string, error) {
	const listens = "00010000" // __SO_ACCEPTCON
	text, err := os.ReadFile("/proc/net/unix")
	if err != nil {
		return nil, fmt.Errorf("look for the shims' sockets: %w", err)
	}
	found := map[string]string{}
	for line := range strings.Lines(string(text)) {
		// Num RefCount Protocol Flags Type St Inode Path
		if f := strings.Fields(line); len(f) == 8 && f[3] == listens {
			found[f[6]] = f[7]
		}
	}
	return found, nil
}

// socketsOf are the paths at which a process listens.
func socketsOf(pid int, listening map[string]string) (paths []string) {
	links, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	if err != nil {
		return nil
	}
	for _, link := range links {
		target, err := os.Readlink(link)
		if err != nil {
			continue // it is closed by now
		}
		inode, ok := strings.CutPrefix(strings.TrimSuffix(target, "]"), "socket:[")
		if path := listening[inode]; ok && path != "" {
			paths = append(paths, path)
		}
	}
	return paths
}

// end kills the shim and removes its sockets.
func (s shimProcess) end() error {
	fd, err := unix.PidfdOpen(s.pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("hold shim %d: %w", s.pid, err)
	}
	defer unix.Close(fd)
	// Looked at again after the pidfd is held: from here on it cannot become another process.
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", s.pid))
	if err != nil || !strings.Contains(string(line), "\x00-id\x00"+s.id+"\x00") {
		return nil
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("end shim %d: %w", s.pid, err)
	}
	if err := waitPidfd(fd, stopTimeout); err != nil {
		return fmt.Errorf("end shim %d: %w", s.pid, err)
	}
	var errs []error
	for _, path := range s.sockets {
		errs = append(errs, dropShimSocket(path))
	}
	return errors.Join(errs...)
}

// shimAddress reads where a task's shim listens: containerd 2 writes it in one form, and a shim of 1.6 and 1.7 in another. "" when it cannot be told.
func shimAddress(bundle string) string {
	var at struct {
		Address string `json:"address"`
	}
	text, err := os.ReadFile(filepath.Join(bundle, "bootstrap.json"))
	if err != nil || json.Unmarshal(text, &at) != nil || at.Address == "" {
		if text, err = os.ReadFile(filepath.Join(bundle, "address")); err != nil {
			return ""
		}
		at.Address = string(text)
	}
	path, ok := strings.CutPrefix(strings.TrimSpace(at.Address), "unix://")
	if !ok || !filepath.IsAbs(path) {
		return ""
	}
	return path
}
