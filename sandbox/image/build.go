package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/msup/msup/sandbox"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// builderVersion is part of every key: raise it when the same inputs shall give another image.
const builderVersion = "1"

// What Build takes where Options says nothing.
const (
	DefaultSuite  = "bookworm"
	defaultMirror = "http://deb.debian.org/debian"
)

// Options say what to build from, and where images lie.
type Options struct {
	// Dir is the folder of images; "" means DefaultDir.
	Dir string
	// SDK is the folder of the package msup whose sources go into the image.
	SDK string
	// Python is a Python interpreter of the host with pip, which downloads what the SDK needs. "" means python3.
	Python string
	// Suite and Mirror of Debian. "" means bookworm from deb.debian.org, or from MSUP_DEBIAN_MIRROR.
	Suite, Mirror string
	Arch          string // only the host's; "" means that
	// Refresh builds although the cache has the image: Debian may have newer packages.
	Refresh bool
	// Progress gets a line for every step of a build; nil discards them.
	Progress io.Writer
}

// DefaultDir is MSUP_IMAGES, else msup/images in the user's cache folder.
func DefaultDir() string {
	if dir := os.Getenv("MSUP_IMAGES"); dir != "" {
		return dir
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return filepath.Join(os.TempDir(), fmt.Sprintf("msup-images-%d", os.Geteuid()))
	}
	return filepath.Join(cache, "msup", "images")
}

var (
	reSuite  = lazily(`^[a-z][a-z0-9-]{0,40}$`)
	reMirror = lazily(`^(https?|file)://[!-~]+$`)
)

func (o Options) orDefault() (Options, error) {
	orDefault(&o.Dir, DefaultDir())
	orDefault(&o.Suite, DefaultSuite)
	orDefault(&o.Mirror, os.Getenv("MSUP_DEBIAN_MIRROR"))
	orDefault(&o.Mirror, defaultMirror)
	orDefault(&o.Arch, runtime.GOARCH)
	orDefault(&o.Python, "python3")
	if o.Progress == nil {
		o.Progress = io.Discard
	}
	switch {
	case !reSuite().MatchString(o.Suite):
		return o, refuse(sandbox.ReasonImageBuildFailed, "build the base image", "name a suite of Debian, for example bookworm", "%q is no name of a suite", o.Suite)
	case !reMirror().MatchString(o.Mirror):
		return o, refuse(sandbox.ReasonImageBuildFailed, "build the base image", "give a URL, for example "+defaultMirror, "%q is no mirror", o.Mirror)
	case o.Arch != runtime.GOARCH || loaders[o.Arch].file == "":
		return o, refuse(sandbox.ReasonImageBuildFailed, "build the base image", "build it on such a machine", "architecture %s is not this machine's (%s), or not amd64 or arm64", o.Arch, runtime.GOARCH)
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return o, fmt.Errorf("the folder of images %s: %w", o.Dir, err)
	}
	o.Dir = dir
	return o, nil
}

func orDefault(s *string, d string) {
	if *s == "" {
		*s = d
	}
}

// sdkFile is a source of the SDK.
type sdkFile struct{ name, host string }

// maxSDKBytes bounds a folder that was named as the SDK by mistake.
const maxSDKBytes = 16 << 20

