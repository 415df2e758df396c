package descriptor

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/msup/msup/ipc"
)

var update = flag.Bool("update", false, "write generated files instead of comparing them")

// shape writes findings as the .want files hold them: line:key CODE.
func shape(t *testing.T, err error, file string) string {
	t.Helper()
	fs, ok := AsFindings(err)
	if !ok {
		t.Fatalf("error is %T (%v), want Findings", err, err)
	}
	var b strings.Builder
	for _, f := range fs {
		if f.File != file {
			t.Errorf("finding %v names file %q, want %q", f, f.File, file)
		}
		if f.Problem == "" || f.Remedy == "" {
			t.Errorf("finding %+v lacks its problem or its remedy", f)
		}
		if strings.ContainsFunc(f.Error(), func(r rune) bool { return r < 0x20 || r == 0x7f }) {
			t.Errorf("finding %q holds control characters", f.Error())
		}
		fmt.Fprintf(&b, "%d:%s %s\n", f.Line, f.Key, f.Code)
	}
	return b.String()
}

// Every broken descriptor yields exactly the findings beside it: file, line, key, code, and always a remedy.
// Proves: DM-1, AD-1
func TestBrokenDescriptors(t *testing.T) {
	files, err := filepath.Glob("testdata/broken/*.toml")
	if err != nil || len(files) < 40 {
		t.Fatalf("%d broken descriptors, %v; want at least 40", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".toml"), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			want, err := os.ReadFile(strings.TrimSuffix(file, ".toml") + ".want")
			if err != nil {
				t.Fatal(err)
			}
			d, err := Parse(file, data)
			if err == nil {
				t.Fatalf("accepted as %+v", d)
			}
			if diff := cmp.Diff(string(want), shape(t, err, file)); diff != "" {
				t.Errorf("findings (-want +got):\n%s\n%v", diff, err)
			}
		})
	}
}

// Proves: DM-1
func TestMinimalDescriptorHasSaneDefaults(t *testing.T) {
	d, err := Parse("minimal.toml", readTest(t, "testdata/good/minimal.toml"))
	if err != nil {
		t.Fatal(err)
	}
	want := &Descriptor{
		File: "minimal.toml", Strategy: "ema_cross", Version: "1.0.0", Runtime: RuntimePython, Entry: "strategy:EmaCross", Model: ModelSingle,
		Lane: ipc.LaneLL, Isolation: IsolationAuto,
		Capabilities: Capabilities{
			Events: []ipc.EventKind{ipc.KindQuote}, Instruments: []string{"*"}, Intents: []ipc.IntentKind{ipc.IntentOrder, ipc.IntentCancel},
			OrderTypes: []ipc.OrderType{ipc.OrderMarket, ipc.OrderLimit}, Venues: []string{"*"}, Assets: []string{"*"},
		},
		Resources: DefaultResources(),
		Ladders:   DefaultLadders(),
		Breaker:   Breaker{Mode: "no_trade", Recovery: "cooldown", Cooldown: 30 * time.Second, CleanSteps: 10},
		SLO:       SLO{Window: 10 * time.Second, DropRate: -1, PriorityAfter: 1, DegradeAfter: 3, HaltAfter: 30},
		Risk:      ipc.RiskContext{MaxSlippage: ipc.MustDecimal("0.001"), MaxDelayNS: 2e9, HoldingTimeNS: 3600e9, Budget: ipc.MustDecimal("10000")},
		State:     StatePolicy{SchemaVersion: 1, CheckpointSteps: 10000, CheckpointPeriod: 30 * time.Second, Recovery: RecoveryReplay},
		Contracts: Contracts{Events: 1, Intents: 1},
		Compute:   DefaultCompute(),
	}
	if diff := cmp.Diff(want, d); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if r := d.Resources; r.MemoryMB != 256 || r.CPUCores != 1 || r.DeadlineSoft > r.DeadlineHard || r.AnswerBytes != ipc.MaxAnswerBytes {
		t.Errorf("default resources %+v", r)
	}
	if !d.Capabilities.Subscribes(ipc.KindShutdown) || d.Capabilities.Subscribes(ipc.KindTrade) {
		t.Error("subscriptions: shutdown always comes, trade was not asked for")
	}
}

