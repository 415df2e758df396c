package container

import "github.com/msup/msup/sandbox/userid"

// Each runner has 65,536 user ids of its own. They lie above those of the process sandbox (0x70000000 to 0x7000ffff) and
// of systemd-nspawn, and below 2^31, beyond which some programs take an id for a negative number.
const (
	rangeSize  = 65_536
	firstRange = 0x7001_0000
	rangeCount = 4_094
)

// innerID is the user and group id that a strategy sees. Id 0 exists inside, for runc's set-up; nobody is it later.
const innerID = 1000

func userIDs(file string) userid.Pool {
	return userid.Pool{File: file, First: firstRange, Each: rangeSize, Slots: rangeCount}
}
