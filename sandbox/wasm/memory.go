package wasm

import (
	"github.com/tetratelabs/wazero/experimental"
	"golang.org/x/sys/unix"
)

// reservedMemory keeps a guest's memory outside of Go's heap: its whole range is reserved at once and the kernel gives pages
// when they are touched. So growing neither copies nor moves (by default every growth doubles the use until the next
// collection), and Go's collector has next to nothing to do.
type reservedMemory struct{ all []byte }

func reserveMemory(_, most uint64) experimental.LinearMemory {
	all, err := unix.Mmap(-1, 0, int(max(most, PageBytes)), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	if err != nil {
		return &reservedMemory{} // Reallocate says so
	}
	return &reservedMemory{all: all}
}

// Reallocate returns the first size bytes; nil where there is no room.
func (m *reservedMemory) Reallocate(size uint64) []byte {
	if size > uint64(len(m.all)) {
		return nil
	}
	return m.all[:size:len(m.all)]
}

// Free returns the range to the kernel. The process ends with its one guest, so a failure has nobody to tell.
func (m *reservedMemory) Free() {
	if m.all != nil {
		_ = unix.Munmap(m.all)
		m.all = nil
	}
}
