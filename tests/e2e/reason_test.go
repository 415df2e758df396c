package e2e

import (
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/msup/msup/ipc"
)

// Where reason codes are declared rather than used.
var declarations = map[string]bool{"ipc/reason.go": true, "ipc/reasoncatalogue.go": true, "ipc/reasonlimit.go": true,
	aliases: true, "supervisor/guard/kind.go": true}

// aliases are the names under which sandboxes give some of them.
const aliases = "sandbox/reason.go"

var notOurs = map[string]bool{".git": true, ".venv": true, "bin": true, "build": true, "target": true, "__pycache__": true, "tests": true}

// A code that nobody gives cannot be trusted to mean what it says: whoever adds one must use it.
//
// Proves: SB-8
func TestEveryReasonIsGivenSomewhere(t *testing.T) {
	// A constant of package ipc in Go, the code itself elsewhere.
	constants := constantsOf(t)
	used := map[ipc.ReasonCode]bool{}
	identifier := regexp.MustCompile(`\bReason[A-Z]\w*\b`)
	word := regexp.MustCompile(`\b[A-Z]+(?:_[A-Z]+)*\b`)
	err := filepath.WalkDir(built.root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(built.root, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			if notOurs[d.Name()] {
				return filepath.SkipDir
			}
			return nil
		}
		ext := filepath.Ext(path)
		test := strings.HasSuffix(path, "_test.go") || strings.HasPrefix(d.Name(), "test_")
		if declarations[filepath.ToSlash(relative)] || isCatalogue(filepath.ToSlash(relative)) || test || (ext != ".go" && ext != ".py" && ext != ".rs") {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if ext == ".go" {
			for _, name := range identifier.FindAllString(string(text), -1) {
				used[constants[name]] = true
			}
			return nil
		}
		for _, code := range word.FindAllString(string(text), -1) {
			used[ipc.ReasonCode(code)] = true
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range ipc.Reasons() {
		if !used[r.Code] {
			t.Errorf("%s is in the catalogue, and nothing gives it: use it, or take it out", r.Code)
		}
	}
}

// What an operator looks up is what the program says.
//
// Proves: SB-8, CB-4
func TestEveryReasonIsDocumented(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(built.root, "docs", "reasons.md"))
	if err != nil {
		t.Fatal(err)
	}
	said, err := exec.CommandContext(t.Context(), built.msup, "explain", "--all", "--markdown").Output()
	if err != nil {
		t.Fatal(err)
	}
	if string(page) != string(said) {
		t.Error("docs/reasons.md is not what msup explain --all --markdown says: run make docs")
	}
	for _, r := range ipc.Reasons() {
		if !strings.Contains(string(page), string(r.Code)) || !strings.Contains(string(page), r.Remedy) {
			t.Errorf("docs/reasons.md does not explain %s: run make docs", r.Code)
		}
	}
}

// constantsOf reads the names of the constants, which the compiled package does not know.
func constantsOf(t *testing.T) map[string]ipc.ReasonCode {
	t.Helper()
	found := map[string]ipc.ReasonCode{}
	declaration := regexp.MustCompile(`(?m)^\s*(Reason\w+)\s+ReasonCode = "([A-Z_]+)"`)
	for file := range declarations {
		text, err := os.ReadFile(filepath.Join(built.root, filepath.FromSlash(file)))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range declaration.FindAllStringSubmatch(string(text), -1) {
			found[m[1]] = ipc.ReasonCode(m[2])
		}
	}
	if len(found) != len(ipc.Reasons()) {
		t.Fatalf("%d constants were found, the catalogue has %d codes", len(found), len(ipc.Reasons()))
	}
	text, err := os.ReadFile(filepath.Join(built.root, filepath.FromSlash(aliases)))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`(?m)^\s*(Reason\w+)\s+= ipc\.(Reason\w+)`).FindAllStringSubmatch(string(text), -1) {
		found[m[1]] = found[m[2]]
	}
	return found
}

// isCatalogue reports whether a file explains reasons, which is not giving them.
func isCatalogue(name string) bool {
	matched, err := path.Match("ipc/reason*.go", name)
	return matched && err == nil
}
