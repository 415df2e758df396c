package pack

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"

	"github.com/msup/msup/supervisor/descriptor"
)

// maxInterfaceBytes bounds what a strategy may say about itself.
const maxInterfaceBytes = 1 << 20

// Interface is what a strategy's code says about itself, derived inside a sandbox and validated (DM-1).
type Interface struct {
	ConfigSchema       map[string]any `json:"config_schema"`
	Hooks              []string       `json:"hooks"`
	SDKVersion         string         `json:"sdk_version"`
	StateSchemaVersion uint32         `json:"state_schema_version"`
}

// HasHook reports whether the strategy has an optional callback.
func (i Interface) HasHook(name string) bool { return slices.Contains(i.Hooks, name) }

// knownHooks are the optional callbacks of the SDK.
var knownHooks = []string{"on_recovered", "on_config", "on_healthcheck", "migrate"}

// parseInterface decodes what came out of the sandbox. Strategy code may have written it: nothing is believed.
func parseInterface(data []byte) (Interface, error) {
	if len(data) > maxInterfaceBytes {
		return Interface{}, fmt.Errorf("it has more than %d bytes", maxInterfaceBytes)
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	var i Interface
	if err := d.Decode(&i); err != nil {
		return Interface{}, fmt.Errorf("it is not the expected JSON: %w", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return Interface{}, fmt.Errorf("something follows the JSON")
	}
	for _, h := range i.Hooks {
		if !slices.Contains(knownHooks, h) {
			return Interface{}, fmt.Errorf("it names the hook %.40q, which does not exist", h)
		}
	}
	if len(i.Hooks) > len(knownHooks) || len(i.SDKVersion) > 64 {
		return Interface{}, fmt.Errorf("it names too many hooks, or an endless version")
	}
	schema, err := descriptor.ParseConfigSchema("config schema of the strategy's code", i.ConfigSchema)
	if err != nil {
		return Interface{}, err
	}
	i.ConfigSchema = schema.Tables()
	return i, nil
}

// merge joins the descriptor, whose bytes are source, with what the code says, or tells where they contradict each other.
func merge(d *descriptor.Descriptor, source []byte, i Interface) (*descriptor.Descriptor, error) {
	var fs descriptor.Findings
	add := func(key, problem, remedy string) {
		line, column := descriptor.Locate(source, key)
		fs = append(fs, descriptor.Finding{Code: descriptor.CodeConflict, File: d.File, Line: line, Column: column, Key: key, Problem: problem, Remedy: remedy})
	}
	derived, err := descriptor.ParseConfigSchema("config schema of the strategy's code", i.ConfigSchema)
	if err != nil {
		return nil, err
	}
	if len(d.Config.Fields) > 0 {
		for _, diff := range d.Config.Diff(derived) {
			add("config", "the descriptor and the Config class differ: "+diff, "make them agree, or remove the [config] tables: they are derived from the class")
		}
	}
	if i.StateSchemaVersion != d.State.SchemaVersion {
		add("state.schema_version", fmt.Sprintf("is %d, but the code says state_schema_version = %d", d.State.SchemaVersion, i.StateSchemaVersion), "make them agree")
	}
	if d.State.Recovery == descriptor.RecoveryInform && !i.HasHook("on_recovered") {
		add("state.recovery", `is "inform", but the strategy has no on_recovered`, `write on_recovered, or set recovery = "replay"`)
	}
	if len(d.State.MigratesFrom) > 0 && !i.HasHook("migrate") {
		add("state.migrates_from", "names older versions, but the strategy has no migrate", "write migrate, or remove migrates_from")
	}
	if err := fs.Err(); err != nil {
		return nil, err
	}
	merged := *d
	merged.Config = derived
	return &merged, nil
}
