package image

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/msup/msup/sandbox"
	"github.com/msup/msup/sandbox/sandboxtest"
)

// sdkDir is a copy of the tree's SDK: an edit during the test would be another input.
var sdkDir string

// options build into a folder of the test's own.
func options(t *testing.T) Options {
	t.Helper()
	return Options{Dir: t.TempDir(), SDK: sdkDir}
}

// base builds the base image once for all tests of this package.
func base(t *testing.T) Image {
	t.Helper()
	i, err := Build(t.Context(), Options{Dir: shared, SDK: sdkDir})
	if err != nil {
		t.Fatal(err)
	}
	return i
}

var shared string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "msup-image-test-")
	if err != nil {
		panic(err)
	}
	shared, sdkDir = filepath.Join(dir, "images"), filepath.Join(dir, "sdk")
	if err := sandboxtest.CopySources(sdkDir, "../../pysdk/msup"); err != nil {
		panic(err)
	}
	code := m.Run()
	if err := os.RemoveAll(dir); err != nil {
		panic(err)
	}
	os.Exit(code)
}

// layerFiles reads what the only layer of the base image holds.
func layerFiles(t *testing.T, i Image) map[string]*tar.Header {
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
	r, err := b.open(b.layers[0])
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	all := map[string]*tar.Header{}
	for in := tar.NewReader(r); ; {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all[strings.TrimSuffix(h.Name, "/")] = h
	}
}

// The base image has what a strategy needs, bytecode of all of it, and nothing that only an intruder needs.
//
// Proves: SB-L3, NN-1
func TestBaseImage(t *testing.T) {
	i := base(t)
	if i.Kind != KindBase || i.Arch != runtime.GOARCH || !regexp.MustCompile(`^3\.\d+\.\d+$`).MatchString(i.Python) || i.SDK == "" || !strings.HasPrefix(i.Digest, "sha256:") {
		t.Errorf("%+v", i)
	}
	all := layerFiles(t, i)
	site := strings.TrimPrefix(i.SitePackages, "/")
	for _, want := range append(MountPoints(), i.Interpreter, site+"/msup/runner.py", site+"/msup/py.typed", site+"/msgspec/__init__.py", "usr/bin/python3",
		"usr/share/zoneinfo/America/New_York", "usr/share/doc/python3/copyright") {
		if all[strings.TrimPrefix(want, "/")] == nil {
			t.Errorf("%s is missing", want)
		}
	}
	for name, h := range all {
		if folder, file := filepath.Split(name); strings.HasSuffix(file, ".py") {
			tag := ".cpython-" + strings.ReplaceAll(strings.Join(strings.SplitN(i.Python, ".", 3)[:2], ""), ".", "") + ".pyc"
			if all[folder+"__pycache__/"+strings.TrimSuffix(file, ".py")+tag] == nil {
				t.Errorf("%s has no bytecode", name)
			}
		}
		if h.Mode&0o7000 != 0 || h.Mode&0o022 != 0 && h.Typeflag != tar.TypeSymlink || h.Uid != 0 || h.Gid != 0 || !h.ModTime.Equal(epoch) {
			t.Errorf("%s: mode %o, owner %d:%d, time %s", name, h.Mode, h.Uid, h.Gid, h.ModTime)
		}
		if !slices.Contains([]byte{tar.TypeReg, tar.TypeDir, tar.TypeSymlink}, h.Typeflag) {
			t.Errorf("%s is of type %q", name, h.Typeflag)
		}
		if programs().MatchString(name) && !keptPrograms().MatchString(name) || strings.Contains(name, "msup/tests") {
			t.Errorf("%s has no business in the image", name)
		}
	}
	if i.ArchiveSize > 80<<20 {
		t.Errorf("the image has %d bytes", i.ArchiveSize)
	}
}

// The cache answers without building, and another input gives another image.
//
// Proves: SB-L3
func TestBaseImageIsAFunctionOfItsInputs(t *testing.T) {
	first := base(t)
	var said bytes.Buffer
	began := time.Now()
	again, err := Build(t.Context(), Options{Dir: shared, SDK: sdkDir, Progress: &said})
	if err != nil || again.Digest != first.Digest || said.Len() > 0 {
		t.Errorf("%v, %s, said %q", err, again.Digest, said.String())
	}
	if took := time.Since(began); took > time.Second {
		t.Errorf("finding the image took %s", took)
	}
	files, _, err := sdkSources(sdkDir)
	if err != nil {
		t.Fatal(err)
	}
	o, err := Options{SDK: sdkDir}.orDefault()
	if err != nil {
		t.Fatal(err)
	}
	changed := o
	changed.Suite = "trixie"
	fewer, err1 := o.key(files[1:])
	suite, err2 := changed.key(files)
	if err1 != nil || err2 != nil || fewer == first.Key || suite == first.Key || fewer == suite {
		t.Errorf("keys %s, %s, %s; %v, %v", first.Key, fewer, suite, err1, err2)
	}
}

