package capabilities

import (
	"bufio"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Proof is a test that names a requirement.
type Proof struct {
	// File is relative to the repository, with slashes.
	File string
	// Test is the function's name; empty where a whole file (a transcript, a script) is the test.
	Test string
}

// Scan is what the tree says about requirements.
type Scan struct {
	Proofs map[ID][]Proof
	// Places are the folders whose code names the id.
	Places map[ID][]string
	// Malformed are Proves lines that hold something other than ids, as "file:line: text".
	Malformed []string
}

// skipped are folders that hold nothing of ours, or nothing that is written by hand.
var skipped = map[string]bool{
	".git": true, ".venv": true, "bin": true, "build": true, "target": true, "__pycache__": true, "node_modules": true,
}

var (
	anyID     = regexp.MustCompile(`\b` + idForm + `\b`)
	proves    = regexp.MustCompile(`^\s*(?://[/!]?|#|--)\s*Proves:\s*(.*)$`)
	testStart = regexp.MustCompile(`^\s*(?:func ((?:Test|Fuzz|Benchmark|Example)\w*)\(|(?:async )?def (test\w*)\(|class (Test\w*)|(?:pub )?fn (\w+)\s*[(<])`)
	inName    = regexp.MustCompile(`_(` + families + `)_?(L?[0-9]+|[A-Z])(?:_|$)`)
)

// ReadTree scans the sources under root.
func ReadTree(root string) (*Scan, error) {
	scan := &Scan{Proofs: map[ID][]Proof{}, Places: map[ID][]string{}}
	err := filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		relative = filepath.ToSlash(relative)
		if entry.IsDir() {
			// This package names ids as examples of their form; docs are about requirements, not the place of one.
			if skipped[entry.Name()] || relative == "tests/capabilities" || relative == "docs" {
				return filepath.SkipDir
			}
			return nil
		}
		if !entry.Type().IsRegular() {
			return nil
		}
		switch kindOf(relative) {
		case testFile:
			return scan.readTest(name, relative)
		case codeFile:
			return scan.readCode(name, relative)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("scan the tree for requirement ids: %w", err)
	}
	for id := range scan.Proofs {
		slices.SortFunc(scan.Proofs[id], func(a, b Proof) int { return strings.Compare(a.File+"\x00"+a.Test, b.File+"\x00"+b.Test) })
		scan.Proofs[id] = slices.Compact(scan.Proofs[id])
	}
	for id := range scan.Places {
		slices.Sort(scan.Places[id])
		scan.Places[id] = slices.Compact(scan.Places[id])
	}
	return scan, nil
}

type fileKind int

const (
	otherFile fileKind = iota
	codeFile
	testFile
)

// kindOf tells tests from code by where the three languages put them.
func kindOf(file string) fileKind {
	base, inTests := path.Base(file), strings.HasPrefix(file, "tests/") || strings.Contains(file, "/tests/")
	switch path.Ext(file) {
	case ".go":
		if strings.HasSuffix(base, "_test.go") || inTests {
			return testFile
		}
		return codeFile
	case ".py":
		if strings.HasPrefix(base, "test_") || strings.HasSuffix(base, "_test.py") || inTests {
			return testFile
		}
		return codeFile
	case ".rs":
		// Rust's unit tests live in the file that they test: readTest takes it as code too.
		return testFile
	case ".txt", ".txtar":
		if strings.Contains(file, "testdata/") || inTests {
			return testFile
		}
	}
	return otherFile
}

func (scan *Scan) readTest(name, relative string) error {
	lines, err := readLines(name)
	if err != nil {
		return err
	}
	isScript := path.Ext(relative) == ".txt" || path.Ext(relative) == ".txtar"
	var waiting []ID
	current := ""
	for number, line := range lines {
		if found := proves.FindStringSubmatch(line); found != nil {
			ids, ok := splitIDs(found[1])
			if !ok {
				scan.Malformed = append(scan.Malformed, fmt.Sprintf("%s:%d: %s", relative, number+1, strings.TrimSpace(line)))
			}
			switch {
			case isScript:
				scan.prove(ids, Proof{File: relative})
			case current != "" && indented(line):
				// Inside a function: the subtest belongs to it. A method's own comment is indented as well, and so
				// is the one of a function in a module of tests: nextTest looks whether a function follows.
				if next := nextTest(lines[number+1:]); next != "" {
					scan.prove(ids, Proof{relative, next})
				} else {
					scan.prove(ids, Proof{relative, current})
				}
			default:
				waiting = append(waiting, ids...)
			}
			continue
		}
		if test := testName(line); test != "" {
			current = test
			scan.prove(waiting, Proof{relative, test})
			scan.prove(idsInName(test), Proof{relative, test})
			waiting = nil
			continue
		}
		if path.Ext(relative) == ".rs" && !strings.HasPrefix(relative, "wasmsdk/tests/") {
			scan.place(line, relative)
		}
	}
	scan.prove(waiting, Proof{File: relative})
	return nil
}

func (scan *Scan) readCode(name, relative string) error {
	lines, err := readLines(name)
	if err != nil {
		return err
	}
	for _, line := range lines {
		scan.place(line, relative)
	}
	return nil
}

func (scan *Scan) place(line, relative string) {
	for _, found := range anyID.FindAllString(line, -1) {
		scan.Places[ID(found)] = append(scan.Places[ID(found)], path.Dir(relative))
	}
}

func (scan *Scan) prove(ids []ID, proof Proof) {
	for _, id := range ids {
		scan.Proofs[id] = append(scan.Proofs[id], proof)
	}
}

// splitIDs reads "GT-1, GT-4"; a full stop may close it. It reports whether there was nothing else.
func splitIDs(text string) (ids []ID, ok bool) {
	for part := range strings.SplitSeq(strings.TrimSuffix(strings.TrimSpace(text), "."), ",") {
		part = strings.TrimSpace(part)
		if !wholeID.MatchString(part) {
			return ids, false
		}
		ids = append(ids, ID(part))
	}
	return ids, true
}

// idsInName reads TestGateNormalises_GT1 and test_rng_is_seeded__NN_7. Ids in a row share their underscore, so that each match starts
// where the last one's closing underscore stands.
func idsInName(test string) (ids []ID) {
	for rest := test; ; {
		found := inName.FindStringSubmatchIndex(rest)
		if found == nil {
			return ids
		}
		ids = append(ids, ID(rest[found[2]:found[3]]+"-"+rest[found[4]:found[5]]))
		rest = rest[found[5]:]
	}
}

func testName(line string) string {
	found := testStart.FindStringSubmatch(line)
	if found == nil {
		return ""
	}
	return strings.Join(found[1:], "")
}

// nextTest finds the function that a comment stands above: only comments, attributes and decorators may lie between.
func nextTest(lines []string) string {
	for _, line := range lines {
		text := strings.TrimSpace(line)
		if test := testName(line); test != "" {
			return test
		}
		if !strings.HasPrefix(text, "//") && !strings.HasPrefix(text, "#") && !strings.HasPrefix(text, "@") {
			return ""
		}
	}
	return ""
}

func indented(line string) bool { return strings.HasPrefix(line, " ") || strings.HasPrefix(line, "\t") }

func readLines(name string) ([]string, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	var lines []string
	scanner := bufio.NewScanner(file)
	scanner.Buffer(nil, 4<<20)
	for scanner.Scan() {
		lines = append(lines, scanner.Text())
	}
	if err := scanner.Err(); err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return lines, nil
}
