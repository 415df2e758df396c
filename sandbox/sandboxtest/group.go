package sandboxtest

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// parentEnv names the control group of a test binary to the child supervisors that it starts.
const parentEnv = "MSUP_SANDBOXTEST_CGROUP"

// CgroupParent names the top control group for the sandboxes of one test: the test binary's own, which its child supervisors have too.
func CgroupParent(t testing.TB) string {
	t.Helper()
	parent := os.Getenv(parentEnv)
	if parent == "" {
		parent = fmt.Sprintf("msup-test-%d", os.Getpid())
		t.Setenv(parentEnv, parent)
	}
	return parent
}

// Leftovers lists what a sandbox has left in its runtime directory and below its top control group: what Config.Leftovers wants.
func Leftovers(parent string) func(dir string) ([]string, error) {
	return func(dir string) ([]string, error) {
		left, err := filepath.Glob(filepath.Join(dir, "*"))
		if err != nil {
			return nil, err
		}
		for _, layout := range []string{"/sys/fs/cgroup/*/", "/sys/fs/cgroup/"} { // v1 and hybrid, v2
			groups, err := filepath.Glob(layout + parent + "/*/*/") // folders: in v2 the lanes' own files lie beside them
			if err != nil {
				return nil, err
			}
			left = append(left, groups...)
		}
		return left, nil
	}
}
