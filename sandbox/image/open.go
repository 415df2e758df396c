package image

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/msup/msup/sandbox"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Open checks an image that the user brings and copies it into the cache: an OCI archive, an OCI layout folder, or what
// `docker save` wrote. A file that has not changed since it was opened last is found there. Of the options only Dir and
// Progress matter (SB-L3).
func Open(ctx context.Context, file string, o Options) (Image, error) {
	o, err := o.orDefault()
	if err != nil {
		return Image{}, err
	}
	where, err := describeSource(file)
	if err != nil {
		return Image{}, refuse(sandbox.ReasonImageInvalid, "image "+file, "name an OCI archive, an OCI layout folder, or a file of docker save", "it cannot be opened: %w", err)
	}
	s := store(o.Dir)
	if i, ok := s.opened(where); ok && !o.Refresh {
		return i, nil
	}
	unlock, err := s.lock(ctx, o.Progress)
	if err != nil {
		return Image{}, err
	}
	defer unlock()
	if i, ok := s.opened(where); ok && !o.Refresh {
		return i, nil
	}
	stage, err := s.stage()
	if err != nil {
		return Image{}, err
	}
	u := &user{builder: builder{o: o, stage: stage, began: time.Now()}, file: file}
	i, err := u.adopt(ctx, where)
	if clean := os.RemoveAll(stage); clean != nil && err == nil {
		err = fmt.Errorf("remove the copy's folder: %w", clean)
	}
	return i, err
}

// describeSource says which file it is. A layout folder is known by its index, which names everything else by digest.
func describeSource(file string) (Source, error) {
	full, err := filepath.Abs(file)
	if err != nil {
		return Source{}, err
	}
	info, err := os.Stat(full)
	if err != nil {
		return Source{}, err
	}
	if info.IsDir() {
		if info, err = os.Stat(filepath.Join(full, ocispec.ImageIndexFile)); err != nil {
			return Source{}, fmt.Errorf("it is a folder, but no OCI layout: %w", err)
		}
	}
	if !info.Mode().IsRegular() {
		return Source{}, errors.New("it is no regular file")
	}
	w := Source{Path: full, Bytes: info.Size(), ModTime: info.ModTime().UTC()}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		w.Inode = stat.Ino
	}
	return w, nil
}

// opened finds the copy of a file that is still the same.
func (s store) opened(w Source) (Image, bool) {
	all, err := List(string(s))
	if err != nil {
		return Image{}, false
	}
	for _, i := range all {
		if i.Source != nil && i.Source.Path == w.Path && i.Source.Bytes == w.Bytes && i.Source.Inode == w.Inode && i.Source.ModTime.Equal(w.ModTime) {
			return i, true
		}
	}
	return Image{}, false
}

// user is the work on one image of a user.
type user struct {
	builder
	file string
}

func (u *user) refuse(err error) error {
	if full := fullDisk(err, u.o.Dir); full != err { //nolint:errorlint // identity: whether fullDisk made another
		return full
	}
	reason, remedy := sandbox.ReasonImageInvalid, "make it anew (docker save, podman save --format oci-archive, skopeo copy … oci-archive:FILE) and copy it whole"
	var other otherMachine
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.As(err, &other):
		reason, remedy = sandbox.ReasonImageArchitecture, "build it for this machine (docker build --platform linux/"+u.o.Arch+")"
	case errors.Is(err, errNoPython):
		reason, remedy = sandbox.ReasonImageNoPython, "build it on an image with Python "+oldestPython+" or later (python:"+oldestPython+"-slim), or use the one of msup image build"
	case errors.Is(err, errOldPython):
		reason, remedy = sandbox.ReasonImageNoPython, "build it on an image with Python "+oldestPython+" or later"
	case errors.Is(err, errNoSDK):
		reason, remedy = sandbox.ReasonImageNoSDK, "add to its recipe: pip install msup"
	case strings.Contains(err.Error(), "which to take"):
		remedy = "save one image only"
	}
	return refuse(reason, "image "+u.file, remedy, "%w", err)
}

