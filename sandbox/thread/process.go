package thread

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/msup/msup/sandbox"
	"github.com/msup/msup/sandbox/syscalls"
	"golang.org/x/sys/unix"
)

// maxReportBytes bounds a line of the process.
const maxReportBytes = 4 << 10

// minConnectTimeout is for the process itself; an instance has its own.
const minConnectTimeout = 30 * time.Second

// sharedProcess is one shared runner process.
type sharedProcess struct {
	box  *Sandbox
	spec sandbox.Spec // of its first instance
	name string

	places int  // taken or reserved; guarded by box.mu
	ending bool // nobody joins any more; guarded by box.mu

	started chan struct{} // closed when failed or inner is set
	failed  error
	inner   sandbox.Runner
	nice    int // of the process when it started; it may stand behind others, as the compute lane does
	niceErr error

	ready   chan struct{} // closed when control is set
	control *net.UnixConn
	sending sync.Mutex

	mu        sync.Mutex
	instances map[uint64]*instance // that have not ended
	lastID    uint64
	dead      bool
	verdict   *verdict
	nobodys   syscalls.Counts // refused while several instances lived
}

// order starts one instance; its socket, stdout and stderr go with it.
type order struct {
	ID      uint64 `json:"id"`
	Address string `json:"address"`
}

// report is what the process says of one instance.
type report struct {
	ID     uint64 `json:"id"`
	Event  string `json:"event"`
	Thread int64  `json:"thread"` // in the process's own pid namespace
	Status uint8  `json:"status"`
	CPUNS  int64  `json:"cpu_ns"`
}

// The events of a report.
const (
	eventBegan     = "began"
	eventConnected = "connected"
	eventEnded     = "ended"
)

// begin starts the process.
func (p *sharedProcess) begin(ctx context.Context) {
	spec := p.box.processSpec(p.spec)
	spec.Log = func(l sandbox.LogLine) {
		p.box.log.Info("a shared process printed", "process", p.name, "stream", l.Stream.String(), "text", l.Text)
	}
	p.inner, p.failed = p.box.cfg.Process.Start(ctx, spec)
	if p.failed != nil {
		p.box.forget(p)
	} else {
		p.nice, p.niceErr = niceOf(p.inner.PID())
		go p.watch()
		go p.listen()
	}
	close(p.started)
}

// close ends the process and waits for its instances.
func (p *sharedProcess) close() error {
	<-p.started
	if p.failed != nil {
		return nil
	}
	p.mu.Lock()
	if p.verdict == nil {
		p.verdict = &verdict{all: true}
	}
	left := make([]*instance, 0, len(p.instances))
	for _, r := range p.instances {
		left = append(left, r)
	}
	p.mu.Unlock()
	err := p.inner.Kill()
	for _, r := range left {
		<-r.done
	}
	return err
}

// listen takes what the process reports, until it ends.
func (p *sharedProcess) listen() {
	err := p.take()
	p.mu.Lock()
	if p.verdict == nil { // an end that nobody asked for: without its reports it is of no use
		p.verdict = &verdict{all: true, why: fmt.Sprintf("its process was killed, because it could not be heard any more: %v", err)}
	}
	p.mu.Unlock()
	if err := p.inner.Kill(); err != nil {
		p.box.log.Error("ending a shared process failed", "instance", p.spec.Address.String(), "process", p.name, "error", err)
	}
}

func (p *sharedProcess) take() error {
	conn, err := p.inner.Conn(context.Background())
	if err != nil {
		return err
	}
	control, ok := conn.(*net.UnixConn)
	if !ok {
		return errors.Join(fmt.Errorf("its connection is a %T", conn), conn.Close())
	}
	p.control = control
	close(p.ready)
	lines := bufio.NewScanner(control)
	lines.Buffer(make([]byte, maxReportBytes), maxReportBytes)
	for lines.Scan() {
		var r report
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			return errors.Join(fmt.Errorf("decode its report: %w", err), control.Close())
		}
		p.mu.Lock()
		i := p.instances[r.ID]
		p.mu.Unlock()
		if i == nil { // it has ended meanwhile
			continue
		}
		switch r.Event {
		case eventBegan:
			i.began(r.Thread)
		case eventConnected:
			i.settle(nil)
		case eventEnded:
			i.left(r)
		default:
			return errors.Join(fmt.Errorf("it reported %.40q", r.Event), control.Close())
		}
	}
	err = lines.Err()
	if err == nil {
		err = errors.New("it closed its connection")
	}
	return errors.Join(err, control.Close())
}

