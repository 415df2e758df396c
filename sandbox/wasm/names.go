package wasm

// customSection judges the name section, the only custom one that the runtime reads: by default it allocates by the number
// of names that is announced. Every other custom section is passed over.
func (m *inspection) customSection(c *cursor) {
	size := len(c.b)
	name := c.name()
	if c.err != nil {
		return
	}
	if name != "name" {
		c.b = nil
		return
	}
	c.section = "name section"
	if m.named || size > maxNameSection {
		c.fail("build it with strip = true in the release profile", "it comes twice, or has %d bytes of at most %d", size, maxNameSection)
		return
	}
	m.named = true
	for len(c.b) > 0 && c.err == nil {
		id, n := c.byte(), c.u32()
		switch id {
		case 1:
			c.within(n, "names of functions", func(part *cursor) { part.nameMap(maxFunctions+maxImports, new(uint32)) })
		case 2:
			c.within(n, "names of locals", localNames)
		default:
			c.take(n)
		}
	}
}

// nameMap skips a list of numbered names; total counts over several lists.
func (c *cursor) nameMap(limit uint32, total *uint32) {
	n := c.count("names", limit, 2)
	if *total += n; *total > limit {
		c.fail("build it with strip = true in the release profile", "it has more than %d names", limit)
		return
	}
	for range n {
		c.u32()
		c.name()
		if c.err != nil {
			return
		}
	}
}

func localNames(c *cursor) {
	total := uint32(0)
	for range c.count("functions with names of locals", maxFunctions+maxImports, 2) {
		c.u32()
		c.nameMap(maxLocalNames, &total)
		if c.err != nil {
			return
		}
	}
}
