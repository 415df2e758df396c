package arch

import (
	"bufio"
	"go/ast"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// topLevel is what the repository's top holds: folders end in a slash; "?" marks what need not be there.
var topLevel = []string{
	"cmd/", "ipc/", "sandbox/", "statedb/", "supervisor/", "pysdk/", "wasmsdk/", "examples/", "tests/", "docs/", "scripts/", ".ci/",
	"go.mod", "go.sum", "pyproject.toml", "requirements-dev.in", "requirements-dev.txt", "Makefile", ".gitignore", ".editorconfig",
	"README.md", "LICENSE", "CHANGELOG.md", "RATIONALE.md", "CONTRIBUTING.md", "SECURITY.md?", ".gitattributes?", ".github/?",
}

// maxLines is the most that a file written by hand may have; beyond that it holds more than one noun.
const maxLines = 600

// maxBytes keeps recordings and binaries out: what is larger is fetched or made.
const maxBytes = 1 << 20

// unsafeAllowed are the only places that may step outside Go's and Rust's memory safety, each with its reason.
var unsafeAllowed = map[string]string{
	"sandbox/container": "pidfd ioctls take pointers",
	"sandbox/process":   "system calls of the process wall take pointers",
	"sandbox/refusal":   "the ioctls of a seccomp listener take pointers",
	"supervisor/socket": "read and write without the scheduler take pointers",
	"sandbox/wasm":      "read and write on the socket take pointers; the net package would open files that the filter refuses",
	"tests/crash":       "ptrace takes pointers",
}

// rustUnsafeAllowed is the same for Rust's unsafe.
var rustUnsafeAllowed = map[string]string{
	"wasmsdk/src/export.rs":                 "the exports of a module have fixed names, and the C library's constructors are called once",
	"sandbox/sandboxtest/testdata/probe.rs": "the conformance suite's program tries system calls and a crash",
}

// vague package names say nothing about what is inside.
var vague = []string{"util", "utils", "common", "manager", "helper", "helpers", "misc", "base", "shared", "lib", "types"}

// The words are put together here so that this file does not contain them.
var (
	unfinished = regexp.MustCompile(`\b(?:` + "TO" + `DO|` + "FIX" + `ME|` + "X" + `XX)\b`)
	// A test that hides its skip behind another name is caught by scripts/runtests.py, which fails on any skip.
	skips = map[string]*regexp.Regexp{
		".go": regexp.MustCompile(`\b(?:t|b|f|tb)\.Skip(?:f|Now)?` + `\(`),
		".py": regexp.MustCompile(`\bpytest\.(?:skip|importorskip|xfail)\b|\bmark\.(?:skip|skipif|xfail)\b|\bunittest\.skip|\bSkipTest\b|\.skipTest` + `\(`),
		".rs": regexp.MustCompile(`#\[` + `ignore|` + `cfg_attr\([^)]*\bignore`),
	}
	rustUnsafe = regexp.MustCompile(`\bunsafe\s*(?:\{|fn\b|impl\b|extern\b|trait\b|\(no_mangle|\(export_name)`)
	mdLink     = regexp.MustCompile(`\]\(([^)\s#]+)(?:#[^)]*)?\)`)
)

func TestTopLevel(t *testing.T) {
	present := map[string]bool{}
	for _, name := range files(t) {
		top, _, inside := strings.Cut(name, "/")
		if inside {
			top += "/"
		}
		present[top] = true
	}
	for _, entry := range topLevel {
		name, optional := strings.CutSuffix(entry, "?")
		if !present[name] && !optional {
			t.Errorf("%s is missing at the top of the repository", name)
		}
		delete(present, name)
	}
	for name := range present {
		t.Errorf("%s does not belong at the top of the repository: move it, or add it to topLevel in tidy_test.go with the design", name)
	}
}

func TestEveryPackageSaysWhatItIs(t *testing.T) {
	type found struct{ name, text string }
	docs := map[string]*found{}
	for _, file := range goFiles(t) {
		if docs[file.folder] == nil {
			docs[file.folder] = &found{}
		}
		one := docs[file.folder]
		if !file.test || one.name == "" {
			one.name = file.syntax.Name.Name
		}
		if file.syntax.Doc != nil && !strings.HasSuffix(file.syntax.Name.Name, "_test") {
			one.text = file.syntax.Doc.Text()
		}
	}
	for folder, one := range docs {
		want := "Package " + one.name + " "
		if one.name == "main" {
			want = "Command " + path.Base(folder) + " "
		}
		if !strings.HasPrefix(one.text, want) {
			t.Errorf("%s: its package comment must begin with %q (put it into doc.go)", folder, want)
		}
		if slices.Contains(vague, one.name) {
			t.Errorf("%s: %q says nothing about what is inside: name the noun", folder, one.name)
		}
	}
}

func TestExportedNamesHaveComments(t *testing.T) {
	for _, file := range goFiles(t) {
		if file.test || file.generated || file.syntax.Name.Name == "main" {
			continue
		}
		for _, place := range uncommented(file) {
			t.Errorf("%s has no comment: say what it is, its unit, and the requirement it serves", place)
		}
	}
}

// uncommented finds exported declarations without a comment. A group's comment speaks for its members, and a method of an unexported
// type is not public.
func uncommented(file goFile) []string {
	var found []string
	for _, declaration := range file.syntax.Decls {
		switch declaration := declaration.(type) {
		case *ast.FuncDecl:
			public := declaration.Name.IsExported() && (declaration.Recv == nil || exportedReceiver(declaration.Recv))
			if public && declaration.Doc == nil && !file.wellKnown(declaration) {
				found = append(found, file.at(declaration)+": "+declaration.Name.Name)
			}
		case *ast.GenDecl:
			for _, spec := range declaration.Specs {
				switch spec := spec.(type) {
				case *ast.TypeSpec:
					if spec.Name.IsExported() && spec.Doc == nil && spec.Comment == nil && declaration.Doc == nil {
						found = append(found, file.at(spec)+": "+spec.Name.Name)
					}
				case *ast.ValueSpec:
					if spec.Names[0].IsExported() && spec.Doc == nil && spec.Comment == nil && declaration.Doc == nil {
						found = append(found, file.at(spec)+": "+spec.Names[0].Name)
					}
				}
			}
		}
	}
	return found
}

func exportedReceiver(receiver *ast.FieldList) bool {
	exported := false
	ast.Inspect(receiver.List[0].Type, func(node ast.Node) bool {
		if name, ok := node.(*ast.Ident); ok && name.IsExported() {
			exported = true
		}
		return true
	})
	return exported
}

// wellKnown methods mean what everybody knows they mean; one that fits its line (func (Quote) Kind() EventKind { return KindQuote })
// says it there, and the interface that it belongs to says the rest.
func (file goFile) wellKnown(function *ast.FuncDecl) bool {
	if function.Recv == nil {
		return false
	}
	oneLine := file.positions.Position(function.Pos()).Line == file.positions.Position(function.End()).Line
	return oneLine || slices.Contains([]string{"String", "Error", "Unwrap", "Len", "Less", "Swap", "Close"}, function.Name.Name)
}

func TestNothingIsUnfinishedOrSkipped(t *testing.T) {
	for _, name := range files(t) {
		skip := skips[path.Ext(name)]
		if skip == nil && !slices.Contains([]string{".sh", ".toml", ".md", ".in", ""}, path.Ext(name)) {
			continue
		}
		for number, line := range strings.Split(read(t, name), "\n") {
			if found := unfinished.FindString(line); found != "" {
				t.Errorf("%s:%d: %s: finish it, or file an issue", name, number+1, found)
			}
			if skip != nil && skip.MatchString(line) && !strings.Contains(name, "tests/arch/") {
				t.Errorf("%s:%d: a skipped test: a component that is missing must fail", name, number+1)
			}
		}
	}
}

func TestFilesAreShort(t *testing.T) {
	for _, name := range files(t) {
		if !slices.Contains([]string{".go", ".py", ".rs", ".sh"}, path.Ext(name)) {
			continue
		}
		text := read(t, name)
		if first, _, _ := strings.Cut(text, "\n"); strings.Contains(first, "Code generated") && strings.Contains(first, "DO NOT EDIT") {
			continue
		}
		if lines := strings.Count(text, "\n"); lines > maxLines {
			t.Errorf("%s has %d lines, %d at most: it holds more than one noun", name, lines, maxLines)
		}
	}
}

func TestFilesAreSmall(t *testing.T) {
	for _, name := range files(t) {
		info, err := os.Stat(filepath.Join(repository, filepath.FromSlash(name)))
		if err != nil {
			t.Fatal(err)
		}
		if info.Size() > maxBytes {
			t.Errorf("%s has %d bytes, %d at most: make it or fetch it instead", name, info.Size(), maxBytes)
		}
	}
}

func TestUnsafeIsWhereItMayBe(t *testing.T) {
	for _, file := range goFiles(t) {
		for _, imported := range file.imports(t) {
			switch {
			case imported == "C":
				t.Errorf("%s uses cgo: SQLite's driver is the only C in msup", file.name)
			case imported == "unsafe" && unsafeAllowed[file.folder] == "":
				t.Errorf("%s imports unsafe: write the reason into unsafeAllowed in tidy_test.go, or do without", file.name)
			}
		}
	}
	for _, name := range files(t) {
		if path.Ext(name) == ".rs" && rustUnsafeAllowed[name] == "" && rustUnsafe.MatchString(withoutComments(read(t, name))) {
			t.Errorf("%s has unsafe code: write the reason into rustUnsafeAllowed in tidy_test.go, or do without", name)
		}
	}
}

// withoutComments drops Rust's line comments.
func withoutComments(source string) string {
	lines := strings.Split(source, "\n")
	for index, line := range lines {
		lines[index], _, _ = strings.Cut(line, "//")
	}
	return strings.Join(lines, "\n")
}

func TestLinksInDocumentsLead(t *testing.T) {
	for _, name := range files(t) {
		if path.Ext(name) != ".md" {
			continue
		}
		for _, link := range mdLink.FindAllStringSubmatch(withoutCode(read(t, name)), -1) {
			target := link[1]
			if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
				continue
			}
			if _, err := os.Stat(filepath.Join(repository, filepath.FromSlash(path.Join(path.Dir(name), target)))); err != nil {
				t.Errorf("%s links to %s, which is not there", name, target)
			}
		}
	}
}

