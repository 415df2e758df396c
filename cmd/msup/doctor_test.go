package main

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/msup/msup/sandbox/container"
)

// The doctor asks the programs that a run would use for their versions, and names what is known against them, for people and programs; what
// blocks a level is that level's reason.
//
// Proves: SB-L3, SB-7
func TestDoctorNamesKnownHoles(t *testing.T) {
	p := newPlace(t)
	for name, version := range map[string]string{"runc": "runc version 1.1.11", "containerd": "containerd github.com/containerd/containerd v1.6.17 x"} {
		p.write(name, "#!/bin/sh\necho "+version+"\n")
		if err := os.Chmod(p.path(name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	p.env = append(p.env, "PATH="+p.dir+":"+os.Getenv("PATH"))
	diagnose := func(args ...string) (d diagnosis) {
		t.Helper()
		if err := json.Unmarshal([]byte(p.msup(exitOK, append([]string{"doctor", "--json"}, args...)...)), &d); err != nil {
			t.Fatal(err)
		}
		return d
	}
	d := diagnose()
	has := func(component, version, cve string) bool {
		return slices.ContainsFunc(d.Containers, func(f container.Finding) bool {
			return f.Component == component && f.Version == version && f.Severity == container.SeverityHole && slices.Contains(f.CVE, cve) && f.Remedy != ""
		})
	}
	if !has("runc", "1.1.11", "CVE-2024-21626") || !has("containerd", "v1.6.17", "CVE-2023-25153") {
		t.Errorf("%+v", d.Containers)
	}
	if !slices.ContainsFunc(d.Containers, func(f container.Finding) bool { return f.Component == "kernel" && f.Version != "" }) {
		t.Errorf("nothing on the kernel: %+v", d.Containers)
	}
	if said := p.msup(exitOK, "doctor"); strings.Contains(said, "\n  starts: ") != (d.SlowStarts != "") || !strings.Contains(said, d.SlowStarts) {
		t.Errorf("of starts that wait (%q) it says:\n%s", d.SlowStarts, said)
	}
	p.says(p.msup(exitOK, "doctor"), "runc 1.1.11", "CVE-2024-21626", "containerd v1.6.17", "CVE-2023-25153", "→ install runc")
	d = diagnose("--containerd", p.path("none"))
	l3 := d.Isolation[0]
	if os.Geteuid() == 0 && (l3.Level != "L3" || l3.Offered || l3.Remedy == "" || l3.Detail == "") {
		t.Errorf("%+v", l3)
	}
}
