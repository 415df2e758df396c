package pack

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"time"
)

// store is the folder of packages; only the supervisor writes it.
type store string

func (s store) packages() string { return filepath.Join(string(s), "packages") }
func (s store) layers() string   { return filepath.Join(string(s), "layers") }
func (s store) byLock() string   { return filepath.Join(string(s), "layers", "by-lock") }
func (s store) wheels() string   { return filepath.Join(string(s), "wheels") }
func (s store) staging() string  { return filepath.Join(string(s), "staging") }

// prepare makes the folders and removes what builds that died have left behind.
func (s store) prepare() error {
	for _, dir := range []string{s.packages(), s.byLock(), s.wheels(), s.built(), s.staging()} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("make the package store: %w; choose a writable folder for it", err)
		}
	}
	entries, err := os.ReadDir(s.staging())
	if err != nil {
		return fmt.Errorf("look into the package store: %w", err)
	}
	for _, e := range entries {
		// A lock that can be taken belongs to a build that is dead.
		if err := s.sweep(filepath.Join(s.staging(), e.Name())); err != nil {
			return err
		}
	}
	return nil
}

func (s store) sweep(dir string) error {
	d, err := os.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look at unfinished work: %w", err)
	}
	defer d.Close()
	if err := syscall.Flock(int(d.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil //nolint:nilerr // its build is alive
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("remove unfinished work: %w", err)
	}
	return nil
}

// stage is a folder for one build. Its lock lives as long as the process, or until remove.
type stage struct {
	dir  string
	lock *os.File
}

// stageTries is how often a folder is made that another's sweep takes for a dead build's before it is locked.
const stageTries = 100

func (s store) stage() (*stage, error) {
	for try := 1; ; try++ {
		made, err := s.stageOnce()
		if err == nil || !errors.Is(err, fs.ErrNotExist) || try == stageTries {
			return made, err
		}
	}
}

// stageOnce makes a folder and locks it. Between the two another build's sweep may remove it (found by killing supervisors that shared a store).
func (s store) stageOnce() (*stage, error) {
	var id [8]byte
	if _, err := rand.Read(id[:]); err != nil {
		return nil, fmt.Errorf("name the build: %w", err)
	}
	dir := filepath.Join(s.staging(), hex.EncodeToString(id[:]))
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make a folder for the build: %w", err)
	}
	d, err := os.Open(dir)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open the build's folder: %w", err), os.RemoveAll(dir))
	}
	err = syscall.Flock(int(d.Fd()), syscall.LOCK_EX)
	if err == nil {
		_, err = os.Stat(dir) // a sweep that had the lock before has removed it
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock the build's folder: %w", err), d.Close(), os.RemoveAll(dir))
	}
	return &stage{dir, d}, nil
}

func (s *stage) path(name string) string { return filepath.Join(s.dir, name) }

func (s *stage) mkdir(name string) (string, error) {
	dir := s.path(name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", fmt.Errorf("make a folder for the build: %w", err)
	}
	return dir, nil
}

func (s *stage) remove() error { return errors.Join(os.RemoveAll(s.dir), s.lock.Close()) }

// publish moves a finished folder to its place. A folder that is there already has the same content, by its name.
func publish(from, to string) error {
	if err := syncTree(from); err != nil {
		return err
	}
	err := os.Rename(from, to)
	if errors.Is(err, fs.ErrExist) || errors.Is(err, syscall.ENOTEMPTY) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("move the finished work into the store: %w", err)
	}
	return syncDir(filepath.Dir(to))
}

// syncTree makes the folders durable; files were synced when they were written.
func syncTree(dir string) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		return syncDir(path)
	})
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("open %s to make it durable: %w", dir, err)
	}
	return errors.Join(d.Sync(), d.Close())
}

// writeFile writes a file durably: under another name first, then renamed.
func writeFile(file string, data []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(file), ".write-*")
	if err != nil {
		return fmt.Errorf("write %s: %w", file, err)
	}
	_, err = tmp.Write(data)
	err = errors.Join(err, tmp.Chmod(0o444), tmp.Sync(), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), file)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", file, err), os.RemoveAll(tmp.Name()))
	}
	return syncDir(filepath.Dir(file))
}

// manifest is package.json: what was found out when the package was built.
type manifest struct {
	Format    int        `json:"format"`
	Hash      string     `json:"hash"`
	CodeHash  string     `json:"code_hash"`
	LayerHash string     `json:"layer_hash,omitempty"`
	Strategy  string     `json:"strategy_id"`
	Version   string     `json:"strategy_version"`
	Runtime   string     `json:"runtime"`
	Entry     string     `json:"entry"`
	Interface *Interface `json:"interface,omitempty"`
	Python    string     `json:"python,omitempty"` // version that derived the interface and the bytecode
	SDK       string     `json:"sdk,omitempty"`    // fingerprint of what the interface depends on besides the code
	Files     []File     `json:"files"`
	Bytecode  []File     `json:"bytecode,omitempty"`
	BuiltAt   time.Time  `json:"built_at"`
	Checksum  string     `json:"checksum"` // sha256 of this manifest with an empty checksum
}

// layerManifest is layer.json.
type layerManifest struct {
	Format   int    `json:"format"`
	Hash     string `json:"hash"`
	Lock     string `json:"lock_sha256"`
	Python   string `json:"python"`
	Platform string `json:"platform"`
	Files    []File `json:"files"`
	Bytecode []File `json:"bytecode"`
	Checksum string `json:"checksum"`
}

const manifestFormat = 1

// sealable is a manifest with a checksum field.
type sealable interface{ checksum() *string }

func (m *manifest) checksum() *string      { return &m.Checksum }
func (m *layerManifest) checksum() *string { return &m.Checksum }

// seal sets the checksum and returns the bytes to store.
func seal(m sealable) ([]byte, error) {
	*m.checksum() = ""
	b, err := json.MarshalIndent(m, "", " ")
	if err != nil {
		return nil, fmt.Errorf("encode the manifest: %w", err)
	}
	sum := sha256.Sum256(b)
	*m.checksum() = hex.EncodeToString(sum[:])
	if b, err = json.MarshalIndent(m, "", " "); err != nil {
		return nil, fmt.Errorf("encode the manifest: %w", err)
	}
	return append(b, '\n'), nil
}

// unseal decodes a manifest and checks that it is what seal made.
func unseal(data []byte, m sealable) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber() // so that sealing it again gives the same bytes
	if err := d.Decode(m); err != nil {
		return fmt.Errorf("it is not a manifest: %w", err)
	}
	want := *m.checksum()
	again, err := seal(m)
	if err != nil {
		return err
	}
	if *m.checksum() != want || string(again) != string(data) {
		return errors.New("its checksum does not match")
	}
	return nil
}

// platform tells layers of different machines apart.
func platform() string { return runtime.GOOS + "-" + runtime.GOARCH }
