package pack

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/msup/msup/sandbox"
	"github.com/msup/msup/supervisor/descriptor"
)

// buildRecipe is part of the key of what was compiled; it changes with how things are compiled.
const buildRecipe = "msup-rust/1"

// maxArtifactBytes bounds a module or binary.
const maxArtifactBytes = 64 << 20

// fromSources tells whether the package is compiled first: a folder with a Cargo.toml is sources.
func (b *builder) fromSources(dir string) bool {
	return b.descriptor.Runtime != descriptor.RuntimePython && exists(filepath.Join(dir, cargoManifest))
}

// compiled makes a folder that holds the package of a crate: its descriptor, and the artifact under the name of the entry.
// Sources are not part of it.
func (b *builder) compiled(ctx context.Context, dir string) (string, error) {
	text, err := readPlain(filepath.Join(dir, descriptor.FileName), maxLockBytes)
	if err != nil {
		return "", fmt.Errorf("read %s: %w", filepath.Join(dir, descriptor.FileName), err)
	}
	if b.descriptor, err = descriptor.Parse(filepath.Join(dir, descriptor.FileName), text); err != nil {
		return "", err
	}
	b.source = text
	if !filepath.IsLocal(b.descriptor.Entry) {
		return "", b.refuseCode("strategy.entry", "is no place inside the package", "name the file that the compiled strategy is to have, for example strategy.wasm")
	}
	artifact, err := b.artifact(ctx, dir)
	if err != nil {
		return "", err
	}
	out, err := b.stage.mkdir("crate")
	if err != nil {
		return "", err
	}
	entry := filepath.Join(out, b.descriptor.Entry)
	err = errors.Join(os.MkdirAll(filepath.Dir(entry), 0o755), os.WriteFile(entry, artifact, 0o644), os.WriteFile(filepath.Join(out, descriptor.FileName), text, 0o644))
	if err != nil {
		return "", fmt.Errorf("write the compiled package: %w", err)
	}
	return out, nil
}

// artifact compiles the crate, unless the same sources were compiled by the same toolchain before.
func (b *builder) artifact(ctx context.Context, dir string) ([]byte, error) {
	target := ""
	if b.descriptor.Runtime == descriptor.RuntimeRustWasm {
		target = wasmTarget
	}
	manifest := filepath.Join(dir, cargoManifest)
	t, err := b.opts.Rust.find(ctx, target)
	var none *noToolchain
	if errors.As(err, &none) {
		return nil, refuseFile(manifest, none.problem, none.remedy)
	}
	if err != nil {
		return nil, fmt.Errorf("look for a Rust compiler: %w", err)
	}
	c, err := b.crate(ctx, t, dir)
	if err != nil {
		return nil, err
	}
	args, file, err := c.artifact(b.descriptor.Runtime, b.descriptor.Entry)
	if err != nil {
		return nil, err
	}
	sources, err := c.copySources("")
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256([]byte(strings.Join([]string{buildRecipe, t.identity, t.target, c.place(dir), strings.Join(args, " "), sources}, "\n")))
	key := hex.EncodeToString(sum[:])
	if known, ok := b.store.builtBefore(key); ok {
		b.log.Debug("compiled before", "strategy", string(b.descriptor.Strategy), "key", key)
		return known, nil
	}
	began := time.Now()
	artifact, err := b.compileCrate(ctx, t, c, sources, args, file)
	if err != nil {
		return nil, err
	}
	b.log.Info("compiled", "strategy", string(b.descriptor.Strategy), "target", t.target, "bytes", len(artifact), "took", time.Since(began))
	if err := b.store.keepBuilt(key, artifact); err != nil {
		return nil, err
	}
	if removed, freed, err := b.store.pruneBuilt(mostBuiltBytes); err != nil {
		b.log.Warn("removing old compilations failed; they only take space", "folder", b.store.built(), "err", err)
	} else if removed > 0 {
		b.log.Info("removed old compilations", "folder", b.store.built(), "removed", removed, "bytes", freed)
	}
	return artifact, nil
}

