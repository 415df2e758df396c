package arch

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const (
	repository = "../.."
	module     = "github.com/msup/msup"
)

// files lists what belongs to the repository, relative to its top, with slashes: what git tracks or would add.
func files(t *testing.T) []string {
	t.Helper()
	command := exec.Command("git", "ls-files", "--cached", "--others", "--exclude-standard", "-z")
	command.Dir = repository
	if raw, err := command.Output(); err == nil {
		var names []string
		for name := range strings.SplitSeq(strings.TrimSuffix(string(raw), "\x00"), "\x00") {
			// git still lists a tracked file that was just removed from the tree.
			if info, err := os.Lstat(filepath.Join(repository, name)); err == nil && info.Mode().IsRegular() {
				names = append(names, name)
			}
		}
		slices.Sort(names)
		return slices.Compact(names)
	}
	// No git, or a tree without its history (a release archive).
	var names []string
	err := filepath.WalkDir(repository, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && slices.Contains([]string{".git", ".venv", "bin", "build", "target", "__pycache__"}, entry.Name()) {
			return filepath.SkipDir
		}
		if entry.Type().IsRegular() {
			relative, err := filepath.Rel(repository, name)
			if err != nil {
				return err
			}
			names = append(names, filepath.ToSlash(relative))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func read(t *testing.T, name string) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(repository, filepath.FromSlash(name)))
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// goFile is a parsed Go source file.
type goFile struct {
	name      string // relative to the repository
	folder    string // of the package, relative to the repository
	test      bool
	generated bool
	syntax    *ast.File
	positions *token.FileSet
}

// imports are the import paths of the file.
func (file goFile) imports(t *testing.T) []string {
	t.Helper()
	var paths []string
	for _, one := range file.syntax.Imports {
		text, err := strconv.Unquote(one.Path.Value)
		if err != nil {
			t.Fatalf("%s: %v", file.name, err)
		}
		paths = append(paths, text)
	}
	return paths
}

// at is the place of a node, for a message.
func (file goFile) at(node ast.Node) string {
	return file.name + ":" + strconv.Itoa(file.positions.Position(node.Pos()).Line)
}

// goFiles parses every Go file of the repository; examples in testdata are not the repository's own code.
func goFiles(t *testing.T) []goFile {
	t.Helper()
	var parsed []goFile
	for _, name := range files(t) {
		if path.Ext(name) != ".go" || strings.Contains(name, "testdata/") {
			continue
		}
		positions := token.NewFileSet()
		syntax, err := parser.ParseFile(positions, filepath.Join(repository, filepath.FromSlash(name)), nil, parser.ParseComments)
		if err != nil {
			t.Errorf("%s does not parse: %v", name, err)
			continue
		}
		parsed = append(parsed, goFile{
			name: name, folder: path.Dir(name), test: strings.HasSuffix(name, "_test.go"), generated: ast.IsGenerated(syntax),
			syntax: syntax, positions: positions,
		})
	}
	if len(parsed) == 0 {
		t.Fatal("no Go file found: is this the repository?")
	}
	return parsed
}

// beneath tells whether folder is one of roots or lies in one.
func beneath(folder string, roots ...string) bool {
	return slices.ContainsFunc(roots, func(root string) bool { return folder == root || strings.HasPrefix(folder, root+"/") })
}
