package container

import (
	"os"

	"github.com/msup/msup/sandbox/folder"
)

// handOver gives the writable host folders to the runner's user id.
func (r *runner) handOver() error {
	for _, w := range r.spec.Writable {
		if w.Source == "" {
			continue
		}
		if err := os.Lchown(w.Source, r.uid(), r.uid()); err != nil {
			return specError("hand "+w.Source+" to the runner", err, "name an existing folder of the supervisor's")
		}
	}
	return nil
}

// breached kills a job whose host folder has grown above its limit.
func (r *runner) breached(b folder.Breach) {
	if b.Err != nil {
		// What cannot be measured cannot be bounded: the job is ended.
		r.box.log.Error("measuring a job's folder failed", "instance", r.spec.Address.String(), "error", b.Err)
	}
	r.disk.Store(&b)
	if err := r.Kill(); err != nil {
		r.box.log.Error("killing a job above its limit failed", "instance", r.spec.Address.String(), "error", err)
	}
}