// sdkSources lists the SDK's files, in order, and its version.
func sdkSources(dir string) ([]sdkFile, string, error) {
	wrong := func(err error) error {
		return refuse(sandbox.ReasonImageBuildFailed, "build the base image", "name the folder of the Python package msup", "%q is not the SDK: %w", dir, err)
	}
	var files []sdkFile
	var total int64
	err := filepath.WalkDir(dir, func(file string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || filepath.Ext(file) != ".py" && d.Name() != "py.typed" {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if total += info.Size(); total > maxSDKBytes {
			return fmt.Errorf("its sources have more than %d bytes", maxSDKBytes)
		}
		name, err := filepath.Rel(dir, file)
		files = append(files, sdkFile{filepath.ToSlash(name), file})
		return err
	})
	if err != nil {
		return nil, "", wrong(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "version.py"))
	if err != nil {
		return nil, "", wrong(err)
	}
	version := sdkVersion(text)
	if version == "" {
		return nil, "", wrong(errors.New("version.py does not say __version__"))
	}
	return files, version, nil
}

var reVersion = lazily(`(?m)^__version__\s*(?::\s*\w+\s*)?=\s*["']([0-9A-Za-z.+!-]{1,64})["']`)

// sdkVersion reads the version from version.py; "" when it is not there.
func sdkVersion(text []byte) string {
	if m := reVersion().FindSubmatch(text); m != nil {
		return string(m[1])
	}
	return ""
}

// key is the hash of everything that the base image depends on.
func (o Options) key(files []sdkFile) (string, error) {
	h := sha256.New()
	put := func(parts ...string) {
		for _, p := range parts {
			fmt.Fprintf(h, "%d %s\n", len(p), p)
		}
	}
	put(builderVersion, o.Suite, o.Mirror, o.Arch, strings.Join(packages, " "), unwanted().String(), keptPrograms().String(), keptDocumentation().String(), string(lock), strings.Join(MountPoints(), " "))
	for _, f := range files {
		data, err := os.ReadFile(f.host)
		if err != nil {
			return "", fmt.Errorf("read the SDK's %s: %w", f.name, err)
		}
		put(f.name, string(data))
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// builder is one build.
type builder struct {
	o     Options
	stage string
	began time.Time
}

func (b *builder) say(format string, args ...any) {
	fmt.Fprintf(b.o.Progress, "image: %3.0f s  %s\n", time.Since(b.began).Seconds(), fmt.Sprintf(format, args...))
}

// Build returns the base image, from the cache where that has it. Two builds at once wait for each other; ctx ends the wait
// and the build, and nothing half is left (SB-L3).
func Build(ctx context.Context, o Options) (Image, error) {
	o, err := o.orDefault()
	if err != nil {
		return Image{}, err
	}
	files, sdk, err := sdkSources(o.SDK)
	if err != nil {
		return Image{}, err
	}
	key, err := o.key(files)
	if err != nil {
		return Image{}, err
	}
	s := store(o.Dir)
	if i, ok := s.find(key); ok && !o.Refresh {
		return i, nil
	}
	unlock, err := s.lock(ctx, o.Progress)
	if err != nil {
		return Image{}, err
	}
	defer unlock()
	if i, ok := s.find(key); ok && !o.Refresh { // another msup built it meanwhile
		return i, nil
	}
	stage, err := s.stage()
	if err != nil {
		return Image{}, err
	}
	b := &builder{o: o, stage: stage, began: time.Now()}
	i, err := b.build(ctx, files, sdk, key)
	if clean := os.RemoveAll(stage); clean != nil && err == nil {
		err = fmt.Errorf("remove the build's folder: %w", clean)
	}
	if err != nil {
		return Image{}, err
	}
	b.say("done: %s, Python %s, %d MB", i.Name, i.Python, i.ArchiveSize>>20)
	return i, nil
}

func (b *builder) build(ctx context.Context, files []sdkFile, sdk, key string) (Image, error) {
	root, err := makeFolder(filepath.Join(b.stage, "root"))
	if err != nil {
		return Image{}, b.writeFailed(err)
	}
	defer root.Close()
	if err := b.debian(ctx, root); err != nil {
		return Image{}, b.writeFailed(err)
	}
	program, minor, err := b.interpreter(root)
	if err != nil {
		return Image{}, err
	}
	site := sitePackages(minor)
	wheels, err := b.wheels(ctx, minor)
	if err != nil {
		return Image{}, err
	}
	for _, w := range wheels {
		if err := root.install(w, site); err != nil {
			return Image{}, b.writeFailed(err)
		}
	}
	if err := root.installSDK(files, site); err != nil {
		return Image{}, b.writeFailed(err)
	}
	for _, dir := range MountPoints() {
		if err := root.MkdirAll(strings.TrimPrefix(dir, "/"), 0o755); err != nil {
			return Image{}, b.writeFailed(fmt.Errorf("make mount point %s: %w", dir, err))
		}
	}
	if err := b.compile(ctx, root, program, minor); err != nil {
		return Image{}, err
	}
	version, err := b.version(ctx, root, program)
	if err != nil {
		return Image{}, err
	}
	i := Image{Kind: KindBase, Name: "msup.local/base:" + key[:16], Arch: b.o.Arch, Python: version, SDK: sdk, Key: key, BuiltAt: time.Now().UTC(),
		Interpreter: "/" + program, SitePackages: "/" + site}
	i.Env = environment(nil, i.Interpreter)
	b.say("writing")
	if err := b.archive(ctx, root, &i); err != nil {
		return Image{}, b.writeFailed(err)
	}
	return store(b.o.Dir).publish(i, b.stage)
}

// version asks the image's interpreter; that it answers shows that it and its libraries are whole, and that the SDK with
// what it needs can be imported.
func (b *builder) version(ctx context.Context, root folder, program string) (string, error) {
	cmd := b.call(ctx, root, program, "-c", "import site, sys; site.main(); sys.path.insert(0, sys.argv[1]); import msup, msgspec; print('%d.%d.%d' % sys.version_info[:3])",
		filepath.Join(root.dir, sitePackages(strings.TrimPrefix(filepath.Base(program), "python"))))
	out, err := cmd.Output()
	if err != nil {
		var e *exec.ExitError
		if errors.As(err, &e) {
			err = fmt.Errorf("%w: %s", err, e.Stderr[max(0, len(e.Stderr)-maxToolQuote):])
		}
		return "", refuse(sandbox.ReasonImageBuildFailed, "build the base image", "report this with what it says", "the image's Python does not import the SDK: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}

// archive writes the image into the stage.
func (b *builder) archive(ctx context.Context, root folder, i *Image) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	layer, err := writeBlob(filepath.Join(b.stage, "layer.tar"), ocispec.MediaTypeImageLayer, root.writeLayer)
	if err != nil {
		return err
	}
	config := ocispec.Image{Platform: ocispec.Platform{Architecture: i.Arch, OS: "linux"}, Created: &epoch,
		Config: ocispec.ImageConfig{Env: i.Env, Entrypoint: i.Argv(), Labels: map[string]string{"msup.sdk": i.SDK, "msup.python": i.Python}},
		RootFS: ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{layer.Digest}}}
	data, err := json.Marshal(config)
	if err != nil {
		return fmt.Errorf("encode the image's configuration: %w", err)
	}
	return i.write(b.stage, inMemory(ocispec.MediaTypeImageConfig, data), []content{layer})
}

// writeFailed makes a full disk an error that says what to do.
func (b *builder) writeFailed(err error) error { return fullDisk(err, b.o.Dir) }

func fullDisk(err error, dir string) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return refuse(sandbox.ReasonImageDiskFull, "write an image to "+dir, "make room (a base image needs about 300 MB while it is built), or name another folder with --dir or MSUP_IMAGES", "the disk is full: %w", err)
	}
	return err
}
