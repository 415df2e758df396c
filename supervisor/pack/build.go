package pack

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/sandbox"
	"github.com/msup/msup/supervisor/descriptor"
)

// Options say with what packages are built and opened.
type Options struct {
	Store   string          // folder that only the supervisor writes
	Sandbox sandbox.Sandbox // for everything that runs code of a package
	Python  *Python         // not needed for Rust
	Rust    RustSearch      // needed for Rust strategies that are sources
	// CompileTimeout bounds one compilation of a Rust strategy with all its crates; 0 = 15 minutes.
	CompileTimeout time.Duration
	// Describe asks a Wasm module for its interface, as JSON, inside a sandbox; a module that cannot be run is a *sandbox.Error
	// with a reason of the Wasm runner. Needed for runtime "rust_wasm".
	Describe func(ctx context.Context, module []byte) ([]byte, error)
	// Progress is told, from any goroutine, what a build that takes long is doing; nil = nobody wants to know.
	Progress    func(doing string)
	TrustedKeys []string     // ed25519 public keys, base64 (BC-U)
	Offline     bool         // never download wheels or crates
	Log         *slog.Logger // nil discards
}

func (o Options) logger() *slog.Logger {
	if o.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return o.Log
}

// builder is one build.
type builder struct {
	opts       Options
	log        *slog.Logger
	store      store
	stage      *stage
	descriptor *descriptor.Descriptor
	source     []byte // of the descriptor
}

// Build makes the package of the folder dir, or finds it in the store when nothing has changed. What is wrong with the
// folder is descriptor.Findings; a package in the store that was tampered with is a *HashMismatch.
func Build(ctx context.Context, dir string, opts Options) (p *Package, err error) {
	d, err := descriptor.Load(dir)
	if err != nil {
		return nil, err
	}
	b := &builder{opts: opts, log: opts.logger(), store: store(opts.Store), descriptor: d}
	if err := b.store.prepare(); err != nil {
		return nil, err
	}
	if b.stage, err = b.store.stage(); err != nil {
		return nil, err
	}
	defer func() {
		if rerr := b.stage.remove(); rerr != nil && err == nil {
			p, err = nil, fmt.Errorf("clean up after the build: %w", rerr)
		}
	}()
	return b.build(ctx, dir)
}

func (b *builder) build(ctx context.Context, dir string) (_ *Package, err error) {
	from := dir
	if b.fromSources(dir) {
		if from, err = b.compiled(ctx, dir); err != nil {
			return nil, err
		}
	}
	pkgDir, err := b.stage.mkdir("package")
	if err != nil {
		return nil, err
	}
	code := filepath.Join(pkgDir, "code")
	if err := os.Mkdir(code, 0o755); err != nil {
		return nil, fmt.Errorf("make a folder for the code: %w", err)
	}
	m := &manifest{Format: manifestFormat, BuiltAt: time.Now().UTC().Truncate(time.Second)}
	codeHash, err := b.copyCode(from, dir, code, m)
	if err != nil {
		return nil, err
	}
	layerHash, layerDir, err := b.layer(ctx, code)
	if err != nil {
		return nil, err
	}
	m.Hash, m.CodeHash = binaryHash(codeHash, layerHash), codeHash.String()
	if layerDir != "" {
		m.LayerHash = layerHash.String()
	}
	final := filepath.Join(b.store.packages(), m.Hash)
	if known, err := b.known(ctx, final, m.Hash, layerDir); err != nil {
		return nil, err
	} else if known {
		return b.finish(dir, final, m.Hash)
	}
	if err := b.complete(ctx, code, layerDir, m); err != nil {
		return nil, err
	}
	data, err := seal(m)
	if err != nil {
		return nil, err
	}
	if err := writeFile(filepath.Join(pkgDir, manifestName), data); err != nil {
		return nil, err
	}
	if err := publish(pkgDir, final); err != nil {
		return nil, err
	}
	b.log.Info("package built", "strategy", string(b.descriptor.Strategy), "version", b.descriptor.Version, "hash", m.Hash, "files", len(m.Files))
	return b.finish(dir, final, m.Hash)
}

const (
	manifestName = "package.json"
	layerName    = "layer.json"
)

