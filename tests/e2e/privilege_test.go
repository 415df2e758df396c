package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/msup/msup/sandbox/privilege"
)

// helper is the process of a program's that keeps root, 0 while there is none.
func (p *program) helper(ts *testscript.TestScript) int {
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", p.cmd.Process.Pid))
	ts.Check(err)
	for _, list := range lists {
		text, err := os.ReadFile(list)
		if err != nil {
			continue // the thread has ended
		}
		for _, child := range strings.Fields(string(text)) {
			argv, err := os.ReadFile(filepath.Join("/proc", child, "cmdline"))
			if err != nil || !strings.HasPrefix(string(argv), "msup-helper\x00") {
				continue
			}
			pid, err := strconv.Atoi(child)
			ts.Check(err)
			return pid
		}
	}
	return 0
}

// doUnprivileged looks at what the kernel says of a program while it runs, as ps or an auditor would.
func doUnprivileged(ts *testscript.TestScript, args []string) {
	p := named(ts, args[0])
	all, err := privilege.Threads(p.cmd.Process.Pid)
	ts.Check(err)
	if len(all) < 2 {
		ts.Fatalf("only %d threads of the supervisor were looked at", len(all))
	}
	u := privilege.User{UID: privilege.DefaultID, GID: privilege.DefaultID}
	for _, s := range all {
		if err := s.Unprivileged(u); err != nil {
			ts.Fatalf("the supervisor keeps something of root's: %v", err)
		}
	}
	helper := p.helper(ts)
	if helper == 0 {
		ts.Fatalf("the supervisor has no helper")
	}
	all, err = privilege.Threads(helper)
	ts.Check(err)
	if all[0].UIDs[1] != 0 {
		ts.Fatalf("the helper is user %d", all[0].UIDs[1])
	}
}

func doKillHelper(ts *testscript.TestScript, args []string) {
	p := named(ts, args[0])
	helper := p.helper(ts)
	if helper == 0 {
		ts.Fatalf("the supervisor has no helper")
	}
	p.helpless = true
	ts.Check(syscall.Kill(helper, syscall.SIGKILL))
}
