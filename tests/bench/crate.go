package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/msup/msup/supervisor/descriptor"
)

// The crate of the bench strategy, seen from the repository's root, and what cargo makes of it.
const (
	crateDir     = "tests/bench/strategy_rs"
	moduleTarget = "target/wasm"
	moduleFile   = moduleTarget + "/wasm32-wasip1/release/bench.wasm"
	cargoTarget  = "target"
	programFile  = cargoTarget + "/release/bench"
	moduleEntry  = "strategy.wasm"
	programEntry = "bench"
)

// crate compiles the Rust twin of the strategy and makes the folder of a package with the result. Cargo keeps what it compiled beside
// the sources: the first time takes half a minute, the others nothing.
func (r *rig) crate(ctx context.Context, runtime descriptor.RuntimeKind, dir string) error {
	manifest, err := above(filepath.Join(crateDir, "Cargo.toml"))
	if err != nil {
		return fmt.Errorf("the benchmark compiles a Rust strategy and has to run inside the repository: %w", err)
	}
	source := filepath.Dir(manifest)
	command, target, file, entry := []string{"cargo", "build", "--release"}, cargoTarget, programFile, programEntry
	if runtime == descriptor.RuntimeRustWasm {
		script := filepath.Join(source, "..", "..", "..", "scripts", "wasm-cargo")
		command, target, file, entry = []string{script}, moduleTarget, moduleFile, moduleEntry
	}
	began := time.Now()
	command = append(command, "--locked", "--manifest-path", manifest)
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	// Where somebody's environment sends all of cargo's output elsewhere, it would not be found.
	cmd.Env = append(os.Environ(), "CARGO_TARGET_DIR="+filepath.Join(source, target))
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("compiling %s (Rust with wasm32-wasip1 is needed; make setup installs it): %w\n%s", crateDir, err, out)
	}
	if took := time.Since(began); took > time.Second {
		r.say("compiled %s for %s in %s", crateDir, runtime, took.Round(100*time.Millisecond))
	}
	text, err := os.ReadFile(filepath.Join(source, descriptor.FileName))
	if err != nil {
		return fmt.Errorf("reading the descriptor: %w", err)
	}
	if runtime == descriptor.RuntimeRustNative {
		text = []byte(strings.NewReplacer(`"`+string(descriptor.RuntimeRustWasm)+`"`, `"`+string(runtime)+`"`, `"`+moduleEntry+`"`, `"`+programEntry+`"`).Replace(string(text)))
	}
	artifact, err := os.ReadFile(filepath.Join(source, file))
	if err != nil {
		return fmt.Errorf("reading what cargo made: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("making the package's folder: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, descriptor.FileName), text, 0o644); err != nil {
		return fmt.Errorf("writing the descriptor: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, entry), artifact, 0o755); err != nil {
		return fmt.Errorf("writing the strategy: %w", err)
	}
	return nil
}
