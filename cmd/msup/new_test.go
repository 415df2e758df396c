package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/supervisor/descriptor"
)

// tool is a program of the repository's .venv; without it the test fails.
func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("..", "..", ".venv", "bin", name))
	if err == nil {
		_, err = os.Stat(path)
	}
	if err != nil {
		t.Fatalf("%v; run make setup", err)
	}
	return path
}

func newStrategy(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = execute(t.Context(), append([]string{"new"}, args...), &out, &errs)
	return code, out.String(), errs.String()
}

// Proves: DM-1, NN-1
func TestNewStrategyIsValidAndItsTestsPass(t *testing.T) {
	python := tool(t, "python3")
	for _, name := range []string{"my_strategy", "config", "x-1"} {
		dir := t.TempDir()
		if code, _, stderr := newStrategy(t, name, "--dir", dir); code != exitOK {
			t.Fatalf("msup new %s: exit code %d: %s", name, code, stderr)
		}
		made := filepath.Join(dir, name)
		d, err := descriptor.Load(made)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if string(d.Strategy) != name || !d.Capabilities.Subscribes(ipc.KindQuote) {
			t.Errorf("%s: the descriptor says %q", name, d.Strategy)
		}
		// From above and from inside: the folder brings its own pytest settings.
		for _, from := range []string{dir, made} {
			c := exec.CommandContext(t.Context(), python, "-m", "pytest", "-q", "-p", "no:cacheprovider", made)
			c.Dir = from
			if out, err := c.CombinedOutput(); err != nil || !strings.Contains(string(out), "3 passed") {
				t.Errorf("%s: pytest in %s: %v\n%s", name, from, err, out)
			}
		}
	}
}

func TestNewStrategyIsTidy(t *testing.T) {
	dir := t.TempDir()
	if code, _, stderr := newStrategy(t, "tidy", "--dir", dir); code != exitOK {
		t.Fatal(stderr)
	}
	settings, err := filepath.Abs("../../pyproject.toml")
	if err != nil {
		t.Fatal(err)
	}
	for _, check := range [][]string{
		{"check", "."}, // with the settings that it brings
		{"check", "--extend-ignore", "RUF012", "--config", settings, "--config", `src = ["."]`, "."},
		{"format", "--diff", "--config", settings, "."},
	} {
		c := exec.CommandContext(t.Context(), tool(t, "ruff"), append(check, "--no-cache")...)
		c.Dir = filepath.Join(dir, "tidy")
		if out, err := c.CombinedOutput(); err != nil {
			t.Errorf("ruff %s: %v\n%s", check[0], err, out)
		}
	}
}

func TestNewSaysWhatToDoNext(t *testing.T) {
	dir := t.TempDir()
	code, stdout, stderr := newStrategy(t, "one", "--dir", dir)
	made := filepath.Join(dir, "one")
	if code != exitOK || strings.Count(stdout, "\n  ") != 3 || !strings.Contains(stdout, "run "+made+"\n") {
		t.Errorf("exit code %d, printed %q, %q", code, stdout, stderr)
	}
	code, stdout, _ = newStrategy(t, "two", "--dir", dir, "--json")
	var s scaffolded
	if err := json.Unmarshal([]byte(stdout), &s); err != nil || code != exitOK {
		t.Fatalf("exit code %d: %v: %q", code, err, stdout)
	}
	if s.Strategy != "two" || s.Class != "Two" || len(s.Next) != 3 || s.Dir != filepath.Join(dir, "two") {
		t.Errorf("printed %+v", s)
	}
	entries, err := os.ReadDir(s.Dir)
	if err != nil {
		t.Fatal(err)
	}
	var files []string
	for _, e := range entries {
		files = append(files, e.Name())
	}
	if !slices.Equal(files, s.Files) || !slices.Contains(files, "test_strategy.py") {
		t.Errorf("printed %v, made %v", s.Files, files)
	}
}

func TestNewRefuses(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "mine"), 0o755); err != nil {
		t.Fatal(err)
	}
	precious := filepath.Join(dir, "mine", "strategy.py")
	if err := os.WriteFile(precious, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"an existing folder": {[]string{"mine", "--dir", dir}, "exists already"},
		"no parent":          {[]string{"yours", "--dir", filepath.Join(dir, "none")}, "there is no folder"},
		"a file as parent":   {[]string{"yours", "--dir", precious}, "not a directory"},
		"no name":            {[]string{"--dir", dir}, "accepts 1 arg"},
		"an empty name":      {[]string{"", "--dir", dir}, "cannot name a strategy"},
		"two names":          {[]string{"a", "b", "--dir", dir}, "accepts 1 arg"},
		"a path":             {[]string{"sub/Mine", "--dir", dir}, `for example "mine"`},
		"a way out":          {[]string{"..", "--dir", dir}, "cannot name a strategy"},
		"a digit first":      {[]string{"9 Lives", "--dir", dir}, `for example "lives"`},
		"another alphabet":   {[]string{"größe", "--dir", dir}, `for example "gre"`},
		"too long":           {[]string{strings.Repeat("a", 65), "--dir", dir}, "at most 64"},
		"an unknown flag":    {[]string{"good", "--dir", dir, "--color", "red"}, "unknown flag: --color"},
		"a language":         {[]string{"good", "--dir", dir, "--lang", "cobol"}, "write python or rust"},
	} {
		code, stdout, stderr := newStrategy(t, c.args...)
		if code == exitOK || stdout != "" || !strings.Contains(stderr, c.want) {
			t.Errorf("%s: exit code %d, printed %q, said %q; want %q", name, code, stdout, stderr, c.want)
		}
		if name != "a file as parent" && code != exitUsage {
			t.Errorf("%s: exit code %d, want %d", name, code, exitUsage)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("refusals left %v, %v", entries, err)
	}
	if body, err := os.ReadFile(precious); err != nil || string(body) != "precious" {
		t.Errorf("the existing file holds %q, %v", body, err)
	}
}

func TestNamesForShellsAndClasses(t *testing.T) {
	for name, want := range map[string]string{"my_strategy": "MyStrategy", "a-b_c": "ABC", "none": "NoneStrategy", "quote": "QuoteStrategy", "x9": "X9", "a__b": "AB"} {
		if got := className(name, takenClasses); got != want {
			t.Errorf("className(%q) = %q, want %q", name, got, want)
		}
	}
	for word, want := range map[string]string{"/tmp/a_b": "/tmp/a_b", "two words": "'two words'", "it's": `'it'\''s'`, "": "''"} {
		if got := shellWord(word); got != want {
			t.Errorf("shellWord(%q) = %s, want %s", word, got, want)
		}
	}
}
