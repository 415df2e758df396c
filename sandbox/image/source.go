package image

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// What a user's image may have. The numbers are far above real images (the largest machine-learning ones have 20 GB and
// 300,000 files) and far below what would hurt.
const (
	maxArchiveFiles = 10_000
	maxJSONBytes    = 4 << 20
	maxLayers       = 127 // more than overlayfs can stack
	maxLayerBytes   = 32 << 30
	maxLayerEntries = 1_000_000
)

// source gives the files of an image by their names in it: of an archive, or of a layout folder.
type source interface {
	open(name string) (io.ReadCloser, int64, error)
	io.Closer
}

// layoutFolder is an OCI layout as a folder. os.Root keeps links from leading out of it.
type layoutFolder struct{ *os.Root }

func (l layoutFolder) open(name string) (io.ReadCloser, int64, error) {
	f, err := l.Open(name)
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is no regular file", name)
	}
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, info.Size(), nil
}

// tarArchive is an archive, indexed once: where in the file each member's bytes are.
type tarArchive struct {
	file    *os.File
	members map[string]span
}

type span struct{ offset, size int64 }

func (a *tarArchive) Close() error { return a.file.Close() }

func (a *tarArchive) open(name string) (io.ReadCloser, int64, error) {
	s, ok := a.members[name]
	if !ok {
		return nil, 0, fmt.Errorf("%s: %w in the archive", name, fs.ErrNotExist)
	}
	return io.NopCloser(io.NewSectionReader(a.file, s.offset, s.size)), s.size, nil
}

// positioned counts where archive/tar is in the file; it hides Seek, so that every byte is counted.
type positioned struct {
	r *os.File
	n int64
}

func (p *positioned) Read(b []byte) (int, error) {
	n, err := p.r.Read(b)
	p.n += int64(n)
	return n, err
}

// Seek lets archive/tar skip members without reading them.
func (p *positioned) Seek(offset int64, whence int) (int64, error) {
	n, err := p.r.Seek(offset, whence)
	if err == nil {
		p.n = n
	}
	return n, err
}

func openArchive(file string) (*tarArchive, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	a := &tarArchive{f, map[string]span{}}
	if err := a.index(); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return a, nil
}

func (a *tarArchive) index() error {
	info, err := a.file.Stat()
	if err != nil {
		return err
	}
	where := &positioned{r: a.file}
	t := tar.NewReader(where)
	for range maxArchiveFiles {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			if len(a.members) == 0 {
				return errors.New("it is empty")
			}
			return nil
		}
		if err != nil {
			return fmt.Errorf("it is no tar archive, or cut off or damaged: %w", err)
		}
		if h.Typeflag == tar.TypeDir {
			continue
		}
		name := path.Clean(h.Name)
		switch {
		case !fs.ValidPath(name):
			return fmt.Errorf("its member %q leads out of it", h.Name)
		case h.Typeflag == tar.TypeSymlink || h.Typeflag == tar.TypeLink:
			// docker's older archives share equal layers by links.
			target := path.Clean(h.Linkname)
			if h.Typeflag == tar.TypeSymlink {
				target = path.Join(path.Dir(name), h.Linkname)
			}
			s, ok := a.members[target]
			if !ok {
				return fmt.Errorf("its member %q is a link to %q, which is not there", h.Name, h.Linkname)
			}
			a.members[name] = s
		case h.Typeflag != tar.TypeReg:
			return fmt.Errorf("its member %q is neither a file nor a folder", h.Name)
		case h.Size > info.Size()-where.n:
			return fmt.Errorf("it is cut off: member %q should have %d bytes, of which %d are there", h.Name, h.Size, max(0, info.Size()-where.n))
		default:
			a.members[name] = span{where.n, h.Size}
		}
	}
	return fmt.Errorf("it has more than %d members", maxArchiveFiles)
}

// readJSON reads a small document of the image.
func readJSON(s source, name string, v any) ([]byte, error) {
	data, err := readSmall(s, name)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(data, v); err != nil {
		return nil, fmt.Errorf("its %s is damaged: %w", name, err)
	}
	return data, nil
}

func readSmall(s source, name string) ([]byte, error) {
	r, size, err := s.open(name)
	if err != nil {
		return nil, fmt.Errorf("its %s cannot be opened: %w", name, err)
	}
	defer r.Close()
	if size > maxJSONBytes {
		return nil, fmt.Errorf("its %s has %d bytes; at most %d are expected", name, size, maxJSONBytes)
	}
	data, err := io.ReadAll(io.LimitReader(r, maxJSONBytes))
	if err != nil {
		return nil, fmt.Errorf("its %s cannot be read: %w", name, err)
	}
	return data, nil
}

// readBlob reads a small document by its digest, and checks it.
func readBlob(s source, d ocispec.Descriptor, v any) ([]byte, error) {
	if err := checkDigest(d.Digest); err != nil {
		return nil, err
	}
	name := blobName(d.Digest)
	data, err := readSmall(s, name)
	if err != nil {
		return nil, err
	}
	if digest.FromBytes(data) != d.Digest {
		return nil, fmt.Errorf("its %s is damaged: the bytes do not have this digest", name)
	}
	if err := json.Unmarshal(data, v); err != nil {
		return nil, fmt.Errorf("its %s is damaged: %w", name, err)
	}
	return data, nil
}

// checkDigest keeps anything but a digest from becoming a path.
func checkDigest(d digest.Digest) error {
	if d.Validate() != nil || d.Algorithm() != digest.SHA256 {
		return fmt.Errorf("it names %q, which is no sha256 digest", cut(string(d)))
	}
	return nil
}

// cut shortens text of an image for a message.
func cut(s string) string {
	s = strings.ToValidUTF8(s, "?")
	if len(s) > 200 {
		return s[:200] + "…"
	}
	return s
}
