package container

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"syscall"

	"github.com/msup/msup/sandbox"
)

// tryUserNamespace starts one process in a user namespace of its own: the host's switches for it are many.
func tryUserNamespace(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, "/bin/true")
	if path, err := exec.LookPath("true"); err == nil {
		cmd.Path = path
	}
	cmd.Env = []string{"PATH=/usr/bin:/bin"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 1}}}
	err := cmd.Run()
	if err == nil || ctx.Err() != nil {
		return ctx.Err()
	}
	remedy := "use a kernel with CONFIG_USER_NS, and let its security module allow it"
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EUSERS) {
		remedy = "sysctl -w user.max_user_namespaces=15000"
	}
	return &sandbox.Error{Reason: sandbox.ReasonSetupFailed, Op: "try a user namespace",
		Err: fmt.Errorf("this host gives none, and containers without one are no wall: %w", err), Remedy: remedy}
}
