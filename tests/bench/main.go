package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/msup/msup/sandbox/process"
	_ "github.com/msup/msup/sandbox/stage2" // as in msup
	"github.com/msup/msup/sandbox/wasm"
)

// section is a group of figures that can be measured alone.
type section struct {
	name  string
	kinds bool // measures every kind of runner; the others take the plain one
	run   func(context.Context, *rig, plan, *figures) error
}

var sections = []section{
	{"latency", true, latency},
	{"durable", false, durableLatency},
	{"commit", false, groupCommit},
	{"truncation", false, truncation},
	{"rows", false, manyRows},
	{"research", true, research},
	{"call", true, wasmCall},
	{"amplification", false, amplification},
	{"start", true, coldStart},
	{"kill", true, killToIntent},
	{"restore", true, restore},
	{"supervisor", true, killOfSupervisor},
	{"memory", true, idleMemory},
	{"lockstep", false, lockStep},
	{"lanes", true, lanes},
}

func main() {
	process.Init(wasm.Programs()...) // the second stage of the process sandbox is this same binary
	initVictim()                     // and so is the supervisor that is killed
	initHelper()                     // and the helper that starts runners
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := command(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// command is the program from its arguments to the file.
func command(ctx context.Context, args []string, stdout, stderr io.Writer) (err error) {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	out := flags.String("out", "", "write the figures to this JSON file")
	disk := flags.String("disk", "", "folder on the disk to be measured (default: that of -out, else the temporary one)")
	only := flags.String("only", "", "measure these sections only, separated by commas: "+strings.Join(names(), ", "))
	runners := flags.String("runners", "", "measure these kinds of runners only, separated by commas: "+strings.Join(kindWords(), ", "))
	isQuick := flags.Bool("quick", false, "small counts: shows that everything works, the figures mean nothing")
	profile := flags.String("cpuprofile", "", "write a profile of the supervisor's side to this file")
	if err := flags.Parse(args); err != nil {
		return err
	}
	wanted, err := choose(*only)
	if err != nil {
		return err
	}
	kinds, err := chooseKinds(*runners)
	if err != nil {
		return err
	}
	if *runners == "" && !slices.ContainsFunc(wanted, func(s section) bool { return s.kinds }) {
		kinds = kinds[:1]
	}
	p := full
	if *isQuick {
		p = quick
	}
	if *disk == "" {
		if *disk = os.TempDir(); *out != "" {
			*disk = filepath.Dir(*out)
		}
	}
	if *profile != "" {
		file, err := os.Create(*profile)
		if err != nil {
			return fmt.Errorf("making the profile: %w", err)
		}
		defer func() { err = errors.Join(err, file.Close()) }()
		if err := pprof.StartCPUProfile(file); err != nil {
			return fmt.Errorf("starting the profile: %w", err)
		}
		defer pprof.StopCPUProfile()
	}
	f := &figures{log: stderr}
	if err := measure(ctx, *disk, kinds, wanted, p, f); err != nil {
		return err
	}
	if err := f.table(stdout); err != nil {
		return fmt.Errorf("printing the table: %w", err)
	}
	if *out == "" {
		return nil
	}
	return f.write(*out)
}

func names() []string {
	var list []string
	for _, s := range sections {
		list = append(list, s.name)
	}
	return list
}

// choose returns the named sections, all of them without a name.
func choose(only string) ([]section, error) {
	if only == "" {
		return sections, nil
	}
	var wanted []section
	for name := range strings.SplitSeq(only, ",") {
		i := slices.IndexFunc(sections, func(s section) bool { return s.name == name })
		if i < 0 {
			return nil, fmt.Errorf("there is no section %q; there are %s", name, strings.Join(names(), ", "))
		}
		wanted = append(wanted, sections[i])
	}
	return wanted, nil
}

// measure runs the sections on one rig.
func measure(ctx context.Context, disk string, kinds []string, wanted []section, p plan, f *figures) (err error) {
	say := func(format string, args ...any) { fmt.Fprintf(f.log, "bench: "+format+"\n", args...) }
	r, err := newRig(ctx, rigConfig{disk: disk, kinds: kinds, say: say, log: slog.New(slog.NewTextHandler(f.log, &slog.HandlerOptions{Level: slog.LevelError}))})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	say("%s/%s, %d processors, python %s, load %s", runtime.GOOS, runtime.GOARCH, len(r.cpus), r.python.Version, load())
	if len(r.cpus) < 2 {
		say("one processor only: the figures for two are missing")
	}
	for _, s := range wanted {
		begin := time.Now()
		if err := s.run(ctx, r, p, f); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		say("%s took %s, load %s", s.name, time.Since(begin).Round(100*time.Millisecond), load())
	}
	return f.check()
}

// load is what else the machine does: figures taken beside a load above the number of processors are noise.
func load() string {
	data, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	one, _, _ := strings.Cut(string(data), " ")
	return one
}
