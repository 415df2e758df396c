package image

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"runtime"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// brought is a user's image before its layers were looked at.
type brought struct {
	source   source
	manifest digest.Digest // empty in docker's older archives
	raw      []byte        // the configuration as it is: fields that this program does not know stay
	config   ocispec.Image
	layers   []broughtLayer
}

// broughtLayer is a layer in the archive. Its digest is empty in docker's older archives, until it was read.
type broughtLayer struct {
	name      string
	digest    digest.Digest
	mediaType string
	size      int64
}

func (b *brought) open(l broughtLayer) (io.ReadCloser, error) {
	r, size, err := b.source.open(l.name)
	if err != nil {
		return nil, fmt.Errorf("its layer %s is not there: %w", l.name, err)
	}
	if l.size >= 0 && size != l.size {
		return nil, errors.Join(fmt.Errorf("its layer %s has %d bytes, not the %d that its manifest says", l.name, size, l.size), r.Close())
	}
	return r, nil
}

// readImage finds the one image for this machine in an OCI layout, or in what docker save wrote.
func readImage(s source) (*brought, error) {
	b := &brought{source: s}
	r, _, err := s.open(ocispec.ImageIndexFile)
	if err == nil {
		return b, errors.Join(r.Close(), b.readOCI())
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("its %s cannot be opened: %w", ocispec.ImageIndexFile, err)
	}
	return b, b.readDocker()
}

func (b *brought) readOCI() error {
	var index ocispec.Index
	if _, err := readJSON(b.source, ocispec.ImageIndexFile, &index); err != nil {
		return err
	}
	manifest, err := b.choose(index, 0)
	if err != nil {
		return err
	}
	var m ocispec.Manifest
	if _, err := readBlob(b.source, manifest, &m); err != nil {
		return err
	}
	b.manifest = manifest.Digest
	if b.raw, err = readBlob(b.source, m.Config, &b.config); err != nil {
		return err
	}
	for _, l := range m.Layers {
		if err := checkDigest(l.Digest); err != nil {
			return err
		}
		if l.Size < 0 {
			return fmt.Errorf("its layer %s has %d bytes", l.Digest, l.Size)
		}
		b.layers = append(b.layers, broughtLayer{blobName(l.Digest), l.Digest, l.MediaType, l.Size})
	}
	return b.check()
}

// Media types of docker's registry, which archives also hold.
const (
	dockerIndex    = "application/vnd.docker.distribution.manifest.list.v2+json"
	dockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
)

// choose finds the manifest for this machine; an index may lead to another one.
func (b *brought) choose(index ocispec.Index, depth int) (ocispec.Descriptor, error) {
	var found []ocispec.Descriptor
	var others []string
	for _, d := range index.Manifests {
		switch d.MediaType {
		case ocispec.MediaTypeImageIndex, dockerIndex:
			var inner ocispec.Index
			if depth > 1 {
				return d, errors.New("its indexes are nested too deeply")
			}
			if _, err := readBlob(b.source, d, &inner); err != nil {
				return d, err
			}
			chosen, err := b.choose(inner, depth+1)
			if err != nil {
				return d, err
			}
			found = append(found, chosen)
		case ocispec.MediaTypeImageManifest, dockerManifest:
			if p := d.Platform; p != nil && (p.OS != "linux" || p.Architecture != runtime.GOARCH) {
				others = append(others, cut(p.OS+"/"+p.Architecture))
				continue
			}
			found = append(found, d)
		default:
			others = append(others, cut(d.MediaType))
		}
	}
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		return found[0], fmt.Errorf("it holds %d images, and nothing says which to take", len(found))
	case len(others) > 0:
		return ocispec.Descriptor{}, otherMachine(fmt.Sprintf("it holds no image for linux/%s, only %q", runtime.GOARCH, others))
	}
	return ocispec.Descriptor{}, errors.New("it holds no image")
}

// readDocker reads manifest.json of an archive of docker save.
func (b *brought) readDocker() error {
	var all []struct {
		Config string
		Layers []string
	}
	if _, err := readJSON(b.source, "manifest.json", &all); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return errors.New("it has neither index.json (OCI) nor manifest.json (docker save): it is no image")
		}
		return err
	}
	if len(all) != 1 {
		return fmt.Errorf("it holds %d images, and nothing says which to take", len(all))
	}
	data, err := readJSON(b.source, path.Clean(all[0].Config), &b.config)
	if err != nil {
		return err
	}
	b.raw = data
	for _, name := range all[0].Layers {
		b.layers = append(b.layers, broughtLayer{path.Clean(name), "", ocispec.MediaTypeImageLayer, -1})
	}
	return b.check()
}

// check looks at what the configuration says, before any layer is read.
func (b *brought) check() error {
	var object map[string]json.RawMessage
	if err := json.Unmarshal(b.raw, &object); err != nil {
		return fmt.Errorf("its configuration is damaged: %w", err)
	}
	switch c := b.config; {
	case c.OS != "linux" || c.Architecture != runtime.GOARCH:
		return otherMachine(fmt.Sprintf("it is for %s, this machine is linux/%s", cut(c.OS+"/"+c.Architecture), runtime.GOARCH))
	case len(b.layers) == 0:
		return errors.New("it has no layers, so no Python")
	case len(b.layers) >= maxLayers:
		return fmt.Errorf("it has %d layers; at most %d can be stacked", len(b.layers), maxLayers-1)
	case len(c.RootFS.DiffIDs) != len(b.layers):
		return fmt.Errorf("its configuration speaks of %d layers, it has %d", len(c.RootFS.DiffIDs), len(b.layers))
	}
	return nil
}
