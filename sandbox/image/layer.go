package image

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
)

// node is what the layers have at a path.
type node struct {
	mode fs.FileMode
	link string // of a symbolic link
	head []byte // the first bytes of a file that may be an interpreter
	text []byte // the whole of a small file that says a version
}

// files is what an image holds, by path without a leading slash, after all its layers.
type files map[string]node

// budget bounds what all layers of an image together may unpack to.
type budget struct {
	bytes   int64
	entries int
}

// counted takes what is read from a budget.
type counted struct {
	ctx  context.Context
	r    io.Reader
	left *int64
}

func (c *counted) Read(p []byte) (int, error) {
	if err := context.Cause(c.ctx); err != nil {
		return 0, err
	}
	n, err := c.r.Read(p)
	if *c.left -= int64(n); *c.left < 0 {
		return n, errTooLarge
	}
	return n, err
}

var errTooLarge = errors.New("its layers unpack to more than an image may have; it looks made to fill the disk")

// layer reads one layer, compares its digests, and adds what it holds to what lies below.
func (b *brought) layer(ctx context.Context, l *broughtLayer, diffID digest.Digest, below files, left *budget) error {
	r, err := b.open(*l)
	if err != nil {
		return err
	}
	defer r.Close()
	blob, size := digest.SHA256.Digester(), &counter{}
	raw := bufio.NewReaderSize(io.TeeReader(r, io.MultiWriter(blob.Hash(), size)), 1<<20)
	plain, compression, err := decompress(raw)
	if err != nil {
		return fmt.Errorf("its layer %s is damaged: %w", l.name, err)
	}
	defer plain.Close()
	content := digest.SHA256.Digester()
	stream := bufio.NewReaderSize(io.TeeReader(&counted{ctx, plain, &left.bytes}, content.Hash()), 1<<20)
	if err := below.apply(stream, left); err != nil {
		return fmt.Errorf("its layer %s: %w", l.name, err)
	}
	// Padding after the end of the tar belongs to the digests too.
	if _, err := io.Copy(io.Discard, stream); err != nil {
		return fmt.Errorf("its layer %s is damaged: %w", l.name, err)
	}
	if _, err := io.Copy(io.Discard, raw); err != nil {
		return fmt.Errorf("its layer %s cannot be read: %w", l.name, err)
	}
	if l.digest != "" && blob.Digest() != l.digest || content.Digest() != diffID {
		return fmt.Errorf("its layer %s is damaged: the bytes do not have the digest that the image says", l.name)
	}
	l.digest, l.size = blob.Digest(), size.n
	l.mediaType = mediaTypes[compression]
	return nil
}

var mediaTypes = map[string]string{
	"":     "application/vnd.oci.image.layer.v1.tar",
	"gzip": "application/vnd.oci.image.layer.v1.tar+gzip",
	"zstd": "application/vnd.oci.image.layer.v1.tar+zstd",
}

// decompress looks at the bytes, not at what the manifest calls them: docker and OCI name the same thing differently.
func decompress(r *bufio.Reader) (io.ReadCloser, string, error) {
	head, err := r.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, "", err
	}
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(r)
		if err != nil {
			return nil, "", err
		}
		return z, "gzip", nil
	case bytes.Equal(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(256<<20), zstd.WithDecoderMaxWindow(128<<20))
		if err != nil {
			return nil, "", err
		}
		return z.IOReadCloser(), "zstd", nil
	}
	return io.NopCloser(r), "", nil
}

// Names by which a layer takes away what lies below.
const (
	whiteout = ".wh."
	opaque   = ".wh..wh..opq"
)

// maxPathBytes is what the kernel takes.
const maxPathBytes = 4096

// apply adds the entries of a layer.
func (f files) apply(r io.Reader, left *budget) error {
	t := tar.NewReader(r)
	mine := map[string]bool{}
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if errors.Is(err, errTooLarge) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
			return err
		}
		if err != nil {
			return fmt.Errorf("it is damaged: %w", err)
		}
		if left.entries--; left.entries < 0 {
			return fmt.Errorf("it has more than %d entries with those below it; it looks made to fill the disk", maxLayerEntries)
		}
		if h.Size > left.bytes {
			return errTooLarge
		}
		name := path.Clean(strings.TrimPrefix(h.Name, "./"))
		if name == "." {
			continue
		}
		if !fs.ValidPath(name) || len(name) > maxPathBytes {
			return fmt.Errorf("entry %q leads out of the image", cut(h.Name))
		}
		if err := f.put(t, h, name, mine); err != nil {
			return err
		}
	}
}

func (f files) put(t *tar.Reader, h *tar.Header, name string, mine map[string]bool) error {
	base := path.Base(name)
	if base == opaque {
		f.removeBelow(path.Dir(name), mine)
		return nil
	}
	if hidden, ok := strings.CutPrefix(base, whiteout); ok {
		target := path.Join(path.Dir(name), hidden)
		f.removeBelow(target, mine)
		if !mine[target] {
			delete(f, target)
		}
		return nil
	}
	n := node{mode: fs.FileMode(h.Mode).Perm()} //nolint:gosec // permissions are taken
	var err error
	switch h.Typeflag {
	case tar.TypeDir:
		n.mode |= fs.ModeDir
	case tar.TypeSymlink:
		n.mode |= fs.ModeSymlink
		n.link = h.Linkname
	case tar.TypeLink:
		target := path.Clean(strings.TrimPrefix(strings.TrimPrefix(h.Linkname, "./"), "/"))
		if !fs.ValidPath(target) {
			return fmt.Errorf("entry %q is a link to %q, out of the image", cut(name), cut(h.Linkname))
		}
		there, ok := f[target]
		if !ok {
			return fmt.Errorf("entry %q is a link to %q, which is not there", cut(name), cut(h.Linkname))
		}
		n = there
	case tar.TypeReg:
		err = n.read(t, h, name)
	default:
		return fmt.Errorf("entry %q is a device or pipe, which an image for strategies may not hold", cut(name))
	}
	if err != nil {
		return fmt.Errorf("entry %q: it is damaged: %w", cut(name), err)
	}
	if old, ok := f[name]; ok && old.mode.IsDir() && !n.mode.IsDir() {
		f.removeBelow(name, nil)
	}
	f[name], mine[name] = n, true
	return nil
}

// removeBelow removes what lower layers have below a folder.
func (f files) removeBelow(dir string, mine map[string]bool) {
	prefix := dir + "/"
	if dir == "." {
		prefix = ""
	}
	for name := range f {
		if strings.HasPrefix(name, prefix) && !mine[name] {
			delete(f, name)
		}
	}
}

// maxTextBytes is how much is kept of a file that says a version.
const maxTextBytes = 4096

// read keeps the few bytes that Python is recognised by.
func (n *node) read(t *tar.Reader, h *tar.Header, name string) error {
	base := path.Base(name)
	var err error
	switch {
	case h.Mode&0o111 != 0 && strings.HasPrefix(base, "python"):
		n.head, err = io.ReadAll(io.LimitReader(t, 64))
	case strings.HasSuffix(name, "/msup/version.py") || base == "pyvenv.cfg":
		n.text, err = io.ReadAll(io.LimitReader(t, maxTextBytes))
	}
	return err
}
