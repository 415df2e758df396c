package supervisor

import (
	"errors"
	"net"
	"testing"

	"github.com/msup/msup/ipc"
)

// A poke that comes between the question and the wait for its answer is not lost: a halt must not wait for a hung strategy.
// Proves: BP-3
func TestPokeBeforeAwait(t *testing.T) {
	ours, theirs := net.Pipe()
	defer ours.Close()   //nolint:errcheck // a pipe
	defer theirs.Close() //nolint:errcheck // a pipe
	s := &Session{conn: ipc.NewConn(ours, ipc.FromRunner)}
	s.Poke()
	if _, err := s.Await(); !errors.Is(err, ErrPoked) {
		t.Fatalf("the poke was lost: %v", err)
	}
	// The wait after it is an ordinary one.
	go func() {
		if err := ipc.NewConn(theirs, ipc.FromAnyone).Send(&ipc.Answer{Seq: 0, Step: 3}); err != nil {
			t.Error(err)
		}
	}()
	if a, err := s.Await(); err != nil || a.Step != 3 {
		t.Fatalf("%+v, %v", a, err)
	}
}
