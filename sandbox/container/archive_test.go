package container

import (
	"archive/tar"
	"bytes"
	"debug/elf"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	specsgo "github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// layer collects files of the host into one tar.
type layer struct {
	t    *testing.T
	buf  bytes.Buffer
	tar  *tar.Writer
	seen map[string]bool
}

func newLayer(t *testing.T) *layer {
	l := &layer{t: t, seen: map[string]bool{}}
	l.tar = tar.NewWriter(&l.buf)
	return l
}

func (l *layer) put(h tar.Header, body []byte) {
	l.t.Helper()
	if l.seen[h.Name] {
		return
	}
	l.seen[h.Name] = true
	if dir := filepath.Dir(h.Name); dir != "." {
		l.put(tar.Header{Name: dir, Typeflag: tar.TypeDir, Mode: 0o755}, nil)
	}
	h.Size = int64(len(body))
	if err := l.tar.WriteHeader(&h); err != nil {
		l.t.Fatal(err)
	}
	if _, err := l.tar.Write(body); err != nil {
		l.t.Fatal(err)
	}
}

// add copies a file of the host to its resolved place.
func (l *layer) add(path string) {
	l.t.Helper()
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		l.t.Fatal(err)
	}
	body, err := os.ReadFile(real)
	if err != nil {
		l.t.Fatal(err)
	}
	l.put(tar.Header{Name: strings.TrimPrefix(real, "/"), Typeflag: tar.TypeReg, Mode: 0o755}, body)
	if link := mergedUsr(path); link != real {
		l.put(tar.Header{Name: strings.TrimPrefix(link, "/"), Typeflag: tar.TypeSymlink, Linkname: real}, nil)
	}
}

// mergedUsr is the place behind /lib and /lib64, which are links on Debian.
func mergedUsr(path string) string {
	dir, err := filepath.EvalSymlinks(filepath.Dir(path))
	if err != nil {
		return path
	}
	return filepath.Join(dir, filepath.Base(path))
}

// pythonLayer is the smallest root in which the host's python3 runs.
func pythonLayer(t *testing.T) []byte {
	t.Helper()
	l := newLayer(t)
	for _, link := range []string{"lib", "lib64"} {
		if info, err := os.Lstat("/" + link); err == nil && info.Mode().Type() == os.ModeSymlink { // as most hosts have it
			l.put(tar.Header{Name: link, Typeflag: tar.TypeSymlink, Linkname: "usr/" + link}, nil)
		}
	}
	loader := loaderOf(t, "/usr/bin/python3")
	l.add("/usr/bin/python3")
	out, err := exec.Command("/usr/bin/python3", "-I", "-c", "import os, sys; print(os.path.dirname(os.__file__))").Output()
	if err != nil {
		t.Fatal(err)
	}
	std := strings.TrimSpace(string(out))
	programs := []string{"/usr/bin/python3"}
	err = filepath.WalkDir(std, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "test" || d.Name() == "ensurepip" || d.Name() == "lib2to3" || d.Name() == "idlelib" || strings.HasPrefix(d.Name(), "config-")) {
			return filepath.SkipDir
		}
		if !d.Type().IsRegular() {
			return nil
		}
		if strings.HasSuffix(path, ".so") {
			programs = append(programs, path)
		}
		body, err := os.ReadFile(path)
		if err == nil {
			l.put(tar.Header{Name: strings.TrimPrefix(path, "/"), Typeflag: tar.TypeReg, Mode: 0o644}, body)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range programs {
		out, err := exec.Command(loader, "--list", p).Output()
		if err != nil {
			continue // a library that needs nothing
		}
		for _, word := range strings.Fields(string(out)) {
			if filepath.IsAbs(word) {
				l.add(word)
			}
		}
	}
	if err := l.tar.Close(); err != nil {
		t.Fatal(err)
	}
	return l.buf.Bytes()
}

// layerCount makes every layer another one: containerd would not read again what it has.
var layerCount int

// emptyLayer holds one file and no interpreter.
func emptyLayer(t *testing.T) []byte {
	l := newLayer(t)
	layerCount++
	l.put(tar.Header{Name: "etc/hello", Typeflag: tar.TypeReg, Mode: 0o644}, []byte(fmt.Sprintf("hello %d", layerCount)))
	if err := l.tar.Close(); err != nil {
		t.Fatal(err)
	}
	return l.buf.Bytes()
}

// archive is an OCI archive under construction.
type archive struct {
	t     *testing.T
	blobs map[digest.Digest][]byte
	index ocispec.Index
}

func newArchive(t *testing.T) *archive {
	return &archive{t: t, blobs: map[digest.Digest][]byte{}, index: ocispec.Index{Versioned: specsgo.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex}}
}

func (a *archive) blob(mediaType string, v any) ocispec.Descriptor {
	a.t.Helper()
	body, ok := v.([]byte)
	if !ok {
		var err error
		if body, err = json.Marshal(v); err != nil {
			a.t.Fatal(err)
		}
	}
	d := digest.FromBytes(body)
	a.blobs[d] = body
	return ocispec.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(body))}
}

// image adds an image of one layer.
func (a *archive) image(arch string, body []byte) ocispec.Descriptor {
	a.t.Helper()
	config := a.blob(ocispec.MediaTypeImageConfig, ocispec.Image{Platform: ocispec.Platform{OS: "linux", Architecture: arch},
		RootFS: ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{digest.FromBytes(body)}}})
	m := a.blob(ocispec.MediaTypeImageManifest, ocispec.Manifest{Versioned: specsgo.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		Config: config, Layers: []ocispec.Descriptor{a.blob(ocispec.MediaTypeImageLayer, body)}})
	m.Annotations = map[string]string{ocispec.AnnotationRefName: "latest"}
	a.index.Manifests = append(a.index.Manifests, m)
	return m
}

// write writes the archive and returns its path.
func (a *archive) write() string {
	a.t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	put := func(name string, body []byte) {
		if err := w.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(body))}); err != nil {
			a.t.Fatal(err)
		}
		if _, err := w.Write(body); err != nil {
			a.t.Fatal(err)
		}
	}
	put("oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`))
	body, err := json.Marshal(a.index)
	if err != nil {
		a.t.Fatal(err)
	}
	put("index.json", body)
	for d, b := range a.blobs {
		put("blobs/sha256/"+d.Encoded(), b)
	}
	if err := w.Close(); err != nil {
		a.t.Fatal(err)
	}
	path := filepath.Join(shortDir(a.t), "image.tar")
	if err := os.WriteFile(path, buf.Bytes(), 0o644); err != nil {
		a.t.Fatal(err)
	}
	return path
}

// otherArch is an architecture that this machine is not.
func otherArch() string {
	if runtime.GOARCH == "arm64" {
		return "amd64"
	}
	return "arm64"
}

// loaderOf is the loader that a program names; it lists what a program needs, as ldd does, which not every machine has.
func loaderOf(t *testing.T, program string) string {
	t.Helper()
	f, err := elf.Open(program)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	section := f.Section(".interp")
	if section == nil {
		t.Fatalf("%s names no loader", program)
	}
	name, err := section.Data()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimRight(string(name), "\x00")
}