// copyCode copies the folder into the stage while hashing it, and re-reads the descriptor from the copy: what was
// hashed is what counts. Messages name the files of dir, where people edit them; from is the same, or what was compiled of it.
func (b *builder) copyCode(from, dir, code string, m *manifest) (ipc.Digest, error) {
	root, err := os.OpenRoot(from)
	if err != nil {
		return ipc.Digest{}, fmt.Errorf("open the package's folder: %w", err)
	}
	defer root.Close()
	nodes, err := scan(root, dir, codeLimits, excluded)
	if err != nil {
		return ipc.Digest{}, err
	}
	files, digest, err := archive(root, nodes, code, io.Discard)
	if err != nil {
		return ipc.Digest{}, err
	}
	m.Files = files
	if b.source, err = os.ReadFile(filepath.Join(code, descriptor.FileName)); err != nil {
		return ipc.Digest{}, fmt.Errorf("read the copied descriptor: %w", err)
	}
	if b.descriptor, err = descriptor.Parse(filepath.Join(dir, descriptor.FileName), b.source); err != nil {
		return ipc.Digest{}, err
	}
	d := b.descriptor
	m.Strategy, m.Version, m.Runtime, m.Entry = string(d.Strategy), d.Version, string(d.Runtime), d.Entry
	return digest, b.checkEntry(code)
}

// checkEntry refuses a package whose entry is not in it.
func (b *builder) checkEntry(code string) error {
	d := b.descriptor
	want := []string{d.Entry}
	if d.Runtime == descriptor.RuntimePython {
		module, _, _ := strings.Cut(d.Entry, ":")
		base := strings.ReplaceAll(module, ".", "/")
		want = []string{base + ".py", base + "/__init__.py"}
	}
	found := false
	for _, w := range want {
		if info, err := os.Stat(filepath.Join(code, w)); err == nil && info.Mode().IsRegular() {
			found = true
		}
	}
	if !found {
		return b.refuseCode("strategy.entry", fmt.Sprintf("the package holds no %s", strings.Join(want, " and no ")), "name a file of the package; tests, target and names that start with a dot or with test_ are left out of it")
	}
	if d.Runtime == descriptor.RuntimeRustNative {
		if err := os.Chmod(filepath.Join(code, d.Entry), 0o555); err != nil {
			return fmt.Errorf("make the binary executable: %w", err)
		}
	}
	if lock := d.Python.Lock; lock != "" {
		if _, err := os.Stat(filepath.Join(code, lock)); err != nil {
			return b.refuseCode("python.lock", fmt.Sprintf("the package holds no %s", lock), "write it with pip-compile --generate-hashes, or remove the key")
		}
	}
	return nil
}

// known tells whether the package is in the store already; it is verified then. Where another Python or SDK derived its
// interface, that is derived again. Its files are left alone, because runners may have them mounted.
func (b *builder) known(ctx context.Context, final, hash, layerDir string) (bool, error) {
	if _, err := os.Stat(final); errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	old, err := verifyPackage(final, hash)
	if err != nil {
		return false, err
	}
	python, sdk := b.conditions()
	// A compiled strategy has its SDK inside.
	if old.Interface != nil && (b.descriptor.Runtime != descriptor.RuntimePython || old.Python == python && old.SDK == sdk) {
		return true, nil
	}
	i, err := b.ask(ctx, filepath.Join(final, "code"), layerDir)
	if err != nil {
		return false, err
	}
	if _, err := merge(b.descriptor, b.source, i); err != nil {
		return false, err
	}
	old.Interface, old.Python, old.SDK = &i, python, sdk
	data, err := seal(old)
	if err != nil {
		return false, err
	}
	return true, writeFile(filepath.Join(final, manifestName), data)
}

// conditions are what bytecode and interface depend on besides the package itself.
func (b *builder) conditions() (python, sdk string) {
	if b.descriptor.Runtime != descriptor.RuntimePython || b.opts.Python == nil {
		return "", ""
	}
	return b.opts.Python.Version, b.opts.Python.SDK
}

// ask derives the interface, in a sandbox.
func (b *builder) ask(ctx context.Context, code, layerDir string) (Interface, error) {
	if b.descriptor.Runtime == descriptor.RuntimePython {
		return b.describe(ctx, code, layerDir)
	}
	return b.describeRust(ctx, code)
}

// complete derives the interface, and compiles the bytecode of a Python package.
func (b *builder) complete(ctx context.Context, code, layerDir string, m *manifest) error {
	m.Python, m.SDK = b.conditions()
	i, err := b.ask(ctx, code, layerDir)
	if err != nil {
		return err
	}
	if _, err := merge(b.descriptor, b.source, i); err != nil {
		return err
	}
	m.Interface = &i
	if b.descriptor.Runtime != descriptor.RuntimePython {
		return nil
	}
	m.Bytecode, err = b.compile(ctx, code, StrategyDir, codeLimits)
	return err
}

func isBytecode(path string) bool {
	return strings.HasSuffix(path, ".pyc") && filepath.Base(filepath.Dir(path)) == "__pycache__"
}

