package main

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/statedb"
	"github.com/msup/msup/supervisor/core"
	"github.com/msup/msup/supervisor/descriptor"
)

func (a *app) stateCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "state", Short: "Verify, list, export, import and back up state directories",
		Long: `A state directory holds what must not be forgotten: the ledger with its hash chains, two checkpoints per instance, the
high-water mark. These verbs look at one without owning it, and may run beside the supervisor that does; import and
backup make a new one. None of them changes the directory that it looks at.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	c.AddCommand(a.stateVerifyCommand(), a.stateListCommand(), a.stateExportCommand(), a.stateImportCommand(), a.stateBackupCommand())
	return c
}

func (a *app) stateVerifyCommand() *cobra.Command {
	return &cobra.Command{
		Use: "verify DIR", Short: "Check every row, chain, mark and checkpoint of a state directory",
		Long: `Reads everything: the structure of both databases, the checksum of every row, the hash chain of every instance from its
anchor to its end, the high-water mark, the keys, the order of statuses, and whether the ledger reaches the
checkpoints. It names the first bad row of an instance, and what to do. Nothing is written.`,
		Example: "  msup state verify ./state",
		Args:    cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			r, err := statedb.Verify(args[0])
			if err != nil {
				return err
			}
			if err := a.printReport(r); err != nil {
				return err
			}
			if !r.OK() {
				return exit(exitState, "%s is damaged: %w", args[0], firstProblem(r))
			}
			return nil
		},
	}
}

// firstProblem is what an operator has to act on first; the rest was printed.
func firstProblem(r *statedb.Report) error {
	if len(r.Problems) > 0 {
		return r.Problems[0]
	}
	for _, i := range r.Instances {
		if len(i.Problems) > 0 {
			return i.Problems[0]
		}
	}
	return nil
}

// reportJSON is a verification as printed.
type reportJSON struct {
	Dir       string               `json:"dir"`
	OK        bool                 `json:"ok"`
	Problems  []string             `json:"problems"`
	Instances []instanceReportJSON `json:"instances"`
}

type instanceReportJSON struct {
	Address     string           `json:"instance"`
	Lineage     string           `json:"lineage"`
	Epoch       ipc.Epoch        `json:"epoch"`
	Rows        int64            `json:"rows"`
	LastRow     uint64           `json:"last_row"`
	Head        string           `json:"head"`
	AnchorRow   uint64           `json:"anchor_row"`
	MarkRow     uint64           `json:"mark_row"`
	LastInput   ipc.InputNo      `json:"last_input"`
	OpenIntents int              `json:"open_intents"`
	Checkpoints []checkpointJSON `json:"checkpoints"`
	Problems    []string         `json:"problems"`
}

type checkpointJSON struct {
	Step       ipc.Step    `json:"step"`
	InputNo    ipc.InputNo `json:"input_no"`
	Row        uint64      `json:"row"`
	StateBytes int         `json:"state_bytes"`
	Schema     uint32      `json:"state_schema_version"`
	Package    string      `json:"package_hash"`
	Config     string      `json:"config_hash"`
}

func describeReport(r *statedb.Report) reportJSON {
	out := reportJSON{Dir: r.Dir, OK: r.OK(), Problems: texts(r.Problems), Instances: []instanceReportJSON{}}
	for i := range r.Instances {
		in := &r.Instances[i]
		out.Instances = append(out.Instances, instanceReportJSON{Address: in.Address.String(), Lineage: in.Lineage.String(), Epoch: in.Epoch,
			Rows: in.Rows, LastRow: in.Head.RowNo, Head: in.Head.Hash.String(), AnchorRow: in.Anchor.RowNo, MarkRow: in.Mark.RowNo,
			LastInput: in.LastInput, OpenIntents: in.OpenIntents, Checkpoints: describeCheckpoints(in.Checkpoints), Problems: texts(in.Problems)})
	}
	return out
}

func describeCheckpoints(all []statedb.Checkpoint) []checkpointJSON {
	out := []checkpointJSON{}
	for i := range all {
		c := &all[i]
		out = append(out, checkpointJSON{Step: c.Step, InputNo: c.InputNo, Row: c.Head.RowNo, StateBytes: len(c.State), Schema: c.StateSchemaVersion,
			Package: c.PackageHash.String(), Config: c.ConfigHash.String()})
	}
	return out
}

func texts(all []error) []string {
	out := []string{}
	for _, err := range all {
		out = append(out, err.Error())
	}
	return out
}

func (a *app) printReport(r *statedb.Report) error {
	d := describeReport(r)
	if a.json {
		return a.printJSON(d)
	}
	w := a.stdout
	for _, i := range d.Instances {
		verdict := "ok"
		if len(i.Problems) > 0 {
			verdict = "DAMAGED"
		}
		fmt.Fprintf(w, "%s  %s: %d rows to row %d (%.16s…), mark at row %d, epoch %d, %d inputs, %d open intents, %d checkpoints\n", i.Address, verdict,
			i.Rows, i.LastRow, i.Head, i.MarkRow, i.Epoch, i.LastInput, i.OpenIntents, len(i.Checkpoints))
		for _, p := range i.Problems {
			fmt.Fprintf(w, "  %s\n", p)
		}
	}
	for _, p := range d.Problems {
		fmt.Fprintln(w, p)
	}
	if d.OK {
		_, err := fmt.Fprintf(w, "%s: %d instances, everything verifies\n", d.Dir, len(d.Instances))
		return err
	}
	return nil
}

// listed is one instance of msup state list.
type listed struct {
	Address     string           `json:"instance"`
	Lineage     string           `json:"lineage,omitempty"`
	Created     ipc.Nanos        `json:"created_ts"`
	Epoch       ipc.Epoch        `json:"epoch"`
	Step        ipc.Step         `json:"last_step"`
	FirstInput  ipc.InputNo      `json:"first_input"`
	LastInput   ipc.InputNo      `json:"last_input"`
	Rows        int64            `json:"rows"`
	Bytes       int64            `json:"bytes"`
	OpenIntents int              `json:"open_intents"`
	Checkpoints []checkpointJSON `json:"checkpoints"`
	Problems    []string         `json:"problems"`
}

// listing is all of msup state list.
type listing struct {
	Dir       string           `json:"dir"`
	Files     map[string]int64 `json:"file_bytes"`
	Instances []listed         `json:"instances"`
}

func (a *app) stateListCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list DIR", Short: "Bots, strategies and instances of a state directory: sizes, epochs, steps, checkpoints",
		Long: `Lists the instances whose history lies in a state directory: how much it holds, which epoch was the last, the last step
