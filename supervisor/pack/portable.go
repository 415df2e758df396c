package pack

import (
	"archive/tar"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/supervisor/descriptor"
)

// Portable is a package, or a layer, as it travels to another machine: a manifest without what differs from one build to the next (times,
// bytecode), and the canonical archive, which the hash covers. The same package gives the same bytes (NN-7).
type Portable struct {
	Manifest []byte
	Write    func(w io.Writer) error
}

// PortableCode gives the package without its layer.
func (p *Package) PortableCode() (Portable, error) {
	m := &manifest{}
	file := filepath.Join(filepath.Dir(p.CodeDir), manifestName)
	if err := readManifest(file, m); err != nil {
		return Portable{}, &HashMismatch{p.Hash, file, err.Error()}
	}
	m.Bytecode, m.BuiltAt = nil, time.Time{}
	data, err := seal(m)
	return Portable{Manifest: data, Write: p.WriteArchive}, err
}

// PortableLayer gives the installed dependencies; false when the package has none.
func (p *Package) PortableLayer() (Portable, bool, error) {
	if p.LayerDir == "" {
		return Portable{}, false, nil
	}
	m := &layerManifest{}
	file := filepath.Join(filepath.Dir(p.LayerDir), layerName)
	if err := readManifest(file, m); err != nil {
		return Portable{}, false, &HashMismatch{p.LayerHash, file, err.Error()}
	}
	m.Bytecode = nil
	data, err := seal(m)
	return Portable{Manifest: data, Write: func(w io.Writer) error { return p.writeLayer(m.Files, w) }}, true, err
}

func (p *Package) writeLayer(files []File, w io.Writer) error {
	root, err := os.OpenRoot(p.LayerDir)
	if err != nil {
		return fmt.Errorf("open layer %s: %w", p.LayerHash, err)
	}
	defer root.Close()
	nodes := make([]node, len(files))
	for i, f := range files {
		nodes[i] = node{path: f.Path, size: f.Size}
	}
	_, digest, err := archive(root, nodes, "", w)
	if err == nil && digest.String() != p.LayerHash {
		err = &HashMismatch{p.LayerHash, p.LayerDir, "was changed while it was being written out"}
	}
	return err
}

// Arrived is a package that came from elsewhere. It is untrusted: its bytes must give the hash that it is asked for under.
type Arrived struct {
	Hash          string // binary_hash
	Manifest      []byte
	Code          io.Reader
	LayerManifest []byte // nil: the layer did not come along
	Layer         io.Reader
}

// Import puts a package that arrived into the store and opens it. Nothing of it is run. A layer that did not come along must be in the store.
func Import(a Arrived, opts Options) (p *Package, err error) {
	s := store(opts.Store)
	if err := s.prepare(); err != nil {
		return nil, err
	}
	stage, err := s.stage()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, stage.remove()) }()
	m := &manifest{}
	if err := unseal(a.Manifest, m); err != nil {
		return nil, &HashMismatch{a.Hash, manifestName, err.Error()}
	}
	if err := importLayer(s, stage, m.LayerHash, a); err != nil {
		return nil, err
	}
	dir, err := stage.mkdir("package")
	if err != nil {
		return nil, err
	}
	if err := unpack(a.Code, filepath.Join(dir, "code"), m.CodeHash, codeLimits); err != nil {
		return nil, &HashMismatch{a.Hash, "code", err.Error()}
	}
	if m.Runtime == string(descriptor.RuntimeRustNative) && fs.ValidPath(m.Entry) {
		if err := os.Chmod(filepath.Join(dir, "code", filepath.FromSlash(m.Entry)), 0o555); err != nil {
			return nil, &HashMismatch{a.Hash, m.Entry, err.Error()}
		}
	}
	if err := writeFile(filepath.Join(dir, manifestName), a.Manifest); err != nil {
		return nil, err
	}
	if _, err := verifyPackage(dir, a.Hash); err != nil {
		return nil, err
	}
	if err := publish(dir, filepath.Join(s.packages(), a.Hash)); err != nil {
		return nil, err
	}
	return Open(a.Hash, opts)
}

func importLayer(s store, stage *stage, hash string, a Arrived) error {
	if hash == "" {
		return nil
	}
	if _, err := digestOf(hash); err != nil {
		return &HashMismatch{a.Hash, manifestName, err.Error()}
	}
	to := filepath.Join(s.layers(), hash)
	if _, err := verifyLayer(to, hash); err == nil {
		return nil
	}
	if a.Layer == nil {
		return fmt.Errorf("import package %.16s…: its layer %.16s… is neither here nor did it come along; build the package here (msup build), or bring the layer too", a.Hash, hash)
	}
	dir, err := stage.mkdir("layer")
	if err != nil {
		return err
	}
	if err := unpack(a.Layer, filepath.Join(dir, "files"), hash, layerLimits); err != nil {
		return &HashMismatch{hash, "layer", err.Error()}
	}
	if err := writeFile(filepath.Join(dir, layerName), a.LayerManifest); err != nil {
		return err
	}
	if _, err := verifyLayer(dir, hash); err != nil {
		return err
	}
	return publish(dir, to)
}

// unpack writes the files of a canonical archive whose digest is known. Until that is compared nothing of it counts, but its size does.
func unpack(r io.Reader, dir, want string, l limits) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return fmt.Errorf("make a folder for the files: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	sum := sha256.New()
	stream := io.TeeReader(io.LimitReader(r, l.totalBytes+int64(l.files)*4096), sum)
	t := tar.NewReader(stream)
	last := ""
	var total int64
	for n := 0; ; n++ {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		total += h.Size
		switch {
		case n >= l.files || h.Size > l.fileBytes || total > l.totalBytes:
			return fmt.Errorf("%d files and %d bytes, more than a package may hold", n+1, total)
		case h.Typeflag != tar.TypeReg || !fs.ValidPath(h.Name) || len(h.Name) > l.pathBytes || h.Name <= last:
			return fmt.Errorf("%.100q is no file that a package may hold, or out of order", h.Name)
		case strings.Count(h.Name, "/") > l.depth:
			return fmt.Errorf("%.100q is deeper than %d folders", h.Name, l.depth)
		}
		last = h.Name
		if err := unpackFile(root, h, t); err != nil {
			return fmt.Errorf("%s: %w", h.Name, err)
		}
	}
	if _, err := io.Copy(io.Discard, stream); err != nil { // the archive's closing zeros count too
		return err
	}
	if got := ipc.Digest(sum.Sum(nil)).String(); got != want {
		return fmt.Errorf("its SHA-256 is %s, not %s", got, want)
	}
	return nil
}

func unpackFile(root *os.Root, h *tar.Header, r io.Reader) error {
	name := filepath.FromSlash(h.Name)
	if err := root.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o444)
	if err != nil {
		return err
	}
	_, err = io.CopyN(f, r, h.Size)
	return errors.Join(err, f.Chmod(0o444), f.Sync(), f.Close())
}
