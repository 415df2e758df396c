package pack

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/supervisor/descriptor"
)

// maxManifestBytes bounds a manifest: a layer may have 65,536 files.
const maxManifestBytes = 64 << 20

// Open finds a package in the store by its hash and verifies every file of it and of its layer. A difference is a
// *HashMismatch.
func Open(hash string, opts Options) (*Package, error) {
	s := store(opts.Store)
	dir := filepath.Join(s.packages(), hash)
	if b, err := hex.DecodeString(hash); err != nil || len(b) != len(ipc.Digest{}) {
		return nil, fmt.Errorf("open package %.80q: this is not a hash of 64 hex characters", hash)
	}
	if _, err := os.Stat(dir); err != nil {
		return nil, fmt.Errorf("open package %s: %w; build it with `msup build DIR`", hash, err)
	}
	m, err := verifyPackage(dir, hash)
	if err != nil {
		return nil, err
	}
	p := &Package{Hash: hash, LayerHash: m.LayerHash, CodeDir: filepath.Join(dir, "code"), Files: m.Files}
	if p.CodeHash, err = digestOf(m.CodeHash); err != nil {
		return nil, &HashMismatch{hash, filepath.Join(dir, manifestName), err.Error()}
	}
	if m.LayerHash != "" {
		layer := filepath.Join(s.layers(), m.LayerHash)
		if _, err := verifyLayer(layer, m.LayerHash); err != nil {
			return nil, err
		}
		p.LayerDir = filepath.Join(layer, "files")
	}
	source, err := os.ReadFile(filepath.Join(p.CodeDir, descriptor.FileName))
	if err != nil {
		return nil, fmt.Errorf("read the descriptor of package %s: %w", hash, err)
	}
	if p.Descriptor, err = descriptor.Parse(filepath.Join(p.CodeDir, descriptor.FileName), source); err != nil {
		return nil, err
	}
	if m.Interface != nil {
		p.Interface = *m.Interface
		if p.Descriptor, err = merge(p.Descriptor, source, p.Interface); err != nil {
			return nil, err
		}
	}
	if p.Signer, err = verifySignature(filepath.Join(dir, SignatureFile), hash, opts.TrustedKeys); err != nil {
		return nil, err
	}
	p.Signed = p.Signer != ""
	return p, nil
}

// verifyPackage checks manifest and code against the hash, without the layer.
func verifyPackage(dir, hash string) (*manifest, error) {
	m := &manifest{}
	file := filepath.Join(dir, manifestName)
	if err := readManifest(file, m); err != nil {
		return nil, &HashMismatch{hash, file, err.Error()}
	}
	code, err := verifyTree(filepath.Join(dir, "code"), hash, m.Files, m.Bytecode, codeLimits)
	if err != nil {
		return nil, err
	}
	var layer ipc.Digest
	if m.LayerHash != "" {
		if layer, err = digestOf(m.LayerHash); err != nil {
			return nil, &HashMismatch{hash, file, err.Error()}
		}
	}
	if m.Hash != hash || code.String() != m.CodeHash || binaryHash(code, layer) != hash {
		return nil, &HashMismatch{hash, file, "it lists files whose hash is another one"}
	}
	return m, nil
}

// verifyLayer checks a layer against its hash.
func verifyLayer(dir, hash string) (*layerManifest, error) {
	m := &layerManifest{}
	file := filepath.Join(dir, layerName)
	if err := readManifest(file, m); err != nil {
		return nil, &HashMismatch{hash, file, err.Error()}
	}
	got, err := verifyTree(filepath.Join(dir, "files"), hash, m.Files, m.Bytecode, layerLimits)
	if err != nil {
		return nil, err
	}
	if m.Hash != hash || got.String() != hash {
		return nil, &HashMismatch{hash, file, "it lists files whose hash is another one"}
	}
	return m, nil
}

func readManifest(file string, m sealable) error {
	data, err := readPlain(file, maxManifestBytes)
	if err != nil {
		return err
	}
	return unseal(data, m)
}