// An image that was cut off is built again, says where it is, and the same inputs give the same bytes.
//
// Proves: SB-L3
func TestDamagedCacheIsBuiltAnew(t *testing.T) {
	i := base(t)
	if err := os.Truncate(i.ArchivePath, i.ArchiveSize/2); err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	again, err := Build(t.Context(), Options{Dir: shared, SDK: sdkDir, Progress: &said})
	if err != nil || again.Digest != i.Digest {
		t.Errorf("%s, then %s, %v", i.Digest, again.Digest, err)
	}
	if !strings.Contains(said.String(), "compiling") {
		t.Errorf("progress: %q", said.String())
	}
	info, err := os.Stat(i.ArchivePath)
	if err != nil || info.Size() != i.ArchiveSize {
		t.Errorf("%v, %v", info, err)
	}
}

// A bit that flips in the cache is found when it is looked for.
//
// Proves: SB-L3
func TestVerify(t *testing.T) {
	i := base(t)
	if err := Verify(t.Context(), i); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(i.ArchivePath, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var b [1]byte
	if _, err := f.ReadAt(b[:], i.ArchiveSize/2); err != nil {
		t.Fatal(err)
	}
	flip := func() {
		b[0] ^= 1
		if _, err := f.WriteAt(b[:], i.ArchiveSize/2); err != nil {
			t.Fatal(err)
		}
	}
	flip()
	if err := Verify(t.Context(), i); err == nil || !strings.Contains(err.Error(), "damaged") || !strings.Contains(err.Error(), "msup image prune") {
		t.Errorf("%v", err)
	}
	flip()
	i.Digest = "sha256:" + strings.Repeat("0", 64)
	if err := Verify(t.Context(), i); err == nil || !strings.Contains(err.Error(), "its manifest has digest") {
		t.Errorf("%v", err)
	}
}

// onlyLock fails if a folder of images holds more than its lock file.
func onlyLock(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() != "lock" {
			t.Errorf("%s is left in the folder of images", e.Name())
		}
	}
}

// A disk that is full at any stage of the build leaves nothing, and the error says what to do.
//
// Proves: SB-L3
func TestFullDisk(t *testing.T) {
	sizes := []string{"8m", "140m", "200m"} // mmdebstrap's lists, its files, ours
	if testing.Short() {
		sizes = sizes[1:2]
	}
	for _, size := range sizes {
		t.Run(size, func(t *testing.T) {
			onFullDisk(t, size, func(dir string) error {
				_, err := Build(t.Context(), Options{Dir: dir, SDK: sdkDir})
				return err
			})
		})
	}
}

// The same while an image of the user's is copied.
//
// Proves: SB-L3
func TestFullDiskWhileCopying(t *testing.T) {
	noise := make([]byte, 2<<20)
	if _, err := rand.Read(noise); err != nil {
		t.Fatal(err)
	}
	from := saved(t, recipe{layers: [][]byte{pythonLayer(t, "3.12"), tarOf(t, file("noise", string(noise)))}}.archive(t))
	onFullDisk(t, "1m", func(dir string) error {
		_, err := Open(t.Context(), from, Options{Dir: dir})
		return err
	})
}

// onFullDisk wants what fills a small disk refused, and nothing half left on it.
func onFullDisk(t *testing.T, size string, fill func(dir string) error) {
	t.Helper()
	dir := t.TempDir()
	if os.Geteuid() != 0 {
		inNamespace(t)
		return
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	}()
	err := fill(dir)
	var refused *sandbox.Error
	if !errors.As(err, &refused) || refused.Reason != sandbox.ReasonImageDiskFull || !strings.Contains(err.Error(), "the disk is full") ||
		!strings.Contains(refused.Op, dir) || refused.Remedy == "" {
		t.Errorf("%v", err)
	}
	onlyLock(t, dir)
	if found, err := List(dir); err != nil || len(found) > 0 {
		t.Errorf("%v, %v", found, err)
	}
}