// crate asks cargo what the strategy consists of, and has it download what is missing. No code of the crate runs: cargo reads
// manifests and unpacks archives, away from the crate's own settings (.cargo/config.toml could name programs).
func (b *builder) crate(ctx context.Context, t *toolchain, dir string) (*crate, error) {
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return nil, fmt.Errorf("open the crate's folder: %w", err)
	}
	args := []string{"metadata", "--format-version", "1", "--locked", "--manifest-path", filepath.Join(real, cargoManifest)}
	out, err := b.cargo(ctx, t, append(args, "--offline")...)
	if err != nil && ctx.Err() == nil && !b.opts.Offline {
		b.progress("downloading the crates of %s", b.descriptor.Strategy)
		out, err = b.cargo(ctx, t, args...)
	}
	if err != nil {
		return nil, b.refuseCargo(ctx, dir, err)
	}
	return parseMetadata(out, real)
}

// refuseCargo says what is wrong with a crate that cargo cannot even read.
func (b *builder) refuseCargo(ctx context.Context, dir string, err error) error {
	var failed *cargoError
	if !errors.As(err, &failed) || ctx.Err() != nil {
		return err
	}
	if strings.Contains(failed.said, "--locked was passed") {
		problem, remedy := "is missing", "run cargo generate-lockfile in the folder"
		if exists(filepath.Join(dir, cargoLock)) {
			problem, remedy = "does not fit Cargo.toml", "run cargo update --workspace in the folder"
		}
		return refuseFile(filepath.Join(dir, cargoLock), problem, remedy+", and keep Cargo.lock beside Cargo.toml: it decides which code is built")
	}
	remedy := "correct it; cargo metadata in the folder says the same"
	if b.opts.Offline {
		remedy += "; downloads are switched off: where a crate is missing, build once with a network"
	}
	if found := diagnostics(strings.Split(failed.said, "\n"), func(name string) string { return name }, remedy); len(found) > 0 {
		return found
	}
	text, _ := sandbox.Sanitize([]byte(strings.Join(strings.Fields(failed.said), " ")), 1000)
	return refuseFile(filepath.Join(dir, cargoManifest), "cargo cannot use it: "+text, remedy)
}

// cargoError is what cargo said outside of the sandbox.
type cargoError struct {
	said string
	err  error
}

func (e *cargoError) Error() string { return fmt.Sprintf("cargo: %v: %s", e.err, e.said) }
func (e *cargoError) Unwrap() error { return e.err }

// maxMetadataBytes bounds what cargo may say.
const maxMetadataBytes = 64 << 20

// cargo runs cargo outside of the sandbox, for what needs the network and runs no code of anybody.
func (b *builder) cargo(ctx context.Context, t *toolchain, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, jobTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(t.bin, "cargo"), args...)
	cmd.Dir = b.stage.dir // not the crate's: its .cargo/config.toml is not read from here
	cmd.Env = append(os.Environ(), "PATH="+t.bin+string(filepath.ListSeparator)+b.opts.Rust.Path, "RUSTC="+filepath.Join(t.bin, "rustc"),
		"RUSTC_WRAPPER=", "RUSTC_WORKSPACE_WRAPPER=", "CARGO_TERM_COLOR=never", "CARGO_TERM_PROGRESS_WHEN=never", "LC_ALL=C")
	out, errs := &capped{limit: maxMetadataBytes}, &capped{limit: 64 << 10}
	cmd.Stdout, cmd.Stderr = out, errs
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Run(); err != nil {
		return nil, &cargoError{said: strings.TrimSpace(string(lastBytes(errs.Bytes(), 8<<10))), err: err}
	}
	return out.Bytes(), nil
}

func (b *builder) progress(format string, args ...any) {
	if b.opts.Progress != nil {
		b.opts.Progress(fmt.Sprintf(format, args...))
	}
}
