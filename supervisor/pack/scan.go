package pack

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"
	"unicode/utf8"

	"github.com/msup/msup/supervisor/descriptor"
)

// limits bound what a tree may hold.
type limits struct {
	files      int
	fileBytes  int64
	totalBytes int64
	depth      int
	pathBytes  int
}

var (
	codeLimits  = limits{files: 4096, fileBytes: 64 << 20, totalBytes: 256 << 20, depth: 16, pathBytes: 255}
	layerLimits = limits{files: 65536, fileBytes: 1 << 30, totalBytes: 4 << 30, depth: 32, pathBytes: 512}
)

// maxFindings bounds a report: a folder of a million links is one mistake, not a million.
const maxFindings = 50

// excluded are names that are never part of a package's code; see the package comment.
func excluded(name string, dir bool) bool {
	if strings.HasPrefix(name, ".") {
		return true
	}
	if dir {
		return slices.Contains([]string{"__pycache__", "node_modules", "target", "tests", "venv"}, name)
	}
	test := strings.HasSuffix(name, ".py") && (strings.HasPrefix(name, "test_") || strings.HasSuffix(name, "_test.py") || name == "conftest.py")
	return test || name == SignatureFile || strings.HasSuffix(name, "~") || slices.Contains([]string{".pyc", ".pyo", ".swp"}, path.Ext(name))
}

// node is one regular file of a tree.
type node struct {
	path string // slash-separated, relative
	size int64
	as   string // path in the archive and in the copy; "" = path
}

// scanner walks a tree without ever following a link.
type scanner struct {
	root     *os.Root
	dir      string // for messages
	limits   limits
	skip     func(name string, dir bool) bool
	found    []node
	total    int64
	findings descriptor.Findings
}

// scan lists the regular files of a tree, sorted by path, or says what a package may not hold.
func scan(root *os.Root, dir string, l limits, skip func(string, bool) bool) ([]node, error) {
	s := scanner{root: root, dir: dir, limits: l, skip: skip}
	if err := s.folder(".", 0); err != nil {
		return nil, err
	}
	if s.total > l.totalBytes {
		s.refuse("", fmt.Sprintf("it holds %d bytes; at most %d are allowed", s.total, l.totalBytes), "move data out of the package")
	}
	if err := s.findings.Err(); err != nil {
		return nil, err
	}
	slices.SortFunc(s.found, func(a, b node) int { return strings.Compare(a.path, b.path) })
	return s.found, nil
}

func (s *scanner) refuse(name, problem, remedy string) {
	if len(s.findings) < maxFindings {
		file := s.dir
		if name != "" {
			file = path.Join(s.dir, fmt.Sprintf("%+q", name)[1:len(fmt.Sprintf("%+q", name))-1])
		}
		s.findings = append(s.findings, descriptor.Finding{Code: descriptor.CodePackage, File: file, Problem: problem, Remedy: remedy})
	}
}

func (s *scanner) folder(at string, depth int) error {
	if depth > s.limits.depth {
		s.refuse(at, fmt.Sprintf("is deeper than %d folders", s.limits.depth), "flatten it")
		return nil
	}
	entries, err := fs.ReadDir(s.root.FS(), at)
	if err != nil {
		return fmt.Errorf("list the folder %s: %w", path.Join(s.dir, at), err)
	}
	for _, e := range entries {
		if len(s.found) > s.limits.files || len(s.findings) >= maxFindings {
			return nil
		}
		if s.skip(e.Name(), e.IsDir()) {
			continue
		}
		if err := s.entry(path.Join(at, e.Name()), e.Name(), depth); err != nil {
			return err
		}
	}
	return nil
}

func (s *scanner) entry(at, name string, depth int) error {
	info, err := s.root.Lstat(at)
	if err != nil {
		return fmt.Errorf("look at %s: %w", path.Join(s.dir, at), err)
	}
	switch {
	case !utf8.ValidString(name) || strings.ContainsFunc(name, func(r rune) bool { return r < 0x20 || r == 0x7f || r == '\\' }):
		s.refuse(at, "its name is not UTF-8, or holds control characters or a backslash", "rename it")
	case len(at) > s.limits.pathBytes:
		s.refuse(at, fmt.Sprintf("its path has %d bytes; at most %d are allowed", len(at), s.limits.pathBytes), "shorten it")
	case info.IsDir():
		return s.folder(at, depth+1)
	case info.Mode()&fs.ModeSymlink != 0:
		s.refuse(at, "is a symbolic link", "put the file itself into the package")
	case !info.Mode().IsRegular():
		s.refuse(at, "is neither a file nor a folder: "+info.Mode().Type().String(), "remove it")
	case links(info) > 1:
		s.refuse(at, "is a hard link: the same file has another name", "copy it: cp --remove-destination of a copy, or clone the repository again")
	case info.Size() > s.limits.fileBytes:
		s.refuse(at, fmt.Sprintf("has %d bytes; at most %d are allowed", info.Size(), s.limits.fileBytes), "move data out of the package")
	default:
		s.total += info.Size()
		if s.found = append(s.found, node{path: at, size: info.Size()}); len(s.found) > s.limits.files {
			s.refuse("", fmt.Sprintf("it holds more than %d files", s.limits.files), "name the strategy's own folder, and move data out of it")
		}
	}
	return nil
}

func links(info fs.FileInfo) uint64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return uint64(st.Nlink)
	}
	return 1
}
