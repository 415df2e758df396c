package folder

import (
	"os"
	"syscall"
	"testing"
)

func owner(t *testing.T, path string) int {
	t.Helper()
	st, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	sys, ok := st.Sys().(*syscall.Stat_t)
	if !ok {
		t.Fatalf("%T does not tell an owner", st.Sys())
	}
	return int(sys.Uid)
}
