package pack

import (
	"archive/tar"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"syscall"

	"github.com/msup/msup/ipc"
)

// File is one file of a package or layer as the manifest lists it.
type File struct {
	Path   string `json:"path"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

// errChanged says that a file was written while it was being read.
var errChanged = errors.New("it changed while it was being read; try again when nothing writes to it")

// archive streams the canonical archive of a tree to out, copies every file to a folder (dst "" = nowhere), and returns
// its files and its digest. Links are never followed, and each file is read once.
func archive(root *os.Root, nodes []node, dst string, out io.Writer) ([]File, ipc.Digest, error) {
	sum := sha256.New()
	tw := tar.NewWriter(io.MultiWriter(sum, out))
	files := make([]File, 0, len(nodes))
	for _, n := range nodes {
		f, err := archiveFile(root, n, dst, tw)
		if err != nil {
			return nil, ipc.Digest{}, fmt.Errorf("archive %s: %w", path.Join(root.Name(), n.path), err)
		}
		files = append(files, f)
	}
	if err := tw.Close(); err != nil {
		return nil, ipc.Digest{}, fmt.Errorf("finish the archive: %w", err)
	}
	return files, ipc.Digest(sum.Sum(nil)), nil
}

func archiveFile(root *os.Root, n node, dst string, tw *tar.Writer) (File, error) {
	// O_NONBLOCK: a FIFO that took the file's place since the scan must not hold us.
	src, err := root.OpenFile(filepath.FromSlash(n.path), os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return File{}, err
	}
	defer src.Close()
	info, err := src.Stat()
	if err != nil {
		return File{}, err
	}
	if !info.Mode().IsRegular() || info.Size() != n.size {
		return File{}, errChanged
	}
	name := cmp.Or(n.as, n.path)
	header := &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: n.size, Mode: 0o444, Format: tar.FormatPAX}
	if err := tw.WriteHeader(header); err != nil {
		return File{}, err
	}
	sum := sha256.New()
	sinks := []io.Writer{tw, sum}
	var copied *os.File
	if dst != "" {
		to := filepath.Join(dst, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return File{}, err
		}
		if copied, err = os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o444); err != nil {
			return File{}, err
		}
		defer copied.Close()
		sinks = append(sinks, copied)
	}
	got, err := io.Copy(io.MultiWriter(sinks...), io.LimitReader(src, n.size))
	if err != nil {
		return File{}, err
	}
	// One byte more than announced is enough to notice growth.
	if more, _ := src.Read(make([]byte, 1)); got != n.size || more != 0 {
		return File{}, errChanged
	}
	if copied != nil {
		// The umask must not decide what a runner with its own user id can read.
		if err := errors.Join(copied.Chmod(0o444), copied.Sync(), copied.Close()); err != nil {
			return File{}, err
		}
	}
	return File{Path: name, Size: n.size, SHA256: hex.EncodeToString(sum.Sum(nil))}, nil
}

// binaryHash identifies a package: code (lock included) and layer.
func binaryHash(code, layer ipc.Digest) string {
	sum := sha256.New()
	sum.Write([]byte("msup-package/1\n"))
	sum.Write(code[:])
	sum.Write(layer[:])
	return hex.EncodeToString(sum.Sum(nil))
}