// withoutCode drops fenced blocks, where brackets and parentheses are no link.
func withoutCode(text string) string {
	var kept strings.Builder
	fenced := false
	for line := range strings.Lines(text) {
		if strings.HasPrefix(strings.TrimSpace(line), "```") {
			fenced = !fenced
		} else if !fenced {
			kept.WriteString(line)
		}
	}
	return kept.String()
}

// TestEveryTargetIsExplained keeps make help whole: a target that people may call has its line there.
func TestEveryTargetIsExplained(t *testing.T) {
	explained := map[string]bool{}
	var phony []string
	scanner := bufio.NewScanner(strings.NewReader(read(t, "Makefile")))
	for scanner.Scan() {
		line := scanner.Text()
		if targets, ok := strings.CutPrefix(line, ".PHONY: "); ok && !strings.HasPrefix(line, ".PHONY: always") {
			phony = append(phony, strings.Fields(targets)...)
		}
		if target, _, ok := strings.Cut(line, ":"); ok && strings.Contains(line, " ## ") {
			explained[target] = true
		}
	}
	if err := scanner.Err(); err != nil {
		t.Fatal(err)
	}
	if len(phony) == 0 {
		t.Error("no .PHONY line in the Makefile")
	}
	for _, target := range phony {
		if !explained[target] {
			t.Errorf("make %s is not in make help: give its rule a comment that begins with ##", target)
		}
	}
}