that was delivered, and the checkpoints that count. Nothing is written; a supervisor may be running on it.`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			l, err := listState(args[0])
			if err != nil {
				return err
			}
			return a.printListing(l)
		},
	}
}

func listState(dir string) (l *listing, err error) {
	v, err := statedb.OpenView(dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, v.Close()) }()
	l = &listing{Dir: dir, Files: map[string]int64{}, Instances: []listed{}}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, exit(exitState, "%w", err)
	}
	for _, e := range entries {
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() { // one that has just gone is not there
			l.Files[e.Name()] = info.Size()
		}
	}
	for _, address := range v.Addresses() {
		one, err := listInstance(v, address)
		if err != nil {
			one = listed{Address: address.String(), Checkpoints: []checkpointJSON{}, Problems: []string{err.Error()}}
		}
		l.Instances = append(l.Instances, one)
	}
	return l, nil
}

func listInstance(v *statedb.View, address ipc.Address) (listed, error) {
	r, err := v.OpenInstance(address)
	if err != nil {
		return listed{}, err
	}
	info := r.Info()
	valid, problems := r.Checkpoints()
	out := listed{Address: address.String(), Lineage: info.Lineage.String(), Created: info.Created, Epoch: info.Epoch, FirstInput: r.FirstInput(),
		LastInput: r.LastInput(), Rows: r.Rows(), Checkpoints: describeCheckpoints(valid), Problems: texts(problems)}
	if out.Bytes, err = r.Bytes(); err != nil {
		return out, err
	}
	open, err := r.OpenIntents()
	if err != nil {
		return out, err
	}
	out.OpenIntents = len(open)
	out.Step, err = lastStep(r, valid)
	return out, err
}

// lastStep is the last delivery after the newest checkpoint, or the checkpoint's own.
func lastStep(r *statedb.Reading, valid []statedb.Checkpoint) (step ipc.Step, err error) {
	from := r.FirstInput()
	if len(valid) > 0 {
		step, from = valid[0].Step, valid[0].InputNo+1
	}
	if from > r.LastInput() {
		return step, nil
	}
	err = r.ReadInputs(from, func(_, _ ipc.InputNo, payload []byte) error {
		for len(payload) > 0 {
			in, rest, err := core.ReadInput(payload)
			if err != nil {
				return err
			}
			if d, ok := in.(*core.Delivery); ok {
				step = d.Step
			}
			payload = rest
		}
		return nil
	})
	return step, err
}

func (a *app) printListing(l *listing) error {
	if a.json {
		return a.printJSON(l)
	}
	var total int64
	for _, n := range l.Files {
		total += n
	}
	fmt.Fprintf(a.stdout, "%s: %d instances, %s on disk\n", l.Dir, len(l.Instances), sizeOf(total))
	t := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "INSTANCE\tEPOCH\tSTEP\tINPUTS\tROWS\tSIZE\tOPEN\tCHECKPOINTS AT STEP")
	for _, i := range l.Instances {
		var at []string
		for _, c := range i.Checkpoints {
			at = append(at, fmt.Sprint(c.Step))
		}
		if len(at) == 0 {
			at = []string{"-"}
		}
		fmt.Fprintf(t, "%s\t%d\t%d\t%d-%d\t%d\t%s\t%d\t%s\n", i.Address, i.Epoch, i.Step, i.FirstInput, i.LastInput, i.Rows, sizeOf(i.Bytes),
			i.OpenIntents, strings.Join(at, ", "))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, i := range l.Instances {
		for _, p := range i.Problems {
			fmt.Fprintf(a.stdout, "%s: %s\n", i.Address, p)
		}
	}
	return nil
}

// sizeOf writes bytes for people.
func sizeOf(n int64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	case n >= 1<<10:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%d B", n)
}

func (a *app) stateExportCommand() *cobra.Command {
	var out string
	c := &cobra.Command{
		Use: "export DIR -o FILE", Short: "Write a state directory as a portable file of JSON lines",
		Long: `Writes every instance as lines of JSON that any program can read, and msup state import takes back: identity, the chain of
