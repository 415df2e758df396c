package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/sandbox"
	"github.com/msup/msup/sandbox/container"
	"github.com/msup/msup/sandbox/image"
	"github.com/msup/msup/sandbox/python"
	"github.com/msup/msup/supervisor/descriptor"
)

// openContainer opens the container sandbox as msup run does it, twice: one that starts every runner from nothing, for what a start
// costs, and one that makes the next start in advance, for what a restart costs.
func (r *rig) openContainer(ctx context.Context, k *kind, built *packages) (err error) {
	engine, err := r.containerd(ctx)
	if err != nil {
		return err
	}
	if k.pack, err = built.of(ctx, descriptor.RuntimePython); err != nil {
		return err
	}
	root := image.HostRootfs(r.python, r.sdk)
	short := "h"
	if k.word == "container-image" {
		short = "i"
		if root, err = r.baseImage(ctx); err != nil {
			return &missingError{err}
		}
	}
	ref := ""
	k.spec = func(a ipc.Address) sandbox.Spec { return r.pythonSpec(a, k.pack) }
	if root.Kind != image.KindHostRootfs {
		if ref, err = engine.Ensure(ctx, root.Digest, root.ArchivePath); err != nil {
			return err
		}
		k.spec = func(a ipc.Address) sandbox.Spec {
			s := base(a, k.pack)
			s.Argv, s.Env, s.Binds = root.Argv(python.Runner()...), append(slices.Clone(root.Env), k.pack.Env()...), k.pack.Binds()
			return s
		}
	}
	open := func(suffix string, prepare bool) (sandbox.Sandbox, error) {
		box, err := container.Open(ctx, container.Config{Engine: engine, Image: ref, RuntimeDir: filepath.Join(r.dir, short+suffix),
			CgroupParent: r.group("-" + short + suffix), Prepare: prepare, Logger: r.log})
		if err != nil {
			return nil, err
		}
		r.onClose(box.Close)
		_, err = box.Reap(ctx)
		return box, err
	}
	if k.prepared, err = open("p", true); err != nil || r.replaces {
		k.box, k.walls = k.prepared, k.prepared
		return err
	}
	if k.box, err = open("f", false); err != nil {
		return err
	}
	k.walls = k.box
	return nil
}

// containerd starts a private one, once.
func (r *rig) containerd(ctx context.Context) (*container.Daemon, error) {
	if r.engine != nil || r.engineErr != nil {
		return r.engine, r.engineErr
	}
	cfg := container.DaemonConfig{RuntimeDir: filepath.Join(r.dir, "c"), StateDir: filepath.Join(r.dir, "cs"), Logger: r.log}
	for _, f := range container.Examine(ctx, cfg) {
		if f.Severity == container.SeverityBlocks {
			r.engineErr = &missingError{fmt.Errorf("%s: %s; %s", f.Component, f.Detail, f.Remedy)}
			return nil, r.engineErr
		}
	}
	if r.engine, r.engineErr = container.OpenDaemon(ctx, cfg); r.engineErr == nil {
		r.onClose(r.engine.Close)
	}
	return r.engine, r.engineErr
}

// baseImage finds the base image in the user's cache, or makes it there.
func (r *rig) baseImage(ctx context.Context) (image.Image, error) {
	out, err := exec.CommandContext(ctx, r.python.Interpreter, "-I", "-c",
		"import msup, pathlib; print(pathlib.Path(msup.__file__).resolve().parent)").Output()
	if err != nil {
		return image.Image{}, fmt.Errorf("asking %s where its SDK lies: %w", r.python.Interpreter, err)
	}
	return image.Build(ctx, image.Options{SDK: strings.TrimSpace(string(out)), Python: r.python.Interpreter, Progress: progress{r.say}})
}

// progress says line by line what a build does.
type progress struct {
	say func(format string, args ...any)
}

var _ io.Writer = progress{}

func (p progress) Write(text []byte) (int, error) {
	for line := range strings.Lines(string(text)) {
		p.say("%s", strings.TrimSpace(line))
	}
	return len(text), nil
}

// errNoShim says that the parent of a container's first process is no shim.
var errNoShim = errors.New("the parent of a container is no containerd-shim")

// shimOf is the process that holds a container, which lives beside it and for it.
func shimOf(pid int) (int, error) {
	parent, err := parentOf(pid)
	if err != nil {
		return 0, err
	}
	name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", parent))
	if err != nil {
		return 0, fmt.Errorf("reading the name of process %d: %w", parent, err)
	}
	if !strings.HasPrefix(string(name), "containerd-shim") {
		return 0, fmt.Errorf("%w: process %d is %.30q", errNoShim, parent, name)
	}
	return parent, nil
}
