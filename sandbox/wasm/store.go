package wasm

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// store is the supervisor's folder of compiled modules. Each has a folder of its own, named after the module's hash,
// wazero's version and the architecture, that is made complete and renamed into its place:
//
//	module.wasm      the module that was compiled
//	cache/wazero-…/  what the compiler made of it, in wazero's own form
//	manifest.json    the checksums of both, which Start compares before a runner sees them
//
// The machine code comes from a sandboxed process that read hostile bytes. It is only ever run behind the same walls as the
// module, so a wrong one can do no more than a hostile module can; the checksum is for what happens to it afterwards.
type store struct{ dir string }

// Compiled is a module in the store (SB-L2).
type Compiled struct {
	Info
	Dir string // the folder that runners see read-only
}

const manifestFile = "manifest.json"

// manifest is what the supervisor has seen with its own eyes.
type manifest struct {
	Module         string `json:"module"` // SHA-256, hex
	Wazero         string `json:"wazero"`
	Arch           string `json:"arch"`
	CPU            string `json:"cpu"`       // what cpu returned
	CodeFile       string `json:"code_file"` // below cache/
	Code           string `json:"code"`      // SHA-256, hex
	CodeBytes      int64  `json:"code_bytes"`
	MemoryMinPages uint32 `json:"memory_min_pages"`
}

// maxCodeBytes bounds compiled code: about 4 times the module's in practice.
const maxCodeBytes = 256 << 20

// wazeroVersion is the version this binary is built with, as wazero itself spells it in its cache.
var wazeroVersion = func() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, d := range info.Deps {
			if d.Path == "github.com/tetratelabs/wazero" && d.Version != "" {
				return d.Version
			}
		}
	}
	return "dev"
}()

// Version is that of the engine which runs modules, as a capsule names it.
func Version() string { return wazeroVersion }

// cpu tells processors apart by their features: wazero makes other code for other features and names its file after them, so
// what was compiled on another machine, and came here with its state directory, is made again.
var cpu = sync.OnceValue(func() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "unknown"
	}
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "flags") || strings.HasPrefix(line, "Features") {
			sum := sha256.Sum256([]byte(line))
			return hex.EncodeToString(sum[:8])
		}
	}
	return "unknown"
})

func (s store) place(i Info) string {
	return filepath.Join(s.dir, hex.EncodeToString(i.Hash[:])+"-"+wazeroVersion+"-"+runtime.GOARCH)
}

func (m manifest) codePath(dir string) string {
	return filepath.Join(dir, cacheFile, filepath.FromSlash(m.CodeFile))
}

