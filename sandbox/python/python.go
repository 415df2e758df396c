package python

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/msup/msup/sandbox"
)

// Runtime is one interpreter with all that it needs (NN-1, NN-7).
type Runtime struct {
	Interpreter string // absolute path, on the host and inside alike
	Version     string // "3.11.7"
	Prefix      string // of the virtual environment, or of the interpreter itself
	Binds       []sandbox.Bind
	Env         []string
}

// Argv calls the interpreter: Argv("-m", "msup.shared").
func (r Runtime) Argv(args ...string) []string {
	return append([]string{r.Interpreter, "-P", "-s"}, args...)
}

// Runner are the arguments that run one strategy: -m msup.runner, a tenth sooner. Nothing dies while msup's own modules load, so the collector
// need not look. And msgspec takes typing_extensions where that is installed; from Python 3.11 on typing has the same, without another 3 ms.
func Runner() []string { return []string{"-c", startRunner} }

const startRunner = `# msup.runner
import gc, sys
gc.disable()
sys.modules["typing_extensions"] = None
import msgspec
del sys.modules["typing_extensions"]
from msup.runner import main
gc.enable()
main()
`

// minVersion is what the SDK needs; -P came with it.
var minVersion = [2]int{3, 11}

// maxAnswerBytes bounds what the interpreter may answer.
const maxAnswerBytes = 1 << 20

// ask is run by the interpreter. Libraries that are mapped may lie outside of the prefixes (libpython).
const ask = `
import json, os, sys
libraries = set()
try:
    with open("/proc/self/maps") as maps:
        for line in maps:
            path = line.split(None, 5)[5].strip() if len(line.split(None, 5)) == 6 else ""
            if path.startswith("/") and ".so" in os.path.basename(path):
                libraries.add(os.path.dirname(path))
except OSError:
    pass
print(json.dumps({
    "version": list(sys.version_info[:3]), "prefix": sys.prefix,
    "prefixes": [sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix],
    "path": [p for p in sys.path if os.path.isdir(p)], "libraries": sorted(libraries),
}))
`

// answer is what ask prints.
type answer struct {
	Version   [3]int   `json:"version"`
	Prefix    string   `json:"prefix"`
	Prefixes  []string `json:"prefixes"`
	Path      []string `json:"path"`
	Libraries []string `json:"libraries"`
}

// system holds what every dynamically linked program needs.
var system = []sandbox.Bind{
	{Source: "/usr"}, {Source: "/lib", Optional: true}, {Source: "/lib64", Optional: true},
	{Source: "/etc/ld.so.cache", Optional: true, NoExec: true},
	// Debian's BLAS is a chain of links through this folder.
	{Source: "/etc/alternatives", Optional: true},
}

// Env is the environment that every Python runner gets (NN-7).
func Env() []string {
	return []string{
		"PATH=/usr/bin:/bin", "HOME=/tmp", "TMPDIR=/tmp", "LANG=C.UTF-8", "LC_ALL=C.UTF-8", "TZ=UTC",
		"PYTHONHASHSEED=0", "PYTHONDONTWRITEBYTECODE=1", "PYTHONUNBUFFERED=1", "PYTHONNOUSERSITE=1", "PYTHONSAFEPATH=1", "PYTHONUTF8=1",
		"OMP_NUM_THREADS=1", "OPENBLAS_NUM_THREADS=1", "MKL_NUM_THREADS=1", "NUMEXPR_NUM_THREADS=1",
	}
}

