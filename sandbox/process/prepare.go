package process

import (
	"errors"
	"fmt"
	"os"

	"github.com/msup/msup/sandbox"
	"github.com/msup/msup/sandbox/folder"
)

// prepare turns a spec into orders and, under root, opens the binds.
func (s *Sandbox) prepare(r *runner, probe bool) (orders, []*os.File, error) {
	spec := r.spec
	o := orders{
		Probe: probe, BuildJob: spec.BuildJob, Argv: spec.Argv, Dir: spec.Dir, Hostname: "msup",
		TmpBytes: spec.Limits.TmpBytes, TmpInodes: spec.Limits.TmpInodes,
		OpenFiles: spec.Limits.OpenFiles, FileSizeBytes: spec.Limits.FileSizeBytes,
		Env: append([]string{}, spec.Env...),
	}
	if o.Dir == "" {
		o.Dir = "/"
	}
	if !s.cgroups.HasMemory() {
		o.AddressSpace = uint64(spec.Limits.MemoryBytes)
	}
	if !s.cgroups.HasPIDs() {
		o.Processes = uint64(spec.Limits.PIDs)
	} else if s.root { // a user id of its own, so what is counted is the runner's alone
		o.Processes = uint64(spec.Limits.PIDs) + 1 // so that the control group is the first to refuse, which counts it
	}
	if spec.NeedSocket {
		o.Env = append(o.Env, sandbox.SocketEnv+"="+sandbox.SocketPath)
		o.Mounts = append(o.Mounts, mount{Target: sandbox.SocketDir, Source: r.endpoint.Dir(), Dir: true, NoExec: true})
	}
	for _, d := range devices {
		o.Mounts = append(o.Mounts, mount{Target: d, Source: d, Device: true})
	}
	for _, b := range spec.Binds {
		m, ok, err := s.bind(b)
		if err != nil {
			return o, nil, err
		}
		if ok {
			o.Mounts = append(o.Mounts, m)
		}
	}
	for _, w := range spec.Writable {
		if w.Source == "" {
			o.Mounts = append(o.Mounts, mount{Target: w.Target, Dir: true, Tmpfs: w.Bytes})
			continue
		}
		if s.root {
			// From here on the folder belongs to the runner; handBack takes it back whatever happens.
			if err := os.Lchown(w.Source, r.uid, r.uid); err != nil {
				return o, nil, fmt.Errorf("hand %s to the runner: %w", w.Source, err)
			}
		}
		o.Mounts = append(o.Mounts, mount{Target: w.Target, Source: w.Source, Dir: true, Writable: true, Exec: spec.BuildJob})
	}
	sortMounts(o.Mounts)
	if !s.root {
		return o, nil, nil
	}
	var trees []*os.File
	for i, m := range o.Mounts {
		if m.Tmpfs > 0 {
			continue
		}
		fd, err := openTree(m)
		if err != nil {
			return o, trees, s.stepFailed(err)
		}
		trees = append(trees, os.NewFile(uintptr(fd), m.Source))
		o.Mounts[i].FD = firstMountFD + len(trees) - 1
		o.Mounts[i].Source = ""
	}
	return o, trees, nil
}

// stepFailed turns a failed step of this side into the typed error.
func (s *Sandbox) stepFailed(err error) error {
	var failed *stepError
	if errors.As(err, &failed) {
		return &sandbox.Error{Reason: sandbox.ReasonSetupFailed, Op: failed.op, Err: failed.err, Remedy: failed.remedy}
	}
	return err
}

// bind resolves one bind. Under root the runner has a foreign user id.
func (s *Sandbox) bind(b sandbox.Bind) (mount, bool, error) {
	at, ok, err := folder.Resolve(b, s.root)
	if !ok || err != nil {
		return mount{}, false, err
	}
	return mount{Target: at.Target, Source: at.Source, Dir: at.Dir, NoExec: b.NoExec}, true, nil
}

// handBack returns the writable host folders, with all that the job wrote, to the supervisor.
func (r *runner) handBack() error {
	if !r.box.root {
		return nil
	}
	return folder.HandBack(r.spec.Writable)
}
