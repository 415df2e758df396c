package arch

import (
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// impure are imports that a pure package may not have, with everything beneath them: I/O, clocks, randomness, concurrency, the machine.
var impure = []string{
	"os", "net", "io/fs", "io/ioutil", "path/filepath", "syscall", "golang.org/x/sys", "runtime", "unsafe", "C", "plugin",
	"math/rand", "crypto/rand", "hash/maphash", "sync", "context", "log", "database/sql", "embed", "testing", "expvar", "flag",
}

// timeNames are what a pure package may use of package time: durations. The rest reads a clock, waits for one, or knows a zone.
var timeNames = []string{
	"Duration", "Nanosecond", "Microsecond", "Millisecond", "Second", "Minute", "Hour",
}

// impurities finds what makes a file impure, as "line: what".
func impurities(positions *token.FileSet, file *ast.File) []string {
	var found []string
	say := func(node ast.Node, what string) {
		found = append(found, strconv.Itoa(positions.Position(node.Pos()).Line)+": "+what)
	}
	timeName := ""
	for _, one := range file.Imports {
		imported := strings.Trim(one.Path.Value, `"`)
		if beneath(imported, impure...) {
			say(one, "imports "+imported)
		}
		if imported == "time" {
			timeName = "time"
			if one.Name != nil {
				timeName = one.Name.Name
			}
		}
		if one.Name != nil && one.Name.Name == "." {
			say(one, "imports the names of "+imported+", which hides what is used of it")
		}
	}
	ast.Inspect(file, func(node ast.Node) bool {
		switch node := node.(type) {
		case *ast.GoStmt:
			say(node, "starts a goroutine")
		case *ast.SelectStmt:
			say(node, "selects between channels")
		case *ast.ChanType:
			say(node, "uses a channel")
		case *ast.SelectorExpr:
			if of, ok := node.X.(*ast.Ident); ok && timeName != "" && of.Name == timeName && of.Obj == nil && !slices.Contains(timeNames, node.Sel.Name) {
				say(node, "uses time."+node.Sel.Name+": time arrives with the input")
			}
		}
		return true
	})
	return found
}

// Proves: NN-7
func TestPurePackagesArePure(t *testing.T) {
	for _, file := range goFiles(t) {
		if file.test || !beneath(file.folder, pure...) || helper(file.folder) {
			continue
		}
		for _, what := range impurities(file.positions, file.syntax) {
			t.Errorf("%s:%s; what %s decides must follow from its input alone, else replay cannot repeat it", file.name, what, file.folder)
		}
	}
}

func TestImpuritiesAreSeen(t *testing.T) {
	for what, source := range map[string]string{
		"imports os":         `import "os"; var _ = os.Args`,
		"imports math/rand":  `import "math/rand/v2"; var _ = rand.Int()`,
		"uses time.Now":      `import "time"; var _ = time.Now()`,
		"uses time.Since":    `import clock "time"; func f() { clock.Since(x) }`,
		"starts a goroutine": `func f() { go f() }`,
		"uses a channel":     `func f(c chan int) {}`,
		"selects between":    `func f() { select {} }`,
		"imports the names":  `import . "time"`,
	} {
		positions := token.NewFileSet()
		file, err := parser.ParseFile(positions, "x.go", "package x\n"+source, 0)
		if err != nil {
			t.Fatal(err)
		}
		if found := impurities(positions, file); !slices.ContainsFunc(found, func(one string) bool { return strings.Contains(one, what) }) {
			t.Errorf("%s: found %q, want %q", source, found, what)
		}
	}
	positions := token.NewFileSet()
	file, err := parser.ParseFile(positions, "x.go", "package x\nimport (\"sort\"; \"time\")\nvar x time.Duration = 3 * time.Second\nvar _ = sort.Ints\n", 0)
	if err != nil {
		t.Fatal(err)
	}
	if found := impurities(positions, file); len(found) != 0 {
		t.Errorf("a pure file is called impure: %q", found)
	}
}
