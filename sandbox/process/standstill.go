package process

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/elastic/go-seccomp-bpf/arch"
)

// maxTold bounds what an error says of a process that may have any number of threads.
const maxTold = 16

// standstill says what each thread of a process waits for, as far as the kernel tells: its state, where in the kernel it sleeps, and in which
// system call. It is for the error of a start that came to nothing, which is rare and whose cause is gone with the process.
func standstill(pid int) string {
	dir := fmt.Sprintf("/proc/%d/task", pid)
	tasks, err := os.ReadDir(dir)
	if err != nil {
		return "its process has ended"
	}
	var told []string
	for _, task := range tasks[:min(len(tasks), maxTold)] {
		told = append(told, standstillOf(filepath.Join(dir, task.Name())))
	}
	if more := len(tasks) - len(told); more > 0 {
		told = append(told, fmt.Sprintf("%d more", more))
	}
	return "its threads: " + strings.Join(told, ", ")
}

// standstillOf is such as "S in do_sys_poll (poll)". What cannot be read, as in another user's process, is left out.
func standstillOf(task string) string {
	read := func(name string) string {
		text, err := os.ReadFile(filepath.Join(task, name))
		if err != nil {
			return ""
		}
		return strings.TrimSpace(string(text))
	}
	said := "?"
	if stat := read("stat"); stat != "" { // the name before it may hold anything but is in parentheses
		if _, rest, found := strings.Cut(stat[strings.LastIndexByte(stat, ')')+1:], " "); found && rest != "" {
			said = rest[:1]
		}
	}
	if at := read("wchan"); at != "" && at != "0" {
		said += " in " + at
	}
	var nr int
	if _, err := fmt.Sscanf(read("syscall"), "%d", &nr); err != nil || nr < 0 {
		return said // it is running, or is not to be looked at, or stands at no call
	}
	if info, err := arch.GetInfo(runtime.GOARCH); err == nil && info.SyscallNumbers[nr] != "" {
		return said + " (" + info.SyscallNumbers[nr] + ")"
	}
	return said + fmt.Sprintf(" (system call %d)", nr)
}
