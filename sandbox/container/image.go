package container

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/msup/msup/sandbox"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"
)

// Snapshotter is the one that msup uses: its views are plain folders, which a runner's empty places can be laid over.
const Snapshotter = "overlayfs"

// importTimeout bounds an import; 60 MB take 1 to 3 s on an idle machine.
const importTimeout = 10 * 60 // seconds

// imagePrefix begins the references of imported images. What follows is the digest: a reference never changes its meaning.
const imagePrefix = "msup.local/image@"

// Import takes an OCI (or docker save) archive into containerd and unpacks it: reference and digest of what it holds. An
// archive that is there already is not unpacked again. It returns an *sandbox.Error when the file is no archive, is
// damaged, holds no image or several, or only images for other architectures.
func (d *Daemon) Import(ctx context.Context, archivePath string) (ref, dgst string, err error) {
	op := "import image archive " + archivePath
	// What has a remedy already is containerd's fault, not the image's.
	fail := func(err error, reason sandbox.ReasonCode, remedy string) (string, string, error) {
		known := &sandbox.Error{Reason: reason, Op: op, Err: err}
		if errors.As(err, &known) && known.Remedy == "" && !errors.Is(err, context.Canceled) {
			known.Reason = reason
		}
		if known.Remedy == "" {
			known.Remedy = remedy
		}
		return "", "", known
	}
	file, err := os.Open(archivePath)
	if err != nil {
		return fail(err, sandbox.ReasonImageInvalid, "name an OCI archive, as made by `msup image build`, `docker save` or `skopeo copy`")
	}
	defer file.Close()
	ctx, cancel := context.WithTimeout(ctx, importTimeout*1e9)
	defer cancel()
	// The lease keeps the garbage collector away until the image has its name.
	ctx, done, err := d.client.WithLease(ctx)
	if err != nil {
		return fail(d.failed(op, err), sandbox.ReasonSetupFailed, "")
	}
	defer func() {
		release, stop := d.bound(context.WithoutCancel(ctx))
		defer stop()
		if derr := done(release); derr != nil && err == nil {
			ref, dgst, err = fail(d.failed(op, derr), sandbox.ReasonSetupFailed, "")
		}
	}()
	target, err := d.importOne(ctx, file)
	if err == nil {
		err = d.checkPlatform(ctx, target, archivePath)
	}
	if err == nil {
		err = d.checkComplete(ctx, target)
	}
	ref = imagePrefix + target.Digest.String()
	if err == nil {
		err = d.unpack(ctx, ref, target)
	}
	if err != nil {
		reason, remedy := sandbox.ReasonImageInvalid, "the archive is damaged or no image archive: make it again"
		if errors.Is(err, unix.ENOSPC) || strings.Contains(err.Error(), "no space left") {
			reason, remedy = sandbox.ReasonImageDiskFull, "the disk below containerd's folder is full: make room"
		}
		return fail(d.failed(op, err), reason, remedy)
	}
	return ref, target.Digest.String(), nil
}

// Ensure returns the reference of an image whose digest is known, importing its archive only where containerd does not have it
// unpacked yet: a look costs 2 ms, an import of 55 MB a second.
func (d *Daemon) Ensure(ctx context.Context, dgst, archivePath string) (ref string, err error) {
	err = d.again(ctx, func() (err error) {
		ref, err = d.ensureOnce(ctx, dgst, archivePath)
		return err
	})
	return ref, err
}

func (d *Daemon) ensureOnce(ctx context.Context, dgst, archivePath string) (ref string, err error) {
	ref = imagePrefix + dgst
	look, cancel := d.bound(ctx)
	defer cancel()
	if i, err := d.client.GetImage(look, ref); err == nil {
		if unpacked, err := i.IsUnpacked(look, Snapshotter); err == nil && unpacked {
			return ref, nil
		}
	}
	got, has, err := d.Import(ctx, archivePath)
	if err == nil && has != dgst {
		err = &sandbox.Error{Reason: sandbox.ReasonImageInvalid, Op: "import image archive " + archivePath,
			Err: fmt.Errorf("it holds image %s, not %s", has, dgst), Remedy: "somebody replaced the archive: find out who, then build the image again"}
	}
	return got, err
}

