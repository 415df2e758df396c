package container

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// pidfdInfo is the kernel's struct pidfd_info in its first form of 64 bytes.
type pidfdInfo struct {
	mask, cgroup  uint64
	pid, tgid, pp uint32
	ids           [8]uint32
	exitCode      int32
}

const (
	ioctlPidfdInfo = 0xc040ff0b // PIDFD_GET_INFO, Linux 6.13
	pidfdInfoExit  = 1 << 3     // PIDFD_INFO_EXIT, Linux 6.15: known once the process has been waited for
)

// pidfdExit asks the kernel how a process ended, which need not be a child.
func pidfdExit(fd int) (status syscall.WaitStatus, known, supported bool) {
	info := pidfdInfo{mask: pidfdInfoExit}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), ioctlPidfdInfo, uintptr(unsafe.Pointer(&info)))
	if errno != 0 { // an older kernel, or one without the exit part when the process is gone
		return 0, false, false
	}
	return syscall.WaitStatus(info.exitCode), info.mask&pidfdInfoExit != 0, true
}
