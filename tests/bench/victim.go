package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/msup/msup/supervisor/descriptor"
)

// killOfSupervisor measures from kill -9 of a whole supervisor to the first intent of the one that takes its place, and to that of its
// last instance: another process finds leases, leftovers and ledgers, and restores every instance from its log.
func killOfSupervisor(ctx context.Context, r *rig, p plan, f *figures) error {
	for _, k := range r.kinds {
		for _, n := range p.fleet {
			first, last, err := r.killSupervisor(ctx, k, n, p.kills)
			if err != nil {
				return fmt.Errorf("%s, %d instances: %w", k.name, n, err)
			}
			at := fmt.Sprintf("kill -9 of the supervisor, %d %s instances → ", n, k.name)
			if n == 1 {
				f.add(at+"intent", median(last), "ms", 0, "")
				continue
			}
			goal := ""
			if n == 20 {
				goal = "<= 3000"
			}
			f.add(at+"first intent", median(first), "ms", 0, "")
			f.add(at+"intents of all", median(last), "ms", 0, goal)
		}
	}
	return nil
}

func (r *rig) killSupervisor(ctx context.Context, k *kind, n, kills int) (first, last []float64, err error) {
	r.started++
	v := victim{Dir: filepath.Join(r.dir, fmt.Sprintf("v%d", r.started)), State: filepath.Join(r.state, fmt.Sprintf("victim%d", r.started)),
		Store: r.store, Kind: k.word, Hashes: map[descriptor.RuntimeKind]string{k.pack.Descriptor.Runtime: k.pack.Hash}, Instances: n}
	if err := os.Mkdir(v.Dir, 0o711); err != nil {
		return nil, nil, fmt.Errorf("making a supervisor's folder: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(v.Dir), os.RemoveAll(v.State)) }()
	s, err := v.start(ctx)
	if err != nil {
		return nil, nil, err
	}
	if _, _, err := s.trades(n); err != nil {
		return nil, nil, errors.Join(err, s.stop())
	}
	for range kills {
		begin := time.Now()
		if err := s.kill(); err != nil {
			return nil, nil, err
		}
		v.First += 1_000_000
		if s, err = v.start(ctx); err != nil {
			return nil, nil, err
		}
		one, all, err := s.trades(n)
		if err != nil {
			return nil, nil, errors.Join(err, s.stop())
		}
		first, last = append(first, milliseconds(one.Sub(begin))), append(last, milliseconds(all.Sub(begin)))
	}
	return first, last, s.stop()
}

// supervisorProcess is a running victim, seen from outside.
type supervisorProcess struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser // its end asks for an orderly stop
	lines *bufio.Scanner
}

// victimEnv tells this program that it is the supervisor which is killed, and how it is made.
const victimEnv = "MSUP_BENCH_VICTIM"

func (v *victim) start(ctx context.Context) (*supervisorProcess, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("finding this program: %w", err)
	}
	text, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("writing how a supervisor is made: %w", err)
	}
	s := &supervisorProcess{cmd: exec.CommandContext(ctx, self)}
	s.cmd.Env = append(os.Environ(), victimEnv+"="+string(text))
	s.cmd.Stderr = os.Stderr
	out, err := s.cmd.StdoutPipe()
	if err == nil {
		s.stdin, err = s.cmd.StdinPipe()
	}
	if err == nil {
		err = s.cmd.Start()
	}
	if err != nil {
		return nil, fmt.Errorf("starting a supervisor: %w", err)
	}
	s.lines = bufio.NewScanner(out)
	return s, nil
}

// What a victim says of its instances, with their numbers.
const (
	saysTrades   = "trades" // the first intent was offered
	saysReplays  = "enough" // there is something to replay
	victimOffers = 100      // that is enough
)

// trades waits until all instances trade, and until each has something to replay; it tells when the first and the last began to trade.
func (s *supervisorProcess) trades(n int) (first, last time.Time, err error) {
	watch := time.AfterFunc(patience, func() { _ = s.cmd.Process.Kill() }) // it hangs; that it ended already is as good
	defer watch.Stop()
	trading, enough := map[string]bool{}, map[string]bool{}
	for (len(trading) < n || len(enough) < n) && s.lines.Scan() {
		word, number, _ := strings.Cut(s.lines.Text(), " ")
		switch word {
		case saysTrades:
			if last = time.Now(); len(trading) == 0 {
				first = last
			}
			trading[number] = true
		case saysReplays:
			enough[number] = true
		default:
			return first, last, fmt.Errorf("the supervisor says %.200q", s.lines.Text())
		}
	}
	if len(trading) < n || len(enough) < n {
		return first, last, errors.Join(fmt.Errorf("the supervisor ended when %d of %d instances traded", len(trading), n), s.lines.Err())
	}
	return first, last, nil
}

// kill ends it as the out-of-memory killer does.
func (s *supervisorProcess) kill() error {
	if err := s.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("killing a supervisor: %w", err)
	}
	_ = s.cmd.Wait() // says that it was killed
	return nil
}

// stop lets it end in order, so that nothing stays behind.
func (s *supervisorProcess) stop() error {
	watch := time.AfterFunc(patience, func() { _ = s.cmd.Process.Kill() })
	defer watch.Stop()
	if err := s.stdin.Close(); err != nil {
		return fmt.Errorf("stopping a supervisor: %w", err)
	}
	for s.lines.Scan() { // it may still have something to say
	}
	if err := s.cmd.Wait(); err != nil {
		return fmt.Errorf("a supervisor that was asked to stop: %w", err)
	}
	return nil
}

// victim is how the supervisor that is killed is made, and the one that takes its place.
type victim struct {
	Dir       string
	State     string
	Store     string
	Kind      string
	Hashes    map[descriptor.RuntimeKind]string
	Instances int
	First     uint64 // quote
}

// initVictim is the whole life of a process that was started as a victim; in any other it returns at once.
func initVictim() {
	text := os.Getenv(victimEnv)
	if text == "" {
		return
	}
	var v victim
	err := json.Unmarshal([]byte(text), &v)
	if err == nil {
		ctx, cancel := context.WithCancel(context.Background())
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin) // nothing comes: it ends with the benchmark, or when that wants it
			cancel()
		}()
		err = v.run(ctx)
		cancel()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench: supervisor:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// say tells the benchmark something about an instance.
func (v *victim) say(word string, number int) {
	_, _ = os.Stdout.WriteString(word + " " + strconv.Itoa(number) + "\n") // where nobody listens, the end of stdin comes next
}

// quiet is the log of a victim: what is worth an error goes to the benchmark's own.
func quiet() *slog.Logger {
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
}
