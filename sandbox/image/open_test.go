package image

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/msup/msup/sandbox"
)

// member is an entry of a layer: a file unless the header says otherwise.
type member struct {
	tar.Header
	text string
}

func file(name, text string) member {
	return member{tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644}, text}
}
func program(name, text string) member {
	return member{tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o755}, text}
}
func link(name, to string) member {
	return member{tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: to, Mode: 0o777}, ""}
}
func special(name string, kind byte, to string) member {
	return member{tar.Header{Typeflag: kind, Name: name, Linkname: to}, ""}
}

func tarOf(t *testing.T, members ...member) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, m := range members {
		h := m.Header
		h.Size = int64(len(m.text))
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, m.text); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// elfOf is the beginning of a program for a machine.
func elfOf(t *testing.T, arch string) string {
	t.Helper()
	head := make([]byte, 64)
	copy(head, "\x7fELF\x02\x01\x01")
	head[18] = byte(machines[arch])
	return string(head)
}

// python is what a layer of an official Python image holds, as far as it matters.
func pythonLayer(t *testing.T, minor string) []byte {
	t.Helper()
	lib := "usr/local/lib/python" + minor
	return tarOf(t, program("usr/local/bin/python"+minor, elfOf(t, runtime.GOARCH)), link("usr/local/bin/python3", "python"+minor),
		file(lib+"/os.py", ""), file(lib+"/site-packages/msup/version.py", "\"\"\"x\"\"\"\n\n__version__ = \"0.1.0\"\n"), file(lib+"/site-packages/msgspec/__init__.py", ""))
}

// recipe says what image to write.
type recipe struct {
	arch       string
	env        []string
	layers     [][]byte
	compress   func([]byte) []byte
	diffIDs    []digest.Digest // instead of the right ones
	platform   string          // in the index
	nested     bool            // an index in the index
	docker     bool
	keepConfig func([]byte) []byte
}

