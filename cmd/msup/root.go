package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/msup/msup/supervisor/descriptor"
)

// app is what every verb shares.
type app struct {
	stdout, stderr io.Writer
	json           bool
	verbose        bool
	quiet          bool
	dialer         dialer
	printed        bool // a result went to stdout: whoever reads it wants one document
}

// execute runs one command line and returns its exit code.
func execute(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	a := &app{stdout: stdout, stderr: stderr}
	root := a.root()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err != nil {
		a.fail(err)
	}
	return codeOf(err)
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "msup",
		Short: "Run trading strategies safely, robustly, fast and reproducibly",
		Long: `msup runs trading strategies, each in a process of its own behind walls, and keeps their inputs, answers
and intents in a ledger that replays. A strategy that misbehaves is restricted, restored or halted; the
others go on. The only output of msup is an intent: it never places an order.

Start here:
  msup new my_strategy            write a strategy that runs at once
  msup run my_strategy            run it on a synthetic market
  msup run my_strategy --feed F   run it on a recording
  msup replay --state DIR         show that the ledger replays to the same answers
  msup explain QUEUE_CEILING      what a reason code means and what to do`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Version:       version,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.PersistentFlags().BoolVar(&a.json, "json", false, "print results as JSON on stdout")
	root.PersistentFlags().BoolVarP(&a.verbose, "verbose", "v", false, "log what happens inside, to stderr")
	root.PersistentFlags().BoolVarP(&a.quiet, "quiet", "q", false, "no progress on stderr")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return fmt.Errorf("%w: %w", errUsage, err) })
	root.AddCommand(a.runCommand(), a.newCommand(), a.buildCommand(), a.imageCommand(), a.replayCommand(), a.schemaCommand(), a.explainCommand(),
		a.feedCommand(), a.simCommand(), a.doctorCommand(), a.intentsCommand(), a.leaseCommand(), a.exitCodesCommand(), a.stateCommand(), a.capsuleCommand(), a.positionsCommand(), a.reconcileCommand())
	root.AddCommand(a.operateCommands()...)
	wrapArgs(root)
	return root
}

// wrapArgs makes complaints about arguments usage errors, for a command and those below it.
func wrapArgs(c *cobra.Command) {
	if check := c.Args; check != nil {
		c.Args = func(cmd *cobra.Command, args []string) error {
			if err := check(cmd, args); err != nil {
				return fmt.Errorf("%w: %w (%s --help)", errUsage, err, cmd.CommandPath())
			}
			return nil
		}
	}
	for _, sub := range c.Commands() {
		wrapArgs(sub)
	}
}

func (a *app) exitCodesCommand() *cobra.Command {
	var table strings.Builder
	if err := printExitCodes(&table); err != nil {
		panic(err) // a strings.Builder takes everything
	}
	return &cobra.Command{
		Use: "exit-codes", Short: "The table of exit codes", Long: "What the end of every verb means:\n\n" + table.String(), Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if a.json {
				return a.printJSON(exitCodes)
			}
			return printExitCodes(a.stdout)
		},
	}
}

// fail tells an error the way the caller asked for.
func (a *app) fail(err error) {
	if a.json && !a.printed {
		out := map[string]any{"error": err.Error(), "exit_code": codeOf(err)}
		if findings, ok := descriptor.AsFindings(err); ok {
			out["findings"] = findings
		}
		if reason := reasonOf(err); reason != "" {
			out["reason_code"] = reason
		}
		if a.printJSON(out) == nil {
			return
		}
	}
	if findings, ok := descriptor.AsFindings(err); ok && len(findings) > 1 {
		for _, f := range findings {
			fmt.Fprintln(a.stderr, "msup:", f.Error())
		}
		return
	}
	if errors.Is(err, context.Canceled) {
		fmt.Fprintln(a.stderr, "msup: interrupted; everything was flushed")
		return
	}
	fmt.Fprintln(a.stderr, "msup:", err)
	if reason := reasonOf(err); reason != "" {
		fmt.Fprintf(a.stderr, "msup: msup explain %s says more\n", reason)
	}
}

func (a *app) printJSON(v any) error {
	a.printed = true
	e := json.NewEncoder(a.stdout)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// logger writes to stderr: warnings always, everything with --verbose.
func (a *app) logger() *slog.Logger {
	level := slog.LevelWarn
	if a.verbose {
		level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(a.stderr, &slog.HandlerOptions{Level: level}))
}

// terminal reports whether progress may be drawn.
func (a *app) terminal() bool {
	f, ok := a.stderr.(*os.File)
	if !ok || a.quiet {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
