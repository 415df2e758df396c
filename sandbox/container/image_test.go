package container

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/msup/msup/sandbox"
	"github.com/msup/msup/sandbox/python"
	"github.com/msup/msup/sandbox/sandboxtest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/opencontainers/runtime-spec/specs-go"
)

const imageEnv = "MSUP_TEST_IMAGE"

// The whole suite with an image that knows nothing of msup: no mount points, links on the way, no /etc.
//
// Proves: SB-L3, NN-2, SB-2, SB-3, SB-4, SB-6, SB-8
func TestConformanceImage(t *testing.T) {
	cfg := conformance(t, func(p *suiteParams) {
		if p.Image = os.Getenv(imageEnv); p.Image != "" {
			return
		}
		d, err := OpenDaemon(t.Context(), DaemonConfig{Address: p.Address, CallTimeout: callTimeout()})
		if err != nil {
			t.Fatal(err)
		}
		a := newArchive(t)
		want := a.image(runtime.GOARCH, pythonLayer(t))
		var dgst string
		if p.Image, dgst, err = d.Import(t.Context(), a.write()); err != nil {
			t.Fatal(err)
		}
		if dgst != want.Digest.String() {
			t.Errorf("digest %s, want %s", dgst, want.Digest)
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
		t.Setenv(imageEnv, p.Image)
	})
	cfg.Program = sandboxtest.PythonProgram(t, python.Runtime{Interpreter: "/usr/bin/python3", Env: python.Env()})
	sandboxtest.Run(t, cfg)
}

// Proves: SB-L3
func TestImportTwice(t *testing.T) {
	d := engine(t)
	a := newArchive(t)
	a.image(runtime.GOARCH, emptyLayer(t))
	path := a.write()
	first, _, err := d.Import(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	second, _, err := d.Import(t.Context(), path)
	if err != nil || first != second {
		t.Errorf("%s and %s, %v", first, second, err)
	}
	images, err := d.Client().ListImages(t.Context())
	if err != nil || len(images) != 1 || images[0].Name() != first {
		t.Errorf("images %v, %v", images, err)
	}
	// Without Python the start says what is missing.
	s := open(t, d, func(c *Config) { c.Image = first })
	if s.ImageDigest() == "" {
		t.Error("no digest")
	}
	spec := script(t, echoCode)
	spec.Binds = spec.Binds[len(spec.Binds)-1:] // the program only
	spec.Argv[0] = "/usr/bin/python3"
	_, err = s.Start(t.Context(), spec)
	typed(t, err, "/usr/bin/python3", "use an image with that interpreter")
}

// An index of two platforms is one image: this machine's part of it is used.
//
// Proves: SB-L3
func TestImportTwoPlatforms(t *testing.T) {
	d := engine(t)
	a := newArchive(t)
	for _, arch := range []string{otherArch(), runtime.GOARCH} {
		a.image(arch, emptyLayer(t))
		a.index.Manifests[len(a.index.Manifests)-1].Platform = &ocispec.Platform{OS: "linux", Architecture: arch}
	}
	want := a.index.Manifests[1].Digest.String()
	if _, got, err := d.Import(t.Context(), a.write()); err != nil || got != want {
		t.Errorf("%s, %v; want %s", got, err, want)
	}
}

// Proves: SB-L3
func TestImportRefusals(t *testing.T) {
	d := engine(t)
	good := func() *archive {
		a := newArchive(t)
		a.image(runtime.GOARCH, emptyLayer(t))
		return a
	}
	body, err := os.ReadFile(good().write())
	if err != nil {
		t.Fatal(err)
	}
	file := func(body []byte) string {
		path := filepath.Join(shortDir(t), "image.tar")
		if err := os.WriteFile(path, body, 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	// Of damaged archives every layer is another one: what containerd has already is not read again, whoever brought it.
	own := func(blocks int) *archive {
		a := newArchive(t)
		a.image(runtime.GOARCH, append(emptyLayer(t), make([]byte, blocks*512)...))
		return a
	}
	flipped, err := os.ReadFile(own(2).write())
	if err != nil {
		t.Fatal(err)
	}
	flipped[bytes.LastIndex(flipped, []byte("hello "))]++
	other := newArchive(t)
	other.image(otherArch(), emptyLayer(t))
	liar := newArchive(t) // its index says it is for this machine, its configuration knows better
	liar.image(otherArch(), emptyLayer(t))
	liar.index.Manifests[0].Platform = &ocispec.Platform{OS: "linux", Architecture: runtime.GOARCH}
	two := good()
	two.image(runtime.GOARCH, emptyLayer(t))
	missing := own(4)
	for dg, b := range missing.blobs {
		if bytes.Contains(b, []byte("hello")) {
			delete(missing.blobs, dg)
		}
	}
	for name, c := range map[string]struct {
		path  string
		words []string
	}{
		"no file":            {"/nowhere/image.tar", []string{"no such file"}},
		"a folder":           {"/usr", []string{"import image archive /usr"}},
		"empty":              {file(nil), []string{"damaged"}},
		"garbage":            {file(bytes.Repeat([]byte("garbage "), 4096)), []string{"damaged"}},
		"cut":                {file(body[:len(body)*2/3]), []string{"damaged"}},
		"a flipped bit":      {file(flipped), []string{"damaged"}},
		"a blob missing":     {missing.write(), []string{"damaged"}},
		"two images":         {two.write(), []string{"holds 2 images"}},
		"no image":           {newArchive(t).write(), []string{"damaged"}},
		"other architecture": {other.write(), []string{"linux/" + otherArch(), "linux/" + runtime.GOARCH}},
		"a lying index":      {liar.write(), []string{"linux/" + otherArch(), "linux/" + runtime.GOARCH}},
	} {
		t.Run(name, func(t *testing.T) {
			ref, _, err := d.Import(t.Context(), c.path)
			if err == nil {
				t.Fatalf("imported as %s", ref)
			}
			want := sandbox.ReasonImageInvalid
			if name == "other architecture" || name == "a lying index" {
				want = sandbox.ReasonImageArchitecture
			}
			if got := typed(t, err, c.words...); got.Reason != want {
				t.Errorf("reason %s, want %s", got.Reason, want)
			}
		})
	}
	if _, err := Open(t.Context(), Config{Engine: d, RuntimeDir: filepath.Join(shortDir(t), "r"), CgroupParent: sandboxtest.CgroupParent(t), Image: "msup.local/none"}); err == nil {
		t.Error("an image that is not there can be used")
	} else {
		typed(t, err, "msup.local/none", "msup image build")
	}
}

// Proves: SB-L3
func TestLayers(t *testing.T) {
	top, base := shortDir(t), shortDir(t)
	for _, p := range []string{base + "/usr/lib", base + "/gone", top + "/usr"} {
		if err := os.MkdirAll(p, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("usr/lib", base+"/lib"); err != nil {
		t.Fatal(err)
	}
	got, err := layersOf([]mount.Mount{{Type: "overlay", Options: []string{"index=off", "lowerdir=" + top + ":" + base}}})
	if err != nil || len(got) != 2 {
		t.Fatalf("%v, %v", got, err)
	}
	if _, err := layersOf([]mount.Mount{{Type: "btrfs"}}); err == nil {
		t.Error("an unknown snapshotter is accepted")
	}
	root := shortDir(t)
	dir := func(target string) place {
		return place{dir: true, mount: specs.Mount{Destination: target}, source: "/usr"}
	}
	made, err := skeleton(root, got, []place{dir("/usr/lib"), dir("/app"), dir("/usr/lib/deep/er")})
	if err == nil {
		t.Error("a place inside a bind that does not exist there is accepted")
	}
	if !made {
		t.Error("nothing was made")
	}
	if _, err := os.Stat(root + "/app"); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(root + "/usr"); err == nil {
		t.Error("the skeleton covers what the image has")
	}
	if _, err := skeleton(root, got, []place{dir("/lib/x")}); err == nil || !strings.Contains(err.Error(), "link") {
		t.Errorf("a place behind a link of the image: %v", err)
	}
}
