package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/supervisor"
	"github.com/msup/msup/supervisor/core"
)

// Patience is how long an instance may take to make a command durable, or to show itself.
const Patience = 10 * time.Second

const mostBody = 1 << 20 // bytes of a request

// Instance is a running instance as the control plane sees it.
type Instance interface {
	Address() ipc.Address
	// Command carries out an operator's command and returns what it changed, when it is durable.
	Command(ctx context.Context, c core.Command) (*supervisor.Change, error)
	// Look shows the core as it is.
	Look(ctx context.Context) (*supervisor.Inspection, error)
}

// Server serves the instances of one run until Close.
type Server struct {
	dir       string
	instances []Instance
	byName    map[string]Instance
	patience  time.Duration
	log       *slog.Logger
	http      *http.Server
	done      chan error
}

type peerKey struct{}

// Serve listens in the state directory, which the caller must have locked.
func Serve(dir string, instances []Instance, log *slog.Logger) (*Server, error) {
	l, err := listen(dir)
	if err != nil {
		return nil, err
	}
	s := &Server{dir: dir, instances: instances, byName: map[string]Instance{}, patience: Patience, log: log, done: make(chan error, 1)}
	for _, i := range instances {
		s.byName[i.Address().String()] = i
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/command", s.command)
	mux.HandleFunc("GET /v1/instances", s.show)
	s.http = &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			if p, ok := c.(*peer); ok {
				ctx = context.WithValue(ctx, peerKey{}, p.uid)
			}
			return ctx
		}}
	go func() { s.done <- s.http.Serve(guarded{l, log}) }()
	return s, nil
}

// Close ends the server and what it is doing, and removes its socket.
func (s *Server) Close() error {
	err := s.http.Close()
	if served := <-s.done; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	if err = errors.Join(err, os.Remove(filepath.Join(s.dir, SocketName))); err != nil {
		return fmt.Errorf("closing the control socket: %w", err)
	}
	return nil
}

func (s *Server) command(w http.ResponseWriter, r *http.Request) {
	var in Request
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, mostBody))
	d.DisallowUnknownFields()
	if err := d.Decode(&in); err != nil {
		s.refuse(w, http.StatusBadRequest, fmt.Errorf("the request: %w", err))
		return
	}
	c, err := in.Command()
	if err != nil {
		s.refuse(w, http.StatusBadRequest, err)
		return
	}
	chosen, err := s.named(in.Instances)
	if err != nil {
		s.refuse(w, http.StatusNotFound, err)
		return
	}
	c.Who = signed(r.Context(), in.Who)
	ctx, cancel := context.WithTimeout(r.Context(), s.patience)
	defer cancel()
	out := Results{Results: make([]Result, len(chosen))}
	var all sync.WaitGroup
	for n, i := range chosen { // one that takes its time must not keep the others
		all.Go(func() { out.Results[n] = s.carryOut(ctx, i, in.Op, c) })
	}
	all.Wait()
	s.answer(w, out)
}

// named finds instances; a name that is not there refuses all, before anything was done.
func (s *Server) named(names []string) ([]Instance, error) {
	var out []Instance
	for _, name := range names {
		i, ok := s.byName[name]
		if !ok {
			known := make([]string, 0, len(s.instances))
			for _, i := range s.instances {
				known = append(known, i.Address().String())
			}
			return nil, fmt.Errorf("no instance %q runs here; there are %v", name, known)
		}
		out = append(out, i)
	}
	return out, nil
}

// carryOut gives one instance the command. The log names who gave it, whatever becomes of it.
func (s *Server) carryOut(ctx context.Context, i Instance, op string, c core.Command) Result {
	r := Result{Instance: i.Address().String(), Op: op, Who: c.Who}
	log := s.log.With("instance", r.Instance, "op", op, "who", c.Who, "reason", c.Reason)
	if before, err := i.Look(ctx); err == nil {
		r.Was = before.Health
		if c.Op == core.OpAbandon && before.Obligation == nil {
			r.Error = "no obligation is under way: there is nothing to abandon"
			return r
		}
	}
	change, err := i.Command(ctx, c)
	if err != nil {
		r.Error = err.Error()
		if errors.Is(err, context.DeadlineExceeded) {
			r.Error = fmt.Sprintf("not durable after %s: the instance has not started, is being brought up, or its disk does not take writes; the command may still be carried out, "+
				"msup inspect shows whether it was", s.patience)
		}
		log.Error("an operator's command failed", "err", r.Error)
		return r
	}
	log.Warn("an operator's command is durable")
	after := change.After
	r.Durable, r.Was, r.Health, r.Reason, r.Obligation = true, change.Before.Health, after.Health, after.Reason, after.Obligation
	return r
}

func (s *Server) show(w http.ResponseWriter, r *http.Request) {
	chosen := s.instances
	if names := r.URL.Query()["instance"]; len(names) > 0 {
		var err error
		if chosen, err = s.named(names); err != nil {
			s.refuse(w, http.StatusNotFound, err)
			return
		}
	}
	ctx, cancel := context.WithTimeout(r.Context(), s.patience)
	defer cancel()
	out := Instances{Instances: make([]Shown, len(chosen))}
	var all sync.WaitGroup
	for n, i := range chosen {
		all.Go(func() {
			shown := Shown{Instance: i.Address().String()}
			var err error
			if shown.Inspection, err = i.Look(ctx); err != nil {
				shown.Error = err.Error()
			}
			out.Instances[n] = shown
		})
	}
	all.Wait()
	s.answer(w, out)
}

// signed is the name for the log: the one that was given, and the user that the kernel knows when that is another.
func signed(ctx context.Context, who string) string {
	uid, ok := ctx.Value(peerKey{}).(uint32)
	if !ok {
		return who
	}
	id := strconv.FormatUint(uint64(uid), 10)
	name := "uid " + id
	if u, err := user.LookupId(id); err == nil {
		name = u.Username
	}
	if name == who {
		return who
	}
	return who + " (" + name + ")"
}

func (s *Server) answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(v); err != nil {
		s.log.Debug("answering on the control socket failed", "err", err)
	}
}

func (s *Server) refuse(w http.ResponseWriter, code int, why error) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	s.answer(w, problem{Error: why.Error()})
}