func gzipped(b []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(b); err != nil {
		panic(err)
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return out.Bytes()
}

func zstded(b []byte) []byte {
	w, err := zstd.NewWriter(nil)
	if err != nil {
		panic(err)
	}
	return w.EncodeAll(b, nil)
}

// files returns the files of the layout, or of docker's archive.
func (r recipe) files(t *testing.T) map[string][]byte {
	t.Helper()
	orDefault(&r.arch, runtime.GOARCH)
	config := ocispec.Image{Platform: ocispec.Platform{Architecture: r.arch, OS: "linux"}, Config: ocispec.ImageConfig{Env: r.env, User: "nobody"},
		RootFS: ocispec.RootFS{Type: "layers", DiffIDs: r.diffIDs}}
	all := map[string][]byte{}
	blob := func(mediaType string, data []byte) ocispec.Descriptor {
		d := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
		all[blobName(d.Digest)] = data
		return d
	}
	encode := func(v any) []byte {
		data, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	manifest := ocispec.Manifest{MediaType: ocispec.MediaTypeImageManifest}
	manifest.SchemaVersion = 2
	var names []string
	for n, l := range r.layers {
		if r.diffIDs == nil {
			config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, digest.FromBytes(l))
		}
		if r.compress != nil {
			l = r.compress(l)
		}
		if r.docker {
			names = append(names, fmt.Sprintf("%d/layer.tar", n))
			all[names[n]] = l
		} else {
			manifest.Layers = append(manifest.Layers, blob("application/vnd.docker.image.rootfs.diff.tar.gzip", l))
		}
	}
	raw := encode(config)
	if r.keepConfig != nil {
		raw = r.keepConfig(raw)
	}
	if r.docker {
		all["config.json"] = raw
		all["manifest.json"] = encode([]map[string]any{{"Config": "config.json", "RepoTags": []string{"x:latest"}, "Layers": names}})
		return all
	}
	manifest.Config = blob(ocispec.MediaTypeImageConfig, raw)
	d := blob(ocispec.MediaTypeImageManifest, encode(manifest))
	if r.platform != "" {
		d.Platform = &ocispec.Platform{OS: "linux", Architecture: r.platform}
	}
	index := ocispec.Index{MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{d}}
	index.SchemaVersion = 2
	if r.nested {
		index.Manifests = []ocispec.Descriptor{blob(ocispec.MediaTypeImageIndex, encode(index))}
	}
	all["index.json"] = encode(index)
	all["oci-layout"] = []byte(`{"imageLayoutVersion":"1.0.0"}`)
	return all
}

func (r recipe) archive(t *testing.T) []byte {
	t.Helper()
	all := r.files(t)
	var members []member
	for _, name := range slices.Sorted(maps.Keys(all)) {
		members = append(members, file(name, string(all[name])))
	}
	return tarOf(t, members...)
}

func saved(t *testing.T, data []byte) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "image.tar")
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// Every form in which an image may come is recognised and ends as an OCI archive with one layer more: mount points.
//
// Proves: SB-L3, NN-1
func TestOpenForms(t *testing.T) {
	layers := [][]byte{pythonLayer(t, "3.12"), tarOf(t, file("etc/x", "y"))}
	for name, r := range map[string]recipe{
		"OCI":         {layers: layers},
		"gzip":        {layers: layers, compress: gzipped},
		"zstd":        {layers: layers, compress: zstded},
		"index":       {layers: layers, nested: true, platform: runtime.GOARCH},
		"docker save": {layers: layers, docker: true},
		"PYTHONPATH":  {layers: layers, env: []string{"PYTHONPATH=/opt/x", "PATH=/usr/local/bin:/bin", "SECRET=1"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			from := saved(t, r.archive(t))
			i, err := Open(t.Context(), from, Options{Dir: dir})
			if err != nil {
				t.Fatal(err)
			}
			if i.Kind != KindUser || i.Python != "3.12" || i.Interpreter != "/usr/local/bin/python3" || i.SDK != "0.1.0" || i.SitePackages != "/usr/local/lib/python3.12/site-packages" {
				t.Errorf("%+v", i)
			}
			if slices.Contains(i.Env, "SECRET=1") || slices.Contains(i.Env, "PYTHONPATH=/opt/x") != (name == "PYTHONPATH") {
				t.Errorf("environment %q", i.Env)
			}
			checkCopy(t, i, len(layers)+1)
			again, err := Open(t.Context(), from, Options{Dir: dir})
			if err != nil || again.Digest != i.Digest || !again.BuiltAt.Equal(i.BuiltAt) {
				t.Errorf("opened again: %+v, %v", again, err)
			}
			if entries, err := os.ReadDir(dir); err != nil || len(entries) != 3 {
				t.Errorf("%v, %v", entries, err)
			}
		})
	}
}

// checkCopy reads an archive of ours as if it were a user's, with all digests.
func checkCopy(t *testing.T, i Image, layers int) {
	t.Helper()
	s, err := openArchive(i.ArchivePath)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	b, err := readImage(s)
	if err != nil {
		t.Fatal(err)
	}
	if len(b.layers) != layers || b.config.Config.User != "nobody" {
		t.Errorf("%d layers, configuration %+v", len(b.layers), b.config.Config)
	}
	all, left := files{}, &budget{bytes: 1 << 30, entries: 1 << 20}
	for n := range b.layers {
		if err := b.layer(t.Context(), &b.layers[n], b.config.RootFS.DiffIDs[n], all, left); err != nil {
			t.Fatal(err)
		}
	}
	for _, point := range MountPoints() {
		if !all[strings.TrimPrefix(point, "/")].mode.IsDir() {
			t.Errorf("mount point %s is missing", point)
		}
	}
}

// A layout folder is an image too, and a change of it is noticed.
//
// Proves: SB-L3
func TestOpenLayoutFolder(t *testing.T) {
	from := t.TempDir()
	write := func(r recipe) {
		for name, data := range r.files(t) {
			full := filepath.Join(from, name)
			if err := errors.Join(os.MkdirAll(filepath.Dir(full), 0o755), os.WriteFile(full, data, 0o600)); err != nil {
				t.Fatal(err)
			}
		}
	}
	write(recipe{layers: [][]byte{pythonLayer(t, "3.12")}})
	o := Options{Dir: t.TempDir()}
	first, err := Open(t.Context(), from, o)
	if err != nil {
		t.Fatal(err)
	}
	write(recipe{layers: [][]byte{pythonLayer(t, "3.13"), tarOf(t)}})
	second, err := Open(t.Context(), from, o)
	if err != nil || first.Python != "3.12" || second.Python != "3.13" {
		t.Errorf("%s, %s, %v", first.Python, second.Python, err)
	}
}

