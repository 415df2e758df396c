package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/msup/msup/sandbox/image"
	"github.com/msup/msup/sandbox/python"
)

// imageFlags say where images lie and what they are made from.
type imageFlags struct {
	dir, python, suite, mirror string
	refresh                    bool
}

func (f *imageFlags) registerDir(c *cobra.Command) {
	c.Flags().StringVar(&f.dir, "dir", image.DefaultDir(), "folder of images (MSUP_IMAGES)")
}

func (a *app) imageCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "image", Short: "Make, check and remove the images that containers start from",
		Long: `A strategy in a container runs on a root file system of its own. There are three kinds:

  base         made by msup image build: Debian's Python, the SDK of this msup, time zones, nothing else
  user         an image of yours with Python 3.11 or later and the SDK in it: an OCI archive, an OCI layout
               folder, or what docker save wrote; it is checked and copied, and no code of it runs meanwhile
  host-rootfs  none: the Python of this host, bound read-only into an empty root; not reproducible elsewhere

Images lie in a cache, each under the hash of what it was made from. run makes the base image when it needs it
and does not find it.`,
		Example: "  msup image build\n  msup image inspect my-image.tar\n  msup image list\n  msup image prune",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	c.AddCommand(a.imageBuildCommand(), a.imageListCommand(), a.imageInspectCommand(), a.imagePruneCommand())
	return c
}

func (a *app) imageBuildCommand() *cobra.Command {
	var f imageFlags
	c := &cobra.Command{
		Use: "build", Short: "Make the base image, or find it in the cache",
		Long: `Fetches Debian's packages for Python with mmdebstrap, which checks their signatures and runs none of their
scripts; adds the SDK and what it needs (hashes pinned), compiles everything to bytecode, and writes an OCI archive.
It takes some ten seconds, 60 MB of downloads and 300 MB of disk, of which 55 MB stay.

The same inputs give the same bytes. Debian publishes fixes, though: --refresh fetches them, and
--mirror http://snapshot.debian.org/archive/debian/20260601T000000Z/ fixes a day. Ctrl-C and a full disk leave nothing half.`,
		Example: "  msup image build\n  msup image build --refresh\n  msup image build --suite trixie --json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			i, err := a.buildImage(cmd.Context(), &f)
			if err != nil {
				return err
			}
			return a.printImage(i)
		},
	}
	f.registerDir(c)
	c.Flags().StringVar(&f.python, "python", os.Getenv("MSUP_PYTHON"), "Python interpreter of this host with the SDK (default: .venv beside msup, then python3)")
	c.Flags().StringVar(&f.suite, "suite", image.DefaultSuite, "suite of Debian, which decides the version of Python")
	c.Flags().StringVar(&f.mirror, "mirror", "", "mirror of Debian (default: MSUP_DEBIAN_MIRROR, then deb.debian.org)")
	c.Flags().BoolVar(&f.refresh, "refresh", false, "build although the cache has the image")
	return c
}

// buildImage makes the base image with the SDK that this host's interpreter has.
func (a *app) buildImage(ctx context.Context, f *imageFlags) (image.Image, error) {
	runtime, err := findPython(ctx, f.python)
	if err != nil {
		return image.Image{}, &exitError{exitSandbox, err}
	}
	sdk, err := sdkFolder(ctx, runtime)
	if err != nil {
		return image.Image{}, err
	}
	o := image.Options{Dir: f.dir, SDK: sdk, Python: runtime.Interpreter, Suite: f.suite, Mirror: f.mirror, Refresh: f.refresh}
	if !a.quiet {
		o.Progress = a.stderr
	}
	return image.Build(ctx, o)
}

// sdkFolder asks the interpreter where its SDK lies.
func sdkFolder(ctx context.Context, r python.Runtime) (string, error) {
	argv := r.Argv("-c", "import msup, pathlib; print(pathlib.Path(msup.__file__).resolve().parent)")
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		lines := strings.Split(strings.TrimSpace(stderr.String()), "\n")
		return "", exit(exitSandbox, "%s has no working SDK: %s; install msup into it (pip install msup), or name another interpreter with --python or MSUP_PYTHON",
			r.Interpreter, lines[len(lines)-1])
	}
	return strings.TrimSpace(string(out)), nil
}

