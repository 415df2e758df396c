// Command msup runs trading strategies safely: each in a process of its own, behind walls, with its inputs, answers and intents in a
// ledger that replays. Its only output is an intent; real orders are placed elsewhere.
//
// One file per verb. This package is the only place where ports and implementations meet; nothing is decided here.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/msup/msup/sandbox/process"
	_ "github.com/msup/msup/sandbox/stage2" // most runners begin there, before this package is initialised
	"github.com/msup/msup/sandbox/warden"
)

// version is set at build time.
var version = "0.1.0-dev"

func main() {
	process.Init(programs()...) // the second stage of the process sandbox is this same binary; a proxy of services begins here
	warden.Init(openers())      // and so is the helper that keeps root
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := execute(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}
