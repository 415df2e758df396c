package sandboxtest

import (
	"io/fs"
	"syscall"
	"time"
)

// ownerOf is the user id that owns a file, -1 where the file system does not tell.
func ownerOf(st fs.FileInfo) int {
	if sys, ok := st.Sys().(*syscall.Stat_t); ok {
		return int(sys.Uid)
	}
	return -1
}

// ownCPU is the processor time this process has used.
func ownCPU(t interface{ Fatal(...any) }) (total time.Duration) {
	var ru syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &ru); err != nil {
		t.Fatal(err)
	}
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
}
