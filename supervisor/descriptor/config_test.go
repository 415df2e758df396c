package descriptor

import (
	"encoding/json"
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/msup/msup/ipc"
)

func fullSchema(t testing.TB) ConfigSchema {
	t.Helper()
	d, err := Load("testdata/full")
	if err != nil {
		t.Fatal(err)
	}
	return d.Config
}

// Proves: HR-1
func TestConfigIsCompletedAndTyped(t *testing.T) {
	s := fullSchema(t)
	got, fs := s.Validate(map[string]any{"size": "0.50", "entry_z": int64(3), "window": json.Number("7")})
	if fs != nil {
		t.Fatal(fs)
	}
	want := ipc.Values{"size": ipc.MustDecimal("0.5"), "entry_z": 3.0, "window": int64(7), "mode": "fade", "hedge": false}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	again, fs := s.Validate(got)
	if fs != nil {
		t.Fatal(fs)
	}
	a, errA := HashConfig(got)
	b, errB := HashConfig(again)
	if errA != nil || errB != nil || a != b {
		t.Errorf("hashes %s and %s, %v %v: validating twice must change nothing", a, b, errA, errB)
	}
}

// Proves: HR-1
func TestConfigFindsEverythingAtOnce(t *testing.T) {
	_, fs := fullSchema(t).Validate(map[string]any{
		"window": 1, "entry_z": math.Inf(1), "mode": "flip", "hedge": "yes", "colour": 1, "entry": 2,
	})
	var got []string
	for _, f := range fs {
		got = append(got, f.Key)
		if f.Code != CodeConfig || f.Remedy == "" {
			t.Errorf("%+v", f)
		}
	}
	if diff := cmp.Diff([]string{"config.colour", "config.entry", "config.entry_z", "config.hedge", "config.mode", "config.size", "config.window"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// A schema survives the way into a manifest and back; Python's decimals with exponents are read.
// Proves: DM-1
func TestConfigSchemaRoundTrip(t *testing.T) {
	s := fullSchema(t)
	b, err := json.Marshal(s.Tables())
	if err != nil {
		t.Fatal(err)
	}
	var tables map[string]any
	if err := json.Unmarshal(b, &tables); err != nil {
		t.Fatal(err)
	}
	for _, field := range tables { // as encoding/json without UseNumber leaves integers
		for _, key := range []string{"min", "max", "default", "max_length"} {
			if f, ok := field.(map[string]any)[key].(float64); ok && f == math.Trunc(f) && field.(map[string]any)["type"] != "float" {
				field.(map[string]any)[key] = int64(f)
			}
		}
	}
	back, err := ParseConfigSchema("manifest", tables)
	if err != nil {
		t.Fatal(err)
	}
	if diff := s.Diff(back); len(diff) > 0 {
		t.Errorf("differs: %v", diff)
	}
	py, err := ParseConfigSchema("python", map[string]any{"budget": map[string]any{"type": "decimal", "required": false, "apply": "tick", "max": "1E+5", "default": "1E+2", "unit": "USDT", "doc": "x"}})
	if err != nil {
		t.Fatal(err)
	}
	if f, _ := py.Field("budget"); f.Default != ipc.MustDecimal("100") || f.Max != ipc.MustDecimal("100000") {
		t.Errorf("%+v", f)
	}
	if _, err := ParseConfigSchema("liar", map[string]any{"x": "int", "y": map[string]any{"type": "int", "default": 1.5}, "../z": map[string]any{}}); err == nil {
		t.Error("a schema of nonsense was accepted")
	}
	if len(s.Diff(py)) == 0 || len(py.Diff(s)) == 0 {
		t.Error("different schemas do not differ")
	}
}
