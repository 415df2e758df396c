package pack

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/supervisor/descriptor"
)

const (
	cargoManifest = "Cargo.toml"
	cargoLock     = "Cargo.lock"
)

// Where a build job sees the sources: the strategy with all that it reaches by relative paths, each group of crates that is
// named by an absolute path, and the crates of registries. No path of this machine gets into a binary.
const (
	sourceDir   = "/src"
	otherDir    = "/dep"
	registryDir = "/vendor"
)

// metadata is what is wanted of `cargo metadata`.
type metadata struct {
	Root     string         `json:"workspace_root"`
	Packages []cargoPackage `json:"packages"`
}

type cargoPackage struct {
	Source       *string `json:"source"` // nil for crates of this machine
	ManifestPath string  `json:"manifest_path"`
	Dependencies []struct {
		Path string `json:"path"`
	} `json:"dependencies"`
	Targets []cargoTarget `json:"targets"`
}

type cargoTarget struct {
	Name string   `json:"name"`
	Kind []string `json:"kind"`
}

// crate is the strategy's crate and every crate of this machine that it needs.
type crate struct {
	dir     string // of the strategy, without links
	root    string // of its workspace; dir, where there is none
	targets []cargoTarget
	members []*member
}

// member is a folder with a Cargo.toml.
type member struct {
	host, inside string
	manifest     []byte
	whole        bool // its files are sources; else only its manifest (and lock) count
	group        *member
}

func parseMetadata(data []byte, dir string) (*crate, error) {
	var m metadata
	if err := json.Unmarshal(data, &m); err != nil {
		return nil, fmt.Errorf("read what cargo says of %s: %w", dir, err)
	}
	c := &crate{dir: dir, root: m.Root}
	byDir := map[string]*member{}
	add := func(host string, whole bool) (*member, error) {
		if known, ok := byDir[host]; ok {
			known.whole = known.whole || whole
			return known, nil
		}
		text, err := readPlain(filepath.Join(host, cargoManifest), maxLockBytes)
		if err != nil {
			return nil, refuseFile(filepath.Join(host, cargoManifest), "cannot be used: "+err.Error(), "make it a plain file")
		}
		one := &member{host: host, manifest: text, whole: whole}
		one.group = one
		byDir[host], c.members = one, append(c.members, one)
		return one, nil
	}
	for _, p := range m.Packages {
		if p.Source != nil {
			continue
		}
		one, err := add(filepath.Dir(p.ManifestPath), true)
		if err != nil {
			return nil, err
		}
		if one.host == dir {
			c.targets = p.Targets
		}
	}
	if byDir[dir] == nil {
		return nil, refuseFile(filepath.Join(dir, cargoManifest), "is no package, only a workspace", "name the folder of the strategy's own crate")
	}
	if err := c.workspaces(add); err != nil {
		return nil, err
	}
	c.joinGroups(m.Packages, byDir)
	return c, c.settle()
}

// workspaces adds the manifests that members inherit from, where they are not members themselves.
func (c *crate) workspaces(add func(string, bool) (*member, error)) error {
	for _, one := range slices.Clone(c.members) {
		above := c.root
		if !beneath(one.host, c.root) {
			above = workspaceOf(one)
		}
		if above == "" || above == one.host {
			continue
		}
		root, err := add(above, false)
		if err != nil {
			return err
		}
		one.join(root)
	}
	return nil
}

// workspaceOf looks upwards for the workspace of a crate outside of the strategy's own; "" when there is none.
func workspaceOf(one *member) string {
	if strings.Contains(string(one.manifest), "[workspace") {
		return ""
	}
	for dir := filepath.Dir(one.host); dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		if text, err := readPlain(filepath.Join(dir, cargoManifest), maxLockBytes); err == nil && strings.Contains(string(text), "[workspace") {
			return dir
		}
	}
	return ""
}

func (m *member) leader() *member {
	for m.group != m {
		m = m.group
	}
	return m
}

