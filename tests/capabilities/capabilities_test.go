package capabilities

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const repository = "../.."

func TestIndexIsTrueAndFresh(t *testing.T) {
	index, err := Read(repository)
	if err != nil {
		t.Fatal(err)
	}
	for _, problem := range index.Problems() {
		t.Error(problem)
	}
	committed, err := os.ReadFile(filepath.Join(repository, filepath.FromSlash(Path)))
	if err != nil {
		t.Fatalf("%v: run make docs", err)
	}
	if stale := differing(string(committed), index.Markdown()); len(stale) > 0 {
		t.Errorf("%s is not what the tree says, in %d lines: run make docs. The first are:\n%s", Path, len(stale), strings.Join(stale[:min(5, len(stale))], "\n"))
	}
}

// differing are the lines that only one of two texts has.
func differing(a, b string) []string {
	has := func(text string) map[string]bool {
		lines := map[string]bool{}
		for line := range strings.SplitSeq(text, "\n") {
			lines[line] = true
		}
		return lines
	}
	inA, inB := has(a), has(b)
	var lines []string
	for line := range inA {
		if !inB[line] {
			lines = append(lines, "- "+line)
		}
	}
	for line := range inB {
		if !inA[line] {
			lines = append(lines, "+ "+line)
		}
	}
	slices.SortFunc(lines, func(x, y string) int { return strings.Compare(x[2:]+x[:1], y[2:]+y[:1]) })
	if len(lines) == 0 && a != b {
		lines = append(lines, "the same lines in another order")
	}
	return lines
}

// tree writes files under a new folder and returns it.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestProofsOfThreeLanguages(t *testing.T) {
	root := tree(t, map[string]string{
		"gate/gate_test.go": `package gate

// TestA is about rounding.
// Proves: GT-1, GT-4.
func TestA(t *testing.T) {
	// Proves: GT-2
	t.Run("x", func(t *testing.T) {})
}

func TestB_GT5_SBL1(t *testing.T) {}
`,
		"pysdk/tests/test_rng.py": `
# Proves: DM-3
@given(x=1)
def test_one() -> None:
    pass


def test_rng_is_seeded__NN_7() -> None:
    pass


class TestMore:
    # Proves: BC-A
    async def test_two(self) -> None:
        pass
`,
		"wasmsdk/src/key.rs": `//! Keys (GT-5).
#[cfg(test)]
mod tests {
    // Proves: GT-6
    #[test]
    fn stable() {}
}
`,
		"cmd/msup/testdata/run.txtar": "# Proves: RS-2\nexec msup run\n",
		"gate/gate.go":                "// Package gate judges (GT-3, DOD-10).\npackage gate\n",
		"README.md":                   "Proves: GT-7\n",
		"build/x_test.go":             "// Proves: GT-7\nfunc TestX(t *testing.T) {}\n",
	})
	scan, err := ReadTree(root)
	if err != nil {
		t.Fatal(err)
	}
	want := map[ID][]Proof{
		"GT-1": {{"gate/gate_test.go", "TestA"}}, "GT-4": {{"gate/gate_test.go", "TestA"}}, "GT-2": {{"gate/gate_test.go", "TestA"}},
		"GT-5": {{"gate/gate_test.go", "TestB_GT5_SBL1"}}, "SB-L1": {{"gate/gate_test.go", "TestB_GT5_SBL1"}},
		"DM-3": {{"pysdk/tests/test_rng.py", "test_one"}}, "NN-7": {{"pysdk/tests/test_rng.py", "test_rng_is_seeded__NN_7"}},
		"BC-A": {{"pysdk/tests/test_rng.py", "test_two"}}, "GT-6": {{"wasmsdk/src/key.rs", "stable"}},
		"RS-2": {{"cmd/msup/testdata/run.txtar", ""}},
	}
	if diff := cmp.Diff(want, scan.Proofs); diff != "" {
		t.Errorf("proofs (-want +got):\n%s", diff)
	}
	// A Rust file holds its tests: their own comments name ids too, but a Proves line is no place.
	wantPlaces := map[ID][]string{"GT-3": {"gate"}, "DOD-10": {"gate"}, "GT-5": {"wasmsdk/src"}}
	if diff := cmp.Diff(wantPlaces, scan.Places); diff != "" {
		t.Errorf("places (-want +got):\n%s", diff)
	}
	if len(scan.Malformed) != 0 {
		t.Errorf("malformed: %q", scan.Malformed)
	}
}

func TestContradictionsAreFound(t *testing.T) {
	entry := func(id, status, note string) string {
		return "[[requirement]]\nid = \"" + id + "\"\nsection = \"s\"\ntitle = \"t\"\nstatus = \"" + status + "\"\nnote = \"" + note + "\"\n"
	}
	list := entry("GT-1", "done", "") + entry("GT-2", "not yet", "") + entry("GT-3", "partly", "half") + entry("GT-4", "partly", "") + entry("GT-5", "done", "")
	root := tree(t, map[string]string{
		"docs/requirements.toml": list,
		"a/a.go":                 "// Package a serves GT-98.\npackage a\n",
		"a/a_test.go": `package a

// Proves: GT-2, GT-4, GT-5
func TestA(t *testing.T) {}

// Proves: GT-99
func TestB(t *testing.T) {}

// Proves: GT-5 and more
func TestC(t *testing.T) {}
`,
	})
	index, err := Read(root)
	if err != nil {
		t.Fatal(err)
	}
	var starts []string
	for _, problem := range index.Problems() {
		words := strings.Fields(problem)
		starts = append(starts, strings.TrimSuffix(words[0], ","))
	}
	want := []string{"a/a_test.go:9:", "GT-1", "GT-2", "GT-3", "GT-4", "GT-99", "GT-98"}
	if !slices.Equal(starts, want) {
		t.Errorf("problems start with %q, want %q:\n%s", starts, want, strings.Join(index.Problems(), "\n"))
	}
}

func TestRequirementsAreStrict(t *testing.T) {
	good := "[[requirement]]\nid = \"GT-1\"\nsection = \"s\"\ntitle = \"t\"\nstatus = \"done\"\n"
	for name, text := range map[string]string{
		"unknown key":    good + "colour = \"red\"\n",
		"twice":          good + good,
		"form of id":     strings.Replace(good, "GT-1", "GT1", 1),
		"unknown status": strings.Replace(good, "done", "nearly", 1),
		"no title":       strings.Replace(good, `title = "t"`, "", 1),
		"nothing":        "",
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := ReadRequirements(tree(t, map[string]string{"docs/requirements.toml": text})); err == nil {
				t.Error("accepted")
			}
		})
	}
	if _, err := ReadRequirements(tree(t, map[string]string{"docs/requirements.toml": good})); err != nil {
		t.Error(err)
	}
}