func (a *app) imageListCommand() *cobra.Command {
	var f imageFlags
	c := &cobra.Command{
		Use: "list", Short: "The images in the cache, newest first",
		Example: "  msup image list\n  msup image list --json",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			images, err := image.List(f.dir)
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(images)
			}
			if len(images) == 0 {
				_, err := fmt.Fprintf(a.stdout, "no image in %s; msup image build makes one\n", f.dir)
				return err
			}
			t := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
			fmt.Fprintln(t, "NAME\tKIND\tPYTHON\tSDK\tMB\tMADE\tFROM")
			for _, i := range images {
				from := ""
				if i.Source != nil {
					from = i.Source.Path
				}
				fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%d\t%s\t%s\n", i.Name, i.Kind, i.Python, i.SDK, i.ArchiveSize>>20, i.BuiltAt.Format("2006-01-02 15:04"), from)
			}
			return t.Flush()
		},
	}
	f.registerDir(c)
	return c
}

func (a *app) imageInspectCommand() *cobra.Command {
	var f imageFlags
	c := &cobra.Command{
		Use: "inspect FILE|NAME", Short: "Check an image file, or show one of the cache",
		Long: `Checks an image of yours as run would: that it is whole (every digest), for this machine, has Python 3.11 or
later and the SDK. It is copied into the cache, where run finds it. For an image of the cache, give its name, the
beginning of its digest, or of its key; its archive is read in full and compared with its digests.`,
		Example: "  msup image inspect my-image.tar\n  msup image inspect msup.local/base:0123456789abcdef --json",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			i, err := a.inspectImage(cmd.Context(), f.dir, args[0])
			if err != nil {
				return err
			}
			return a.printImage(i)
		},
	}
	f.registerDir(c)
	return c
}

func (a *app) inspectImage(ctx context.Context, dir, what string) (image.Image, error) {
	if _, err := os.Stat(what); err == nil {
		o := image.Options{Dir: dir}
		if !a.quiet {
			o.Progress = a.stderr
		}
		i, err := image.Open(ctx, what, o)
		if err != nil && ctx.Err() == nil {
			return i, &exitError{exitRefused, err}
		}
		return i, err
	}
	images, err := image.List(dir)
	if err != nil {
		return image.Image{}, err
	}
	var found []image.Image
	for _, i := range images {
		digest := strings.TrimPrefix(i.Digest, "sha256:")
		short := strings.TrimPrefix(what, "sha256:")
		if i.Name == what || len(short) >= 8 && (strings.HasPrefix(digest, short) || strings.HasPrefix(i.Key, short)) {
			found = append(found, i)
		}
	}
	if len(found) != 1 {
		return image.Image{}, exit(exitUsage, "%q is no file, and %d images in %s are called so; msup image list shows them", what, len(found), dir)
	}
	if err := image.Verify(ctx, found[0]); err != nil {
		return image.Image{}, &exitError{exitRefused, err}
	}
	return found[0], nil
}

func (a *app) printImage(i image.Image) error {
	if a.json {
		return a.printJSON(i)
	}
	from := "Debian"
	if i.Source != nil {
		from = i.Source.Path
	}
	_, err := fmt.Fprintf(a.stdout, "%s (%s, from %s)\n  Python %s at %s, SDK %s in %s\n  linux/%s, %d MB, digest %s\n  %s\n", i.Name, i.Kind, from, i.Python, i.Interpreter, i.SDK,
		i.SitePackages, i.Arch, i.ArchiveSize>>20, i.Digest, i.ArchivePath)
	return err
}

func (a *app) imagePruneCommand() *cobra.Command {
	var f imageFlags
	var all bool
	c := &cobra.Command{
		Use: "prune", Short: "Remove images that nothing needs any more",
		Long: `Keeps the newest base image, and the copies of your images whose file is still there; removes the rest, and
what builds that were killed have left. Runs that are under way are not disturbed: containerd has its own copy.`,
		Example: "  msup image prune\n  msup image prune --all",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			keep, err := neededImages(f.dir)
			if err != nil {
				return err
			}
			p, err := image.Prune(cmd.Context(), f.dir, func(i image.Image) bool { return !all && keep[i.Key] })
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(p)
			}
			_, err = fmt.Fprintf(a.stdout, "removed %d files, %d MB, from %s\n", len(p.Files), p.Bytes>>20, filepath.Clean(f.dir))
			return err
		},
	}
	f.registerDir(c)
	c.Flags().BoolVar(&all, "all", false, "remove every image")
	return c
}

// neededImages are the keys of what prune keeps.
func neededImages(dir string) (map[string]bool, error) {
	images, err := image.List(dir)
	if err != nil {
		return nil, err
	}
	keep := map[string]bool{}
	haveBase := false
	for _, i := range images {
		if i.Kind == image.KindBase && !haveBase {
			keep[i.Key], haveBase = true, true
		}
		if i.Source != nil {
			if _, err := os.Stat(i.Source.Path); err == nil {
				keep[i.Key] = true
			}
		}
	}
	return keep, nil
}
