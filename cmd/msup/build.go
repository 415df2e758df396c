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
		Long: `Checks strategy.toml, copies the code into the store while hashing it, downloads the wheels of its lock file
(hashes required, wheels only), installs them inside the sandbox without a network, and derives the configuration
schema from the code inside the sandbox. The code is never imported outside of it. run does all this by itself.`,
		Example: "  msup build examples/mean_reversion",
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
