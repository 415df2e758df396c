package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/msup/msup/sandbox"
	"github.com/msup/msup/sandbox/container"
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
	Walls       []sandbox.Wall `json:"walls"` // of the process sandbox
	Python      string         `json:"python"`
	// Isolation says for every level whether a strategy can have it here, strongest first.
	Isolation []levelOffer `json:"isolation"`
	// Containers is what L3 stands on: engine, runtime, kernel, with the known holes of their versions.
	Containers []container.Finding `json:"containers"`
	Rights     rights              `json:"rights"`
	SlowStarts string              `json:"slow_starts,omitempty"` // a command that makes starts shorter
	Problems   []string            `json:"problems"`
}

// levelOffer is one level of isolation on this host (SB-L0 … SB-L3).
type levelOffer struct {
	Level   string `json:"level"`
	For     string `json:"for"`
	Offered bool   `json:"offered"`
	Detail  string `json:"detail"`
	Remedy  string `json:"remedy,omitempty"`
}

// offers says which levels this host has, from what was examined.
func offers(h process.Host, found []container.Finding) []levelOffer {
	l3 := levelOffer{Level: "L3", For: "Python; native Rust on demand", Offered: true, Detail: "containers of containerd and runc, user namespaces"}
	for _, f := range found {
		if f.Severity == container.SeverityBlocks {
			l3.Offered, l3.Detail, l3.Remedy = false, f.Component+": "+f.Detail, f.Remedy
			break
		}
	}
	l2 := levelOffer{Level: "L2", For: "Rust as WebAssembly", Offered: h.Err == nil, Detail: "a module in a process of its own, behind the walls of L1"}
	l1 := levelOffer{Level: "L1", For: "native Rust; Python where L3 is not offered", Offered: h.Err == nil, Detail: "a process behind the walls above"}
	l0 := levelOffer{Level: "L0", For: "trusted Python, of which a host runs many; never by auto", Offered: h.Err == nil,
		Detail: "threads of one process behind the walls of L1, with no wall between them; isolation = \"L0\" and policy.allow_l0 = true ask for it"}
	if h.Err != nil {
		l1.Detail, l2.Detail = h.Err.Error(), "it stands on L1, which is not offered"
		l0.Detail = l2.Detail
	}
	return []levelOffer{l3, l2, l1, l0}
}

func (a *app) doctorCommand() *cobra.Command {
	var interpreter, address string
	c := &cobra.Command{
		Use: "doctor", Short: "What this host offers: which walls stand, which do not, and what to do",
		Long: `Starts one short process through every wall of the process sandbox and says which of them stand on this host, and looks
at what containers stand on: versions of containerd, runc and kernel, with the holes that are known of them, and what to do.
A wall that does not stand is no error by itself: a descriptor or a deployment may demand it. --isolation auto (the
default of run) takes the strongest level that is offered for a strategy's runtime.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			h := process.Inspect(process.Config{})
			d := diagnosis{Version: version, Kernel: h.Kernel, Arch: h.Arch, Root: h.Root, Cgroups: fmt.Sprint(h.Cgroups),
				LandlockABI: h.LandlockABI, Walls: h.Walls, SlowStarts: h.SlowStarts, Problems: []string{}}
			if h.Err != nil {
				d.Problems = append(d.Problems, h.Err.Error())
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), 20*time.Second)
			defer cancel()
			d.Containers = container.Examine(ctx, container.DaemonConfig{Address: address})
			d.Isolation = offers(h, d.Containers)
			d.Rights = examineRights()
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
	c.Flags().StringVar(&address, "containerd", os.Getenv("MSUP_CONTAINERD"), "socket of a containerd to look at (default: the programs of a private one)")
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
	fmt.Fprintln(a.stdout)
	for _, o := range d.Isolation {
		mark := "offered"
		if !o.Offered {
			mark = "MISSING"
		}
		fmt.Fprintf(a.stdout, "  %s  %s  %s: %s\n", mark, o.Level, o.For, o.Detail)
		if o.Remedy != "" {
			fmt.Fprintf(a.stdout, "               → %s\n", o.Remedy)
		}
	}
	fmt.Fprintln(a.stdout)
	who := "supervisor as " + d.Rights.Supervisor
	if d.Rights.Helper != "" {
		who += ", helper as " + d.Rights.Helper
	}
	fmt.Fprintf(a.stdout, "  msup run: %s: %s\n", who, d.Rights.Detail)
	if d.Rights.Remedy != "" {
		fmt.Fprintf(a.stdout, "            → %s\n", d.Rights.Remedy)
	}
	fmt.Fprintln(a.stdout)
	for _, f := range d.Containers {
		what := f.Detail
		if len(f.CVE) > 0 {
			what = strings.Join(f.CVE, ", ") + ": " + what
		}
		fmt.Fprintf(a.stdout, "  %-7s  %-16s %s\n", f.Severity, strings.TrimSpace(f.Component+" "+f.Version), what)
		if f.Remedy != "" {
			fmt.Fprintf(a.stdout, "  %-7s  %-16s → %s\n", "", "", f.Remedy)
		}
	}
	if d.SlowStarts != "" {
		fmt.Fprintf(a.stdout, "\n  starts: the kernel lets a process wait up to 13 ms before it may enter a control group\n          → %s (until the next boot)\n", d.SlowStarts)
	}
	for _, p := range d.Problems {
		fmt.Fprintf(a.stdout, "\nproblem: %s\n", p)
	}
}
