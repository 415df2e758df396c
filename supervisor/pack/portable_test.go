package pack

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// stored puts a package with a layer into a store, without a build: a Rust descriptor needs no interpreter.
func stored(t *testing.T, dir string, at time.Time) *Package {
	t.Helper()
	s := store(dir)
	if err := s.prepare(); err != nil {
		t.Fatal(err)
	}
	tree := func(to string, files map[string]string) ([]File, string) {
		src := t.TempDir()
		for name, text := range files {
			path := filepath.Join(src, name)
			if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o600)); err != nil {
				t.Fatal(err)
			}
		}
		root, err := os.OpenRoot(src)
		if err != nil {
			t.Fatal(err)
		}
		defer root.Close()
		nodes, err := scan(root, src, layerLimits, func(string, bool) bool { return false })
		if err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(to, 0o755); err != nil {
			t.Fatal(err)
		}
		list, digest, err := archive(root, nodes, to, io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		return list, digest.String()
	}
	write := func(path string, m sealable) {
		data, err := seal(m)
		if err == nil {
			err = writeFile(path, data)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	staged := filepath.Join(t.TempDir(), "layer")
	files, layer := tree(filepath.Join(staged, "files"), map[string]string{"lib/a.py": "a = 1\n", "lib/b.py": "b = 2\n"})
	write(filepath.Join(staged, layerName), &layerManifest{Format: manifestFormat, Hash: layer, Python: "3.11.0", Files: files})
	if err := publish(staged, filepath.Join(s.layers(), layer)); err != nil {
		t.Fatal(err)
	}
	descriptor, err := os.ReadFile("../../examples/ema_cross/strategy.toml")
	if err != nil {
		t.Fatal(err)
	}
	staged = filepath.Join(t.TempDir(), "package")
	files, code := tree(filepath.Join(staged, "code"), map[string]string{"strategy.toml": string(descriptor), "strategy.py": "x = 1\n", "sub/data.txt": "d"})
	codeDigest, err := digestOf(code)
	if err != nil {
		t.Fatal(err)
	}
	layerDigest, err := digestOf(layer)
	if err != nil {
		t.Fatal(err)
	}
	hash := binaryHash(codeDigest, layerDigest)
	write(filepath.Join(staged, manifestName), &manifest{Format: manifestFormat, Hash: hash, CodeHash: code, LayerHash: layer, Strategy: "x", Version: "1.0.0",
		Runtime: "python", Entry: "strategy:X", Files: files, BuiltAt: at.UTC().Truncate(time.Second)})
	if err := publish(staged, filepath.Join(s.packages(), hash)); err != nil {
		t.Fatal(err)
	}
	p, err := Open(hash, Options{Store: dir})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// arrive makes a package's way to another machine.
func arrive(t *testing.T, p *Package) Arrived {
	t.Helper()
	code, err := p.PortableCode()
	if err != nil {
		t.Fatal(err)
	}
	layer, has, err := p.PortableLayer()
	if err != nil || !has {
		t.Fatal(has, err)
	}
	var c, l bytes.Buffer
	if err := errors.Join(code.Write(&c), layer.Write(&l)); err != nil {
		t.Fatal(err)
	}
	return Arrived{Hash: p.Hash, Manifest: code.Manifest, Code: &c, LayerManifest: layer.Manifest, Layer: &l}
}

// Proves: NN-7, AD-3
func TestPackageTravels(t *testing.T) {
	p := stored(t, t.TempDir(), time.Unix(1, 0))
	later := stored(t, t.TempDir(), time.Unix(2e9, 0))
	one, two := arrive(t, p), arrive(t, later)
	if !bytes.Equal(one.Manifest, two.Manifest) || !bytes.Equal(one.LayerManifest, two.LayerManifest) {
		t.Error("the same package built at another time travels as other bytes")
	}
	there := t.TempDir()
	got, err := Import(one, Options{Store: there})
	if err != nil {
		t.Fatal(err)
	}
	if got.Hash != p.Hash || got.LayerHash != p.LayerHash || len(got.Files) != len(p.Files) {
		t.Errorf("got %+v, want %+v", got, p)
	}
	if again := arrive(t, got); !bytes.Equal(again.Manifest, two.Manifest) || !bytes.Equal(again.Code.(*bytes.Buffer).Bytes(), two.Code.(*bytes.Buffer).Bytes()) {
		t.Error("it travels on as other bytes")
	}
	without := arrive(t, p)
	without.Layer, without.LayerManifest = nil, nil
	if _, err := Import(without, Options{Store: t.TempDir()}); err == nil || !strings.Contains(err.Error(), "bring the layer too") {
		t.Errorf("without its layer: %v", err)
	}
	without = arrive(t, p)
	without.Layer = nil
	if _, err := Import(without, Options{Store: there}); err != nil {
		t.Errorf("the layer is there already: %v", err)
	}
}

// Proves: AD-3
func TestArrivedPackageMustHaveItsHash(t *testing.T) {
	p := stored(t, t.TempDir(), time.Unix(1, 0))
	for name, change := range map[string]func(a *Arrived){
		"another hash":       func(a *Arrived) { a.Hash = strings.Repeat("0", 64) },
		"a changed manifest": func(a *Arrived) { a.Manifest = bytes.Replace(a.Manifest, []byte("1.0.0"), []byte("1.0.1"), 1) },
		"changed code":       func(a *Arrived) { a.Code.(*bytes.Buffer).Bytes()[600] ^= 1 },
		"changed layer":      func(a *Arrived) { a.Layer.(*bytes.Buffer).Bytes()[600] ^= 1 },
		"code cut off":       func(a *Arrived) { a.Code = io.LimitReader(a.Code, 700) },
		"no archive":         func(a *Arrived) { a.Code = strings.NewReader(strings.Repeat("x", 2000)) },
	} {
		dir := t.TempDir()
		a := arrive(t, p)
		change(&a)
		_, err := Import(a, Options{Store: dir})
		var mismatch *HashMismatch
		if !errors.As(err, &mismatch) {
			t.Errorf("%s: got %v", name, err)
		}
		for _, folder := range []string{"packages", "staging"} {
			if entries, err := os.ReadDir(filepath.Join(dir, folder)); err != nil || len(entries) > 0 {
				t.Errorf("%s: %s holds %v, %v", name, folder, entries, err)
			}
		}
	}
}
