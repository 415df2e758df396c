package sandbox

// Prioritised is a Runner that can be made to go behind its neighbours of the same lane (LN-7). A host without control groups has none.
type Prioritised interface {
	// SetLowered lowers the runner's weight to the least, or gives it back what it had. It may be called from any goroutine.
	SetLowered(lowered bool) error
}
