package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/sandbox"
	"golang.org/x/sys/unix"
)

// Config says where groups are made.
type Config struct {
	Parent string // name of the top group; "" means "msup"
	// Shallow puts the groups of v1's cpu hierarchy as near to the top as the lanes allow, and makes none in a cpuacct hierarchy of its
	// own: Usage.CPU is then -1. The scheduler walks every level of both at every switch, 0.7 µs a level of a round trip of 20.
	// Container runtimes want one path in all hierarchies.
	Shallow bool
}

// hierarchy is one place where a group directory is made.
type hierarchy struct {
	base        string   // directory that holds the parent group
	v2          bool     //
	controllers []string // what it carries for us
}

// Manager makes groups. Its methods may be called from any goroutine.
type Manager struct {
	layout      Layout
	parent      string
	shallow     bool
	hierarchies []hierarchy
	why         map[string]string // controller → why it does not stand

	mkdir func(string) error // os.Mkdir, except where a test imitates the kernel's files
	rmdir func(string) error
}

// The lane weights (NN-4). On v1 they are shares, of which 2 is the least the kernel takes.
var (
	sharesV1 = map[ipc.Lane]string{ipc.LaneLL: "10240", ipc.LaneCompute: "2"}
	weightV2 = map[ipc.Lane]string{ipc.LaneLL: "100", ipc.LaneCompute: "1"}
)

// Of shallow groups every low-latency instance keeps the 1024 that a new group has, like any process of the host, and the whole compute
// lane gets a hundredth of it. More for low-latency would be taken from the supervisor, which it waits for: with 10240 a round trip took
// 22 µs instead of 19.
const sharesShallowCompute = "10"

// New finds out what this process may create. A host without usable control groups is no error: see Walls.
func New(cfg Config) (*Manager, error) {
	layout, err := Detect()
	if err != nil {
		return nil, err
	}
	m := &Manager{layout: layout, parent: cfg.Parent, shallow: cfg.Shallow,
		mkdir: func(p string) error { return os.Mkdir(p, 0o755) }, rmdir: unix.Rmdir}
	return m, m.probe()
}

// probe chooses a base in every hierarchy and checks that the lane groups can be made and weighted there.
func (m *Manager) probe() error {
	if m.parent == "" {
		m.parent = "msup"
	}
	if strings.ContainsRune(m.parent, '/') || m.parent == ".." || m.parent == "." {
		return fmt.Errorf("control group parent %q: choose a plain name", m.parent)
	}
	m.why = map[string]string{}
	byMount := map[string][]string{}
	for _, c := range []string{memory, cpu, cpuacct, pids, freezer} {
		if point, ok := m.layout.V1[c]; ok {
			byMount[point] = append(byMount[point], c)
		} else if !slices.Contains(m.layout.V2, c) {
			m.why[c] = "the kernel offers no " + c + " controller in any mounted hierarchy"
		}
	}
	if point := m.layout.V1[cpuacct]; m.shallow && len(byMount[point]) == 1 {
		delete(byMount, point)
	}
	for point, cs := range byMount {
		m.use(hierarchy{controllers: cs}, point, m.layout.self[cs[0]])
	}
	if m.layout.Unified != "" {
		var cs []string
		for _, c := range m.layout.V2 {
			if _, taken := m.layout.V1[c]; !taken && slices.Contains([]string{memory, cpu, pids}, c) {
				cs = append(cs, c)
			}
		}
		m.use(hierarchy{v2: true, controllers: cs}, m.layout.Unified, m.layout.self[""])
	}
	slices.SortFunc(m.hierarchies, func(a, b hierarchy) int { return strings.Compare(a.base, b.base) })
	return nil
}

