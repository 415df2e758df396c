package capsule

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Environment is what a replay may depend on besides the package: floating point differs between processors, libraries choose their code by
// processor features. It names no host.
type Environment struct {
	OS          string   `json:"os"`
	Arch        string   `json:"arch"`
	CPU         string   `json:"cpu"`
	CPUFeatures []string `json:"cpu_features"` // sorted
	Kernel      string   `json:"kernel"`
}

// Here looks at this machine.
func Here() (Environment, error) {
	e := Environment{OS: runtime.GOOS, Arch: runtime.GOARCH}
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return e, fmt.Errorf("asking for the kernel's version: %w", err)
	}
	e.Kernel = unix.ByteSliceToString(u.Release[:])
	f, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return e, fmt.Errorf("looking at the processor: %w", err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		key, value, _ := strings.Cut(lines.Text(), ":")
		switch key, value = strings.TrimSpace(key), strings.TrimSpace(value); key {
		case "model name", "CPU part":
			e.CPU = value
		case "flags", "Features":
			e.CPUFeatures = slices.Compact(slices.Sorted(slices.Values(strings.Fields(value))))
		}
		if e.CPU != "" && e.CPUFeatures != nil {
			break // the others are the same
		}
	}
	return e, lines.Err()
}

// Mismatch is one thing that is other here than where the capsule was made.
type Mismatch struct {
	What     string `json:"what"`
	Recorded string `json:"recorded"`
	Here     string `json:"here"`
	Fatal    bool   `json:"fatal"` // a replay would say nothing
}

// String says it in a line.
func (m Mismatch) String() string {
	return fmt.Sprintf("%s was %s, is %s", m.What, m.Recorded, m.Here)
}

// Compare lists what differs here, most telling first. here are the versions of this machine; what the package does not use is not compared.
func (m *Manifest) Compare(here Versions, now Environment) (out []Mismatch) {
	add := func(what, recorded, here string, fatal bool) {
		if recorded != here {
			out = append(out, Mismatch{What: what, Recorded: recorded, Here: here, Fatal: fatal})
		}
	}
	contract := func(v Versions) string {
		return fmt.Sprintf("ABI %d, events %d, intents %d", v.ABI, v.EventContract, v.IntentContract)
	}
	add("the contract", contract(m.Versions), contract(here), true)
	add("the platform", m.Environment.OS+"/"+m.Environment.Arch, now.OS+"/"+now.Arch, false)
	if m.Versions.Python != "" {
		add("Python", m.Versions.Python, here.Python, false)
	}
	if m.Versions.SDK != "" {
		add("the SDK", m.Versions.SDK, here.SDK, false)
	}
	if m.Versions.Wasm != "" {
		add("the Wasm engine", m.Versions.Wasm, here.Wasm, false)
	}
	add("msup", m.Versions.Recorded, here.MSUP, false)
	add("the processor", m.Environment.CPU, now.CPU, false)
	if lacking := without(m.Environment.CPUFeatures, now.CPUFeatures); len(lacking) > 0 {
		add("processor features", "with "+strings.Join(lacking, " "), "without", false)
	}
	if more := without(now.CPUFeatures, m.Environment.CPUFeatures); len(more) > 0 {
		add("processor features", "without "+strings.Join(more, " "), "with", false)
	}
	add("the kernel", m.Environment.Kernel, now.Kernel, false)
	return out
}

func without(a, b []string) []string {
	return slices.DeleteFunc(slices.Clone(a), func(s string) bool { return slices.Contains(b, s) })
}
