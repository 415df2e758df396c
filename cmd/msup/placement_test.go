package main

import (
	"net"
	"os"
	"testing"
)

// Whoever names a containerd or an image gets it or an error, never other walls, under auto as well.
//
// Proves: SB-L3, SB-7
func TestWhatIsNamedIsNotReplaced(t *testing.T) {
	p := newPlace(t)
	p.env = append(p.env, "MSUP_ISOLATION=auto", "MSUP_IMAGES="+p.path("images"))
	p.msup(0, "feed", "generate", "market.jsonl", "--seed", "7", "--events", "100", "-q")
	p.write("noise.tar", "no image at all")
	closed, err := net.Listen("unix", p.path("closed"))
	if err != nil {
		t.Fatal(err)
	}
	closed.(*net.UnixListener).SetUnlinkOnClose(false) //nolint:forcetypeassert // of a unix listener
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	own := p.env
	run := func(want int, env string, flags ...string) string {
		p.env = append(own[:len(own):len(own)], env)
		return p.msup(want, append([]string{"run", "-c", "msup.toml", "--feed", "market.jsonl", "-q"}, flags...)...)
	}
	where := []string{"desk/ema_cross/", "asks for a container"}
	p.says(run(exitSandbox, "MSUP_CONTAINERD="+p.path("none")), append(where, "--containerd "+p.path("none"), "no such file", "start containerd, correct its address")...)
	p.says(run(exitSandbox, "", "--containerd", p.path("closed")), append(where, "--containerd "+p.path("closed"), "connection refused")...)
	if os.Geteuid() == 0 { // who may start no container is told that first
		p.says(run(exitSandbox, "MSUP_IMAGE=noise.tar"), append(where, "--image noise.tar", "IMAGE_INVALID", "make it anew")...)
		p.says(run(exitSandbox, "", "--image", p.path("absent.tar"), "--json"), append(where, "--image "+p.path("absent.tar"), "no such file", "name an OCI archive",
			`"reason_code": "IMAGE_INVALID"`)...)
	}
	// What asks for no container is not disturbed by what it would be.
	run(exitOK, "MSUP_CONTAINERD="+p.path("none"), "--isolation", "L1")
}