inputs, intents and statuses, epochs, checkpoints, and a SHA-256 over all of it. Each chain is verified before it is
written. A supervisor may be running on the directory. "-o -" writes to standard output.

The file holds what the strategies were given and answered, configuration values included; it never holds secrets of
the deployment, which the ledger has none of.`,
		Example: "  msup state export ./state -o state.jsonl\n  msup state import state.jsonl ./state-elsewhere",
		Args:    cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) (err error) {
			if out == "" {
				return fmt.Errorf("%w: name the file with -o, or - for standard output", errUsage)
			}
			v, err := statedb.OpenView(args[0])
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, v.Close()) }()
			if out == "-" {
				_, err := v.Export(a.stdout)
				return err
			}
			var info statedb.ExportInfo
			if err := writeFresh(out, func(w io.Writer) (err error) { info, err = v.Export(w); return err }); err != nil {
				return err
			}
			for _, left := range info.LeftOut {
				fmt.Fprintln(a.stderr, "msup:", left)
			}
			if a.json {
				return a.printJSON(map[string]any{"file": out, "instances": info.Instances, "rows": info.Rows, "sha256": info.SHA256.String(),
					"left_out": texts(info.LeftOut)})
			}
			_, err = fmt.Fprintf(a.stdout, "%s: %d instances, %d rows, sha256 %s\n", out, info.Instances, info.Rows, info.SHA256)
			return err
		},
	}
	c.Flags().StringVarP(&out, "output", "o", "", "file to write; it must not exist")
	return c
}

// writeFresh writes a file that appears whole or not at all, and replaces none.
func writeFresh(path string, fill func(io.Writer) error) (err error) {
	if _, err := os.Lstat(path); err == nil {
		return exit(exitFailed, "%s exists; name another file, or remove it", path)
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return exit(exitFailed, "writing %s: %w; name a file in a writable folder", path, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	if err := fill(f); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return exit(exitFailed, "writing %s: %w; free space, or name another file", path, err)
	}
	// A link refuses to replace what has come there meanwhile; a rename would not.
	if err := os.Link(f.Name(), path); err != nil {
		return exit(exitFailed, "writing %s: %w", path, err)
	}
	return os.Remove(f.Name())
}

func (a *app) stateImportCommand() *cobra.Command {
	return &cobra.Command{
		Use: "import FILE DIR", Short: "Make a fresh state directory of an exported file",
		Long: `Makes a state directory of what msup state export wrote ("-" reads standard input). The directory must not exist, or be
