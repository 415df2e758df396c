package arch

import (
	"path"
	"slices"
	"strings"
	"testing"
)

// pure packages: what an instance does next is a function of its recorded inputs (NN-7), so replay can run them.
var pure = []string{"supervisor/core", "supervisor/gate", "supervisor/guard"}

// layer says what a part of the tree may import of ours. Parts are looked up from the most specific; "x/..." is x and all beneath it.
type layer struct {
	part string
	may  []string
}

// layers is the order of the packages: imports point down only, and the shells meet in cmd/msup alone.
var layers = []layer{
	{"ipc/...", nil},
	{"supervisor/descriptor/...", []string{"ipc"}},
	{"supervisor/core/...", []string{"ipc", "supervisor/descriptor", "supervisor/gate", "supervisor/guard"}},
	{"supervisor/gate/...", []string{"ipc", "supervisor/descriptor"}},
	{"supervisor/guard/...", []string{"ipc", "supervisor/descriptor"}},
	{"supervisor/mailbox/...", []string{"ipc", "supervisor/descriptor"}},
	// The Runner contract (package sandbox itself) is a port; what implements it is not the supervisor's to know.
	{"supervisor/...", []string{"ipc", "supervisor/...", "sandbox"}},
	{"sandbox/...", []string{"ipc", "supervisor/descriptor", "sandbox/..."}},
	{"statedb/...", []string{"ipc", "supervisor/descriptor", "statedb/..."}},
	{"cmd/...", []string{"ipc", "supervisor/...", "sandbox/...", "statedb/...", "cmd/..."}},
	{"examples/...", []string{"ipc"}},
	{"tests/...", []string{"ipc", "supervisor/...", "sandbox/...", "statedb/...", "tests/..."}},
}

func covers(pattern, folder string) bool {
	root, all := strings.CutSuffix(pattern, "/...")
	return folder == root || all && strings.HasPrefix(folder, root+"/")
}

func layerOf(folder string) (layer, bool) {
	index := slices.IndexFunc(layers, func(one layer) bool { return covers(one.part, folder) })
	if index < 0 {
		return layer{}, false
	}
	return layers[index], true
}

// allowed tells whether a package may import another of ours; its own part is always allowed to it.
func allowed(from, to string) bool {
	one, known := layerOf(from)
	if !known {
		return false
	}
	return slices.ContainsFunc(one.may, func(pattern string) bool { return covers(pattern, to) })
}

// helpers are packages that only tests import: a package folder ends in "test".
func helper(folder string) bool { return strings.HasSuffix(path.Base(folder), "test") }

func TestImportsPointDown(t *testing.T) {
	for _, file := range goFiles(t) {
		if _, known := layerOf(file.folder); !known {
			t.Errorf("%s: package %s has no layer: add it to the table in layer_test.go", file.name, file.folder)
			continue
		}
		for _, imported := range file.imports(t) {
			to, ours := strings.CutPrefix(imported, module+"/")
			// Tests may look at more than what they test: only what is built into msup obeys the layers.
			if !ours || file.test {
				continue
			}
			if helper(to) && !helper(file.folder) && !beneath(file.folder, "tests") {
				t.Errorf("%s imports %s, which is for tests only", file.name, to)
			} else if to != file.folder && !allowed(file.folder, to) {
				t.Errorf("%s: %s may not import %s: imports point down only (see layers in layer_test.go); declare a port there and wire it in cmd/msup", file.name, file.folder, to)
			}
		}
	}
}

func TestLayersRefuse(t *testing.T) {
	for _, one := range []struct {
		from, to string
		want     bool
	}{
		{"ipc", "supervisor/core", false},
		{"supervisor/core", "ipc", true},
		{"supervisor/core", "supervisor", false},
		{"supervisor/core", "supervisor/mailbox", false},
		{"supervisor/gate", "statedb", false},
		{"supervisor", "supervisor/core", true},
		{"supervisor", "sandbox", true},
		{"supervisor", "sandbox/process", false},
		{"supervisor/boundary", "statedb", false},
		{"sandbox/process", "sandbox", true},
		{"sandbox/process", "supervisor", false},
		{"statedb", "sandbox", false},
		{"cmd/msup", "sandbox/process", true},
		{"surprise", "ipc", false},
	} {
		if got := allowed(one.from, one.to); got != one.want {
			t.Errorf("allowed(%s, %s) = %v, want %v", one.from, one.to, got, one.want)
		}
	}
}