// layer returns the installed dependencies of the package: its hash and folder; zero and "" when it has none.
func (b *builder) layer(ctx context.Context, code string) (ipc.Digest, string, error) {
	if b.descriptor.Python.Lock == "" {
		return ipc.Digest{}, "", nil
	}
	data, err := readPlain(filepath.Join(code, b.descriptor.Python.Lock), maxLockBytes)
	if err != nil {
		return ipc.Digest{}, "", b.refuseCode("python.lock", "the lock cannot be read: "+err.Error(), "name the right file")
	}
	lock, err := parseLock(filepath.Join(filepath.Dir(b.descriptor.File), b.descriptor.Python.Lock), data)
	if err != nil {
		return ipc.Digest{}, "", err
	}
	if lock.count == 0 {
		return ipc.Digest{}, "", nil
	}
	if b.opts.Python == nil {
		return ipc.Digest{}, "", fmt.Errorf("build %s: a Python interpreter is needed for its dependencies; see `msup doctor`", b.descriptor.Strategy)
	}
	key := filepath.Join(b.store.byLock(), lock.digest+"-"+b.opts.Python.minor()+"-"+platform()+".json")
	if hash, ok := readKey(key); ok {
		dir := filepath.Join(b.store.layers(), hash.String())
		if _, err := verifyLayer(dir, hash.String()); err != nil {
			return ipc.Digest{}, "", err
		}
		return hash, filepath.Join(dir, "files"), nil
	}
	return b.makeLayer(ctx, lock, key)
}

func (b *builder) makeLayer(ctx context.Context, lock lockFile, key string) (ipc.Digest, string, error) {
	wheels, err := b.download(ctx, lock)
	if err != nil {
		return ipc.Digest{}, "", err
	}
	installed, err := b.install(ctx, lock, wheels)
	if err != nil {
		return ipc.Digest{}, "", err
	}
	root, err := os.OpenRoot(installed)
	if err != nil {
		return ipc.Digest{}, "", fmt.Errorf("open the installed dependencies: %w", err)
	}
	defer root.Close()
	nodes, err := scan(root, "dependencies", layerLimits, func(string, bool) bool { return false })
	if err != nil {
		return ipc.Digest{}, "", fmt.Errorf("the dependencies hold what they may not: %w", err)
	}
	staged, err := b.stage.mkdir("layer")
	if err != nil {
		return ipc.Digest{}, "", err
	}
	files := filepath.Join(staged, "files")
	if err := os.Mkdir(files, 0o755); err != nil {
		return ipc.Digest{}, "", fmt.Errorf("make a folder for the layer: %w", err)
	}
	m := &layerManifest{Format: manifestFormat, Lock: lock.digest, Python: b.opts.Python.Version, Platform: platform()}
	nodes = slices.DeleteFunc(nodes, func(n node) bool { return isBytecode(n.path) }) // a wheel's own is not trusted
	var hash ipc.Digest
	if m.Files, hash, err = archive(root, nodes, files, io.Discard); err != nil {
		return ipc.Digest{}, "", err
	}
	if m.Bytecode, err = b.compile(ctx, files, LayerDir, layerLimits); err != nil {
		return ipc.Digest{}, "", err
	}
	m.Hash = hash.String()
	data, err := seal(m)
	if err != nil {
		return ipc.Digest{}, "", err
	}
	if err := writeFile(filepath.Join(staged, layerName), data); err != nil {
		return ipc.Digest{}, "", err
	}
	dir := filepath.Join(b.store.layers(), m.Hash)
	if err := publish(staged, dir); err != nil {
		return ipc.Digest{}, "", err
	}
	if _, err := verifyLayer(dir, m.Hash); err != nil { // somebody else's, when it was there already
		return ipc.Digest{}, "", err
	}
	entry, err := json.Marshal(map[string]string{"layer": m.Hash})
	if err != nil {
		return ipc.Digest{}, "", fmt.Errorf("encode the layer's key: %w", err)
	}
	return hash, filepath.Join(dir, "files"), writeFile(key, entry)
}

// finish takes the signature along and opens the package from the store.
func (b *builder) finish(dir, final, hash string) (*Package, error) {
	data, err := readPlain(filepath.Join(dir, SignatureFile), maxSignatureBytes)
	switch {
	case err == nil:
		if err := writeFile(filepath.Join(final, SignatureFile), data); err != nil {
			return nil, err
		}
	case !errors.Is(err, fs.ErrNotExist):
		return nil, descriptor.Findings{{Code: descriptor.CodePackage, File: filepath.Join(dir, SignatureFile), Problem: "cannot be read: " + err.Error(), Remedy: "write it again, or remove it"}}
	}
	p, err := Open(hash, b.opts)
	if err != nil {
		return nil, err
	}
	p.Descriptor.File = b.descriptor.File // messages name the file that people edit
	return p, nil
}
