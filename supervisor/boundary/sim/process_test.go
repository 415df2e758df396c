package sim

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/msup/msup/ipc"
	"github.com/msup/msup/supervisor/boundary/execution"
)

// process is a sim in a process of its own.
type process struct {
	cmd *exec.Cmd
	err *bytes.Buffer
}

func start(t *testing.T, dir string, env ...string) *process {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{cmd: exec.Command(self), err: &bytes.Buffer{}}
	p.cmd.Env = append(append(os.Environ(), simChild+"="+dir), env...)
	p.cmd.Stderr = p.err
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if p.cmd.ProcessState == nil {
			_ = p.cmd.Process.Kill()
			_ = p.cmd.Wait()
		}
	})
	return p
}

// dialWhenUp dials until the sim listens.
func dialWhenUp(t *testing.T, ctx context.Context, dir string) *execution.Client {
	t.Helper()
	for {
		c, err := execution.Dial(ctx, filepath.Join(dir, "i.sock"), execution.Options{Logger: quiet})
		if err == nil {
			return c
		}
		if ctx.Err() != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// A sim that is killed after an offer is durable and before its status is told answers the same key, after its restart, as if nothing
// had happened: one fill, the status, no second order.
// Proves: GT-6, NN-6, DOD-6
func TestKillBetweenOfferAndStatus_GT6(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for killAt := 2; killAt <= 4; killAt++ { // the first commit is the hello's
		dir := t.TempDir()
		p := start(t, dir, simChild+"_KILL_AT="+strconv.Itoa(killAt))
		r := &rig{t: t, dir: dir, socket: filepath.Join(dir, "i.sock"), epoch: 1, bg: ctx, notes: &notes{}}
		r.client = dialWhenUp(t, ctx, dir)
		if _, err := r.client.Hello(ctx, r.announcement(), r.notes); err != nil {
			t.Fatal(err)
		}
		r.quote("99", "101")
		offers := []*ipc.Offer{r.makeOffer(address, "k1", newOrder(buy, market, "1", "")), r.makeOffer(address, "k2", newOrder(buy, limit, "2", "100")),
			r.makeOffer(address, "k3", newOrder(sell, market, "0.5", ""))}
		told := 0
		for _, o := range offers {
			if _, err := r.client.Offer(o); err != nil {
				break
			}
			if err := r.client.Sync(ctx); err != nil {
				break
			}
			told++
		}
		<-r.client.Done()
		if !errors.Is(r.client.Err(), execution.ErrDisconnected) {
			t.Errorf("the client ends with %v", r.client.Err())
		}
		_ = r.client.Close()
		if err := p.cmd.Wait(); err == nil || p.cmd.ProcessState.ExitCode() != -1 {
			t.Fatalf("the sim ended with %v: %s", err, p.err)
		}
		if told != killAt-2 {
			t.Fatalf("killed at commit %d, %d offers were answered", killAt, told)
		}

		q := start(t, dir, simChild+"_IDLE=1")
		r.client, r.notes = dialWhenUp(t, ctx, dir), &notes{}
		w, err := r.client.Hello(ctx, r.announcement(), r.notes)
		if err != nil || w.LastStep != ipc.Step(killAt-1) {
			t.Fatalf("welcome %+v %v", w, err)
		}
		for i, o := range offers {
			s, err := r.client.Query(ctx, address, 1, o.Intent.Meta.Key)
			want := ipc.StatusNotSeen
			if i < killAt-1 { // the offer whose status was never told is known
				want = ipc.StatusCommitted
			}
			if err != nil || s.Status != want {
				t.Errorf("killed at commit %d, query of offer %d: %+v %v, want %s", killAt, i+1, s, err, want)
			}
		}
		r.quote("99", "101")
		for _, o := range offers { // M offers again what it has no status for, and more
			if _, err := r.client.Offer(o); err != nil {
				t.Fatal(err)
			}
		}
		r.sync()
		r.want(r.snapshot(), "5 snapshot X=0.5 open @k2 2")
		if err := r.client.Close(); err != nil {
			t.Fatal(err)
		}
		if err := q.cmd.Wait(); err != nil {
			t.Errorf("with nobody left the sim ended with %v: %s", err, q.err)
		}
	}
}

// Proves: BC-I
func TestStateDirectoryHasOneUser_BCI(t *testing.T) {
	r := newRig(t)
	ln, err := Listen(filepath.Join(r.dir, "second.sock"))
	if err != nil {
		t.Fatal(err)
	}
	if err := Serve(r.bg, ln, Options{Dir: filepath.Join(r.dir, "state"), Logger: quiet}); err == nil || !strings.Contains(err.Error(), "in use by another process") {
		t.Errorf("a second sim on one state directory: %v", err)
	}
}

// Proves: BC-I
func TestListenNamesWhatIsInTheWay_BCI(t *testing.T) {
	r := newRig(t)
	if _, err := Listen(r.socket); err == nil || !strings.Contains(err.Error(), "another process listens") {
		t.Errorf("a socket in use: %v", err)
	}
	if _, err := Listen("/" + strings.Repeat("x", 120)); err == nil || !strings.Contains(err.Error(), "shorter directory") {
		t.Errorf("a path too long: %v", err)
	}
	if _, err := execution.Dial(r.bg, "/"+strings.Repeat("x", 120), execution.Options{}); err == nil || !strings.Contains(err.Error(), "shorter directory") {
		t.Errorf("dialling a path too long: %v", err)
	}
	file := filepath.Join(r.dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(file); err == nil || !strings.Contains(err.Error(), "no socket") {
		t.Errorf("a file: %v", err)
	}
	if stat, err := os.Stat(r.socket); err != nil || stat.Mode().Perm() != 0o600 {
		t.Errorf("the socket has mode %v %v", stat.Mode(), err)
	}
}

// A damaged state is refused with what to do, never read half.
// Proves: BC-I
func TestDamagedStateIsRefused_BCI(t *testing.T) {
	r := newRig(t)
	r.quote("99", "101")
	r.offer("a", newOrder(buy, market, "1", ""))
	r.halt()
	path := filepath.Join(r.dir, "state", databaseName)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < 100; i++ {
		b[i] ^= 0xff
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	ln, err := Listen(r.socket)
	if err != nil {
		t.Fatal(err)
	}
	if err := Serve(r.bg, ln, Options{Dir: filepath.Join(r.dir, "state"), Logger: quiet}); err == nil || !strings.Contains(err.Error(), "move the directory away") {
		t.Errorf("a damaged state: %v", err)
	}
}
