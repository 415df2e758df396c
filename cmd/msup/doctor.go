package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/msup/msup/sandbox"
	"github.com/msup/msup/sandbox/process"
)

// diagnosis is what msup doctor prints.
type diagnosis struct {
	Version     string         `json:"version"`
	Kernel      string         `json:"kernel"`
	Arch        string         `json:"arch"`
	Root        bool           `json:"root"`
	Cgroups     string         `json:"cgroups"`
	LandlockABI int            `json:"landlock_abi"`
	Walls       []sandbox.Wall `json:"walls"`
	Python      string         `json:"python"`
	Problems    []string       `json:"problems"`
}

func (a *app) doctorCommand() *cobra.Command {
	var interpreter string
	c := &cobra.Command{
		Use: "doctor", Short: "What this host offers: which walls stand, which do not, and what to do",
		Long: `Starts one short process through every wall of the process sandbox and says which of them stand on this host.
A wall that does not stand is no error by itself: a descriptor or a deployment may demand it.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			h := process.Inspect(process.Config{})
			d := diagnosis{Version: version, Kernel: h.Kernel, Arch: h.Arch, Root: h.Root, Cgroups: fmt.Sprint(h.Cgroups),
				LandlockABI: h.LandlockABI, Walls: h.Walls, Problems: []string{}}
			if h.Err != nil {
				d.Problems = append(d.Problems, h.Err.Error())
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), 20*time.Second)
			defer cancel()
			runtime, err := findPython(ctx, interpreter)
			if err != nil {
				d.Problems = append(d.Problems, err.Error())
			}
			if d.Python = runtime.Version; err == nil {
				if _, err := sdkVersion(ctx, runtime); err != nil {
					d.Problems = append(d.Problems, err.Error())
				}
			}
			if a.json {
				if err := a.printJSON(d); err != nil {
					return err
				}
			} else {
				a.printDiagnosis(d)
			}
			if h.Err != nil {
				return exit(exitSandbox, "no strategy can be isolated on this host")
			}
			return nil
		},
	}
	c.Flags().StringVar(&interpreter, "python", os.Getenv("MSUP_PYTHON"), "Python interpreter with the SDK")
	return c
}

func (a *app) printDiagnosis(d diagnosis) {
	user := "unprivileged"
	if d.Root {
		user = "root"
	}
	fmt.Fprintf(a.stdout, "msup %s on Linux %s (%s), %s, cgroups: %s, Landlock ABI %d, Python %s\n\n", d.Version, d.Kernel, d.Arch, user,
		d.Cgroups, d.LandlockABI, d.Python)
	for _, w := range d.Walls {
		mark := "stands "
		if !w.Standing {
			mark = "MISSING"
		}
		fmt.Fprintf(a.stdout, "  %s  %-16s %s\n", mark, w.Name, w.Detail)
		if w.Remedy != "" {
			fmt.Fprintf(a.stdout, "  %s  %-16s → %s\n", "       ", "", w.Remedy)
		}
	}
	for _, p := range d.Problems {
		fmt.Fprintf(a.stdout, "\nproblem: %s\n", p)
	}
}
