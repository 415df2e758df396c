package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/msup/msup/sandbox/python"
)

// findPython returns the interpreter that strategies run under: the one named, else the one of the .venv beside the binary or the
// working folder, else python3 on PATH. Whether it has the SDK, sdkVersion says.
func findPython(ctx context.Context, named string) (python.Runtime, error) {
	interpreter := named
	if interpreter == "" {
		interpreter = besideBinary()
	}
	if interpreter == "" {
		found, err := exec.LookPath("python3")
		if err != nil {
			return python.Runtime{}, fmt.Errorf("no python3 on PATH; install Python 3.11 or later and the SDK (pip install msup), or name one with --python or MSUP_PYTHON")
		}
		interpreter = found
	}
	return python.Discover(ctx, interpreter)
}

func besideBinary() string {
	var folders []string
	if self, err := os.Executable(); err == nil {
		folders = append(folders, filepath.Join(filepath.Dir(self), ".."))
	}
	if cwd, err := os.Getwd(); err == nil {
		folders = append(folders, cwd)
	}
	for _, folder := range folders {
		candidate := filepath.Join(folder, ".venv", "bin", "python3")
		if info, err := os.Stat(candidate); err == nil && info.Mode()&0o111 != 0 {
			return candidate
		}
	}
	return ""
}

// askSDK prints the SDK's version with a digest of its files: packages whose interface another SDK derived are looked at again.
const askSDK = `
import hashlib, pathlib, msup
digest = hashlib.sha256()
folder = pathlib.Path(msup.__file__).parent
for path in sorted(folder.rglob("*.py")):
    digest.update(str(path.relative_to(folder)).encode() + b"\0" + path.read_bytes())
print(msup.__version__ + "+" + digest.hexdigest()[:16])
`

// sdkVersion asks the interpreter which SDK it has. The SDK is the project's own code, not a strategy's: importing it here is safe.
func sdkVersion(ctx context.Context, r python.Runtime) (string, error) {
	argv := r.Argv("-c", askSDK)
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		lines := strings.Split(strings.TrimSpace(stderr.String()), "\n")
		return "", exit(exitSandbox, "%s has no working SDK: %s; install msup into it (pip install msup), or name another interpreter with --python or MSUP_PYTHON",
			r.Interpreter, lines[len(lines)-1])
	}
	return strings.TrimSpace(string(out)), nil
}