// Layers above take away and replace what lies below, and links are followed inside the image only.
//
// Proves: SB-L3
func TestLayersAreStacked(t *testing.T) {
	venv := tarOf(t, link("opt/venv/bin/python3", "/usr/local/bin/python3"), file("opt/venv/pyvenv.cfg", "home = /usr/local/bin\n"),
		file("opt/venv/lib/python3.12/site-packages/msup/version.py", "__version__ = '9.9.9'\n"), file("opt/venv/lib/python3.12/site-packages/msgspec/__init__.py", ""))
	path := []string{"PATH=/opt/venv/bin:/usr/local/bin"}
	for name, c := range map[string]struct {
		r         recipe
		want, sdk string
	}{
		"virtual environment": {recipe{layers: [][]byte{pythonLayer(t, "3.12"), venv}, env: path}, "/opt/venv/bin/python3", "9.9.9"},
		"environment removed": {recipe{layers: [][]byte{pythonLayer(t, "3.12"), venv, tarOf(t, file("opt/.wh.venv", ""))}, env: path}, "/usr/local/bin/python3", "0.1.0"},
		"environment hidden":  {recipe{layers: [][]byte{pythonLayer(t, "3.12"), venv, tarOf(t, file("opt/venv/.wh..wh..opq", ""))}, env: path}, "/usr/local/bin/python3", "0.1.0"},
		"link of a folder": {recipe{layers: [][]byte{pythonLayer(t, "3.12"), tarOf(t, link("py", "../../usr/local"))}, env: []string{"PATH=/py/bin"}},
			"/py/bin/python3", "0.1.0"},
	} {
		t.Run(name, func(t *testing.T) {
			i, err := Open(t.Context(), saved(t, c.r.archive(t)), Options{Dir: t.TempDir()})
			if err != nil || i.Interpreter != c.want || i.SDK != c.sdk {
				t.Errorf("%s, SDK %s, %v", i.Interpreter, i.SDK, err)
			}
		})
	}
}