// watch waits for the end of the process, which is that of all its instances.
func (p *sharedProcess) watch() {
	<-p.inner.Done()
	p.box.forget(p)
	exit := p.inner.Exit()
	p.mu.Lock()
	p.dead = true
	left := make([]*instance, 0, len(p.instances))
	for _, r := range p.instances {
		left = append(left, r)
	}
	v := p.verdict
	p.mu.Unlock()
	p.confess(exit.Usage, len(left))
	for _, r := range left {
		go r.finish(func() sandbox.Exit { return r.together(exit, v, len(left)) })
	}
}

// errGone is the answer to who joins a process that has just ended.
var errGone = errors.New("the shared process has ended")

// join makes an instance in a place that was reserved.
func (p *sharedProcess) join(spec sandbox.Spec) (*instance, error) {
	r, given, err := newInstance(p, spec)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	if p.dead {
		p.mu.Unlock()
		return nil, errors.Join(errGone, given.close(), r.discard())
	}
	p.lastID++
	r.id = p.lastID
	p.instances[r.id] = r
	p.mu.Unlock()
	r.pump()
	go p.give(r, given)
	return r, nil
}

// give hands an instance its descriptors once the process listens.
func (p *sharedProcess) give(r *instance, given handed) {
	err := p.send(r, given)
	if err = errors.Join(err, given.close()); err == nil {
		return
	}
	p.kill(&verdict{all: true, why: fmt.Sprintf("its process was killed, because %s could not be handed to it: %v", r.spec.Address, err)})
}

func (p *sharedProcess) send(r *instance, given handed) error {
	select {
	case <-p.ready:
	case <-r.ended:
		return nil
	case <-p.inner.Done():
		return nil
	}
	line, err := json.Marshal(order{r.id, r.spec.Address.String()})
	if err != nil {
		return fmt.Errorf("encode an order: %w", err)
	}
	p.mu.Lock()
	over := r.over
	r.sent = !over
	p.mu.Unlock()
	if over {
		return nil
	}
	p.sending.Lock()
	defer p.sending.Unlock()
	if err := p.control.SetWriteDeadline(time.Now().Add(minConnectTimeout)); err != nil {
		return p.unlessDead(err)
	}
	_, _, err = p.control.WriteMsgUnix(append(line, '\n'), unix.UnixRights(given[:]...), nil)
	return p.unlessDead(err)
}

// unlessDead drops an error of a process whose end is being told anyway.
func (p *sharedProcess) unlessDead(err error) error {
	if err == nil {
		return nil
	}
	select {
	case <-p.inner.Done():
		return nil
	case <-time.After(10 * time.Millisecond): // its connection ends a moment earlier
	}
	return err
}

// leave gives a place back. The last one ends the process.
func (p *sharedProcess) leave(r *instance) error {
	if r != nil {
		p.forgive()
		p.mu.Lock()
		delete(p.instances, r.id)
		p.mu.Unlock()
	}
	p.box.mu.Lock()
	p.places--
	last := p.places == 0
	p.ending = p.ending || last
	p.box.mu.Unlock()
	if !last {
		return nil
	}
	p.box.forget(p)
	<-p.started
	if p.failed != nil {
		return nil
	}
	return p.inner.Kill()
}

// kill ends the process because of what the verdict says; the first verdict stays.
func (p *sharedProcess) kill(v *verdict) {
	p.mu.Lock()
	if p.verdict == nil {
		p.verdict = v
	}
	p.mu.Unlock()
	if err := p.inner.Kill(); err != nil {
		p.box.log.Error("killing a shared process failed", "instance", p.spec.Address.String(), "process", p.name, "error", err)
	}
}

// neighbours is how many instances live in the process.
func (p *sharedProcess) neighbours() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.instances)
}
