package main

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// A runner that begins as this program waits only for what it needs itself (package sandbox/stage2).
//
// Proves: SB-2
func TestStageTwoBeginsBeforeTheRestIsInitialised(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, argv := range [][]string{{"msup-sandbox-stage-two"}, {"msup-sandbox-stage-two", "msup:wasm"}} {
		cmd := exec.CommandContext(t.Context(), self)
		cmd.Args = argv // not the proxy of services: left to main, it would be this test again
		cmd.Env = append(os.Environ(), "GODEBUG=inittrace=1")
		out, err := cmd.CombinedOutput() // without orders it fails, and has nowhere to say why
		if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != 125 {
			t.Fatalf("%q ended with %v:\n%s", argv, err, out)
		}
		if !strings.Contains(string(out), "init github.com/msup/msup/sandbox/wasm ") {
			t.Fatalf("%q began before its program was initialised:\n%s", argv, out)
		}
		for _, late := range []string{"google.golang.org/grpc", "github.com/santhosh-tekuri/jsonschema/v6", "github.com/msup/msup/supervisor/descriptor", "main"} {
			if strings.Contains(string(out), "init "+late+" ") {
				t.Errorf("%q waited for package %s", argv, late)
			}
		}
	}
}
