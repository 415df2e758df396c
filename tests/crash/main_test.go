package crash

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/msup/msup/sandbox/image"
)

// built is what all worlds share.
var built struct {
	root   string // of the repository
	dir    string
	msup   string // the program
	python string // the interpreter with the SDK
	images string
}

func TestMain(m *testing.M) {
	code, err := prepareAndRun(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "crash:", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

func prepareAndRun(m *testing.M) (code int, err error) {
	if os.Geteuid() != 0 {
		return 1, errors.New("these tests kill runners of every kind and mount small disks: run them as root")
	}
	// Short, because sockets lie in it; passable, because runners have users of their own.
	if built.dir, err = os.MkdirTemp("", "crash-"); err != nil {
		return 1, fmt.Errorf("making a folder for the program: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(built.dir)) }()
	if err := os.Chmod(built.dir, 0o755); err != nil {
		return 1, fmt.Errorf("opening the program's folder: %w", err)
	}
	if err := build(); err != nil {
		return 1, err
	}
	code = m.Run()
	return code, errors.Join(err, leftBehind())
}

// build builds the program without the race detector: it would slow it down so much that kills hit little but its start. tests/e2e has it.
func build() error {
	root, err := filepath.Abs("../..")
	if err != nil {
		return fmt.Errorf("finding the repository: %w", err)
	}
	built.root, built.msup, built.images = root, filepath.Join(built.dir, "msup"), image.DefaultDir()
	if built.python = os.Getenv("MSUP_PYTHON"); built.python == "" {
		built.python = filepath.Join(root, ".venv", "bin", "python3")
	}
	if _, err := os.Stat(built.python); err != nil {
		return fmt.Errorf("%w (make setup makes .venv; MSUP_PYTHON names another interpreter that has the SDK)", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, "go", "build", "-o", built.msup, "./cmd/msup")
	c.Dir = root
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("building the program: %w\n%s", err, out)
	}
	return nil
}

// leftBehind looks for processes of this program, and for mounts and sockets in its folder, that outlived all worlds. What a killed one
// leaves is for the next start; every world ends with a run that is not killed.
func leftBehind() error {
	var err error
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if err = errors.Join(processesOf(built.msup), mountsWith(built.dir), socketsIn(built.dir)); err == nil || time.Now().After(deadline) {
			return err
		}
	}
}

// processesOf names processes that run a program.
func processesOf(program string) error {
	exes, err := filepath.Glob("/proc/[0-9]*/exe")
	if err != nil {
		return err
	}
	for _, exe := range exes {
		if target, readErr := os.Readlink(exe); readErr == nil && target == program { // readErr: it has ended
			err = errors.Join(err, fmt.Errorf("left behind: process %s of %s", filepath.Base(filepath.Dir(exe)), program))
		}
	}
	return err
}

// mountsWith names mounts in whose line a word stands.
func mountsWith(word string) error {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return fmt.Errorf("looking for mounts: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		if strings.Contains(line, word) {
			err = errors.Join(err, fmt.Errorf("left behind: mount %s", strings.TrimSpace(line)))
		}
	}
	return err
}

// socketsIn names the sockets below a folder.
func socketsIn(dir string) error {
	var left error
	err := filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err == nil && entry.Type()&os.ModeSocket != 0 {
			left = errors.Join(left, fmt.Errorf("left behind: socket %s", path))
		}
		return err
	})
	return errors.Join(err, left)
}
