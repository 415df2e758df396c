package pack_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/msup/msup/supervisor/descriptor"
	"github.com/msup/msup/supervisor/pack"
)

// Proves: DM-1, AD-3
func TestBuildStoresWhatItHashed(t *testing.T) {
	opts := moduleOptions(t.TempDir())
	p, err := pack.Build(t.Context(), write(t, moduleFolder()), opts)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range p.Files {
		names = append(names, f.Path)
		text, err := os.ReadFile(filepath.Join(p.CodeDir, f.Path))
		if err != nil {
			t.Fatal(err)
		}
		if sum := sha256.Sum256(text); hex.EncodeToString(sum[:]) != f.SHA256 || string(text) != moduleFolder()[f.Path] {
			t.Errorf("%s in the store differs from its source or its digest", f.Path)
		}
	}
	if want := slices.Sorted(maps.Keys(moduleFolder())); !slices.Equal(names, want) {
		t.Errorf("files %v, want %v in that order", names, want)
	}
	var archive bytes.Buffer
	if err := p.WriteArchive(&archive); err != nil {
		t.Fatal(err)
	}
	code := sha256.Sum256(archive.Bytes())
	hash := sha256.Sum256(slices.Concat([]byte("msup-package/1\n"), code[:], make([]byte, 32)))
	if p.CodeHash != code || p.Hash != hex.EncodeToString(hash[:]) {
		t.Errorf("hash %s is not what doc.go says", p.Hash)
	}
	again, err := pack.Open(p.Hash, opts)
	if err != nil {
		t.Fatal(err)
	}
	if again.Hash != p.Hash || again.Descriptor.Strategy != "maker" || again.Signed {
		t.Errorf("opened %+v", again)
	}
}

// The hash is a function of names and contents alone.
// Proves: DM-1, AD-3
func TestHashIgnoresTimesModesOrderAndUmask(t *testing.T) {
	opts := moduleOptions(t.TempDir())
	base, err := pack.Build(t.Context(), write(t, moduleFolder()), opts)
	if err != nil {
		t.Fatal(err)
	}
	old := syscall.Umask(0o077)
	defer syscall.Umask(old)
	dir := t.TempDir()
	names := slices.Sorted(maps.Keys(moduleFolder()))
	slices.Reverse(names)
	for i, name := range names {
		file := filepath.Join(dir, name)
		mode := os.FileMode(0o600 | i)
		stamp := time.Unix(int64(1e9*i), 0)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, []byte(moduleFolder()[name]), mode), os.Chtimes(file, stamp, stamp)); err != nil {
			t.Fatal(err)
		}
	}
	for _, extra := range []string{".git/config", ".env", "__pycache__/x.cpython-311.pyc", "old.pyc", "tests/test_x.py", "test_maker.py", "maker_test.py", "conftest.py", "target/debug/x", "notes.md~", "node_modules/a/b.js", "venv/pyvenv.cfg"} {
		file := filepath.Join(dir, extra)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte("x"), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	other := moduleOptions(t.TempDir())
	p, err := pack.Build(t.Context(), dir, other)
	if err != nil {
		t.Fatal(err)
	}
	if p.Hash != base.Hash {
		t.Errorf("hash %s, want %s", p.Hash, base.Hash)
	}
	for _, f := range p.Files {
		info, err := os.Stat(filepath.Join(p.CodeDir, f.Path))
		if err != nil || info.Mode().Perm() != 0o444 {
			t.Errorf("%s has mode %v (%v): a runner with its own user id must be able to read it, whatever the umask", f.Path, info.Mode(), err)
		}
	}
}

// Any change of a name or a byte is another package.
// Proves: AD-3
func TestHashCoversNamesAndContents(t *testing.T) {
	opts := moduleOptions(t.TempDir())
	seen := map[string]string{}
	for what, change := range map[string]func(map[string]string){
		"nothing":    func(map[string]string) {},
		"a byte":     func(f map[string]string) { f["maker.wasm"] += "\x00" },
		"a new file": func(f map[string]string) { f["x"] = "" },
		"a name":     func(f map[string]string) { f["data/level.csv"] = f["data/levels.csv"]; delete(f, "data/levels.csv") },
		"descriptor": func(f map[string]string) { f["strategy.toml"] += "# x\n" },
		"moved byte": func(f map[string]string) { f["README.md"], f["data/levels.csv"] = "A maker.", "1,2\n\n" },
	} {
		files := moduleFolder()
		change(files)
		p, err := pack.Build(t.Context(), write(t, files), opts)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if other, twice := seen[p.Hash]; twice {
			t.Errorf("%s and %s give the same hash", what, other)
		}
		seen[p.Hash] = what
	}
}