// inNamespace runs the calling test again as root of a user namespace, where it may mount.
func inNamespace(t *testing.T) {
	t.Helper()
	cmd := exec.Command("unshare", "--map-root-user", "--mount", os.Args[0], "-test.run=^"+regexp.QuoteMeta(strings.SplitN(t.Name(), "/", 2)[0])+"$")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

// Ctrl-C ends a build at once, with everything that it started, and leaves nothing.
//
// Proves: SB-L3
func TestInterrupt(t *testing.T) {
	steps := []string{"fetching Debian", "writing"}
	if testing.Short() {
		steps = steps[:1]
	}
	for _, step := range steps {
		t.Run(step, func(t *testing.T) {
			o := options(t)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			o.Progress = cancelAt{step, cancel}
			_, err := Build(ctx, o)
			if !errors.Is(err, context.Canceled) {
				t.Errorf("%v", err)
			}
			onlyLock(t, o.Dir)
		})
	}
}

// cancelAt cancels a build a moment after it announces a step.
type cancelAt struct {
	step   string
	cancel func()
}

func (c cancelAt) Write(p []byte) (int, error) {
	if strings.Contains(string(p), c.step) {
		time.AfterFunc(20*time.Millisecond, c.cancel)
		if c.step == "writing" {
			c.cancel()
		}
	}
	return len(p), nil
}

// What a build that was killed left is removed by the next, and never taken for an image.
//
// Proves: SB-L3
func TestLeftoversOfAKilledBuild(t *testing.T) {
	o, err := options(t).orDefault()
	if err != nil {
		t.Fatal(err)
	}
	files, _, err := sdkSources(sdkDir)
	if err != nil {
		t.Fatal(err)
	}
	key, err := o.key(files)
	if err != nil {
		t.Fatal(err)
	}
	s := store(o.Dir)
	if err := errors.Join(os.MkdirAll(filepath.Join(s.staging(), "root"), 0o755), os.WriteFile(s.archive(key), []byte("half"), 0o644)); err != nil {
		t.Fatal(err)
	}
	if _, ok := s.find(key); ok {
		t.Error("an archive without its description counts as an image")
	}
	p, err := Prune(t.Context(), o.Dir, func(Image) bool { return true })
	if err != nil || len(p.Files) != 1 || p.Bytes != 4 {
		t.Errorf("%+v, %v", p, err)
	}
	onlyLock(t, o.Dir)
}

// Proves: SB-L3
func TestPruneKeepsWhatItIsTold(t *testing.T) {
	i := base(t)
	p, err := Prune(t.Context(), shared, func(one Image) bool { return one.Key == i.Key })
	if err != nil || len(p.Files) > 0 {
		t.Errorf("%+v, %v", p, err)
	}
	if found, err := List(shared); err != nil || len(found) != 1 || found[0].Digest != i.Digest {
		t.Errorf("%v, %v", found, err)
	}
}

// Proves: SB-L3
func TestBuildRefusals(t *testing.T) {
	empty := t.TempDir()
	for name, o := range map[string]Options{
		"no SDK":       {SDK: empty},
		"suite":        {SDK: sdkDir, Suite: "--help"},
		"mirror":       {SDK: sdkDir, Mirror: "deb http://x"},
		"architecture": {SDK: sdkDir, Arch: "riscv64"},
		"dead mirror":  {SDK: sdkDir, Mirror: "http://127.0.0.1:9/debian"},
		"no pip":       {SDK: sdkDir, Python: filepath.Join(empty, "python3")},
		"unwritable":   {SDK: sdkDir, Dir: "/proc/msup"},
	} {
		t.Run(name, func(t *testing.T) {
			orDefault(&o.Dir, t.TempDir())
			_, err := Build(t.Context(), o)
			var refused *sandbox.Error
			if !errors.As(err, &refused) || refused.Reason != sandbox.ReasonImageBuildFailed || refused.Remedy == "" || refused.Op == "" {
				t.Fatalf("%v", err)
			}
			if name != "unwritable" && name != "no SDK" && name != "suite" && name != "mirror" && name != "architecture" {
				onlyLock(t, o.Dir)
			}
		})
	}
	t.Run("no mmdebstrap", func(t *testing.T) {
		t.Setenv("PATH", empty)
		o := options(t)
		if _, err := Build(t.Context(), o); err == nil || !strings.Contains(err.Error(), "apt-get install mmdebstrap") {
			t.Errorf("%v", err)
		}
		onlyLock(t, o.Dir)
	})
}

// The SDK's needs are pinned in one place: what the image has is what pip installs and what the tests run with.
func TestLockAgreesWithTheTree(t *testing.T) {
	all, err := os.ReadFile("../../requirements-dev.txt")
	if err != nil {
		t.Fatal(err)
	}
	_, requirements, _ := bytes.Cut(lock, []byte("\n"))
	if len(requirements) == 0 || !bytes.Contains(all, requirements[:len(requirements)-1]) {
		t.Error("requirements.lock is not the part of requirements-dev.txt that concerns msgspec: copy it anew")
	}
	project, err := os.ReadFile("../../pyproject.toml")
	if err != nil {
		t.Fatal(err)
	}
	name, _, _ := strings.Cut(string(requirements), " ")
	if !bytes.Contains(project, []byte(`dependencies = ["`+name+`"]`)) {
		t.Errorf("pyproject.toml does not pin %s alone", name)
	}
}
