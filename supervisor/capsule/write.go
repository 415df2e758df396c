package capsule

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"io"

	"github.com/msup/msup/ipc"
)

// Content is what goes into one file. Write may be called more than once and must write the same each time.
type Content func(w io.Writer) error

// Bytes is content that is held in memory.
func Bytes(b []byte) Content {
	return func(w io.Writer) error { _, err := w.Write(b); return err }
}

// Parts is what a capsule is made of; nil means that the file is absent.
type Parts struct {
	Manifest           Manifest // without Files
	Descriptor, Config []byte
	PackageManifest    []byte
	Code               Content
	LayerManifest      []byte
	Layer              Content
	CheckpointCore     []byte
	CheckpointState    []byte
	Inputs             []byte // recorded inputs from Manifest.FirstInput to Manifest.LastInput
	Intents            []Intent
}

// Intent is one recorded intent with all that became of it.
type Intent struct {
	Key            ipc.Key    `json:"key"`
	Step           ipc.Step   `json:"step"`
	Ordinal        uint32     `json:"ordinal"`
	Verdict        uint8      `json:"verdict"`
	VerdictName    string     `json:"verdict_name"` // for people
	RequestDigest  string     `json:"request_digest"`
	Digest         string     `json:"digest"`
	Epoch          ipc.Epoch  `json:"epoch"`
	ValidUntilCore ipc.Nanos  `json:"valid_until_core"`
	ValidUntilWall ipc.Nanos  `json:"valid_until_wall"`
	Bytes          []byte     `json:"bytes"`
	Statuses       []StatusAt `json:"statuses"`
}

// StatusAt is one status that an intent has had.
type StatusAt struct {
	Status string    `json:"status"`
	CoreTS ipc.Nanos `json:"core_ts"`
	Reason string    `json:"reason,omitempty"`
	Epoch  ipc.Epoch `json:"epoch"`
}

// Write writes the capsule and returns its SHA-256: the same parts give the same bytes.
func Write(w io.Writer, p *Parts) (ipc.Digest, error) {
	files, err := p.files()
	if err != nil {
		return ipc.Digest{}, err
	}
	m := p.Manifest
	m.Format, m.Files = Format, nil
	for _, f := range files {
		size, sum, err := measure(f.content)
		if err != nil {
			return ipc.Digest{}, fmt.Errorf("capsule: %s: %w", f.name, err)
		}
		if size > largest[f.name] {
			return ipc.Digest{}, fmt.Errorf("capsule: %s has %d bytes, a capsule may have %d of it; choose fewer steps", f.name, size, largest[f.name])
		}
		m.Files = append(m.Files, File{Name: f.name, Size: size, SHA256: hex.EncodeToString(sum)})
	}
	head, err := encodeManifest(&m)
	if err != nil {
		return ipc.Digest{}, err
	}
	all := sha256.New()
	err = layOut(io.MultiWriter(w, all), head, m.Files, func(i int, w io.Writer) error { return files[i].content(w) })
	return ipc.Digest(all.Sum(nil)), err
}

type named struct {
	name    string
	content Content
}

// files are the parts that are there, in their order.
func (p *Parts) files() ([]named, error) {
	var lines bytes.Buffer
	e := json.NewEncoder(&lines)
	for i := range p.Intents {
		if err := e.Encode(&p.Intents[i]); err != nil {
			return nil, fmt.Errorf("capsule: writing intent %s: %w", p.Intents[i].Key, err)
		}
	}
	whole := func(b []byte) Content {
		if b == nil {
			return nil
		}
		return Bytes(b)
	}
	contents := map[string]Content{fileDescriptor: Bytes(p.Descriptor), fileConfig: Bytes(p.Config), filePackage: Bytes(p.PackageManifest), fileCode: p.Code,
		fileLayer: whole(p.LayerManifest), fileLayerCode: p.Layer, fileCore: whole(p.CheckpointCore), fileState: whole(p.CheckpointState),
		fileInputs: Bytes(p.Inputs), fileIntents: Bytes(lines.Bytes())}
	var out []named
	for _, name := range order {
		if c := contents[name]; c != nil {
			out = append(out, named{name, c})
		}
	}
	return out, nil
}

// encodeManifest writes a manifest with its own checksum.
func encodeManifest(m *Manifest) ([]byte, error) {
	b, err := marshalManifest(m, "")
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(b)
	return marshalManifest(m, hex.EncodeToString(sum[:]))
}

func marshalManifest(m *Manifest, sum string) ([]byte, error) {
	sealed := *m
	sealed.SHA256 = sum
	b, err := json.MarshalIndent(&sealed, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("capsule: writing the manifest: %w", err)
	}
	return append(b, '\n'), nil
}

// counter measures what is written.
type counter struct {
	n   int64
	sum hash.Hash
}

func (c *counter) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	return c.sum.Write(p)
}

func measure(c Content) (int64, []byte, error) {
	m := &counter{sum: sha256.New()}
	err := c(m)
	return m.n, m.sum.Sum(nil), err
}

// layOut writes the one archive that a manifest's files can make.
func layOut(w io.Writer, manifest []byte, files []File, content func(i int, w io.Writer) error) error {
	t := tar.NewWriter(w)
	if err := t.WriteHeader(header(fileManifest, int64(len(manifest)))); err != nil {
		return fmt.Errorf("capsule: %w", err)
	}
	if _, err := t.Write(manifest); err != nil {
		return fmt.Errorf("capsule: %w", err)
	}
	for i, f := range files {
		if err := t.WriteHeader(header(f.Name, f.Size)); err != nil {
			return fmt.Errorf("capsule: %s: %w", f.Name, err)
		}
		if err := content(i, t); err != nil {
			return fmt.Errorf("capsule: %s: %w", f.Name, err)
		}
	}
	if err := t.Close(); err != nil {
		return fmt.Errorf("capsule: %w", err)
	}
	return nil
}

func header(name string, size int64) *tar.Header {
	return &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o444, Format: tar.FormatPAX}
}
