package image

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/msup/msup/sandbox"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// store is the folder of images: KEY.tar and KEY.json for each. The .json is written last; an archive without one is
// none. Whoever holds the lock may write, and owns the folder staging.
type store string

func (s store) archive(key string) string  { return filepath.Join(string(s), key+".tar") }
func (s store) manifest(key string) string { return filepath.Join(string(s), key+".json") }
func (s store) staging() string            { return filepath.Join(string(s), "staging") }

// maxManifestBytes bounds KEY.json.
const maxManifestBytes = 1 << 20

// find looks an image up. What cannot be read or has another size is not there: it will be built again.
func (s store) find(key string) (Image, bool) {
	i, err := s.read(key)
	return i, err == nil
}

// lazily compiles an expression when it is first needed: every runner would have to wait for it (see sandbox/stage2).
func lazily(text string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(text) })
}

var reKey = lazily(`^[0-9a-f]{64}$`)

func (s store) read(key string) (Image, error) {
	var i Image
	f, err := os.Open(s.manifest(key))
	if err != nil {
		return i, fmt.Errorf("read what is known of the image: %w", err)
	}
	defer f.Close()
	if err := json.NewDecoder(io.LimitReader(f, maxManifestBytes)).Decode(&i); err != nil {
		return i, fmt.Errorf("read what is known of the image from %s: %w", f.Name(), err)
	}
	info, err := os.Stat(s.archive(key))
	if err != nil {
		return i, fmt.Errorf("look at the image's archive: %w", err)
	}
	if i.Key != key || info.Size() != i.ArchiveSize {
		return i, fmt.Errorf("%s does not belong to its description", s.archive(key))
	}
	i.ArchivePath = s.archive(key) // the folder may have been moved
	return i, nil
}

// lock waits until nobody else writes to the folder.
func (s store) lock(ctx context.Context, progress io.Writer) (unlock func(), err error) {
	if err := os.MkdirAll(string(s), 0o755); err != nil {
		return nil, refuse(sandbox.ReasonImageBuildFailed, "write to the folder of images "+string(s), "name a folder that you may write with --dir or MSUP_IMAGES", "%w", err)
	}
	f, err := os.OpenFile(filepath.Join(string(s), "lock"), os.O_CREATE|os.O_RDWR|syscall.O_CLOEXEC, 0o644)
	if err != nil {
		return nil, refuse(sandbox.ReasonImageBuildFailed, "write to the folder of images "+string(s), "name a folder that you may write with --dir or MSUP_IMAGES", "%w", err)
	}
	said := false
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, errors.Join(fmt.Errorf("lock the folder of images: %w", err), f.Close())
		}
		if !said {
			said = true
			fmt.Fprintln(progress, "image: another msup is writing to the folder of images; waiting for it")
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(context.Cause(ctx), f.Close())
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// stage makes an empty folder for a build. The lock is held: what lies there is of a build that died.
func (s store) stage() (string, error) {
	if err := os.RemoveAll(s.staging()); err != nil {
		return "", fmt.Errorf("remove what an earlier build left: %w", err)
	}
	if err := os.Mkdir(s.staging(), 0o755); err != nil {
		return "", fullDisk(fmt.Errorf("make a folder for the build: %w", err), string(s))
	}
	return s.staging(), nil
}

// staged is the name of the archive in the stage.
const staged = "image.tar"

// write writes the image's archive into the stage, and notes digest and size.
func (i *Image) write(stage string, config content, layers []content) error {
	file := filepath.Join(stage, staged)
	_, err := writeBlob(file, "", func(w io.Writer) error {
		root, err := writeArchive(w, i.Name, config, layers)
		i.Digest = root.Digest.String()
		return err
	})
	if err != nil {
		return err
	}
	info, err := os.Stat(file)
	if err != nil {
		return fmt.Errorf("look at the archive: %w", err)
	}
	i.ArchiveSize = info.Size()
	return nil
}

// publish moves the stage's archive to its place: first the archive, then its description.
func (s store) publish(i Image, stage string) (Image, error) {
	i.ArchivePath = s.archive(i.Key)
	text, err := json.MarshalIndent(i, "", " ")
	if err != nil {
		return Image{}, fmt.Errorf("encode what is known of the image: %w", err)
	}
	description := filepath.Join(stage, "image.json")
	if _, err := writeBlob(description, "", func(w io.Writer) error {
		_, err := w.Write(append(text, '\n'))
		return err
	}); err != nil {
		return Image{}, fullDisk(err, string(s))
	}
	// A description that fits the old archive must not outlive it.
	if err := os.Remove(s.manifest(i.Key)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Image{}, fmt.Errorf("replace the image: %w", err)
	}
	err = errors.Join(os.Rename(filepath.Join(stage, staged), i.ArchivePath), syncDir(string(s)))
	if err == nil {
		err = errors.Join(os.Rename(description, s.manifest(i.Key)), syncDir(string(s)))
	}
	if err != nil {
		return Image{}, fmt.Errorf("move the image to its place: %w", err)
	}
	return i, nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("open %s to make it durable: %w", dir, err)
	}
	return errors.Join(d.Sync(), d.Close())
}