// use tries the top of a hierarchy first, as container engines do, then the group this process was delegated.
func (m *Manager) use(h hierarchy, point, self string) {
	var why string
	for _, base := range slices.Compact([]string{point, given(point, self)}) {
		h.base = base
		err := m.lanes(h)
		m.dropLanes(h)
		if err == nil {
			m.hierarchies = append(m.hierarchies, h)
			return
		}
		if why != "" {
			why += "; and "
		}
		why += fmt.Sprintf("cannot make groups under %s: %v", base, err)
	}
	for _, c := range h.controllers {
		m.why[c] = why
	}
	if h.v2 {
		m.why["unified"] = why
	}
}

// lifted tells whether the groups of a hierarchy leave out the levels that only order them.
func (m *Manager) lifted(h hierarchy) bool {
	return m.shallow && !h.v2 && !slices.ContainsFunc(h.controllers, func(c string) bool { return c != cpu && c != cpuacct })
}

// leaf is the directory of a runner's group.
func (m *Manager) leaf(h hierarchy, lane ipc.Lane, id string) string {
	switch {
	case !m.lifted(h):
		return filepath.Join(h.base, m.parent, lane.String(), id)
	case lane == ipc.LaneLL:
		return filepath.Join(h.base, m.parent+"-"+id)
	}
	return filepath.Join(m.computeLane(h), id)
}

// computeLane is the parent of the compute lane in a lifted hierarchy.
func (m *Manager) computeLane(h hierarchy) string { return filepath.Join(h.base, m.parent+"-compute") }

