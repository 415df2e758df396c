package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
)

// built is what msup build prints.
type built struct {
	Hash     string `json:"binary_hash"`
	Strategy string `json:"strategy"`
	Version  string `json:"version"`
	Dir      string `json:"dir"`
	Layer    string `json:"layer,omitempty"`
	Files    int    `json:"files"`
}

func (a *app) buildCommand() *cobra.Command {
	var f deploymentFlags
	c := &cobra.Command{
		Use: "build DIR…", Short: "Make the package of a strategy: checked, hashed, dependencies installed",
		Long: `Checks strategy.toml, copies the code into the store while hashing it, and derives the configuration schema from the
code inside the sandbox. No code of a strategy ever runs outside of it. run does all this by itself.

Python: the wheels of the lock file are downloaded (hashes required, wheels only) and installed inside the sandbox,
without a network.

Rust, in a folder with Cargo.toml: the crates of Cargo.lock are downloaded, which runs none of their code; then cargo
compiles inside the sandbox, without a network, what runtime says: a module (wasm32-wasip1) or a program of this machine.
The package is strategy.toml and the compiled file under the name of entry; sources are not part of it. The same sources
and toolchain give the same binary_hash, and what was compiled once is not compiled again. A crate's own .cargo/config.toml
and rust-toolchain file are not read. Modules are compiled by the first Rust that has the target: the folder that
MSUP_WASM_RUST names, the one on PATH, the one that make setup fetched.

Rust, in a folder without Cargo.toml: the file that entry names is packaged as it is.`,
		Example: "  msup build examples/mean_reversion\n  msup build examples/ema_cross_rs",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			h, err := a.openHost(cmd.Context(), &f)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, h.close()) }()
			var all []built
			for _, dir := range args {
				p, err := h.open(cmd.Context(), absolute(dir))
				if err != nil {
					return err
				}
				all = append(all, built{Hash: p.Hash, Strategy: string(p.Descriptor.Strategy), Version: p.Descriptor.Version,
					Dir: p.CodeDir, Layer: p.LayerDir, Files: len(p.Files)})
			}
			if a.json {
				return a.printJSON(all)
			}
			for _, b := range all {
				if _, err := fmt.Fprintf(a.stdout, "%s %s: %d files\n  binary_hash %s\n  in %s\n", b.Strategy, b.Version, b.Files, b.Hash, b.Dir); err != nil {
					return err
				}
			}
			return nil
		},
	}
	f.registerHost(c)
	return c
}
