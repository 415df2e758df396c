package process

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/msup/msup/sandbox"
	"golang.org/x/sys/unix"
)

// stage2Name is argv[0] of stage two, by which Init recognises it; argv[1] is the built-in program that it goes on as, if any.
const stage2Name = "msup-sandbox-stage-two"

// The descriptors that stage two inherits. Detached mounts follow from firstMountFD.
const (
	controlFD    = 3 // read: the orders; stays open so that a hang-up tells that the supervisor died
	statusFD     = 4 // write, a socket: one report, and one more if the last step fails
	firstMountFD = 5
)

// execFD is the descriptor of the program. It lies above the largest OpenFiles limit, so that no descriptor of this
// number can ever be made again: seccomp allows execveat for this number only, and so exec works exactly once.
const execFD = 1000

const maxOrdersBytes = 4 << 20

// mount is one thing that stage two shows inside.
type mount struct {
	Target   string
	Source   string `json:",omitempty"` // opened by stage two when FD is 0 (no privileges)
	FD       int    `json:",omitempty"`
	Dir      bool   `json:",omitempty"`
	Device   bool   `json:",omitempty"`
	NoExec   bool   `json:",omitempty"`
	Writable bool   `json:",omitempty"`
	Exec     bool   `json:",omitempty"` // what is written may be executed: a build job's folder
	Tmpfs    int64  `json:",omitempty"` // bytes of a tmpfs; no Source then
}

// orders are all that stage two knows.
type orders struct {
	Probe         bool // build all walls, report, and exit instead of becoming a program
	BuildJob      bool // the system calls of jobGroups instead of syscallGroups
	Argv, Env     []string
	Dir           string
	Mounts        []mount
	Hostname      string
	TmpBytes      int64
	TmpInodes     int64
	OpenFiles     uint64
	FileSizeBytes uint64
	AddressSpace  uint64 // RLIMIT_AS where no memory control group stands, else 0
	// Processes is RLIMIT_NPROC, which stands from the exec on; 0 leaves it. The control group's ceiling is stage two's, 16, until the supervisor
	// has heard of the exec: a native binary on a busy machine was faster, and had 15 threads under a limit of 3.
	Processes uint64
}

// report is what stage two tells before it becomes the program, or why it cannot.
type report struct {
	OK       bool
	Landlock int    // ABI version that was applied; 0 = the kernel has none
	Proc     string `json:",omitempty"` // why /proc is not there; "" when it is
	// Uncounted is why no descriptor of refused calls comes with the report; "" when one does, or when a job's are not counted.
	Uncounted string             `json:",omitempty"`
	Reason    sandbox.ReasonCode `json:",omitempty"` // of the failure; "" means SANDBOX_SETUP_FAILED
	Op        string             `json:",omitempty"`
	Err       string             `json:",omitempty"`
	Remedy    string             `json:",omitempty"`
}

func writeOrders(w io.Writer, o orders) error {
	body, err := json.Marshal(o)
	if err != nil {
		return fmt.Errorf("encode orders: %w", err)
	}
	if len(body) > maxOrdersBytes {
		return fmt.Errorf("arguments, environment and binds take %d bytes, at most %d are possible", len(body), maxOrdersBytes)
	}
	_, err = w.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...))
	if err != nil {
		if errors.Is(err, unix.EPIPE) { // who reads them has ended
			err = fmt.Errorf("%w: it may be %w", err, sandbox.ErrLost)
		}
		return fmt.Errorf("write orders: %w", err)
	}
	return nil
}

func readOrders(r io.Reader) (orders, error) {
	var o orders
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return o, fmt.Errorf("read orders: %w", err)
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > maxOrdersBytes {
		return o, fmt.Errorf("read orders: %d bytes, at most %d", n, maxOrdersBytes)
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(r, body); err != nil {
		return o, fmt.Errorf("read orders: %w", err)
	}
	if err := json.Unmarshal(body, &o); err != nil {
		return o, fmt.Errorf("decode orders: %w", err)
	}
	return o, nil
}