// checkComplete refuses an archive in which something of this machine's image is missing.
func (d *Daemon) checkComplete(ctx context.Context, target ocispec.Descriptor) error {
	_, _, _, missing, err := images.Check(ctx, d.client.ContentStore(), target, platforms.Default())
	if err == nil && len(missing) > 0 {
		err = fmt.Errorf("%s (%d bytes) and %d more blobs are not in the archive, or not as their digests say", missing[0].Digest, missing[0].Size, len(missing)-1)
	}
	return err
}

// importOne takes the archive's content and returns its one image (or index of one image for several platforms).
func (d *Daemon) importOne(ctx context.Context, archive io.Reader) (ocispec.Descriptor, error) {
	byDigest := func(dg digest.Digest) string { return imagePrefix + dg.String() }
	imgs, err := d.client.Import(ctx, archive, client.WithDigestRef(byDigest),
		client.WithImageRefTranslator(func(string) string { return "" }), client.WithAllPlatforms(true), client.WithSkipMissing())
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	found := map[digest.Digest]ocispec.Descriptor{}
	for _, img := range imgs {
		if images.IsManifestType(img.Target.MediaType) || images.IsIndexType(img.Target.MediaType) {
			found[img.Target.Digest] = img.Target
		}
		if !strings.HasPrefix(img.Name, imagePrefix) { // a name of the archive's own could be anybody's
			if err := d.client.ImageService().Delete(ctx, img.Name); err != nil && !errdefs.IsNotFound(err) {
				return ocispec.Descriptor{}, fmt.Errorf("drop the archive's own name %s: %w", printable(img.Name), err)
			}
		}
	}
	if len(found) == 1 {
		for _, t := range found {
			return t, nil
		}
	}
	// Several platforms side by side instead of in an index: the one of this machine.
	var fits []ocispec.Descriptor
	for _, t := range found {
		has, err := images.Platforms(ctx, d.client.ContentStore(), t)
		if err != nil {
			return ocispec.Descriptor{}, fmt.Errorf("read the platform of %s: %w", t.Digest, err)
		}
		if slices.ContainsFunc(has, platforms.Default().Match) {
			fits = append(fits, t)
		}
	}
	if len(fits) == 1 {
		return fits[0], nil
	}
	return ocispec.Descriptor{}, &sandbox.Error{Reason: sandbox.ReasonImageInvalid, Op: "choose an image of the archive",
		Err: fmt.Errorf("it holds %d images, %d of them for %s", len(found), len(fits), machine()), Remedy: "make an archive of one image"}
}

func machine() string { return runtime.GOOS + "/" + runtime.GOARCH }

// checkPlatform refuses an image that this machine cannot run, whatever its index says: the image's own configuration counts.
func (d *Daemon) checkPlatform(ctx context.Context, target ocispec.Descriptor, name string) error {
	store := d.client.ContentStore()
	manifest, err := images.Manifest(ctx, store, target, platforms.Default())
	var has []string
	if errdefs.IsNotFound(err) {
		got, perr := images.Platforms(ctx, store, target)
		if perr != nil {
			return perr
		}
		for _, p := range got {
			has = append(has, platforms.Format(p))
		}
	} else if err != nil {
		return err
	} else {
		p, err := images.ConfigPlatform(ctx, store, manifest.Config)
		if err != nil {
			return err
		}
		if platforms.Default().Match(platforms.Normalize(p)) {
			return nil
		}
		has = []string{platforms.Format(p)}
	}
	if len(has) == 0 {
		return fmt.Errorf("%s: no manifest in it can be read", printable(name))
	}
	return &sandbox.Error{Reason: sandbox.ReasonImageArchitecture, Op: "use image " + printable(name),
		Err:    fmt.Errorf("it is for %s, this machine is %s", printable(strings.Join(has, ", ")), machine()),
		Remedy: "build the image on this machine (msup image build), or bring one for " + machine()}
}

// unpack gives the image its name and unpacks its layers.
func (d *Daemon) unpack(ctx context.Context, ref string, target ocispec.Descriptor) error {
	record := images.Image{Name: ref, Target: target}
	if _, err := d.client.ImageService().Create(ctx, record); err != nil && !errdefs.IsAlreadyExists(err) {
		return fmt.Errorf("name the image: %w", err)
	}
	img := client.NewImage(d.client, record)
	done, err := img.IsUnpacked(ctx, Snapshotter)
	if err == nil && !done {
		err = img.Unpack(ctx, Snapshotter)
	}
	if err != nil {
		return fmt.Errorf("unpack the image: %w", err)
	}
	return nil
}

func chainID(diffs []digest.Digest) string { return identity.ChainID(diffs).String() }