func (u *user) adopt(ctx context.Context, where Source) (Image, error) {
	s, err := openSource(where.Path)
	if err != nil {
		return Image{}, u.refuse(err)
	}
	defer s.Close()
	b, err := readImage(s)
	if err != nil {
		return Image{}, u.refuse(err)
	}
	u.say("checking %s: %d layers", filepath.Base(u.file), len(b.layers))
	below, left := files{}, &budget{bytes: maxLayerBytes, entries: maxLayerEntries}
	for n := range b.layers {
		if err := b.layer(ctx, &b.layers[n], b.config.RootFS.DiffIDs[n], below, left); err != nil {
			return Image{}, u.refuse(err)
		}
	}
	env := environmentOf(b.config.Config.Env)
	p, err := below.python(env)
	if err != nil {
		return Image{}, u.refuse(err)
	}
	key := sha256.Sum256(append([]byte("user "+builderVersion+strings.Join(MountPoints(), " ")), b.raw...))
	i := Image{Kind: KindUser, Arch: b.config.Architecture, Python: p.minor, SDK: p.sdk, Interpreter: p.program, SitePackages: p.site,
		Env: environment(env, p.program), Source: &where, BuiltAt: time.Now().UTC(), Key: hex.EncodeToString(key[:])}
	i.Name = "msup.local/user:" + i.Key[:16]
	u.say("copying")
	if err := u.copy(ctx, b, &i); err != nil {
		return Image{}, u.refuse(err)
	}
	return store(u.o.Dir).publish(i, u.stage)
}

// Verify reads an image of the cache in full and compares every digest. It says what a bit that flipped on the disk means.
func Verify(ctx context.Context, i Image) error {
	where := "image " + i.Name + " in " + i.ArchivePath
	remedy := "remove it with msup image prune --all, then msup image build or open your file again"
	s, err := openArchive(i.ArchivePath)
	if err != nil {
		return refuse(sandbox.ReasonImageInvalid, where, remedy, "%w", err)
	}
	defer s.Close()
	b, err := readImage(s)
	if err != nil {
		return refuse(sandbox.ReasonImageInvalid, where, remedy, "%w", err)
	}
	if b.manifest.String() != i.Digest {
		return refuse(sandbox.ReasonImageInvalid, where, remedy, "its manifest has digest %s, not %s", b.manifest, i.Digest)
	}
	below, left := files{}, &budget{bytes: maxLayerBytes, entries: maxLayerEntries}
	for n := range b.layers {
		if err := b.layer(ctx, &b.layers[n], b.config.RootFS.DiffIDs[n], below, left); err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return refuse(sandbox.ReasonImageInvalid, where, remedy, "%w", err)
		}
	}
	return nil
}

func openSource(file string) (source, error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return openArchive(file)
	}
	root, err := os.OpenRoot(file)
	if err != nil {
		return nil, err
	}
	return layoutFolder{root}, nil
}

func environmentOf(list []string) map[string]string {
	env := map[string]string{}
	for _, kv := range list {
		if name, value, ok := strings.Cut(kv, "="); ok {
			env[name] = value
		}
	}
	return env
}

// copy writes the image into the stage: its layers as they are, and one more with the mount points.
func (u *user) copy(ctx context.Context, b *brought, i *Image) error {
	points, err := writeBlob(filepath.Join(u.stage, "points.tar"), ocispec.MediaTypeImageLayer, mountPointLayer)
	if err != nil {
		return err
	}
	config, err := withLayer(b.raw, points.Digest)
	if err != nil {
		return err
	}
	var layers []content
	for _, l := range b.layers {
		layers = append(layers, content{ocispec.Descriptor{MediaType: l.mediaType, Digest: l.digest, Size: l.size}, func() (io.ReadCloser, error) {
			r, err := b.open(l)
			if err != nil {
				return nil, err
			}
			// Interrupting a copy of gigabytes must not take until its end.
			unlimited := int64(l.size + 1)
			return struct {
				io.Reader
				io.Closer
			}{&counted{ctx, r, &unlimited}, r}, nil
		}})
	}
	return i.write(u.stage, inMemory(ocispec.MediaTypeImageConfig, config), append(layers, points))
}

// withLayer adds a layer to a configuration, and leaves everything else in it as it is.
func withLayer(config []byte, diffID digest.Digest) ([]byte, error) {
	var fields, rootfs map[string]json.RawMessage
	var ids []digest.Digest
	if err := json.Unmarshal(config, &fields); err != nil {
		return nil, fmt.Errorf("its configuration is damaged: %w", err)
	}
	if err := json.Unmarshal(fields["rootfs"], &rootfs); err != nil {
		return nil, fmt.Errorf("its configuration is damaged: %w", err)
	}
	if err := json.Unmarshal(rootfs["diff_ids"], &ids); err != nil {
		return nil, fmt.Errorf("its configuration is damaged: %w", err)
	}
	var err error
	if rootfs["diff_ids"], err = json.Marshal(append(ids, diffID)); err != nil {
		return nil, fmt.Errorf("encode the image's configuration: %w", err)
	}
	if fields["rootfs"], err = json.Marshal(rootfs); err != nil {
		return nil, fmt.Errorf("encode the image's configuration: %w", err)
	}
	// What it says of how layers were made no longer fits their number, and nobody reads it.
	delete(fields, "history")
	out, err := json.Marshal(fields)
	if err != nil {
		return nil, fmt.Errorf("encode the image's configuration: %w", err)
	}
	return bytes.TrimSpace(out), nil
}
