package process

import "github.com/msup/msup/sandbox/userid"

// The user ids that runners get under root lie above those of containers and of systemd-nspawn (524288 to 1879048191).
const (
	firstUID = 1_879_048_192
	uidCount = 65_536
)

func userIDs(file string) userid.Pool {
	return userid.Pool{File: file, First: firstUID, Each: 1, Slots: uidCount}
}
