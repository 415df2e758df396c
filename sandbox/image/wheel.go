package image

import (
	"archive/zip"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"

	"github.com/msup/msup/sandbox"
)

// lock names what the SDK needs, with hashes: pip checks them.
//
//go:embed requirements.lock
var lock []byte

// What a wheel may hold; msgspec's has 20 files and a megabyte.
const (
	maxWheelBytes = 64 << 20
	maxWheelFiles = 4096
)

// wheelArch is the architecture in the names of wheels.
var wheelArch = map[string]string{"amd64": "x86_64", "arm64": "aarch64"}

// wheels downloads the wheels of the lock for the image's Python, which need not be the host's version.
func (b *builder) wheels(ctx context.Context, minor string) ([]string, error) {
	dir := filepath.Join(b.stage, "wheels")
	file := filepath.Join(b.stage, "requirements.lock")
	if err := errors.Join(os.Mkdir(dir, 0o755), os.WriteFile(file, lock, 0o600)); err != nil {
		return nil, b.writeFailed(fmt.Errorf("prepare the download of the SDK's needs: %w", err))
	}
	b.say("fetching what the SDK needs")
	args := []string{"-I", "-m", "pip", "download", "--only-binary=:all:", "--require-hashes", "--no-deps", "--no-input", "--disable-pip-version-check",
		"--progress-bar=off", "--quiet", "--implementation=cp", "--python-version=" + minor, "--abi=cp" + strings.ReplaceAll(minor, ".", ""),
		"--dest", dir, "--requirement", file}
	for _, tag := range []string{"manylinux2014_", "manylinux_2_17_", "manylinux_2_28_", "manylinux_2_34_"} {
		args = append(args, "--platform="+tag+wheelArch[b.o.Arch])
	}
	if err := runTool(exec.CommandContext(ctx, b.o.Python, args...)); err != nil { //nolint:gosec // the operator's interpreter
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, refuse(sandbox.ReasonImageBuildFailed, "build the base image", "check the network and pip's settings (PIP_INDEX_URL)", "download what the SDK needs with %s -m pip: %w", b.o.Python, err)
	}
	found, err := filepath.Glob(filepath.Join(dir, "*.whl"))
	if err != nil || len(found) == 0 {
		return nil, refuse(sandbox.ReasonImageBuildFailed, "build the base image", "report this", "pip left no wheel (%w)", errors.Join(err, fs.ErrNotExist))
	}
	return found, nil
}

// install unpacks a wheel. Wheels are archives of what goes into site-packages, with no script to run.
func (f folder) install(wheel, site string) error {
	z, err := zip.OpenReader(wheel)
	if err != nil {
		return fmt.Errorf("open wheel %s: %w", filepath.Base(wheel), err)
	}
	defer z.Close()
	if len(z.File) > maxWheelFiles {
		return fmt.Errorf("wheel %s has %d files; at most %d are expected", filepath.Base(wheel), len(z.File), maxWheelFiles)
	}
	left := uint64(maxWheelBytes)
	for _, member := range z.File {
		name := member.Name
		switch {
		case strings.HasSuffix(name, "/"):
			continue
		case !fs.ValidPath(name) || strings.Contains(strings.SplitN(name, "/", 2)[0], ".data"):
			return fmt.Errorf("wheel %s holds %q, which does not belong into site-packages", filepath.Base(wheel), name)
		case member.UncompressedSize64 > left:
			return fmt.Errorf("wheel %s unpacks to more than %d bytes", filepath.Base(wheel), maxWheelBytes)
		}
		left -= member.UncompressedSize64
		if err := f.installFile(member, path.Join(site, name)); err != nil {
			return fmt.Errorf("wheel %s: %w", filepath.Base(wheel), err)
		}
	}
	return nil
}

func (f folder) installFile(member *zip.File, name string) error {
	r, err := member.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	mode := fs.FileMode(0o644)
	if strings.HasSuffix(name, ".so") {
		mode = 0o755
	}
	return f.write(name, mode, r, int64(member.UncompressedSize64)) //nolint:gosec // bounded by the caller
}

// installSDK copies the SDK's sources.
func (f folder) installSDK(files []sdkFile, site string) error {
	for _, file := range files {
		if err := f.installSDKFile(file, path.Join(site, "msup", file.name)); err != nil {
			return err
		}
	}
	return nil
}

func (f folder) installSDKFile(file sdkFile, name string) error {
	r, err := os.Open(file.host)
	if err != nil {
		return fmt.Errorf("open the SDK's %s: %w", file.name, err)
	}
	defer r.Close()
	info, err := r.Stat()
	if err != nil {
		return fmt.Errorf("look at the SDK's %s: %w", file.name, err)
	}
	return f.write(name, 0o644, io.Reader(r), info.Size())
}