empty; it appears whole and verified, or not at all. A file of another version, cut off, or changed in any byte is
refused.

The import continues the same history: same lineage, same keys. Start it in place of the original, never beside it; the
lease and I refuse the second of two.`,
		Args: cobra.ExactArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			in := io.Reader(os.Stdin)
			if args[0] != "-" {
				f, err := os.Open(args[0])
				if err != nil {
					return exit(exitFailed, "reading the export: %w", err)
				}
				defer func() { _ = f.Close() }() // it is only read
				in = f
			}
			r, err := statedb.Import(in, args[1])
			if err != nil {
				return err
			}
			return a.printReport(r)
		},
	}
}

func (a *app) stateBackupCommand() *cobra.Command {
	return &cobra.Command{
		Use: "backup DIR TO", Short: "Copy a state directory consistently, also while a supervisor runs on it",
		Long: `Copies checkpoints, ledger and high-water mark so that they fit together, while the supervisor goes on, and verifies the
copy. TO must not exist, or be empty. Start the copy like any state directory, by --state TO.

What happened after the backup is not in it. Whoever starts an older backup is found out: I reports the last step that it
has seen, the instance halts with ROWS_LOST, and nothing is sent twice. Then compare with msup reconcile, and go on
under a new instance id. Logs, evidence and the state of a simulated I are not copied.`,
		Example: "  msup state backup ./state ./backups/monday",
		Args:    cobra.ExactArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			r, err := statedb.Backup(args[0], args[1])
			if err != nil {
				return err
			}
			return a.printReport(r)
		},
	}
}

// requireOwnBot refuses a state directory that holds other bots only: a mistyped --state would start every strategy anew, without its
// positions, beside the history of somebody else.
func requireOwnBot(db *statedb.DB, instances []descriptor.Instance) error {
	known, err := db.Instances()
	if err != nil || len(known) == 0 {
		return err
	}
	own := map[ipc.BotID]bool{}
	for _, i := range instances {
		own[i.Address.Bot] = true
	}
	others := map[ipc.BotID]bool{}
	for _, i := range known {
		if own[i.Address.Bot] {
			return nil
		}
		others[i.Address.Bot] = true
	}
	return &statedb.Error{Kind: statedb.ErrForeign, Place: db.Dir(), Cause: fmt.Sprintf("it is of bot %s; this deployment has bot %s",
		strings.Join(slices.Sorted(bots(others)), ", "), strings.Join(slices.Sorted(bots(own)), ", ")),
		Remedy: "name the state directory of this bot with --state, or a fresh one; nothing was changed"}
}

func bots(set map[ipc.BotID]bool) iter.Seq[string] {
	return func(yield func(string) bool) {
		for b := range set {
			if !yield(string(b)) {
				return
			}
		}
	}
}
