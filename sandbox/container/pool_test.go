package container

import (
	"fmt"
	"testing"
	"time"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/sandbox"
)

// A prepared container becomes exactly the strategy it was made for, with the log of its start, and faster.
//
// Proves: SB-L3
func TestPrepare(t *testing.T) {
	d := engine(t)
	s := open(t, d, nil)
	spec := script(t, "print('hello')\n"+echoCode)
	if err := s.Prepare(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	if err := s.Prepare(t.Context(), spec); err != nil || s.Prepared() != 1 {
		t.Fatalf("%d prepared, %v", s.Prepared(), err)
	}
	lines := make(chan sandbox.LogLine, 10)
	spec.Log = func(l sandbox.LogLine) { lines <- l }
	began := time.Now()
	r := connect(t, s, spec)
	warm := time.Since(began)
	r.say(t, "x")
	if l := <-lines; l.Text != "hello" {
		t.Errorf("line %+v", l)
	}
	if s.Prepared() != 0 {
		t.Errorf("%d prepared", s.Prepared())
	}
	if err := r.Kill(); err != nil {
		t.Fatal(err)
	}
	began = time.Now()
	connect(t, s, script(t, echoCode))
	cold := time.Since(began)
	// The best of some, since the machine has other work.
	for range 3 {
		if err := s.Prepare(t.Context(), spec); err != nil {
			t.Fatal(err)
		}
		began = time.Now()
		next := connect(t, s, spec)
		warm = min(warm, time.Since(began))
		if err := next.Kill(); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("prepared %s, cold %s", warm, cold)
	if warm > cold {
		t.Errorf("a prepared start took %s, a cold one %s", warm, cold)
	}
}

// Another spec is not served by what was prepared; what died while it waited is not used; Close ends what waits.
//
// Proves: SB-L3
func TestPrepareReplaced(t *testing.T) {
	d := engine(t)
	s := open(t, d, nil)
	spec := script(t, echoCode)
	if err := s.Prepare(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	other := spec
	other.Limits.MemoryBytes = 128 << 20
	r := connect(t, s, other)
	r.say(t, "other")
	if s.Prepared() != 0 {
		t.Error("the wrong one still waits")
	}
	if err := r.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := s.Prepare(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	waiting := s.ready[spec.Address.String()]
	s.mu.Unlock()
	if err := waiting.signal(9); err != nil {
		t.Fatal(err)
	}
	wait(t, waiting)
	connect(t, s, spec).say(t, "again")
	spec.Address.Instance = ipc.InstanceID("second")
	if err := s.Prepare(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if left, err := d.Client().Containers(t.Context()); err != nil || len(left) > 0 {
		t.Errorf("containers %v, %v", left, err)
	}
	if err := s.Prepare(t.Context(), spec); err == nil {
		t.Error("a closed sandbox prepares")
	}
}

// With Config.Prepare every running instance has a successor.
//
// Proves: SB-L3
func TestPrepareByItself(t *testing.T) {
	s := open(t, engine(t), func(c *Config) { c.Prepare = true })
	spec := script(t, echoCode)
	for i := range 3 {
		r := connect(t, s, spec)
		r.say(t, fmt.Sprint(i))
		eventually(t, "a successor waits", func() bool { return s.Prepared() == 1 })
		if err := r.Kill(); err != nil {
			t.Fatal(err)
		}
	}
}

// A strategy that tries exec without end is refused, costs the supervisor little, and tells its exits truly.
//
// Proves: SB-L3, SB-3
func TestExecOnce(t *testing.T) {
	s := open(t, engine(t), nil)
	spec := script(t, `
import errno, os
got = set()
for _ in range(1000):
    try:
        os.execv("/usr/bin/python3", ["python3"])
    except OSError as e:
        got.add(e.errno)
print(got == {errno.EPERM})
`)
	spec.NeedSocket = false
	lines := make(chan sandbox.LogLine, 10)
	spec.Log = func(l sandbox.LogLine) { lines <- l }
	r, err := s.Start(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	if e := wait(t, r); e.Cause != sandbox.CauseExited || e.Code != 0 {
		t.Errorf("exit %+v", e)
	}
	if l := <-lines; l.Text != "True" {
		t.Errorf("refused with %q", l.Text)
	}
	for _, code := range []int{128, 129, 137, 139, 255} {
		spec := script(t, fmt.Sprintf("import os; os._exit(%d)", code))
		spec.NeedSocket = false
		r, err := s.Start(t.Context(), spec)
		if err != nil {
			t.Fatal(err)
		}
		if e := wait(t, r); e.Cause != sandbox.CauseExited || e.Code != code || e.Signal != 0 {
			t.Errorf("status %d: %+v", code, e)
		}
	}
}

// A program whose exec fails is a failed start, with runc's words.
//
// Proves: SB-L3
func TestExecFails(t *testing.T) {
	s := open(t, engine(t), nil)
	spec := script(t, "#!/nowhere/interpreter\n")
	spec.NeedSocket = false
	dir := spec.Binds[len(spec.Binds)-1].Source
	makeExecutable(t, dir+"/x.py")
	spec.Argv = []string{"/app/x.py"}
	_, err := s.Start(t.Context(), spec)
	typed(t, err, "exec of the program failed", "/app/x.py", "lack the loader or interpreter")
}

// What was prepared for an instance goes with it: at once when its runner leaves in order, after a while when it was killed and is not started
// again. A start in the meantime takes it.
//
// Proves: SB-L3, SB-2
func TestWhatWasPreparedGoesWithItsInstance(t *testing.T) {
	s := open(t, engine(t), func(c *Config) { c.Prepare, c.Linger = true, time.Hour })
	leaves := script(t, "import os, socket\ns = socket.socket(socket.AF_UNIX)\ns.connect(os.environ['MSUP_SOCKET'])\nf = s.makefile('rw')\nf.write(f.readline())\nf.flush()\nf.readline()\nos._exit(0)")
	r := connect(t, s, leaves)
	r.say(t, "one")
	eventually(t, "a successor waits", func() bool { return s.Prepared() == 1 })
	if _, err := r.conn.Write([]byte("\n")); err != nil {
		t.Fatal(err)
	}
	if e := wait(t, r); e.Code != 0 || e.Cause != sandbox.CauseExited {
		t.Fatalf("exit %+v", e)
	}
	eventually(t, "the successor of one that left in order goes", func() bool { return s.Prepared() == 0 })
	s.cfg.Linger = 2 * time.Second
	spec := script(t, echoCode)
	r = connect(t, s, spec)
	eventually(t, "a successor waits", func() bool { return s.Prepared() == 1 })
	if err := r.Kill(); err != nil {
		t.Fatal(err)
	}
	r = connect(t, s, spec)
	r.say(t, "two")
	eventually(t, "the next successor waits", func() bool { return s.Prepared() == 1 })
	if err := r.Kill(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the successor of one that is not started again goes", func() bool { return s.Prepared() == 0 })
}
