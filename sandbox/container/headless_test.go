package container

import (
	"testing"

	"github.com/msup/msup/sandbox"
)

// headlessCode ends its first thread by the system call and leaves others burning.
const headlessCode = `
import ctypes, os, platform, socket, threading
s = socket.socket(socket.AF_UNIX)
s.connect(os.environ["MSUP_SOCKET"])
def burn():
    while True: pass
threading.Thread(target=burn).start()
s.sendall(b"x\n")
ctypes.CDLL(None).syscall(60 if platform.machine() == "x86_64" else 93, 0)
`

// A process whose first thread has ended is not cgroup.kill's to kill; it goes all the same, by Kill and by Reap.
//
// Proves: SB-L3, SB-6
func TestKillHeadless(t *testing.T) {
	d := engine(t)
	s := open(t, d, nil)
	for _, how := range []string{"kill", "group"} {
		r := connect(t, s, script(t, headlessCode))
		if _, err := r.in.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the first thread has ended", func() bool {
			fields, err := statFields(r.PID())
			return err == nil && fields[0] == "Z"
		})
		if how == "kill" {
			if err := r.Kill(); err != nil {
				t.Fatal(err)
			}
			if e := r.Exit(); e.Cause != sandbox.CauseKilled && e.Cause != sandbox.CauseExited {
				t.Errorf("exit %+v", e)
			}
			continue
		}
		own := r.Runner.(*runner)
		if err := own.group.Kill(t.Context()); err != nil {
			t.Fatal(err)
		}
		wait(t, r)
	}
}
