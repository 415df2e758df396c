package container

import (
	"slices"
	"strings"
	"testing"
)

// A private daemon of any version reads its configuration, loads what runners need, and none of what opens another way into the host. Nothing
// fails to load because of what is left out, but for one of 2.0 and 2.1 that nobody asks.
//
// Proves: SB-L3
func TestPluginsOfAPrivateDaemon(t *testing.T) {
	d := engine(t)
	got, err := d.Client().IntrospectionService().Plugins(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, p := range got.Plugins {
		name := p.Type + "." + p.ID
		names = append(names, name)
		if slices.Contains(disabledPlugins, name) || strings.Contains(name, ".cri") || strings.HasPrefix(name, "io.containerd.nri.") || strings.HasSuffix(name, ".restart") {
			t.Errorf("%s is loaded", name)
		}
		if p.InitErr != nil && !strings.Contains(p.InitErr.Message, "skip plugin") && name != "io.containerd.grpc.v1.sandbox-controllers" {
			t.Errorf("%s does not load: %s", name, p.InitErr.Message)
		}
	}
	for _, want := range []string{"io.containerd.snapshotter.v1.overlayfs", "io.containerd.grpc.v1.tasks", "io.containerd.runtime.v2.task", "io.containerd.grpc.v1.images"} {
		if !slices.Contains(names, want) {
			t.Errorf("%s is not loaded; there are %q", want, names)
		}
	}
}