// writeBlob writes a file durably and describes it.
func writeBlob(file, mediaType string, write func(io.Writer) error) (content, error) {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return content{}, fmt.Errorf("make %s: %w", filepath.Base(file), err)
	}
	digester := digest.Canonical.Digester()
	counted := &counter{}
	out := bufio.NewWriterSize(io.MultiWriter(f, digester.Hash(), counted), 1<<20)
	if err := write(out); err != nil {
		return content{}, errors.Join(err, f.Close())
	}
	if err := errors.Join(out.Flush(), f.Sync(), f.Close()); err != nil {
		return content{}, fmt.Errorf("write %s: %w", filepath.Base(file), err)
	}
	return content{ocispec.Descriptor{MediaType: mediaType, Digest: digester.Digest(), Size: counted.n},
		func() (io.ReadCloser, error) { return os.Open(file) }}, nil
}

type counter struct{ n int64 }

func (c *counter) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	return len(p), nil
}

// List returns the images in the folder, newest first ("" means DefaultDir).
func List(dir string) ([]Image, error) {
	orDefault(&dir, DefaultDir())
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("the folder of images: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("look into the folder of images: %w", err)
	}
	images := []Image{}
	for _, e := range entries {
		key, ok := strings.CutSuffix(e.Name(), ".json")
		if !ok || !reKey().MatchString(key) {
			continue
		}
		if i, ok := store(dir).find(key); ok {
			images = append(images, i)
		}
	}
	slices.SortStableFunc(images, func(a, b Image) int { return b.BuiltAt.Compare(a.BuiltAt) })
	return images, nil
}

// Pruned says what Prune removed.
type Pruned struct {
	Files []string `json:"files"`
	Bytes int64    `json:"bytes"`
}

// Prune removes every image but those that keep wants, and whatever unfinished builds left. It waits for a build that runs.
func Prune(ctx context.Context, dir string, keep func(Image) bool) (Pruned, error) {
	orDefault(&dir, DefaultDir())
	p := Pruned{Files: []string{}}
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return p, nil
	}
	s := store(dir)
	unlock, err := s.lock(ctx, io.Discard)
	if err != nil {
		return p, err
	}
	defer unlock()
	if err := os.RemoveAll(s.staging()); err != nil {
		return p, fmt.Errorf("remove what an unfinished build left: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return p, fmt.Errorf("look into the folder of images: %w", err)
	}
	// The description goes first: ".json" sorts before ".tar".
	for _, e := range entries {
		key := strings.TrimSuffix(e.Name(), filepath.Ext(e.Name()))
		if !reKey().MatchString(key) || !e.Type().IsRegular() {
			continue
		}
		if i, ok := s.find(key); ok && keep(i) {
			continue
		}
		info, err := e.Info()
		if err == nil {
			err = os.Remove(filepath.Join(dir, e.Name()))
		}
		if err != nil {
			return p, fmt.Errorf("remove image %s: %w", e.Name(), err)
		}
		p.Files, p.Bytes = append(p.Files, e.Name()), p.Bytes+info.Size()
	}
	return p, nil
}
