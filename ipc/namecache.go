package ipc

// nameCache hands out one string for equal bytes that come again and again. It is direct-mapped and never grows: a peer
// that sends ever new strings only wins the allocation that it would have caused anyway.
type nameCache [64]string

// maxCachedName keeps what a hostile peer can pin in the cache small.
const maxCachedName = 64

func (c *nameCache) get(b []byte) string {
	switch {
	case len(b) == 0:
		return ""
	case c == nil || len(b) > maxCachedName:
		return string(b)
	}
	h := uint32(2166136261) // FNV-1a
	for _, x := range b {
		h = (h ^ uint32(x)) * 16777619
	}
	slot := &c[h%uint32(len(c))]
	if *slot != string(b) {
		*slot = string(b)
	}
	return *slot
}