func (m *member) join(other *member) { m.leader().group = other.leader() }

// joinGroups puts together what reaches each other by relative paths: that must lie inside as it lies outside.
func (c *crate) joinGroups(packages []cargoPackage, byDir map[string]*member) {
	for _, p := range packages {
		from := byDir[filepath.Dir(p.ManifestPath)]
		if p.Source != nil || from == nil {
			continue
		}
		for _, d := range p.Dependencies {
			if to := byDir[filepath.Clean(d.Path)]; d.Path != "" && to != nil && !from.names(to) {
				from.join(to)
			}
		}
	}
	for _, one := range c.members {
		for _, other := range c.members {
			if one != other && beneath(one.host, other.host) {
				one.join(other)
			}
		}
	}
}

// spellings are how a manifest can write an absolute path.
func spellings(dir string) []string {
	return []string{`"` + dir + `"`, `"` + dir + `/"`, `'` + dir + `'`, `'` + dir + `/'`}
}

// names tells whether a manifest gives the absolute path of another crate.
func (m *member) names(other *member) bool {
	return slices.ContainsFunc(spellings(other.host), func(s string) bool { return strings.Contains(string(m.manifest), s) })
}

// settle gives every member its place inside.
func (c *crate) settle() error {
	base := map[*member]string{}
	for _, one := range c.members {
		leader := one.leader()
		if known, ok := base[leader]; ok {
			base[leader] = commonFolder(known, one.host)
		} else {
			base[leader] = one.host
		}
	}
	var leaders []*member
	var own *member
	for _, one := range c.members {
		if one.host == c.dir {
			own = one.leader()
		}
	}
	for leader := range base {
		if leader != own {
			leaders = append(leaders, leader)
		}
	}
	// By their own names first: the place on this machine decides only between crates of the same name.
	slices.SortFunc(leaders, func(a, b *member) int {
		return cmp.Or(cmp.Compare(filepath.Base(base[a]), filepath.Base(base[b])), cmp.Compare(base[a], base[b]))
	})
	for _, one := range c.members {
		at := sourceDir
		if i := slices.Index(leaders, one.leader()); i >= 0 {
			at = path.Join(otherDir, strconv.Itoa(i))
		}
		rel, err := filepath.Rel(base[one.leader()], one.host)
		if err != nil {
			return fmt.Errorf("find the place of %s: %w", one.host, err)
		}
		one.inside = path.Join(at, filepath.ToSlash(rel))
	}
	slices.SortFunc(c.members, func(a, b *member) int { return cmp.Compare(a.inside, b.inside) })
	return nil
}

func beneath(dir, above string) bool {
	return strings.HasPrefix(dir+"/", strings.TrimSuffix(above, "/")+"/")
}

func commonFolder(a, b string) string {
	for !beneath(b, a) {
		a = filepath.Dir(a)
	}
	return a
}

// place is where a folder of this machine is seen inside.
func (c *crate) place(host string) string {
	for _, one := range c.members {
		if one.host == host {
			return one.inside
		}
	}
	return ""
}

// hostPath turns a path of a compiler's message into one of this machine.
func (c *crate) hostPath(name string) string {
	if !path.IsAbs(name) {
		return filepath.Join(c.root, name)
	}
	best := name
	longest := 0
	for _, one := range c.members {
		if beneath(name, one.inside) && len(one.inside) > longest {
			best, longest = filepath.Join(one.host, strings.TrimPrefix(name, one.inside)), len(one.inside)
		}
	}
	return best
}

// notSource are names that are no sources: what tools leave behind, and everything whose name starts with a dot.
func notSource(name string, dir bool) bool {
	return strings.HasPrefix(name, ".") || (dir && slices.Contains([]string{"target", "__pycache__", "node_modules"}, name))
}

