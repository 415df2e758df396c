package feed

import (
	"bytes"
	"fmt"
	"sync/atomic"

	"github.com/msup/msup/ipc"
)

// discard counts bytes that nobody asks for.
type discard = atomic.Int64

// splitFields splits a line without quotes at its commas; what exceeds the capacity of into comes as one more field.
func splitFields(line []byte, into [][]byte) [][]byte {
	for {
		i := bytes.IndexByte(line, ',')
		if i < 0 || len(into) == cap(into)-1 {
			return append(into, line)
		}
		into = append(into, line[:i])
		line = line[i+1:]
	}
}

// parseUint reads decimal digits, at most 18 of them.
func parseUint(b []byte) (uint64, bool) {
	if len(b) == 0 || len(b) > 18 {
		return 0, false
	}
	var n uint64
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + uint64(c-'0')
	}
	return n, true
}

// decimal reads a required number.
func decimal(b []byte, into *ipc.Decimal) error {
	d, err := ipc.ParseDecimalBytes(b)
	if err != nil {
		return err
	}
	*into = d
	return nil
}

// cell reads a number that may be missing: an empty cell leaves the pointer nil.
func cell(b []byte, space *ipc.Decimal, into **ipc.Decimal) error {
	if len(b) == 0 {
		return nil
	}
	if err := decimal(b, space); err != nil {
		return err
	}
	*into = space
	return nil
}

func columns(want string, got int) error {
	return refuse("the row must be "+want, "%d columns", got)
}

// clip shortens what an error quotes.
func clip(b []byte) string {
	const most = 64
	if len(b) > most {
		return fmt.Sprintf("%s…(%d bytes)", b[:most], len(b))
	}
	return string(b)
}

// firstError keeps an error to one line where several numbers of a row are bad.
func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
