package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Proves: NN-3
func TestWeave(t *testing.T) {
	const plain = `// Package p is a sample.
package p // as it is

//go:embed kept
var text string

func f(c chan int) (n int) {
	go func() { n++ }()
loop:
	for {
		switch x := <-c; {
		case x > 1:
			break loop
		default:
			n += x // all of it
		}
		select {
		case n = <-c:
		case c <- n:
			return n
		}
	}
	return
}

type none struct{}
`
	const want = `// Package p is a sample.
package p; import "m/disturbance" // as it is

//go:embed kept
var text string

func f(c chan int) (n int) {
	disturbance.Pause(); go func() { disturbance.Pause(); n++ }()
disturbance.Pause(); loop:
	for {
		disturbance.Pause(); switch x := <-c; {
		case x > 1:
			disturbance.Pause(); break loop
		default:
			disturbance.Pause(); n += x // all of it
		}
		disturbance.Pause(); select {
		case n = <-c:
		case c <- n:
			disturbance.Pause(); return n
		}
	}
	disturbance.Pause(); return
}

type none struct{}
`
	got, n, err := weave("p.go", plain, "m/disturbance")
	if err != nil || n != 9 || got != want {
		t.Errorf("%d calls, %v:\n%s", n, err, got)
	}
	const nothing = "package p\n\nconst one = 1\n"
	if got, n, err := weave("p.go", nothing, "m/disturbance"); err != nil || n != 0 || got != nothing {
		t.Errorf("%d calls, %v:\n%s", n, err, got)
	}
	if _, _, err := weave("p.go", "packag p", "m/disturbance"); err == nil {
		t.Error("what is no Go passed")
	}
}

// The variant of a package passes the package's tests, and is what they ran.
// Proves: NN-3
func TestDisturbedPackage(t *testing.T) {
	t.Chdir("../..")
	if err := os.MkdirAll("build", 0o755); err != nil {
		t.Fatal(err)
	}
	out, err := os.MkdirTemp("build", "disturbed-")
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := os.RemoveAll(out); err != nil {
			t.Error(err)
		}
	}()
	if err := disturb(50, out, []string{"./supervisor/mailbox"}); err != nil {
		t.Fatal(err)
	}
	if all, err := exec.Command("go", "list", "./...").Output(); err != nil || strings.Contains(string(all), filepath.Base(out)) {
		t.Errorf("./... holds the variant: %v\n%s", err, all)
	}
	overlay := "-overlay=" + filepath.Join(out, "overlay.json")
	if text, err := exec.Command("go", "test", overlay, "-vet=off", "-count=1", "-run", "TestUrgentByClassInOrder|TestMarketWaitsForWhatIsUrgent", "./supervisor/mailbox").CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, text)
	}
	deps, err := exec.Command("go", "list", overlay, "-deps", "./supervisor/mailbox").Output()
	if err != nil || !strings.Contains(string(deps), "/msup/disturbance\n") {
		t.Errorf("%v\n%s", err, deps)
	}
	if err := disturb(0, out, nil); err == nil {
		t.Error("no package passed")
	}
	if err := disturb(50, t.TempDir(), []string{"strings"}); err == nil {
		t.Error("a package of the standard library passed")
	}
	precious := filepath.Join(t.TempDir(), "precious")
	if err := os.WriteFile(precious, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := disturb(50, filepath.Dir(precious), []string{"./supervisor/mailbox"}); err == nil {
		t.Error("a folder with something else in it passed")
	}
	if _, err := os.Stat(precious); err != nil {
		t.Error(err)
	}
	if err := disturb(50, out, []string{"./supervisor/mailbox"}); err != nil {
		t.Errorf("a second time: %v", err)
	}
}