// A package that changed after its hash is refused, and the refusal names the file.
// Proves: AD-3
func TestChangedPackageIsRefused(t *testing.T) {
	source := write(t, moduleFolder())
	for name, c := range map[string]struct {
		change func(dir string) error
		file   string
	}{
		"byte": {func(dir string) error {
			return overwrite(filepath.Join(dir, "code/maker.wasm"), "\x00asm\x02\x00\x00\x00")
		}, "maker.wasm"},
		"size": {func(dir string) error { return overwrite(filepath.Join(dir, "code/data/levels.csv"), "1,2\n3,4\n") }, "levels.csv"},
		"gone": {func(dir string) error { return os.Remove(filepath.Join(dir, "code/README.md")) }, "README.md"},
		"new":  {func(dir string) error { return os.WriteFile(filepath.Join(dir, "code/evil.py"), nil, 0o644) }, "evil.py"},
		"hidden": {func(dir string) error {
			return errors.Join(os.Mkdir(filepath.Join(dir, "code/__pycache__"), 0o755), os.WriteFile(filepath.Join(dir, "code/__pycache__/s.cpython-311.pyc"), nil, 0o644))
		}, "s.cpython-311.pyc"},
		"link": {func(dir string) error {
			return errors.Join(os.Remove(filepath.Join(dir, "code/README.md")), os.Symlink("/etc/hostname", filepath.Join(dir, "code/README.md")))
		}, "README.md"},
		"descriptor": {func(dir string) error {
			return overwrite(filepath.Join(dir, "code/strategy.toml"), strings.Replace(rust, "0.1.0", "0.2.0", 1))
		}, "strategy.toml"},
		"manifest": {func(dir string) error {
			return overwrite(filepath.Join(dir, "package.json"), `{"format": 1}`)
		}, "package.json"},
		"manifest value": {func(dir string) error {
			file := filepath.Join(dir, "package.json")
			data, err := os.ReadFile(file)
			return errors.Join(err, overwrite(file, strings.Replace(string(data), "0.1.0", "9.9.9", 1)))
		}, "package.json"},
	} {
		t.Run(name, func(t *testing.T) {
			opts := moduleOptions(t.TempDir())
			p, err := pack.Build(t.Context(), source, opts)
			if err != nil {
				t.Fatal(err)
			}
			if err := c.change(filepath.Dir(p.CodeDir)); err != nil {
				t.Fatal(err)
			}
			_, oerr := pack.Open(p.Hash, opts)
			_, berr := pack.Build(t.Context(), source, opts)
			for verb, err := range map[string]error{"Open": oerr, "Build": berr} {
				var mismatch *pack.HashMismatch
				if !errors.As(err, &mismatch) || mismatch.Code() != descriptor.CodeHash || !strings.HasSuffix(mismatch.File, c.file) {
					t.Errorf("%s = %v, want a HashMismatch that names %s", verb, err, c.file)
				}
			}
		})
	}
}

func overwrite(file, text string) error {
	return errors.Join(os.Remove(file), os.WriteFile(file, []byte(text), 0o444))
}

// What a package may not hold is refused with the place, and nothing of it stays in the store.
// Proves: AD-1, AD-3
func TestForbiddenContents(t *testing.T) {
	for name, c := range map[string]struct {
		make func(dir string) error
		want []string
	}{
		"symlink":     {func(d string) error { return os.Symlink("/etc/passwd", filepath.Join(d, "passwd")) }, []string{"passwd", "symbolic link"}},
		"folder link": {func(d string) error { return os.Symlink("/etc", filepath.Join(d, "etc")) }, []string{"etc", "symbolic link"}},
		"hard link":   {func(d string) error { return os.Link(filepath.Join(d, "README.md"), filepath.Join(d, "again.md")) }, []string{"again.md", "README.md", "hard link"}},
		"fifo":        {func(d string) error { return syscall.Mkfifo(filepath.Join(d, "pipe"), 0o644) }, []string{"pipe", "neither a file nor a folder"}},
		"bad name":    {func(d string) error { return os.WriteFile(filepath.Join(d, "a\xffb"), nil, 0o644) }, []string{"not UTF-8"}},
		"newline":     {func(d string) error { return os.WriteFile(filepath.Join(d, "a\nb"), nil, 0o644) }, []string{`a\nb`, "control characters"}},
		"backslash":   {func(d string) error { return os.WriteFile(filepath.Join(d, `a\b`), nil, 0o644) }, []string{"backslash"}},
		"huge file": {func(d string) error {
			f, err := os.Create(filepath.Join(d, "huge"))
			return errors.Join(err, f.Truncate(65<<20), f.Close())
		}, []string{"huge", "68157440 bytes"}},
		"deep": {func(d string) error { return os.MkdirAll(filepath.Join(d, strings.Repeat("d/", 20)), 0o755) }, []string{"deeper than 16"}},
		"many": {func(d string) error {
			var err error
			for i := range 4200 {
				err = errors.Join(err, os.WriteFile(filepath.Join(d, fmt.Sprint("f", i)), nil, 0o644))
			}
			return err
		}, []string{"more than 4096 files"}},
		"no entry": {func(d string) error { return os.Remove(filepath.Join(d, "maker.wasm")) }, []string{"strategy.toml:5:9", "holds no maker.wasm"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := write(t, moduleFolder())
			if err := c.make(dir); err != nil {
				t.Fatal(err)
			}
			opts := moduleOptions(t.TempDir())
			_, err := pack.Build(t.Context(), dir, opts)
			fs, ok := descriptor.AsFindings(err)
			if !ok || !contains(err, c.want...) {
				t.Fatalf("Build = %v, want findings with %q", err, c.want)
			}
			for _, f := range fs {
				if f.Remedy == "" || f.File == "" || !utf8.ValidString(f.Error()) || strings.Contains(f.Error(), "\n") {
					t.Errorf("finding %q lacks remedy or place, or is not printable", f.Error())
				}
			}
			storeEmpty(t, opts.Store)
		})
	}
}

