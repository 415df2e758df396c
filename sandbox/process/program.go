package process

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/psx"
)

// Program is code of this binary that stage two goes on as, behind all walls, instead of executing a file: nothing of the
// host has to be bound for it, no exec is possible at all, and its start costs no second process image (SB-L2).
type Program struct {
	Name string // Argv[0] of the spec; begins with sandbox.ProgramPrefix
	// Load runs behind all walls, with a filter that still lets it open what is bound, connect to its socket and make
	// executable pages. What it returns runs afterwards, when even that is over (see programGroups), and its result is the
	// exit status. Start fails with Load's error; where that is a *sandbox.Error, with its reason.
	Load func(args, env []string) (run func() int, err error)
	// Stores leaves the first filter in force while the program runs and lets it make files: for one-shot jobs with a
	// Writable.
	Stores bool
}

// builtIn are the programs that Init was given.
var builtIn []Program

func builtInProgram(argv []string) (Program, bool) {
	if len(argv) == 0 {
		return Program{}, false
	}
	i := slices.IndexFunc(builtIn, func(p Program) bool { return p.Name == argv[0] })
	if i < 0 {
		return Program{}, false
	}
	return builtIn[i], true
}

// become goes on as a built-in program. It returns only on failure.
func become(p Program, o orders, status *os.File, ready report) error {
	if err := setProgramRlimits(o); err != nil {
		return err
	}
	// A process can have one listener, and a refusal of the first filter would win over what the second one counts. So the first one has no
	// listener, and hands on what is counted: the kernel refuses that with ENOSYS until the second one's listener is there.
	first, count := loadingGroups, retCount
	if p.Stores {
		first, count = storingGroups, retRefuse
	}
	if _, err := loadSeccomp(first, count, 0); err != nil {
		return err
	}
	run, err := p.Load(o.Argv[1:], o.Env)
	if err != nil {
		return err
	}
	listener := -1
	if !p.Stores {
		if listener, ready.Uncounted, err = loadCounting(programGroups); err != nil {
			return err
		}
	}
	if err := tell(status, ready, listener); err != nil {
		return err
	}
	if err := limit([]rlimit{openFiles(o)}); err != nil {
		return err
	}
	// The supervisor waits for the end of this pipe, as an exec would bring it.
	if err := status.Close(); err != nil {
		return step("end the start", "", err)
	}
	runtime.UnlockOSThread()
	os.Exit(run())
	return nil
}

// dropOnEveryThread repeats for all threads of this process what dropPrivileges did for the one that an exec would leave.
// New threads are made by those that exist, so they have no more. Landlock and seccomp see to the other threads themselves, and each sets
// no_new_privs on them (seccomp's TSYNC does); the kernel clears the ambient capabilities with the permitted ones. A signal to
// every thread takes long where processors are busy: a start beside two of them spent 90 ms on five of these.
// The bounding set is left to the first thread: it only limits what an exec may bring, and there is none.
func dropOnEveryThread() error {
	none := [2]unix.CapUserData{}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	_, _, errno := psx.Syscall3(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&none[0])), 0)
	if errno != 0 {
		return step("drop all capabilities on every thread", "", errno)
	}
	runtime.KeepAlive(&header)
	runtime.KeepAlive(&none)
	return nil
}

// programReserve is the address space, not memory, that a built-in program gets above its limit: Go reserves arenas of 64 MiB,
// and glibc 8 MiB of stack and up to 128 MiB of heap for each thread. With less, mappings failed at random.
const programReserve = 2 << 30

// setProgramRlimits sets what stands in for missing control groups. Unlike an executed program's, the address space of this
// process holds what Go's runtime has reserved already; the limit counts from there. It is a loose wall: a program that
// stands in for memory limits has to keep its own (the Wasm runner's guests have their pages).
func setProgramRlimits(o orders) error {
	if o.AddressSpace == 0 {
		return nil
	}
	pages, err := reservedPages()
	if err != nil {
		return step("limit address space", "mount /proc on the host", err)
	}
	return limit([]rlimit{{"address space", unix.RLIMIT_AS, o.AddressSpace + programReserve + pages*uint64(os.Getpagesize())}})
}

// reservedPages is the size of this process's address space.
func reservedPages() (uint64, error) {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(text))
	if len(fields) == 0 {
		return 0, errors.New("/proc/self/statm is empty")
	}
	n, err := strconv.ParseUint(fields[0], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("read /proc/self/statm: %w", err)
	}
	return n, nil
}
