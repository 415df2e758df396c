// Package recordings finds the real market recordings that tests run on.
//
// They are too large and too unclear in their licences to lie in the repository. MSUP_RECORDINGS names their folder; without it,
// ../shared/data seen from the repository's root is looked at. Where the folder is absent the tests that need it do not run, and
// say so in one line each, which the test runner collects and prints at its end:
//
//	RECORDING NOT RUN: <test> needs <file>
//
// go test shows the output of passing tests with -v or -json only; so where MSUP_NOT_RUN names a file, the line is appended to it.
//
// With CI=true absence fails: a build that never saw real data must not look green.
package recordings

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

// Marker starts the line that names a test which did not run.
const Marker = "RECORDING NOT RUN:"

// Root is the folder of the recordings, whether it exists or not.
func Root() string {
	if dir := os.Getenv("MSUP_RECORDINGS"); dir != "" {
		return dir
	}
	_, self, _, ok := runtime.Caller(0)
	if !ok {
		return filepath.Join("..", "shared", "data")
	}
	return filepath.Join(filepath.Dir(self), "..", "..", "..", "shared", "data")
}

// Path returns where the recording rel (slash-separated, below the folder) is. When it is false the test must return: the folder is
// absent and that has been said. A folder that is there but lacks the file fails the test.
func Path(t testing.TB, rel string) (string, bool) {
	t.Helper()
	root := Root()
	if _, err := os.Stat(root); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("recording %s: %v; CI needs the recordings: set MSUP_RECORDINGS to their folder", rel, err)
		}
		if err := say(fmt.Sprintf("%s %s needs %s\n", Marker, t.Name(), rel)); err != nil {
			t.Fatalf("recording %s: %v", rel, err)
		}
		return "", false
	}
	path := filepath.Join(root, filepath.FromSlash(rel))
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("recording %s: %v; the folder of recordings is there but incomplete", rel, err)
	}
	return path, true
}

// out is where a line is printed; this package's own test must not be taken for one that did not run.
var out io.Writer = os.Stderr

// say prints a line, and appends it to the list of the test runner where there is one.
func say(line string) error {
	fmt.Fprint(out, line)
	list := os.Getenv("MSUP_NOT_RUN")
	if list == "" {
		return nil
	}
	f, err := os.OpenFile(list, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644) // appended in one write: packages test in parallel
	if err != nil {
		return fmt.Errorf("listing a test that did not run: %w", err)
	}
	_, err = f.WriteString(line)
	return errors.Join(err, f.Close())
}