// copySources hashes the sources, and copies them below dst unless that is "". Both give the same digest when nothing has changed.
func (c *crate) copySources(dst string) (string, error) {
	sum := sha256.New()
	for _, one := range c.members {
		nested := slices.ContainsFunc(c.members, func(m *member) bool { return m != one && m.whole && beneath(one.host, m.host) })
		if nested {
			continue
		}
		digest, err := one.copy(dst)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(sum, "%s %s\n", one.inside, digest)
	}
	if dst != "" {
		if err := c.rewrite(dst); err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

func (m *member) copy(dst string) (ipc.Digest, error) {
	root, err := os.OpenRoot(m.host)
	if err != nil {
		return ipc.Digest{}, fmt.Errorf("open the sources: %w", err)
	}
	defer root.Close()
	skip := notSource
	if !m.whole { // a workspace's manifest: no folder, and no other file
		skip = func(name string, _ bool) bool { return name != cargoManifest && name != cargoLock }
	}
	nodes, err := scan(root, m.host, codeLimits, skip)
	if err != nil {
		return ipc.Digest{}, err
	}
	if dst != "" {
		dst = filepath.Join(dst, filepath.FromSlash(m.inside))
		if err := os.MkdirAll(dst, 0o755); err != nil {
			return ipc.Digest{}, fmt.Errorf("make a folder for the sources: %w", err)
		}
	}
	_, digest, err := archive(root, nodes, dst, io.Discard)
	return digest, err
}

// rewrite puts the places inside where copied manifests give absolute paths.
func (c *crate) rewrite(dst string) error {
	for _, one := range c.members {
		text := string(one.manifest)
		for _, other := range c.members {
			for i, spelling := range spellings(other.host) {
				text = strings.ReplaceAll(text, spelling, spellings(other.inside)[i])
			}
		}
		if text == string(one.manifest) {
			continue
		}
		file := filepath.Join(dst, filepath.FromSlash(one.inside), cargoManifest)
		if err := errors.Join(os.Remove(file), os.WriteFile(file, []byte(text), 0o444), os.Chmod(file, 0o444)); err != nil {
			return fmt.Errorf("write the copied manifest: %w", err)
		}
	}
	return nil
}

// artifact tells which target of the crate the strategy is: its name for cargo, and the file that cargo makes of it.
func (c *crate) artifact(runtime descriptor.RuntimeKind, entry string) (args []string, file string, err error) {
	manifest := filepath.Join(c.dir, cargoManifest)
	if runtime == descriptor.RuntimeRustWasm {
		for _, t := range c.targets {
			if slices.Contains(t.Kind, "cdylib") {
				return []string{"--lib"}, strings.ReplaceAll(t.Name, "-", "_") + ".wasm", nil
			}
		}
		return nil, "", refuseFile(manifest, "the crate makes no module: it has no library of the type cdylib",
			`write [lib] crate-type = ["cdylib", "rlib"], and msup::export!(YourStrategy); in src/lib.rs`)
	}
	var names []string
	for _, t := range c.targets {
		if slices.Contains(t.Kind, "bin") {
			names = append(names, t.Name)
		}
	}
	wanted := path.Base(entry)
	switch {
	case len(names) == 0:
		return nil, "", refuseFile(manifest, "the crate makes no program", "write src/main.rs with msup::native_main!(your_crate::YourStrategy);")
	case slices.Contains(names, wanted):
		return []string{"--bin", wanted}, wanted, nil
	case len(names) == 1:
		return []string{"--bin", names[0]}, names[0], nil
	}
	return nil, "", refuseFile(manifest, fmt.Sprintf("the crate makes several programs (%s), none of which is called %s as strategy.entry says", strings.Join(names, ", "), wanted),
		"name one of them in strategy.entry")
}

func refuseFile(file, problem, remedy string) error {
	return descriptor.Findings{{Code: descriptor.CodePackage, File: file, Problem: problem, Remedy: remedy}}
}

// exists tells whether there is a file or folder, whatever it is.
func exists(file string) bool {
	_, err := os.Lstat(file)
	return !errors.Is(err, fs.ErrNotExist)
}