// Proves: DM-1, HR-1
func TestFullDescriptorIsReadWhole(t *testing.T) {
	d, err := Parse("full.toml", readTest(t, "testdata/good/full.toml"))
	if err != nil {
		t.Fatal(err)
	}
	want := Resources{
		CPUCores: 0.5, MemoryMB: 512, Threads: 32, OpenFiles: 64, TmpMB: 8, DeadlineSoft: 5 * time.Millisecond, DeadlineHard: 500 * time.Millisecond,
		DeadlineInit: 10 * time.Second, DeadlineCheckpoint: time.Second, DeadlineStop: time.Second, QueueEvents: 128, AnswerBytes: 32768,
		StateBytes: 65536, Timers: 4, IntentsPerEvent: 2, IntentsPerSecond: 10, IntentsPerRun: 1000, CancelsPerSecond: 20,
		LogLinesPerSecond: 5, LogBytesPerRun: 65536, RestartsPerHour: 3,
	}
	if diff := cmp.Diff(want, d.Resources); diff != "" {
		t.Errorf("resources (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(SLO{Window: time.Minute, P95: 2500 * time.Microsecond, CPU: 12 * time.Second, PriorityAfter: 2, DegradeAfter: 4, HaltAfter: 8}, d.SLO); diff != "" {
		t.Errorf("slo (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(Breaker{Mode: "hedge_to_flat", Recovery: "manual", Cooldown: 5 * time.Second}, d.Breaker); diff != "" {
		t.Errorf("breaker (-want +got):\n%s", diff)
	}
	ladders := DefaultLadders()
	for i, l := range ladders {
		switch l.Kind {
		case "log":
			ladders[i].Ladder = Ladder{Window: 30 * time.Second, Warn: 2, Degrade: 3, Halt: 4}
		case "faults":
			ladders[i].Degrade = 1
		}
	}
	if diff := cmp.Diff(ladders, d.Ladders); diff != "" {
		t.Errorf("ladders (-want +got):\n%s", diff)
	}
	if d.Lane != ipc.LaneCompute || d.Model != ModelSharded || d.Isolation != IsolationL1 || d.Python.Lock != "requirements.lock" {
		t.Errorf("strategy section %+v", d)
	}
	if diff := cmp.Diff(StatePolicy{3, []uint32{1, 2}, 500, 10 * time.Second, RecoveryInform}, d.State); diff != "" {
		t.Errorf("state (-want +got):\n%s", diff)
	}
	for _, k := range []ipc.EventKind{ipc.KindTradeAggregate, ipc.KindBookSnapshot, ipc.KindComputeUnavailable} {
		if !d.Capabilities.Subscribes(k) {
			t.Errorf("%s comes with what was subscribed", k)
		}
	}
	size, _ := d.Config.Field("size")
	wantSize := ConfigField{Name: "size", Type: ConfigDecimal, Unit: "base", Min: ipc.MustDecimal("0.001"), Max: ipc.MustDecimal("10"), Required: true, Apply: ApplyFlat}
	if diff := cmp.Diff(wantSize, size); diff != "" {
		t.Errorf("config.size (-want +got):\n%s", diff)
	}
	if z, _ := d.Config.Field("entry_z"); z.Default != 2.0 || z.Min != 0.0 {
		t.Errorf("config.entry_z %+v: integers must become floats", z)
	}
	if d.Warmup.Bars != 200 || d.Provenance.Revision != "4f2c1d" || len(d.Telemetry) != 2 {
		t.Errorf("warmup, provenance, telemetry: %+v %+v %v", d.Warmup, d.Provenance, d.Telemetry)
	}
}

// Files that are no descriptor at all say so, and never hang or fill memory.
// Proves: AD-1
func TestUnreadableFiles(t *testing.T) {
	dir := t.TempDir()
	huge := filepath.Join(dir, "huge")
	if err := os.Mkdir(huge, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(huge, FileName), []byte(strings.Repeat("# x\n", 1<<19)), 0o644); err != nil {
		t.Fatal(err)
	}
	folder := filepath.Join(dir, "folder")
	if err := os.MkdirAll(filepath.Join(folder, FileName), 0o755); err != nil {
		t.Fatal(err)
	}
	device := filepath.Join(dir, "device")
	if err := errors.Join(os.Mkdir(device, 0o755), os.Symlink("/dev/zero", filepath.Join(device, FileName))); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{huge: "larger than 1048576 bytes", folder: "is a folder", device: "not a regular file", filepath.Join(dir, "none"): "does not exist"} {
		_, err := Load(name)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), string(CodeFile)) {
			t.Errorf("Load(%s) = %v, want %q", name, err, want)
		}
	}
}

// Deep nesting and endless keys cost milliseconds, not the stack.
func TestDescriptorBombs(t *testing.T) {
	for name, text := range map[string]string{
		"arrays":      "a = " + strings.Repeat("[", 1<<19),
		"closed":      "a = " + strings.Repeat("[", 1<<19-8) + strings.Repeat("]", 1<<19-8),
		"inline":      "a = " + strings.Repeat("{a=", 1<<18),
		"dotted":      strings.Repeat("a.", 1<<19-8) + "a = 1",
		"table":       "[" + strings.Repeat("a.", 1<<19-8) + "a]",
		"array table": strings.Repeat("[[a]]\n", 1<<17),
	} {
		start := time.Now()
		if _, err := Parse(name, []byte(text)); err == nil {
			t.Errorf("%s was accepted", name)
		}
		if took := time.Since(start); took > 20*time.Second {
			t.Errorf("%s took %s", name, took)
		}
	}
}

func readTest(t *testing.T, file string) []byte {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
