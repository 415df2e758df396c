package privilege

import (
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// dropEnv makes the test binary give up root and tell what is left.
const dropEnv = "MSUP_PRIVILEGE_DROP"

// left is what a process that gave up root can still do.
type left struct {
	Threads []Status
	Back    string // what the kernel said to setresuid(0, 0, 0)
	Read    string // … to opening a file of root's
	Opened  string // what a descriptor from before reads
}

func TestMain(m *testing.M) {
	if os.Getenv(dropEnv) != "" {
		if err := dropAndTell(os.Getenv(dropEnv)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func dropAndTell(secret string) error {
	before, err := os.Open(secret)
	if err != nil {
		return err
	}
	var ready, idle sync.WaitGroup
	hold := make(chan struct{})
	for range 8 { // threads from before, which have to lose their rights, too
		ready.Add(1)
		idle.Go(func() {
			ready.Done()
			var b [1]byte
			_, _ = unix.Read(-1, b[:])
			<-hold
		})
	}
	ready.Wait()
	if err := Drop(User{UID: DefaultID, GID: DefaultID}); err != nil {
		return err
	}
	close(hold)
	idle.Wait()
	var l left
	if l.Threads, err = Threads(0); err != nil {
		return err
	}
	l.Back = fmt.Sprint(unix.Setresuid(0, 0, 0))
	_, err = os.Open(secret)
	l.Read = fmt.Sprint(err)
	b := make([]byte, 16)
	n, err := before.Read(b)
	if err != nil {
		return err
	}
	l.Opened = string(b[:n])
	return json.NewEncoder(os.Stdout).Encode(l)
}
