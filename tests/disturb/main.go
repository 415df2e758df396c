// Command disturb writes a variant of packages in which now and then a goroutine pauses between two statements, for 50 µs to 6 ms, as it does
// when a busy machine takes the processor away. The program is unchanged; the variant is an overlay for go build.
//
//	go run ./tests/disturb -one-in 600 -out build/disturbed ./supervisor/...
//	GOFLAGS="-overlay=$PWD/build/disturbed/overlay.json -vet=off" go test ./tests/crash
//
// make soak-NAME DISTURB=600 does both. What needs two goroutines to meet within a microsecond happens in an hour of a busy machine, or within
// a minute here: the pump took a market event before the report of I that had come first in one of 4,000 kills, and here in each 60.
//
// What is guaranteed: line numbers stay, and nothing but time is added. What you may not assume: that virtual time stands still
// (testing/synctest); that a test of timings passes; that vet finds the folder of the package that pauses.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

const pausing = `// Package disturbance pauses now and then.
package disturbance

import (
	"math/rand/v2"
	"time"
)

// Pause pauses the goroutine, one time of %d.
func Pause() {
	if rand.IntN(%[1]d) == 0 {
		time.Sleep(50 * time.Microsecond << rand.IntN(8))
	}
}
`

const call = "disturbance.Pause(); "

func main() {
	oneIn := flag.Int("one-in", 600, "of so many statements one is preceded by a pause")
	out := flag.String("out", "build/disturbed", "folder for the variant and its overlay.json")
	flag.Usage = func() {
		fmt.Fprintln(os.Stderr, "disturb [-one-in 600] [-out build/disturbed] PACKAGES: packages in which goroutines pause now and then, for go build -overlay")
		flag.PrintDefaults()
	}
	flag.Parse()
	if err := disturb(*oneIn, *out, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "disturb:", err)
		os.Exit(1)
	}
}

// disturb writes the variant of packages of the module in the working directory.
func disturb(oneIn int, out string, patterns []string) error {
	if oneIn < 1 || len(patterns) == 0 {
		return fmt.Errorf("one in %d statements of %d packages: name packages, as ./supervisor/..., and a number from 1 on", oneIn, len(patterns))
	}
	module, files, err := goFiles(patterns)
	if err != nil {
		return err
	}
	if out, err = filepath.Abs(out); err == nil {
		err = removeVariant(out)
	}
	if err != nil {
		return err
	}
	replaced := map[string]string{}
	write := func(path, text string) error {
		rel, err := filepath.Rel(module.Dir, path)
		if err != nil {
			return err
		}
		to := filepath.Join(out, rel)
		replaced[path] = to
		return errors.Join(os.MkdirAll(filepath.Dir(to), 0o755), os.WriteFile(to, []byte(text), 0o644))
	}
	if err := write(filepath.Join(module.Dir, "disturbance", "disturbance.go"), fmt.Sprintf(pausing, oneIn)); err != nil {
		return err
	}
	// A module of its own: ./... means no package of the variant.
	if err := os.WriteFile(filepath.Join(out, "go.mod"), []byte("module disturbed\n"), 0o644); err != nil {
		return err
	}
	for _, path := range files {
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		woven, n, err := weave(path, string(text), module.Path+"/disturbance")
		if err != nil {
			return err
		}
		if n > 0 {
			if err := write(path, woven); err != nil {
				return err
			}
		}
	}
	overlay, err := json.MarshalIndent(map[string]any{"Replace": replaced}, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(out, overlayName), append(overlay, '\n'), 0o644)
}

const overlayName = "overlay.json"

// removeVariant removes the variant of the last time, and nothing else.
func removeVariant(out string) error {
	entries, err := os.ReadDir(out)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(entries) == 0 {
		return nil
	}
	if err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(out, overlayName)); err != nil {
		return fmt.Errorf("%s holds something, and no %s of a variant: name another folder with -out", out, overlayName)
	}
	return os.RemoveAll(out)
}

type module struct{ Path, Dir string }

// goFiles asks the go command which files packages consist of on this machine.
func goFiles(patterns []string) (m module, files []string, err error) {
	c := exec.Command("go", append([]string{"list", "-json=Dir,GoFiles,Module"}, patterns...)...)
	c.Stderr = os.Stderr
	list, err := c.Output()
	if err != nil {
		return m, nil, fmt.Errorf("go list: %w", err)
	}
	for d := json.NewDecoder(strings.NewReader(string(list))); ; {
		var p struct {
			Dir     string
			GoFiles []string
			Module  module
		}
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return m, files, nil
		} else if err != nil {
			return m, nil, fmt.Errorf("reading what go list says: %w", err)
		}
		if m = p.Module; m.Dir == "" || !strings.HasPrefix(p.Dir, m.Dir) {
			return m, nil, fmt.Errorf("the package in %s is not of this module: name packages by their path, as in ./supervisor/core", p.Dir)
		}
		for _, name := range p.GoFiles {
			files = append(files, filepath.Join(p.Dir, name))
		}
	}
}

// weave puts a call before each of the n statements of a file's functions, on the statement's line.
func weave(name, text, imported string) (woven string, n int, err error) {
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, name, text, parser.SkipObjectResolution)
	if err != nil {
		return "", 0, err
	}
	var at []int
	ast.Inspect(file, func(node ast.Node) bool {
		var list []ast.Stmt
		switch node := node.(type) {
		case *ast.BlockStmt:
			list = node.List
		case *ast.CaseClause:
			list = node.Body
		case *ast.CommClause:
			list = node.Body
		}
		for _, s := range list {
			switch s.(type) {
			case *ast.CaseClause, *ast.CommClause:
			default:
				at = append(at, set.Position(s.Pos()).Offset)
			}
		}
		return true
	})
	if len(at) == 0 {
		return text, 0, nil
	}
	slices.Sort(at)
	var b strings.Builder
	from := set.Position(file.Name.End()).Offset
	fmt.Fprintf(&b, "%s; import %q", text[:from], imported)
	for _, to := range at {
		b.WriteString(text[from:to])
		b.WriteString(call)
		from = to
	}
	b.WriteString(text[from:])
	return b.String(), len(at), nil
}
