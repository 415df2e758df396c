package wasm

import (
	"flag"
	"fmt"
	"testing"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/sandbox"
	w "github.com/msup/msup/sandbox/wasm/wasmtest"
	"github.com/msup/msup/tests/hostile/crowd"
)

var idleInstances = flag.Int("idle", 20, "how many idle modules there are")

// Many modules that have nothing to do stay small, cost no processor, and leave nothing.
//
// Proves: NN-2, SB-L2, SB-2, SB-6
func TestIdleModules(t *testing.T) {
	h := newHost(t)
	c := h.compile(t, act(func(*w.Guest) w.Code { return w.Echo() }))
	first := h.start(t, "first", c) // what a sandbox has from its first runner on is not the crowd's
	first.ask(t)
	t.Log(crowd.Check(t, "Wasm", *idleInstances, crowd.Bounds{MemoryBytes: 32 << 20, SupervisorKiB: 1024, Descriptors: 16, CPU: 0.05},
		func(n int) (*crowd.Member, error) {
			r := &runner{host: h}
			var err error
			if r.Runner, err = h.box.Start(t.Context(), r.spec(fmt.Sprintf("idle%d", n), c)); err != nil {
				return nil, err
			}
			conn, err := r.Conn(t.Context())
			if err != nil {
				return &crowd.Member{Runner: r.Runner, End: r.Kill}, err
			}
			r.conn = ipc.NewConn(conn, ipc.FromRunner)
			return &crowd.Member{Runner: r.Runner,
				Ask: func() error {
					_, err := r.deliver(patience)
					return err
				},
				End: func() error {
					if err := r.conn.Close(); err != nil { // the word to a module that its supervisor is done with it
						return err
					}
					<-r.Done()
					if e := r.Exit(); e.Cause != sandbox.CauseExited || e.Code != 0 {
						return fmt.Errorf("exit %+v", e)
					}
					return r.Kill()
				}}, nil
		}))
}
