package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/msup/msup/supervisor/pack"
)

// rustSearch is where this machine's compilers for Rust strategies are looked for, as scripts/wasm-cargo does.
func rustSearch() pack.RustSearch {
	kept := os.Getenv("MSUP_TOOLCHAINS")
	if kept == "" {
		if cache, err := os.UserCacheDir(); err == nil {
			kept = filepath.Join(cache, "msup", "toolchain")
		}
	}
	return pack.RustSearch{Named: os.Getenv("MSUP_WASM_RUST"), Path: os.Getenv("PATH"), Toolchains: kept}
}

// buildNotes tell on stderr what a build is doing that takes more than two seconds: a line at most every second.
type buildNotes struct {
	app   *app
	timer *time.Timer

	mu     sync.Mutex
	latest string
	shown  time.Time // zero: nothing yet
	over   bool
}

func (a *app) startBuildNotes(folder string) *buildNotes {
	n := &buildNotes{app: a}
	n.timer = time.AfterFunc(progressAfter, func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		if a.quiet || n.over {
			return
		}
		fmt.Fprintf(a.stderr, "building the package of %s …\n", folder)
		n.show()
	})
	return n
}

// show prints the latest note; mu is held.
func (n *buildNotes) show() {
	n.shown = time.Now()
	if n.latest != "" {
		fmt.Fprintf(n.app.stderr, "  %s\n", n.latest)
		n.latest = ""
	}
}

// doing is pack's Progress.
func (n *buildNotes) doing(text string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.latest = text
	if !n.shown.IsZero() && time.Since(n.shown) >= time.Second && !n.over {
		n.show()
	}
}

func (n *buildNotes) stop() {
	n.timer.Stop()
	n.mu.Lock()
	defer n.mu.Unlock()
	n.over = true
}

// sdkCrate is the folder of the crate msup when this msup belongs to a checkout: beside its binary, or above the working folder.
func sdkCrate() string {
	var roots []string
	if self, err := os.Executable(); err == nil {
		roots = append(roots, filepath.Dir(filepath.Dir(self)))
	}
	if dir, err := os.Getwd(); err == nil {
		for ; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
			roots = append(roots, dir)
		}
	}
	for _, root := range roots {
		crate := filepath.Join(root, "wasmsdk")
		if text, err := os.ReadFile(filepath.Join(crate, "Cargo.toml")); err == nil && bytes.Contains(text, []byte("\nname = \"msup\"\n")) {
			return crate
		}
	}
	return ""
}

// crateVersion is the published crate that fits this msup.
const crateVersion = "0.1"

// crateDependency is what stands behind msup = in the Cargo.toml of a new strategy in dir. Inside the checkout it is a relative
// path, so that the checkout can be moved.
func crateDependency(dir, crate string) string {
	if crate == "" {
		return `"` + crateVersion + `"`
	}
	where := crate
	if rel, err := filepath.Rel(filepath.Dir(crate), dir); err == nil && filepath.IsLocal(rel) {
		if back, err := filepath.Rel(dir, crate); err == nil {
			where = back
		}
	}
	return fmt.Sprintf("{ path = %q }", where)
}

// lockTimeout bounds the making of a lock file, which may ask the registry.
const lockTimeout = time.Minute

// writeCargoLock pins the crates of a new strategy: to those that the checkout's SDK is tested with, where there is one.
func writeCargoLock(ctx context.Context, dir, crate string) error {
	if crate != "" {
		lock, err := os.ReadFile(filepath.Join(crate, "Cargo.lock"))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, "Cargo.lock"), lock, 0o644)
		}
		if err != nil {
			return fmt.Errorf("taking over the lock of the SDK: %w", err)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, lockTimeout)
	defer cancel()
	manifest := filepath.Join(dir, "Cargo.toml")
	// Where all crates are in cargo's cache, no network is needed.
	if exec.CommandContext(ctx, "cargo", "update", "--workspace", "--quiet", "--offline", "--manifest-path", manifest).Run() == nil {
		return nil
	}
	out, err := exec.CommandContext(ctx, "cargo", "update", "--workspace", "--quiet", "--manifest-path", manifest).CombinedOutput()
	if err == nil {
		return nil
	}
	// Half a lock is worse than none.
	if rerr := os.Remove(filepath.Join(dir, "Cargo.lock")); rerr != nil && !errors.Is(rerr, fs.ErrNotExist) {
		err = errors.Join(err, rerr)
	}
	return errors.New(strings.Join(strings.Fields(err.Error()+" "+string(out)), " "))
}