// Proves: BC-U
func TestSignatureIsCheckedAgainstTheHash(t *testing.T) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	trusted := []string{base64.StdEncoding.EncodeToString(public)}
	opts := moduleOptions(t.TempDir(), trusted...)
	dir := write(t, moduleFolder())
	p, err := pack.Build(t.Context(), dir, opts)
	if err != nil || p.Signed {
		t.Fatalf("unsigned package: %+v, %v", p, err)
	}
	sig, err := pack.Sign(p.Hash, private)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, pack.SignatureFile), sig, 0o644); err != nil {
		t.Fatal(err)
	}
	signed, err := pack.Build(t.Context(), dir, opts)
	if err != nil || !signed.Signed || signed.Signer != trusted[0] || signed.Hash != p.Hash {
		t.Fatalf("signed package: %+v, %v; a signature must not change the hash", signed, err)
	}
	if !signed.Resolved().Signed {
		t.Error("the deployment is not told of the signature")
	}
	opts.TrustedKeys = nil
	if p, err := pack.Open(p.Hash, opts); err != nil || p.Signed {
		t.Errorf("a key that nobody trusts: %+v, %v", p, err)
	}
	changed := bytes.Replace(sig, []byte(p.Hash), []byte(strings.Repeat("0", 64)), 1)
	for what, text := range map[string][]byte{"other package": changed, "garbage": []byte("="), "flipped": flip(sig)} {
		if err := os.WriteFile(filepath.Join(dir, pack.SignatureFile), text, 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := pack.Build(t.Context(), dir, opts); err == nil {
			t.Errorf("%s was accepted as a signature", what)
		}
	}
}

// flip changes one character of the signature itself.
func flip(sig []byte) []byte {
	out := slices.Clone(sig)
	i := bytes.Index(out, []byte("signature = ")) + len("signature = '") + 5
	if out[i] == 'A' {
		out[i] = 'B'
	} else {
		out[i] = 'A'
	}
	return out
}

// A build that died leaves its stage; the next one removes it, but never that of a build that is alive.
func TestUnfinishedWorkIsSwept(t *testing.T) {
	opts := moduleOptions(t.TempDir())
	dead, alive := filepath.Join(opts.Store, "staging", "dead"), filepath.Join(opts.Store, "staging", "alive")
	if err := errors.Join(os.MkdirAll(filepath.Join(dead, "package/code"), 0o755), os.MkdirAll(alive, 0o755)); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(alive)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	if _, err := pack.Build(t.Context(), write(t, moduleFolder()), opts); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dead); !os.IsNotExist(err) {
		t.Errorf("the stage of a dead build is still there: %v", err)
	}
	if _, err := os.Stat(alive); err != nil {
		t.Errorf("the stage of a living build was removed: %v", err)
	}
}

// Proves: AD-3
func TestOpenRefusesWhatIsNoHash(t *testing.T) {
	opts := moduleOptions(t.TempDir())
	for _, hash := range []string{"", "../../etc", strings.Repeat("0", 63), strings.Repeat("z", 64), strings.Repeat("0", 64)} {
		if _, err := pack.Open(hash, opts); err == nil {
			t.Errorf("Open(%q) found something", hash)
		}
	}
}

// A read-only store says where and what to do.
func TestUnwritableStore(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := pack.Build(t.Context(), write(t, moduleFolder()), pack.Options{Store: filepath.Join(file, "store")})
	if !contains(err, "package store", file, "choose a writable folder") {
		t.Errorf("Build = %v", err)
	}
}
