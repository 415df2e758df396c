package image

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Why not go-containerregistry: it writes layouts as folders and archives only in docker's older form, and its forty
// modules (registry client, docker's configuration, credential helpers) would all come along. The types are OCI's own.

// content is a part of an archive: its description and where its bytes come from.
type content struct {
	ocispec.Descriptor
	open func() (io.ReadCloser, error)
}

// inMemory describes bytes.
func inMemory(mediaType string, data []byte) content {
	return content{ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))},
		func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil }}
}

// epoch is the time of everything in an archive: the same content has the same bytes.
var epoch = time.Unix(0, 0).UTC()

// containerdName is the annotation by which containerd names what it imports; OCI's own ref.name is only a tag.
const containerdName = "io.containerd.image.name"

// writeArchive writes an OCI archive with one image, and returns the description of its manifest.
func writeArchive(w io.Writer, name string, config content, layers []content) (ocispec.Descriptor, error) {
	manifest := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		Config: config.Descriptor, Layers: []ocispec.Descriptor{}}
	for _, l := range layers {
		manifest.Layers = append(manifest.Layers, l.Descriptor)
	}
	data, err := json.Marshal(manifest)
	if err != nil {
		return ocispec.Descriptor{}, fmt.Errorf("encode the manifest: %w", err)
	}
	root := inMemory(ocispec.MediaTypeImageManifest, data)
	root.Annotations = map[string]string{containerdName: name}
	index, err := json.Marshal(ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex,
		Manifests: []ocispec.Descriptor{root.Descriptor}})
	if err != nil {
		return ocispec.Descriptor{}, fmt.Errorf("encode the index: %w", err)
	}
	t := tar.NewWriter(w)
	put := func(name string, c content) error {
		if err := t.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o444, Size: c.Size, ModTime: epoch, Format: tar.FormatPAX}); err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
		return copyContent(t, name, c)
	}
	layout := fmt.Sprintf(`{"imageLayoutVersion":%q}`, ocispec.ImageLayoutVersion)
	if err := put(ocispec.ImageLayoutFile, inMemory("", []byte(layout))); err != nil {
		return root.Descriptor, err
	}
	if err := put(ocispec.ImageIndexFile, inMemory("", index)); err != nil {
		return root.Descriptor, err
	}
	var written []digest.Digest
	for _, c := range slices.Concat([]content{root, config}, layers) {
		if slices.Contains(written, c.Digest) {
			continue // a layer may stand in an image twice
		}
		written = append(written, c.Digest)
		if err := put(blobName(c.Digest), c); err != nil {
			return root.Descriptor, err
		}
	}
	if err := t.Close(); err != nil {
		return root.Descriptor, fmt.Errorf("end the archive: %w", err)
	}
	return root.Descriptor, nil
}

func blobName(d digest.Digest) string {
	return ocispec.ImageBlobsDir + "/" + d.Algorithm().String() + "/" + d.Encoded()
}

// copyContent copies exactly what the description says, and nothing else.
func copyContent(w io.Writer, name string, c content) (err error) {
	r, err := c.open()
	if err != nil {
		return fmt.Errorf("open %s: %w", name, err)
	}
	defer r.Close()
	verifier := c.Digest.Verifier()
	n, err := io.Copy(io.MultiWriter(w, verifier), io.LimitReader(r, c.Size+1))
	switch {
	case err != nil:
		return fmt.Errorf("copy %s: %w", name, err)
	case n != c.Size || !verifier.Verified():
		return fmt.Errorf("copy %s: its bytes are not those of digest %s", name, c.Digest)
	}
	return nil
}
