package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/msup/msup/sandbox/image"
)

// imageVerb runs msup image with its folder.
func imageVerb(t *testing.T, dir string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = execute(t.Context(), append(append([]string{"image"}, args...), "--dir", dir), &out, &errs)
	return code, out.String(), errs.String()
}

// The life of a base image: made with progress, found, listed, inspected, kept, removed.
//
// Proves: SB-L3
func TestImageVerbs(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "images")
	python := tool(t, "python3")
	if code, out, _ := imageVerb(t, dir, "list"); code != exitOK || !strings.Contains(out, "msup image build makes one") {
		t.Errorf("list of nothing: %d, %q", code, out)
	}
	code, out, said := imageVerb(t, dir, "build", "--python", python, "--json")
	var made image.Image
	if err := json.Unmarshal([]byte(out), &made); code != exitOK || err != nil || made.Kind != image.KindBase || !strings.Contains(said, "compiling") {
		t.Fatalf("build: %d, %v, %s, %s", code, err, out, said)
	}
	if code, out, said := imageVerb(t, dir, "build", "--python", python); code != exitOK || said != "" || !strings.Contains(out, made.Digest) {
		t.Errorf("build again: %d, %q, %q", code, out, said)
	}
	for _, what := range []string{made.Name, made.Digest, made.Digest[:20], made.Key[:12], made.ArchivePath} {
		if code, out, said := imageVerb(t, dir, "inspect", what); code != exitOK || !strings.Contains(out, "Python "+made.Python[:4]) {
			t.Errorf("inspect %s: %d, %q, %q", what, code, out, said)
		}
	}
	// The archive itself was opened as if it were a user's: prune keeps both.
	for _, want := range []int{2, 2} {
		code, out, _ := imageVerb(t, dir, "list", "--json")
		var all []image.Image
		if err := json.Unmarshal([]byte(out), &all); code != exitOK || err != nil || len(all) != want {
			t.Errorf("list: %d, %v, %s", code, err, out)
		}
		if code, out, said := imageVerb(t, dir, "prune"); code != exitOK || !strings.Contains(out, "removed 0 files") {
			t.Errorf("prune: %d, %q, %q", code, out, said)
		}
	}
	if code, out, _ := imageVerb(t, dir, "prune", "--all", "--json"); code != exitOK || !strings.Contains(out, made.Key+".tar") {
		t.Errorf("prune --all: %d, %q", code, out)
	}
	if left, err := filepath.Glob(filepath.Join(dir, "*.*")); err != nil || len(left) > 0 {
		t.Errorf("%q is left, %v", left, err)
	}
}

// Proves: SB-L3
func TestImageVerbsRefuse(t *testing.T) {
	dir := t.TempDir()
	broken := filepath.Join(dir, "broken.tar")
	if err := os.WriteFile(broken, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	for want, args := range map[int][]string{
		exitRefused: {"inspect", broken},
		exitUsage:   {"inspect", "deadbeefdeadbeef"},
		exitSandbox: {"build", "--python", tool(t, "python3"), "--suite", "no suite"},
	} {
		if code, _, said := imageVerb(t, filepath.Join(dir, "images"), args...); code != want || said == "" {
			t.Errorf("%q: exit code %d, %q", args, code, said)
		}
	}
}
