package descriptor

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const computing = `[strategy]
id = "x"
version = "1.0.0"
runtime = "python"
entry = "m:C"
[capabilities]
events = ["quote", "compute_result"]
intents = ["order"]
`

// Proves: DM-1, LN-2, LN-5
func TestComputeIsReadWhole(t *testing.T) {
	d, err := Parse("c.toml", []byte(computing+`[compute]
entry = "pkg.part:Model"
congestion = "no_trade"
queue = 5
runners = 3
deadline_ms = 250
deadline_init_ms = 900
cpu_cores = 0.5
memory_mb = 300
threads = 7
open_files = 33
tmp_mb = 4
log_lines_per_second = 9
log_bytes_per_run = 2048
restarts_per_hour = 2
`))
	if err != nil {
		t.Fatal(err)
	}
	r := DefaultResources()
	r.CPUCores, r.MemoryMB, r.Threads, r.OpenFiles, r.TmpMB, r.LogLinesPerSecond, r.LogBytesPerRun, r.RestartsPerHour = 0.5, 300, 7, 33, 4, 9, 2048, 2
	want := Compute{Entry: "pkg.part:Model", Congestion: CongestionNoTrade, Queue: 5, Runners: 3, Deadline: 250 * time.Millisecond,
		DeadlineInit: 900 * time.Millisecond, Resources: r}
	if diff := cmp.Diff(want, d.Compute); diff != "" {
		t.Errorf("compute (-want +got):\n%s", diff)
	}
	if !d.Asks() {
		t.Error("it has a part, and nobody to ask")
	}
	if d, err = Parse("c.toml", []byte(computing)); err != nil || d.Asks() || d.Compute.Congestion != CongestionFallback {
		t.Errorf("without [compute]: %v, %+v", err, d)
	}
}

// A compute runner may not have more than the host policy allows, whatever the strategy beside it has.
//
// Proves: AD-5, SB-2
func TestComputeIsHeldAgainstThePolicy(t *testing.T) {
	d, err := Parse("c.toml", []byte(computing+"[compute]\nentry = \"m:P\"\nmemory_mb = 4096\n"))
	if err != nil {
		t.Fatal(err)
	}
	f, err := ParseDeployment("msup.toml", []byte("[[strategy]]\npackage = \"x\"\n[policy.max]\nmemory_mb = 1024\n"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.Resolve(func(string) (Package, error) { return Package{Hash: zeros64, Descriptor: d}, nil })
	if found, ok := AsFindings(err); !ok || len(found) != 1 || found[0].Code != CodePolicy || !strings.Contains(found[0].Problem, "memory_mb 4096 is asked for in [compute]") {
		t.Errorf("%v", err)
	}
}
