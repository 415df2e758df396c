package pack

import (
	"errors"
	"sync"
	"testing"
)

// Builds that begin at the same moment do not sweep each other's folders away before they are locked.
// Proves: AD-3
func TestBuildsThatBeginTogetherLeaveEachOtherAlone(t *testing.T) {
	s := store(t.TempDir())
	var group sync.WaitGroup
	failed := make(chan error, 8)
	for range cap(failed) {
		group.Go(func() {
			var all error
			for range 50 {
				err := s.prepare()
				if err == nil {
					var made *stage
					if made, err = s.stage(); err == nil {
						if _, err = made.mkdir("work"); err == nil {
							err = made.remove()
						}
					}
				}
				all = errors.Join(all, err)
			}
			failed <- all
		})
	}
	group.Wait()
	close(failed)
	for err := range failed {
		if err != nil {
			t.Error(err)
		}
	}
}
