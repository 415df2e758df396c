package capsule

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/supervisor/core"
)

const tarBlock = 512

// Capsule is an opened capsule: all of it has been compared with its manifest.
type Capsule struct {
	Manifest Manifest
	SHA256   ipc.Digest  // of the whole file
	Core     *core.State // at the checkpoint; nil when the log begins at input 1
	Start    *core.Start // the last one up to the capsule's end; nil when that lies before the checkpoint
	Intents  map[ipc.Key]Intent

	r      io.ReaderAt
	at     map[string]int64 // where a file's content begins
	inputs []byte
	core   []byte
	state  []byte
}

// Open reads a capsule and refuses everything that Write would not have written. Nothing of it is run.
func Open(r io.ReaderAt, size int64) (*Capsule, error) {
	c := &Capsule{r: r, at: map[string]int64{}}
	head, err := c.readManifest(size)
	if err != nil {
		return nil, err
	}
	if err := c.place(head, size); err != nil {
		return nil, err
	}
	if err := c.compare(head, size); err != nil {
		return nil, err
	}
	if err := c.load(); err != nil {
		return nil, err
	}
	return c, nil
}

// readManifest takes the first file, whose size only its own header says.
func (c *Capsule) readManifest(size int64) ([]byte, error) {
	var block [tarBlock]byte
	if _, err := c.r.ReadAt(block[:], 0); err != nil {
		return nil, refused("header", "the file has %d bytes: it is no capsule, or was cut off", size)
	}
	name, _, _ := strings.Cut(string(block[:100]), "\x00")
	n, ok := octal(block[124:136])
	if name != fileManifest || !ok || n > maxManifest || n == 0 {
		return nil, refused("header", "it does not begin with %s: it is no capsule, or its first bytes were changed", fileManifest)
	}
	head := make([]byte, n)
	if _, err := c.r.ReadAt(head, tarBlock); err != nil {
		return nil, refused(fileManifest, "cut off after %d bytes", size)
	}
	d := json.NewDecoder(bytes.NewReader(head))
	d.DisallowUnknownFields()
	m := &c.Manifest
	if err := d.Decode(m); err != nil {
		var version struct {
			Format int `json:"format"`
		}
		if json.Unmarshal(head, &version) == nil && version.Format > Format {
			return nil, &Error{Place: fileManifest, Cause: fmt.Sprintf("format %d, this msup reads %d", version.Format, Format), Remedy: "open it with a newer msup"}
		}
		return nil, refused(fileManifest, "it cannot be read: %v", err)
	}
	if m.Format != Format {
		return nil, &Error{Place: fileManifest, Cause: fmt.Sprintf("format %d, this msup reads %d", m.Format, Format), Remedy: "open it with the msup that made it, or a newer one"}
	}
	again, err := encodeManifest(m)
	if err != nil || !bytes.Equal(again, head) {
		return nil, refused(fileManifest, "it is not as msup writes it: it was changed")
	}
	return head, nil
}

func octal(b []byte) (n int64, ok bool) {
	digits := bytes.TrimRight(b, "\x00 ")
	if len(digits) == 0 {
		return 0, false
	}
	for _, d := range digits {
		if d < '0' || d > '7' {
			return 0, false
		}
		n = n<<3 | int64(d-'0')
	}
	return n, true
}

// place computes where every file lies, and with it the one size that the capsule can have.
func (c *Capsule) place(head []byte, size int64) error {
	at := int64(tarBlock) + padded(int64(len(head)))
	last := -1
	for _, f := range c.Manifest.Files {
		i := slices.Index(order, f.Name)
		if i <= last || f.Size < 0 || f.Size > largest[f.Name] {
			return refused(fileManifest, "it lists %.100q with %d bytes, which cannot stand there", f.Name, f.Size)
		}
		last = i
		c.at[f.Name] = at + tarBlock
		at += tarBlock + padded(f.Size)
		if at > size {
			return refused(f.Name, "cut off at byte %d of the capsule, at least %d are due", size, at)
		}
	}
	for _, name := range order {
		with, optional := together[name]
		_, has := c.at[name]
		if _, partner := c.at[with]; !has && (!optional || partner) {
			return refused(fileManifest, "it does not list %s", name)
		}
	}
	if want := at + 2*tarBlock; size != want {
		return refused("end", "the capsule has %d bytes, its manifest makes it %d", size, want)
	}
	return nil
}