// What is no usable image is refused: what, where, what to do; and nothing of it stays.
//
// Proves: SB-L3
func TestOpenRefusals(t *testing.T) {
	python := pythonLayer(t, "3.12")
	other := map[string]string{"amd64": "arm64", "arm64": "amd64"}[runtime.GOARCH]
	whole := recipe{layers: [][]byte{python}}.archive(t)
	flipped := slices.Clone(whole)
	flipped[bytes.Index(flipped, []byte("msgspec/__init__.py"))+200] ^= 1
	with := func(members ...member) []byte {
		return recipe{layers: [][]byte{python, tarOf(t, members...)}}.archive(t)
	}
	reasons := map[string]sandbox.ReasonCode{
		"no Python": sandbox.ReasonImageNoPython, "old Python": sandbox.ReasonImageNoPython, "Python is a circle": sandbox.ReasonImageNoPython,
		"Python is a script": sandbox.ReasonImageNoPython, "no SDK": sandbox.ReasonImageNoSDK, "other architecture": sandbox.ReasonImageArchitecture,
		"other platform": sandbox.ReasonImageArchitecture, "other machine": sandbox.ReasonImageArchitecture,
	}
	noSDK := tarOf(t, program("usr/bin/python3.12", elfOf(t, runtime.GOARCH)), link("usr/bin/python3", "python3.12"))
	for name, c := range map[string]struct {
		archive []byte
		says    string
		remedy  string
	}{
		"empty":               {nil, "it is empty", "docker save"},
		"no tar":              {[]byte(strings.Repeat("no archive ", 100)), "no tar archive", "docker save"},
		"no image":            {tarOf(t, file("x", "y")), "it is no image", "docker save"},
		"no Python":           {recipe{layers: [][]byte{tarOf(t, file("etc/x", "y"))}}.archive(t), "it has no Python", "msup image build"},
		"old Python":          {recipe{layers: [][]byte{pythonLayer(t, "3.9")}}.archive(t), "is 3.9", "3.11 or later"},
		"no SDK":              {recipe{layers: [][]byte{noSDK}}.archive(t), "no msup SDK", "pip install msup"},
		"Python is a circle":  {recipe{layers: [][]byte{tarOf(t, link("usr/bin/python3", "python"), link("usr/bin/python", "python3"))}}.archive(t), "it has no Python", "msup image build"},
		"Python is a script":  {recipe{layers: [][]byte{tarOf(t, program("usr/bin/python3.12", "#!/bin/sh\n"))}}.archive(t), "it is a script", "msup image build"},
		"other architecture":  {recipe{layers: [][]byte{python}, arch: other}.archive(t), "it is for linux/" + other, "--platform linux/" + runtime.GOARCH},
		"other platform":      {recipe{layers: [][]byte{python}, platform: other}.archive(t), "no image for linux/" + runtime.GOARCH, "--platform"},
		"other machine":       {recipe{layers: [][]byte{tarOf(t, program("usr/bin/python3.12", elfOf(t, other)))}}.archive(t), "this machine is", "--platform"},
		"cut off":             {whole[:len(whole)/2], "cut off", "copy it whole"},
		"flipped bit":         {flipped, "damaged", "copy it whole"},
		"wrong diff id":       {recipe{layers: [][]byte{python}, diffIDs: []digest.Digest{digest.FromString("x")}}.archive(t), "damaged", "make it anew"},
		"fewer diff ids":      {recipe{layers: [][]byte{python}, diffIDs: []digest.Digest{}}.archive(t), "speaks of 0 layers, it has 1", "make it anew"},
		"damaged gzip":        {recipe{layers: [][]byte{python}, compress: func(b []byte) []byte { return gzipped(b)[:300] }}.archive(t), "damaged", "make it anew"},
		"damaged config":      {recipe{layers: [][]byte{python}, keepConfig: func([]byte) []byte { return []byte("{") }}.archive(t), "damaged", "make it anew"},
		"layer climbs":        {with(file("../../etc/passwd", "x")), "leads out of the image", "make it anew"},
		"layer is absolute":   {with(file("/etc/passwd", "x")), "leads out of the image", "make it anew"},
		"hard link climbs":    {with(special("etc/x", tar.TypeLink, "../../etc/passwd")), "out of the image", "make it anew"},
		"hard link to naught": {with(special("etc/x", tar.TypeLink, "etc/y")), "which is not there", "make it anew"},
		"device":              {with(special("dev/sda", tar.TypeBlock, "")), "is a device or pipe", "make it anew"},
		"pipe":                {with(special("x", tar.TypeFifo, "")), "is a device or pipe", "make it anew"},
		"archive climbs":      {tarOf(t, file("../index.json", "{}")), "leads out of it", "make it anew"},
		"digest is a path":    {tarOf(t, file("index.json", `{"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:../../x","size":1}]}`)), "no sha256 digest", "make it anew"},
		"endless index":       {endless(t), "nested too deeply", "make it anew"},
		"two images":          {tarOf(t, file("manifest.json", `[{},{}]`)), "2 images", "save one image only"},
		"no layers":           {recipe{}.archive(t), "no layers", "make it anew"},
		"too many layers":     {recipe{layers: slices.Repeat([][]byte{tarOf(t)}, maxLayers)}.archive(t), "can be stacked", "make it anew"},
		"index of megabytes":  {tarOf(t, file("index.json", strings.Repeat(" ", maxJSONBytes+1))), "at most", "make it anew"},
	} {
		t.Run(name, func(t *testing.T) {
			reason := reasons[name]
			if reason == "" {
				reason = sandbox.ReasonImageInvalid
			}
			from, dir := saved(t, c.archive), t.TempDir()
			_, err := Open(t.Context(), from, Options{Dir: dir})
			var refused *sandbox.Error
			if !errors.As(err, &refused) {
				t.Fatalf("%v", err)
			}
			if refused.Reason != reason || !strings.Contains(refused.Error(), c.says) || !strings.Contains(refused.Remedy, c.remedy) || !strings.Contains(refused.Op, from) {
				t.Errorf("%v", err)
			}
			onlyLock(t, dir)
		})
	}
}

