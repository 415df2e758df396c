package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/msup/msup/supervisor/descriptor"
)

func (a *app) schemaCommand() *cobra.Command {
	var reference bool
	c := &cobra.Command{
		Use:   "schema descriptor|deployment|instruments",
		Short: "The JSON Schema of a file format",
		Long: `Prints the JSON Schema (draft 2020-12) of strategy.toml (descriptor), msup.toml (deployment) or instruments.toml
(instruments), made from the same table that decodes them. Editors with a TOML language server complete and
check the files with it. --reference prints the commented reference instead.`,
		Example:   "  msup schema descriptor > strategy.schema.json",
		Args:      cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs),
		ValidArgs: []string{string(descriptor.KindDescriptor), string(descriptor.KindDeployment), string(descriptor.KindInstruments)},
		RunE: func(_ *cobra.Command, args []string) error {
			kind := descriptor.Kind(args[0])
			if reference {
				text, err := descriptor.Reference(kind)
				if err != nil {
					return err
				}
				_, err = fmt.Fprintln(a.stdout, text)
				return err
			}
			schema, err := descriptor.Schema(kind)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(a.stdout, string(schema))
			return err
		},
	}
	c.Flags().BoolVar(&reference, "reference", false, "print the commented reference")
	return c
}
