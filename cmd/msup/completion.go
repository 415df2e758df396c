package main

import (
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/msup/msup/statedb"
)

var errNoState = fmt.Errorf("%w: name the state directory with --state", errUsage)

// stateFlag adds --state to a verb that takes names of instances, and completes them from that directory.
func (a *app) stateFlag(c *cobra.Command, state *string) {
	c.Flags().StringVar(state, "state", "", "state directory")
	if err := c.MarkFlagDirname("state"); err != nil {
		panic(err) // the flag stands one line above
	}
	c.ValidArgsFunction = func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		return instancesOf(*state, args), cobra.ShellCompDirectiveNoFileComp
	}
}

// instancesOf names the instances of a state directory, whether an msup runs on it or not, without those that are named already.
func instancesOf(state string, without []string) (names []string) {
	if state == "" {
		return cobra.AppendActiveHelp(nil, "name the state directory with --state first")
	}
	v, err := statedb.OpenView(state)
	if err != nil {
		return cobra.AppendActiveHelp(nil, err.Error())
	}
	for _, address := range v.Addresses() {
		if name := address.String(); !slices.Contains(without, name) {
			names = append(names, name)
		}
	}
	if err := v.Close(); err != nil {
		return cobra.AppendActiveHelp(names, err.Error())
	}
	return names
}
