package main

import (
	"github.com/msup/msup/supervisor/api"
)

// serveControl listens for operators in the run's state directory. A run goes on without it, where a socket cannot be made there: halting it
// then takes Ctrl-C.
func (r *runner) serveControl() (stop func()) {
	var instances []api.Instance
	for _, m := range r.supervisor.Members {
		instances = append(instances, m.Instance)
	}
	log := r.wiring.log
	s, err := api.Serve(r.wiring.stateDir, instances, log)
	if err != nil {
		log.Warn("no control socket: msup halt and its like cannot reach this run; stop it with Ctrl-C, or name a state directory that can hold a socket", "err", err)
		return func() {}
	}
	return func() {
		if err := s.Close(); err != nil {
			log.Warn("closing the control socket failed", "err", err)
		}
	}
}