// verifyTree compares a folder with the files that its manifest lists, and returns the digest of those that count for
// the hash.
func verifyTree(dir, hash string, files, bytecode []File, l limits) (ipc.Digest, error) {
	mismatch := func(name, problem string) (ipc.Digest, error) {
		return ipc.Digest{}, &HashMismatch{hash, filepath.Join(dir, name), problem}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return mismatch("", "the folder cannot be opened: "+err.Error())
	}
	defer root.Close()
	l.files *= 2 // bytecode comes on top
	l.totalBytes *= 2
	nodes, err := scan(root, dir, l, func(string, bool) bool { return false })
	if err != nil {
		if fs, ok := descriptor.AsFindings(err); ok {
			return ipc.Digest{}, &HashMismatch{hash, fs[0].File, fs[0].Problem}
		}
		return ipc.Digest{}, err
	}
	listed := map[string]File{}
	for _, f := range slices.Concat(files, bytecode) {
		listed[f.Path] = f
	}
	present := map[string]node{}
	for _, n := range nodes {
		present[n.path] = n
		f, ok := listed[n.path]
		switch {
		case !ok:
			return mismatch(n.path, "was added after the package was made")
		case f.Size != n.size:
			return mismatch(n.path, fmt.Sprintf("has %d bytes instead of %d: it was changed after the package was made", n.size, f.Size))
		}
	}
	for path := range listed {
		if _, ok := present[path]; !ok {
			return mismatch(path, "is missing: it was removed after the package was made")
		}
	}
	digest, changed, err := sums(root, files, present)
	if err == nil && changed == "" {
		_, changed, err = sums(root, bytecode, present)
	}
	if err != nil {
		return ipc.Digest{}, fmt.Errorf("verify %s: %w", dir, err)
	}
	if changed != "" {
		return mismatch(changed, "was changed after the package was made")
	}
	return digest, nil
}

// sums archives the listed files again and names the first that differs.
func sums(root *os.Root, files []File, present map[string]node) (digest ipc.Digest, changed string, err error) {
	nodes := make([]node, len(files))
	for i, f := range files {
		nodes[i] = present[f.Path]
	}
	again, digest, err := archive(root, nodes, "", io.Discard)
	if errors.Is(err, errChanged) {
		return ipc.Digest{}, ".", nil
	}
	if err != nil {
		return ipc.Digest{}, "", err
	}
	for i, f := range files {
		if again[i] != f {
			return ipc.Digest{}, f.Path, nil
		}
	}
	return digest, "", nil
}

func digestOf(text string) (ipc.Digest, error) {
	b, err := hex.DecodeString(text)
	if err != nil || len(b) != len(ipc.Digest{}) {
		return ipc.Digest{}, fmt.Errorf("it holds %.80q where a hash belongs", text)
	}
	return ipc.Digest(b), nil
}

// readKey reads which layer a lock has; anything unusable means that it is to be made again.
func readKey(file string) (ipc.Digest, bool) {
	data, err := readPlain(file, 4096)
	if err != nil {
		return ipc.Digest{}, false
	}
	var key struct {
		Layer string `json:"layer"`
	}
	if json.Unmarshal(data, &key) != nil {
		return ipc.Digest{}, false
	}
	d, err := digestOf(key.Layer)
	return d, err == nil
}

// WriteArchive writes the canonical archive of the package's code; its SHA-256 is CodeHash.
func (p *Package) WriteArchive(w io.Writer) error {
	root, err := os.OpenRoot(p.CodeDir)
	if err != nil {
		return fmt.Errorf("open package %s: %w", p.Hash, err)
	}
	defer root.Close()
	nodes := make([]node, len(p.Files))
	for i, f := range p.Files {
		nodes[i] = node{path: f.Path, size: f.Size}
	}
	_, digest, err := archive(root, nodes, "", w)
	if err != nil {
		return err
	}
	if digest != p.CodeHash {
		return &HashMismatch{p.Hash, p.CodeDir, "was changed while it was being written out"}
	}
	return nil
}
