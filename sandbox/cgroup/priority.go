package cgroup

import "fmt"

// A lowered group has a tenth of a new group's weight: its neighbours of the same lane go first, and it still goes before the compute lane, which
// as a whole has a hundredth (LN-7).
const (
	sharesUsual, sharesLowered = "1024", "102" // v1
	weightUsual, weightLowered = "100", "10"   // v2
)

// SetLowered lowers the group's weight against its neighbours, or gives it back what a new group has.
func (g *Group) SetLowered(lowered bool) error {
	dir, ok := g.dirs[cpu]
	if !ok {
		return fmt.Errorf("no cpu controller: msup doctor says why")
	}
	file, value := "cpu.shares", sharesUsual
	if lowered {
		value = sharesLowered
	}
	if dir == g.unified {
		if file, value = "cpu.weight", weightUsual; lowered {
			value = weightLowered
		}
	}
	return write(dir, file, value)
}