func TestRulesSeeWhatTheyForbid(t *testing.T) {
	for extension, lines := range map[string][]string{
		".go": {"t.Skip" + "(\"no root\")", "b.Skipf" + "(x)", "f.SkipNow" + "()"},
		".py": {"pytest." + "skip(\"x\")", "@pytest.mark." + "skipif(True)", "self.skipTest" + "(1)", "@pytest.mark." + "xfail"},
		".rs": {"#[" + "ignore]", "#[" + "ignore = \"slow\"]"},
	} {
		for _, line := range lines {
			if !skips[extension].MatchString(line) {
				t.Errorf("%s: %q is not seen as a skipped test", extension, line)
			}
		}
	}
	for line, want := range map[string]bool{
		"// TO" + "DO(me): later": true, "# FIX" + "ME": true, "mastodon": false, "XX" + "XL": false,
	} {
		if unfinished.MatchString(line) != want {
			t.Errorf("unfinished(%q) is not %v", line, want)
		}
	}
	for line, want := range map[string]bool{
		"unsafe { x }": true, "pub unsafe fn f()": true, "// unsafe { x }": false, `unsafe_code = "forbid"`: false, "#[unsafe(no_mangle)]": true,
	} {
		if rustUnsafe.MatchString(withoutComments(line)) != want {
			t.Errorf("rustUnsafe(%q) is not %v", line, want)
		}
	}
}