// lanes makes the parent and lane groups of one hierarchy and gives the lanes their weights.
func (m *Manager) lanes(h hierarchy) error {
	if m.lifted(h) {
		dir := m.computeLane(h)
		if err := m.ensure(dir); err != nil || !slices.Contains(h.controllers, cpu) {
			return err
		}
		return write(dir, "cpu.shares", sharesShallowCompute)
	}
	top := filepath.Join(h.base, m.parent)
	if err := m.ensure(top); err != nil {
		return err
	}
	if h.v2 {
		for _, dir := range []string{h.base, top} {
			if err := m.enable(dir, h.controllers); err != nil {
				return err
			}
		}
	}
	for _, lane := range []ipc.Lane{ipc.LaneLL, ipc.LaneCompute} {
		dir := filepath.Join(top, lane.String())
		if err := m.ensure(dir); err != nil {
			return err
		}
		var err error
		if h.v2 {
			if err = m.enable(dir, h.controllers); err == nil && slices.Contains(h.controllers, cpu) {
				err = write(dir, "cpu.weight", weightV2[lane])
			}
		} else if slices.Contains(h.controllers, cpu) {
			err = write(dir, "cpu.shares", sharesV1[lane])
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (m *Manager) ensure(dir string) error {
	err := m.mkdir(dir)
	if errors.Is(err, fs.ErrExist) {
		// Another user's supervisor may have made it: then it is there, and closed to this one.
		if err = unix.Access(dir, unix.W_OK); errors.Is(err, unix.ENOENT) {
			err = m.mkdir(dir) // its last user removed it in between
		}
	}
	if err != nil {
		return fmt.Errorf("make control group %s: %w", dir, err)
	}
	return nil
}

// enable hands controllers to the children of a v2 group, all by one write. A group that holds processes can have no such children: the kernel
// refuses memory with EBUSY, but lets the threaded controllers (cpu, pids) pass, and from then on refuses memory for good (EOPNOTSUPP) and
// every process in a child. So who is inside is looked at first.
func (m *Manager) enable(dir string, controllers []string) error {
	if len(controllers) == 0 {
		return nil
	}
	if err := m.leave(dir); err != nil {
		return err
	}
	return write(dir, "cgroup.subtree_control", "+"+strings.Join(controllers, " +"))
}

// supervisorLeaf is where a supervisor goes that was alone in the group it was given.
const supervisorLeaf = "supervisor"

// leave empties a group whose only process is this one. The root of the hierarchy, which has no type, may have processes.
func (m *Manager) leave(dir string) error {
	if _, err := os.Stat(filepath.Join(dir, "cgroup.type")); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	inside, err := readPIDs(dir)
	if err != nil || len(inside) == 0 {
		return err
	}
	if len(inside) != 1 || inside[0] != os.Getpid() {
		return fmt.Errorf("control group %s holds other processes than this one, %d in all, so groups in it cannot have limits", dir, len(inside))
	}
	leaf := filepath.Join(dir, supervisorLeaf)
	if err := m.ensure(leaf); err != nil {
		return err
	}
	return write(leaf, "cgroup.procs", strconv.Itoa(os.Getpid()))
}

// given is the group that this process was given. It may have left that for a leaf already, or have been started by who has.
func given(point, self string) string {
	dir := filepath.Join(point, self)
	if filepath.Base(dir) == supervisorLeaf && dir != point {
		return filepath.Dir(dir)
	}
	return dir
}

// Close removes the lane and parent groups where they are empty.
func (m *Manager) Close() error {
	for _, h := range m.hierarchies {
		m.dropLanes(h)
	}
	return nil
}

func (m *Manager) dropLanes(h hierarchy) {
	if m.lifted(h) {
		m.dropEmpty(m.computeLane(h))
		return
	}
	top := filepath.Join(h.base, m.parent)
	for _, lane := range []ipc.Lane{ipc.LaneLL, ipc.LaneCompute} {
		m.dropEmpty(filepath.Join(top, lane.String()))
	}
	m.dropEmpty(top)
}

// dropEmpty removes a group that nobody uses; one in use stays, which is no error.
func (m *Manager) dropEmpty(dir string) { _ = m.rmdir(dir) }

// Parent is the name of the top group.
func (m *Manager) Parent() string { return m.parent }

// Layout is what was detected.
func (m *Manager) Layout() Layout { return m.layout }

// has tells whether a controller stands, and in which form.
func (m *Manager) has(controller string) (v2, ok bool) {
	for _, h := range m.hierarchies {
		if slices.Contains(h.controllers, controller) {
			return h.v2, true
		}
	}
	return false, false
}

// HasMemory tells whether the memory wall stands; where it does not, the process sandbox uses RLIMIT_AS.
func (m *Manager) HasMemory() bool { _, ok := m.has(memory); return ok }

// HasPIDs tells whether the pids wall stands.
func (m *Manager) HasPIDs() bool { _, ok := m.has(pids); return ok }

// Walls tells which walls the host's control groups give.
func (m *Manager) Walls() []sandbox.Wall {
	const remedy = "run as root, or under systemd with Delegate=yes and the memory, cpu and pids controllers enabled"
	wall := func(name, controller string) sandbox.Wall {
		v2, ok := m.has(controller)
		if !ok {
			return sandbox.Wall{Name: name, Detail: m.why[controller], Remedy: remedy}
		}
		detail := fmt.Sprintf("cgroup v1 %s (%s host)", controller, m.layout.Kind)
		if v2 {
			detail = fmt.Sprintf("cgroup v2 %s (%s host)", controller, m.layout.Kind)
		}
		return sandbox.Wall{Name: name, Standing: true, Detail: detail}
	}
	kill := sandbox.Wall{Name: sandbox.WallKill, Standing: true, Detail: "pid namespace; SIGKILL to its init through a pidfd"}
	if m.unified() {
		kill.Detail += ", and cgroup.kill"
	} else if _, ok := m.has(freezer); ok {
		kill.Detail += ", and the v1 freezer"
	}
	return []sandbox.Wall{wall(sandbox.WallMemory, memory), wall(sandbox.WallCPU, cpu), wall(sandbox.WallPIDs, pids),
		wall(sandbox.WallLaneWeight, cpu), kill}
}

func (m *Manager) unified() bool {
	return slices.ContainsFunc(m.hierarchies, func(h hierarchy) bool { return h.v2 })
}
