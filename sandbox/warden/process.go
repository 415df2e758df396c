package warden

import (
	"fmt"
	"log/slog"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"
)

// processName is argv[0] of the helper, by which Init recognises it.
const processName = "msup-helper"

const (
	verboseArg = "--verbose"
	linkFD     = 3
)

// Init turns this process into the helper if it was started as such, and then never returns. Every main and TestMain of a binary that starts
// helpers calls it right after process.Init, with the kinds of sandboxes that Client.Open may name.
func Init(openers map[string]Opener) {
	if len(os.Args) == 0 || os.Args[0] != processName {
		return
	}
	level := slog.LevelWarn
	if len(os.Args) > 1 && os.Args[1] == verboseArg {
		level = slog.LevelDebug
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level})).With("process", processName)
	if err := run(openers, log); err != nil {
		log.Error("the helper ended with an error", "err", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func run(openers map[string]Opener, log *slog.Logger) error {
	// The end of the supervisor is what ends the helper. A signal to the whole service, as systemd sends it, is the supervisor's to act on:
	// its runners need their helper until it has stopped them. They are caught, not ignored: what is ignored would stay so in the runners.
	caught := make(chan os.Signal, 1)
	signal.Notify(caught, unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT)
	go func() {
		for s := range caught {
			log.Debug("a signal that is the supervisor's to act on", "signal", s)
		}
	}()
	// Nobody may look into or trace what has root, whatever user it is; and no core dump.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("close the helper to others: %w", err)
	}
	l, err := newLink(os.NewFile(linkFD, "supervisor"))
	if err != nil {
		return err
	}
	return serve(l, openers, log)
}
