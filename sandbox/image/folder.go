package image

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
)

// folder is the root file system that is being built, as a folder of the host. All access stays below it.
type folder struct {
	*os.Root
	dir string
}

func makeFolder(dir string) (folder, error) {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return folder{}, fmt.Errorf("make a folder for the image's files: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return folder{}, fmt.Errorf("open the folder of the image's files: %w", err)
	}
	return folder{root, dir}, nil
}

// write makes a file with its folders. size bounds what is taken from r, which must end there.
func (f folder) write(name string, mode fs.FileMode, r io.Reader, size int64) error {
	if err := f.MkdirAll(path.Dir(name), 0o755); err != nil {
		return fmt.Errorf("make the folder of %s: %w", name, err)
	}
	file, err := f.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return fmt.Errorf("unpack %s: %w", name, err)
	}
	n, err := io.Copy(file, io.LimitReader(r, size+1))
	if err == nil && n != size {
		err = fmt.Errorf("it has %d bytes, not the %d announced", n, size)
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("unpack %s: %w", name, err)
	}
	return nil
}

// unpack takes those entries of a tar that want wants. Devices are left out: a container has its own /dev.
func (f folder) unpack(r io.Reader, want func(name string, size int64) bool) error {
	t := tar.NewReader(r)
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the packages' files: %w", err)
		}
		name := path.Clean(strings.TrimPrefix(h.Name, "./"))
		if name == "." || !want(name, h.Size) {
			continue
		}
		switch h.Typeflag {
		case tar.TypeDir:
			err = f.MkdirAll(name, 0o755)
		case tar.TypeReg:
			err = f.write(name, 0o644|fs.FileMode(h.Mode)&0o111, t, h.Size)
		case tar.TypeSymlink:
			if err = f.MkdirAll(path.Dir(name), 0o755); err == nil {
				err = f.Symlink(h.Linkname, name)
			}
		case tar.TypeLink:
			if err = f.MkdirAll(path.Dir(name), 0o755); err == nil {
				err = f.Link(path.Clean(strings.TrimPrefix(h.Linkname, "./")), name)
			}
		}
		if err != nil {
			return fmt.Errorf("unpack %s: %w", name, err)
		}
	}
}

// writeLayer writes the folder as a layer: in lexical order, everything root's and of the same time, nothing set-uid.
func (f folder) writeLayer(w io.Writer) error {
	out := tar.NewWriter(w)
	err := fs.WalkDir(f.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || name == "." {
			return err
		}
		return f.writeEntry(out, name, d)
	})
	if err != nil {
		return fmt.Errorf("write the layer: %w", err)
	}
	if err := out.Close(); err != nil {
		return fmt.Errorf("end the layer: %w", err)
	}
	return nil
}

func (f folder) writeEntry(out *tar.Writer, name string, d fs.DirEntry) error {
	info, err := d.Info()
	if err != nil {
		return err
	}
	h := &tar.Header{Name: name, ModTime: epoch, Format: tar.FormatPAX}
	switch {
	case d.IsDir():
		h.Typeflag, h.Name, h.Mode = tar.TypeDir, name+"/", 0o755
	case d.Type()&fs.ModeSymlink != 0:
		h.Typeflag, h.Mode = tar.TypeSymlink, 0o777
		if h.Linkname, err = f.Readlink(name); err != nil {
			return err
		}
	case d.Type().IsRegular():
		h.Typeflag, h.Mode, h.Size = tar.TypeReg, 0o644, info.Size()
		if info.Mode()&0o111 != 0 {
			h.Mode = 0o755
		}
	default:
		return fmt.Errorf("%s is %s, which an image may not hold", name, d.Type())
	}
	if err := out.WriteHeader(h); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if h.Typeflag != tar.TypeReg {
		return nil
	}
	file, err := f.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	if _, err := io.Copy(out, file); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// mountPointLayer is a layer with nothing but the mount points, for images that other people made.
func mountPointLayer(w io.Writer) error {
	out := tar.NewWriter(w)
	for _, dir := range MountPoints() {
		h := &tar.Header{Typeflag: tar.TypeDir, Name: strings.TrimPrefix(dir, "/") + "/", Mode: 0o755, ModTime: epoch, Format: tar.FormatPAX}
		if err := out.WriteHeader(h); err != nil {
			return fmt.Errorf("write the layer of mount points: %w", err)
		}
	}
	if err := out.Close(); err != nil {
		return fmt.Errorf("end the layer of mount points: %w", err)
	}
	return nil
}