// endless is an index that leads to an index that leads to an index …
func endless(t *testing.T) []byte {
	t.Helper()
	inner := []byte(`{"manifests":[]}`)
	var members []member
	for range 5 {
		d := digest.FromBytes(inner)
		members = append(members, file(blobName(d), string(inner)))
		inner = fmt.Appendf(nil, `{"manifests":[{"mediaType":%q,"digest":%q,"size":%d}]}`, ocispec.MediaTypeImageIndex, d, len(inner))
	}
	return tarOf(t, append(members, file("index.json", string(inner)))...)
}

// A layer that unpacks to more than an image may have is refused after at most that much, whatever its compression, and so
// is one with too many entries.
//
// Proves: SB-L3
func TestLayerBombs(t *testing.T) {
	zeros := make([]byte, 64<<20)
	header := func(size int64) []byte {
		var out bytes.Buffer
		if err := tar.NewWriter(&out).WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "zeros", Size: size}); err != nil {
			t.Fatal(err)
		}
		return out.Bytes()
	}
	many := slices.Repeat([]member{file("x", "")}, 2000)
	for name, c := range map[string]struct {
		layer    []byte
		compress func([]byte) []byte
	}{
		"gzip":         {append(header(int64(len(zeros))), zeros...), gzipped},
		"zstd":         {append(header(int64(len(zeros))), zeros...), zstded},
		"announced":    {header(1 << 60), gzipped},
		"after end":    {append(tarOf(t), zeros...), gzipped},
		"many entries": {tarOf(t, many...), gzipped},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := openArchive(saved(t, recipe{layers: [][]byte{c.layer}, compress: c.compress}.archive(t)))
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			b, err := readImage(s)
			if err != nil {
				t.Fatal(err)
			}
			left := &budget{bytes: 8 << 20, entries: 1000}
			err = b.layer(t.Context(), &b.layers[0], b.config.RootFS.DiffIDs[0], files{}, left)
			if err == nil || !strings.Contains(err.Error(), "made to fill the disk") {
				t.Errorf("%v", err)
			}
			if left.bytes < -(4 << 20) {
				t.Errorf("%d bytes were unpacked beyond the limit", -left.bytes)
			}
		})
	}
}

// Ctrl-C ends the check of a large layer.
//
// Proves: SB-L3
func TestOpenInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	dir := t.TempDir()
	_, err := Open(ctx, saved(t, recipe{layers: [][]byte{pythonLayer(t, "3.12")}}.archive(t)), Options{Dir: dir})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	onlyLock(t, dir)
}

// No bytes of an archive make the reader do anything but refuse it or read it.
func FuzzOpenArchive(f *testing.F) {
	t := &testing.T{}
	f.Add(recipe{layers: [][]byte{tarOf(t, file("x", "y"))}}.archive(t))
	f.Add(recipe{layers: [][]byte{tarOf(t, link("x", "y"))}, docker: true, compress: gzipped}.archive(t))
	f.Fuzz(func(t *testing.T, data []byte) {
		name := filepath.Join(t.TempDir(), "image.tar")
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := openArchive(name)
		if err != nil {
			return
		}
		defer s.Close()
		b, err := readImage(s)
		if err != nil {
			return
		}
		all, left := files{}, &budget{bytes: 1 << 20, entries: 1000}
		for n := range b.layers {
			if b.layer(t.Context(), &b.layers[n], b.config.RootFS.DiffIDs[n], all, left) != nil {
				return
			}
		}
		if p, err := all.python(environmentOf(b.config.Config.Env)); err == nil && p.minor == "" {
			t.Error("a Python without a version")
		}
	})
}