// codeName is compiled when it is needed: a runner would have to wait for it (see sandbox/stage2).
var codeName = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^wazero-[A-Za-z0-9.+_-]{1,64}/[0-9a-f]{64}$`) })

// errNotThere means that a module was not compiled yet.
var errNotThere = errors.New("it is not in the store")

// verify compares a folder with its manifest, byte for byte.
func verify(dir string) (manifest, error) {
	var m manifest
	text, err := os.ReadFile(filepath.Join(dir, manifestFile))
	if errors.Is(err, fs.ErrNotExist) {
		return m, errNotThere
	}
	if err == nil {
		err = json.Unmarshal(text, &m)
	}
	if err != nil {
		return m, fmt.Errorf("read the manifest: %w", err)
	}
	if m.Wazero != wazeroVersion || m.Arch != runtime.GOARCH || m.CPU != cpu() {
		return m, fmt.Errorf("it was compiled by wazero %s for %s %s, this msup has wazero %s for %s %s", m.Wazero, m.Arch, m.CPU, wazeroVersion, runtime.GOARCH, cpu())
	}
	if !codeName().MatchString(m.CodeFile) {
		return m, fmt.Errorf("the manifest names the file %q", m.CodeFile)
	}
	if err := checkSum(filepath.Join(dir, moduleFile), m.Module, MaxModuleBytes); err != nil {
		return m, err
	}
	return m, checkSum(m.codePath(dir), m.Code, maxCodeBytes)
}

func checkSum(path, want string, most int64) error {
	f, err := openPlain(path)
	if err != nil {
		return err
	}
	defer f.Close() // opened for reading
	sum := sha256.New()
	n, err := io.Copy(sum, io.LimitReader(f, most+1))
	if err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	if got := hex.EncodeToString(sum.Sum(nil)); n > most || got != want {
		return fmt.Errorf("%s was changed: its SHA-256 is %s instead of %s", path, got, want)
	}
	return nil
}

// openPlain opens a regular file and follows no link to it.
func openPlain(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	st, err := f.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = fmt.Errorf("open %s: it is no plain file", path)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// adopt takes what a compiler left in out, exactly one file of the expected form, and makes the folder of the module.
func (s store) adopt(i Info, module []byte, out string) (err error) {
	made, err := onlyFile(out)
	if err != nil {
		return fmt.Errorf("what the compiler left behind: %w", err)
	}
	tmp, err := os.MkdirTemp(s.dir, ".new-")
	if err != nil {
		return fmt.Errorf("make a folder in the store: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(tmp))
		}
	}()
	m := manifest{Module: hex.EncodeToString(i.Hash[:]), Wazero: wazeroVersion, Arch: runtime.GOARCH, CPU: cpu(), CodeFile: made, MemoryMinPages: i.MemoryMinPages}
	// Runners have user ids of their own, so the folder is readable for all; its parents need not be.
	for _, dir := range []string{tmp, filepath.Join(tmp, cacheFile), filepath.Dir(m.codePath(tmp))} {
		if err := errors.Join(os.MkdirAll(dir, 0o755), os.Chmod(dir, 0o755)); err != nil {
			return fmt.Errorf("make a folder in the store: %w", err)
		}
	}
	if m.Code, m.CodeBytes, err = copyPlain(m.codePath(tmp), filepath.Join(out, filepath.FromSlash(made)), maxCodeBytes); err != nil {
		return err
	}
	text, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the manifest: %w", err)
	}
	for name, content := range map[string][]byte{moduleFile: module, manifestFile: text} {
		if err := writePublic(filepath.Join(tmp, name), content); err != nil {
			return err
		}
	}
	place := s.place(i)
	if err := os.RemoveAll(place); err != nil { // what failed its check
		return fmt.Errorf("remove the old folder: %w", err)
	}
	if err := os.Rename(tmp, place); err != nil {
		if _, verr := verify(place); verr == nil { // another supervisor was faster
			return os.RemoveAll(tmp)
		}
		return fmt.Errorf("put the compiled module into the store: %w", err)
	}
	return nil
}

func writePublic(path string, content []byte) error {
	if err := errors.Join(os.WriteFile(path, content, 0o644), os.Chmod(path, 0o644)); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// onlyFile finds the one file below dir, as a path relative to it.
func onlyFile(dir string) (string, error) {
	var found []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if found = append(found, filepath.ToSlash(rel)); len(found) > 16 {
			return errors.New("there are too many files")
		}
		return err
	})
	if err != nil {
		return "", err
	}
	if len(found) != 1 || !codeName().MatchString(found[0]) {
		return "", fmt.Errorf("one file of compiled code is wanted, there are %q", strings.Join(found, " "))
	}
	return found[0], nil
}

// copyPlain copies a file of an untrusted folder and sums what it copies.
func copyPlain(to, from string, most int64) (sum string, n int64, err error) {
	in, err := openPlain(from)
	if err != nil {
		return "", 0, err
	}
	defer in.Close() // opened for reading
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return "", 0, fmt.Errorf("make %s: %w", to, err)
	}
	h := sha256.New()
	n, err = io.Copy(io.MultiWriter(out, h), io.LimitReader(in, most+1))
	err = errors.Join(err, out.Chmod(0o644), out.Close()) // no fsync: a file that a power failure tore fails its checksum
	switch {
	case err != nil:
		return "", 0, fmt.Errorf("copy %s: %w", from, err)
	case n > most:
		return "", 0, fmt.Errorf("copy %s: it has more than %d bytes", from, most)
	}
	return hex.EncodeToString(h.Sum(nil)), n, nil
}
