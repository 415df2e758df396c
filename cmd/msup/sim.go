package main

import (
	"github.com/spf13/cobra"

	"github.com/msup/msup/supervisor/boundary/sim"
)

func (a *app) simCommand() *cobra.Command {
	var socket string
	o := sim.Options{}
	c := &cobra.Command{
		Use: "sim --socket PATH --dir DIR", Short: "The simulated I: fills at the touch of the last quote (run starts it by itself)",
		Long: `Serves the boundary protocol as I would: keeps keys, orders and positions on disk, refuses lower epochs and second
owners, answers queries and tombstones, and fills at the touch of the last quote that it was sent. It is no
backtester: no queue position, no impact, no latency, no fees. msup run starts one by itself.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			listener, err := sim.Listen(socket)
			if err != nil {
				return exit(exitBoundary, "%w", err)
			}
			o.Logger = a.logger()
			if err := sim.Serve(cmd.Context(), listener, o); err != nil {
				return exit(exitBoundary, "%w", err)
			}
			return nil
		},
	}
	c.Flags().StringVar(&socket, "socket", "", "unix socket to listen on")
	c.Flags().StringVar(&o.Dir, "dir", "", "folder for its own durable state")
	c.Flags().BoolVar(&o.ExitWhenIdle, "exit-when-idle", false, "end when the last connection has closed")
	for _, name := range []string{"socket", "dir"} {
		if err := c.MarkFlagRequired(name); err != nil {
			panic(err) // the flag is defined two lines above
		}
	}
	return c
}
