package crash

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	noteStatus     = 1     // NT_PRSTATUS
	noteSystemCall = 0x404 // NT_ARM_SYSTEM_CALL: the number of the call, which no general register holds
)

// skipCall keeps the kernel from making the call that a thread has entered.
func skipCall(tid int) error {
	number := int32(-1)
	iov := unix.Iovec{Base: (*byte)(unsafe.Pointer(&number)), Len: uint64(unsafe.Sizeof(number))}
	return regset(unix.PTRACE_SETREGSET, tid, noteSystemCall, &iov)
}

// setResult makes a call fail.
func setResult(tid int, errno syscall.Errno) error {
	var regs unix.PtraceRegs
	iov := unix.Iovec{Base: (*byte)(unsafe.Pointer(&regs)), Len: uint64(unsafe.Sizeof(regs))}
	if err := regset(unix.PTRACE_GETREGSET, tid, noteStatus, &iov); err != nil {
		return err
	}
	regs.Regs[0] = uint64(-int64(errno))
	return regset(unix.PTRACE_SETREGSET, tid, noteStatus, &iov)
}

func regset(request, tid, note int, iov *unix.Iovec) error {
	_, _, errno := unix.RawSyscall6(unix.SYS_PTRACE, uintptr(request), uintptr(tid), uintptr(note), uintptr(unsafe.Pointer(iov)), 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}
