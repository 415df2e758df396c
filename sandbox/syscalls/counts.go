package syscalls

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
)

// other counts what has no name of its own here, such as a call by the number of another table.
const other = "another call"

// room is more than there are counted names, of all architectures.
const room = 96

// Counts says how often each counted call was refused. It can be compared, and is written as an object of those that were.
type Counts [room]uint32

// index is where each name counts; the order is that of the alphabet, behind the one for everything else.
var index = sync.OnceValue(func() (in struct {
	of    map[string]int
	names []string
}) {
	for _, g := range counted {
		in.names = append(in.names, g.Names...)
	}
	for _, g := range strategy {
		if g.Counted {
			in.names = append(in.names, g.Names...)
		}
	}
	slices.Sort(in.names)
	in.names = slices.Insert(in.names, 0, other)
	in.of = make(map[string]int, len(in.names))
	for i, n := range in.names {
		in.of[n] = i
	}
	return in
})

// Add counts one refusal. A name that is none of the counted ones counts as another call.
func (c *Counts) Add(name string) {
	at := &c[index().of[name]]
	if *at < math.MaxUint32 {
		*at++
	}
}

// Since is what came after an earlier look.
func (c Counts) Since(was Counts) Counts {
	for i := range c {
		c[i] -= min(c[i], was[i])
	}
	return c
}

// Total is the number of refusals.
func (c Counts) Total() (n int64) {
	for _, one := range c {
		n += int64(one)
	}
	return n
}

// Of is how often one call was refused.
func (c Counts) Of(name string) int64 {
	if i, ok := index().of[name]; ok {
		return int64(c[i])
	}
	return 0
}

// mostNamed bounds the text of Names, whatever is tried.
const mostNamed = 4

// Names are the calls that were refused, the most frequent first, and how many more there are: "socket, fork".
func (c Counts) Names() string {
	var at []int
	for i, n := range c {
		if n > 0 {
			at = append(at, i)
		}
	}
	slices.SortStableFunc(at, func(a, b int) int { return int(int64(c[b]) - int64(c[a])) })
	var out []string
	for _, i := range at[:min(len(at), mostNamed)] {
		out = append(out, index().names[i])
	}
	text := strings.Join(out, ", ")
	if more := len(at) - mostNamed; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

// MarshalJSON writes names and numbers.
func (c Counts) MarshalJSON() ([]byte, error) {
	out := map[string]uint32{}
	for i, n := range c {
		if n > 0 {
			out[index().names[i]] = n
		}
	}
	return json.Marshal(out)
}

// UnmarshalJSON takes known names only.
func (c *Counts) UnmarshalJSON(b []byte) error {
	var in map[string]uint32
	if err := json.Unmarshal(b, &in); err != nil {
		return fmt.Errorf("decode refused calls: %w", err)
	}
	*c = Counts{}
	for name, n := range in {
		i, known := index().of[name]
		if !known {
			return fmt.Errorf("decode refused calls: none is called %.32q", name)
		}
		c[i] = n
	}
	return nil
}