// together are the files that may be absent, with the one that is there when they are.
var together = map[string]string{fileLayer: fileLayerCode, fileLayerCode: fileLayer, fileCore: fileState, fileState: fileCore}

func padded(n int64) int64 { return (n + tarBlock - 1) / tarBlock * tarBlock }

// compare lays the capsule out again and compares byte for byte: headers, padding and end included.
func (c *Capsule) compare(head []byte, size int64) error {
	all := sha256.New()
	same := &comparer{want: io.TeeReader(io.NewSectionReader(c.r, 0, size), all), place: fileManifest}
	err := layOut(same, head, c.Manifest.Files, func(i int, w io.Writer) error {
		f := c.Manifest.Files[i]
		same.place = f.Name
		sum := sha256.New()
		if _, err := io.Copy(io.MultiWriter(w, sum), c.section(f)); err != nil {
			return err
		}
		if got := hex.EncodeToString(sum.Sum(nil)); got != f.SHA256 {
			return refused(f.Name, "its SHA-256 is %s, the manifest says %.64s: it was changed after the capsule was made", got, f.SHA256)
		}
		return nil
	})
	var own *Error
	if errors.As(err, &own) {
		return own
	}
	if err != nil {
		return refused(same.place, "reading it: %v", err)
	}
	copy(c.SHA256[:], all.Sum(nil))
	return nil
}

// comparer compares what is written with what stands there.
type comparer struct {
	want  io.Reader
	place string
	n     int64
	buf   [32 << 10]byte
}

func (c *comparer) Write(p []byte) (int, error) {
	for done := 0; done < len(p); {
		b := c.buf[:min(len(c.buf), len(p)-done)]
		if _, err := io.ReadFull(c.want, b); err != nil {
			return done, refused(c.place, "cut off at byte %d of the capsule", c.n)
		}
		if !bytes.Equal(b, p[done:done+len(b)]) {
			at := c.n
			for i := range b {
				if b[i] != p[done+i] {
					at += int64(i)
					break
				}
			}
			return done, refused(c.place, "byte %d of the capsule is not as msup writes it: it was changed", at)
		}
		done += len(b)
		c.n += int64(len(b))
	}
	return len(p), nil
}

func (c *Capsule) section(f File) *io.SectionReader {
	return io.NewSectionReader(c.r, c.at[f.Name], f.Size)
}

func (c *Capsule) file(name string) (*io.SectionReader, bool) {
	i := slices.IndexFunc(c.Manifest.Files, func(f File) bool { return f.Name == name })
	if i < 0 {
		return nil, false
	}
	return c.section(c.Manifest.Files[i]), true
}

func (c *Capsule) bytes(name string) ([]byte, error) {
	s, ok := c.file(name)
	if !ok {
		return nil, nil
	}
	b, err := io.ReadAll(s)
	if err != nil {
		return nil, refused(name, "reading it: %v", err)
	}
	return b, nil
}

// Package gives the package as it came along; layer is nil when it did not. The caller's store decides whether its hash is true.
func (c *Capsule) Package() (manifest []byte, code io.Reader, layerManifest []byte, layer io.Reader, err error) {
	if manifest, err = c.bytes(filePackage); err != nil {
		return nil, nil, nil, nil, err
	}
	code, _ = c.file(fileCode)
	if layerManifest, err = c.bytes(fileLayer); err != nil {
		return nil, nil, nil, nil, err
	}
	if s, ok := c.file(fileLayerCode); ok {
		layer = s
	}
	return manifest, code, layerManifest, layer, nil
}
