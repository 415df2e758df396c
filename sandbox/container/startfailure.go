package container

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/msup/msup/sandbox"
)

// startFailure says what a failed start means: what the operator can do about it, or that it was struck from outside and is worth another attempt.
func (r *runner) startFailure(err error) error {
	usage, uerr := r.group.Usage()
	return startFailure(err, r.spec, uerr == nil && usage.OOMKills > 0)
}

// A start asks shim and runc, programs that may be killed at any of their instructions and then have as many words for it as they have places where
// they notice: a list of those words was one short in every campaign of kills. So what is not known as a fault of the strategy or the host is taken
// for such a blow. One that is none comes again at every attempt, and the ceiling of restarts ends it.
func startFailure(err error, spec sandbox.Spec, outOfMemory bool) error {
	op := "start " + spec.Address.String()
	if outOfMemory {
		return &sandbox.Error{Reason: sandbox.ReasonSetupOOM, Op: op, Remedy: "raise the memory limit",
			Err: fmt.Errorf("the kernel killed runc's init: it needs more than %d bytes: %w", spec.Limits.MemoryBytes, err)}
	}
	remedy := startRemedy(err.Error(), spec)
	if remedy != "" {
		err = &sandbox.Error{Reason: sandbox.ReasonSetupFailed, Op: op, Err: err, Remedy: remedy}
	}
	var known *sandbox.Error
	switch text := err.Error(); {
	case strings.Contains(text, "signal: killed"), strings.Contains(text, "no such process"): // whatever else it says
	case errors.As(err, &known), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded), strings.Contains(text, "DeadlineExceeded"):
		return err
	}
	return fmt.Errorf("%w; it was %w", err, sandbox.ErrLost)
}

// startRemedy knows the words of runc, which containerd hands on as text; "" where it does not.
func startRemedy(text string, spec sandbox.Spec) string {
	has := func(parts ...string) bool {
		for _, p := range parts {
			if strings.Contains(text, p) {
				return true
			}
		}
		return false
	}
	switch {
	case has("executable file not found", `exec: "`):
		return "the container's files do not hold " + spec.Argv[0] + " as a program: use an image with that interpreter, or bind it"
	case has("exec of the program failed") && has("no such file"):
		return "the container's files lack the loader or interpreter that " + spec.Argv[0] + " names: use a complete image, or bind it"
	case has("exec format error"):
		return spec.Argv[0] + " is for another architecture, or a script: name a program for " + machine()
	case has("mkdir ") && has("chdir", "cwd"), spec.Dir != "" && has(spec.Dir):
		return "the working directory " + spec.Dir + " must exist inside"
	case has("seccomp") && has("notify", "listener"):
		return "use runc 1.1 or later, built with libseccomp 2.5 or later"
	case has("cgroup"):
		return "see msup doctor for the control groups of this host"
	case has("no such file or directory") && has("containerd-shim"):
		return "install containerd-shim-runc-v2 beside containerd"
	case has("user namespace", "clone"), has("nsexec"):
		return "see msup doctor for user namespaces; sysctl user.max_user_namespaces must not be 0"
	}
	return ""
}
