package process

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

const landlockEnv = "MSUP_TEST_LANDLOCK"

// tryLandlock puts this process behind Landlock alone, without the walls before it, and tells what it still can do.
func tryLandlock() {
	dir := os.Getenv(landlockEnv)
	abi, err := applyLandlock(orders{Mounts: []mount{
		{Target: "/usr", Dir: true}, {Target: filepath.Join(dir, "file")}, {Target: "/dev/null", Device: true},
		{Target: filepath.Join(dir, "out"), Dir: true, Writable: true},
	}})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	read := func(path string) error {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		return f.Close()
	}
	create := func(path string) error { return os.WriteFile(path, []byte("x"), 0o600) }
	dial := func() error {
		_, err := net.Dial("tcp", "127.0.0.1:9")
		return err
	}
	got := map[string]bool{}
	for name, err := range map[string]error{
		"bound folder": read("/usr/bin/env"), "bound file": read(filepath.Join(dir, "file")), "other file": read(filepath.Join(dir, "other")),
		"host": read("/etc/passwd"), "write to bind": create("/usr/written"), "write to output": create(filepath.Join(dir, "out", "x")),
		"write beside": create(filepath.Join(dir, "x")), "device": create("/dev/null"), "tcp": dial(),
	} {
		got[name] = !errors.Is(err, unix.EACCES)
	}
	text, err := json.Marshal(got)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Printf("%d %s\n", abi, text)
	os.Exit(0)
}

// Behind the mounts nobody sees whether the second wall stands, so it is tried alone.
//
// Proves: SB-L1, SB-3
func TestLandlockAloneHolds(t *testing.T) {
	dir, err := os.MkdirTemp("/var/tmp", "sb") // below /tmp everything may be written
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := errors.Join(os.Mkdir(filepath.Join(dir, "out"), 0o700), os.WriteFile(filepath.Join(dir, "file"), nil, 0o600),
		os.WriteFile(filepath.Join(dir, "other"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = []string{landlockEnv + "=" + dir}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var abi int
	_, text, _ := strings.Cut(string(out), " ")
	if _, err := fmt.Sscan(string(out), &abi); err != nil {
		t.Fatal(err)
	}
	var got map[string]bool
	if err := json.Unmarshal([]byte(text), &got); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if abi == 0 {
		t.Log("this kernel has no Landlock; Walls says so")
		return
	}
	const tcpABI = 4
	want := map[string]bool{"bound folder": true, "bound file": true, "other file": false, "host": false, "write to bind": false,
		"write to output": true, "write beside": false, "device": true, "tcp": abi < tcpABI}
	for name, possible := range want {
		if got[name] != possible {
			t.Errorf("%s: possible %v, want %v", name, got[name], possible)
		}
	}
}