// Discover asks an interpreter of the host. interpreter is a path, or a name that is looked up in PATH. The interpreter
// runs outside of any sandbox, but sees no code of a strategy: only itself, isolated.
func Discover(ctx context.Context, interpreter string) (Runtime, error) {
	found, err := exec.LookPath(interpreter)
	if err != nil {
		return Runtime{}, fmt.Errorf("find Python interpreter %s: %w; install python3 (3.11 or later) or name its path", interpreter, err)
	}
	if found, err = filepath.Abs(found); err != nil {
		return Runtime{}, fmt.Errorf("find Python interpreter %s: %w", interpreter, err)
	}
	if isScript(found) { // a version manager's shim: the sandbox needs the program behind it
		if found, err = behindShim(ctx, found); err != nil {
			return Runtime{}, err
		}
	}
	a, err := question(ctx, found)
	if err != nil {
		return Runtime{}, err
	}
	if a.Version[0] != minVersion[0] || a.Version[1] < minVersion[1] {
		return Runtime{}, fmt.Errorf("python interpreter %s is version %d.%d; msup needs %d.%d or later",
			found, a.Version[0], a.Version[1], minVersion[0], minVersion[1])
	}
	rt := Runtime{Interpreter: found, Prefix: a.Prefix, Env: Env(),
		Version: fmt.Sprintf("%d.%d.%d", a.Version[0], a.Version[1], a.Version[2])}
	if rt.Binds, err = binds(a); err != nil {
		return Runtime{}, fmt.Errorf("python interpreter %s: %w", found, err)
	}
	return rt, rt.checkLinks()
}

func isScript(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false // running it will tell
	}
	defer f.Close()
	head := make([]byte, 2)
	n, err := f.Read(head)
	return err == nil && string(head[:n]) == "#!"
}

func behindShim(ctx context.Context, shim string) (string, error) {
	out, err := run(ctx, shim, "import sys; print(sys.executable)")
	if err != nil {
		return "", err
	}
	path := strings.TrimSpace(string(out))
	if !filepath.IsAbs(path) || isScript(path) {
		return "", fmt.Errorf("python interpreter %s is a script that leads to %q; name the interpreter's own path", shim, path)
	}
	return path, nil
}

func question(ctx context.Context, interpreter string) (answer, error) {
	var a answer
	out, err := run(ctx, interpreter, ask)
	if err != nil {
		return a, err
	}
	if err := json.Unmarshal(out, &a); err != nil {
		return a, fmt.Errorf("ask Python interpreter %s: %w", interpreter, err)
	}
	return a, nil
}

func run(ctx context.Context, interpreter, script string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, interpreter, "-I", "-c", script)
	cmd.Dir = "/"
	var stdout, stderr capped
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		text, _ := sandbox.Sanitize(stderr.Bytes(), 1024)
		return nil, fmt.Errorf("ask Python interpreter %s: %w: %s", interpreter, err, text)
	}
	return stdout.Bytes(), nil
}

// capped is a buffer that refuses more than maxAnswerBytes.
type capped struct{ bytes.Buffer }

func (c *capped) Write(p []byte) (int, error) {
	if c.Len()+len(p) > maxAnswerBytes {
		return 0, errors.New("the answer is too long")
	}
	return c.Buffer.Write(p)
}

// binds covers everything that the interpreter named with as few folders as possible.
func binds(a answer) ([]sandbox.Bind, error) {
	out := slices.Clone(system)
	dirs := slices.Concat(a.Prefixes, a.Path, a.Libraries)
	slices.SortStableFunc(dirs, func(x, y string) int { return strings.Count(x, "/") - strings.Count(y, "/") })
	for _, d := range dirs {
		d = filepath.Clean(d)
		if !filepath.IsAbs(d) || d == "/" {
			return nil, fmt.Errorf("it needs folder %q, which cannot be bound; use an interpreter with a prefix of its own", d)
		}
		if !covered(out, d) {
			out = append(out, sandbox.Bind{Source: d})
		}
	}
	return out, nil
}

func covered(binds []sandbox.Bind, path string) bool {
	return slices.ContainsFunc(binds, func(b sandbox.Bind) bool {
		return path == b.Source || strings.HasPrefix(path, b.Source+"/")
	})
}

// checkLinks follows the interpreter's links, which must all exist inside too.
func (r Runtime) checkLinks() error {
	path := r.Interpreter
	for range 40 {
		if !covered(r.Binds, path) {
			return fmt.Errorf("python interpreter %s leads through %s, outside of its prefixes; name the interpreter behind the links", r.Interpreter, path)
		}
		next, err := os.Readlink(path)
		if err != nil {
			return nil // not a link: the end of the chain
		}
		if !filepath.IsAbs(next) {
			next = filepath.Join(filepath.Dir(path), next)
		}
		path = next
	}
	return fmt.Errorf("python interpreter %s: its links go in a circle", r.Interpreter)
}
