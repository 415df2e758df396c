package statedb

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"

	"github.com/msup/msup/ipc"
)

// exportLine is one row as a line of JSON; bytes are hex.
type exportLine struct {
	Row   uint64 `json:"row"`
	Kind  string `json:"kind"`
	Head  string `json:"head"`
	Epoch uint64 `json:"epoch"`

	First  ipc.InputNo `json:"first_input,omitempty"`
	Last   ipc.InputNo `json:"last_input,omitempty"`
	Inputs string      `json:"inputs,omitempty"`

	Key            ipc.Key    `json:"key,omitempty"`
	Step           ipc.Step   `json:"step,omitempty"`
	Ordinal        *uint32    `json:"ordinal,omitempty"`
	Verdict        uint8      `json:"verdict,omitempty"`
	ValidUntilCore *ipc.Nanos `json:"valid_until_core_ns,omitempty"`
	ValidUntilWall *ipc.Nanos `json:"valid_until_wall_ns,omitempty"`
	RequestDigest  string     `json:"request_digest,omitempty"`
	Digest         string     `json:"digest,omitempty"`
	Intent         string     `json:"intent,omitempty"`

	Status string     `json:"status,omitempty"`
	CoreTS *ipc.Nanos `json:"core_ts_ns,omitempty"`
	Reason string     `json:"reason,omitempty"`
}

// Export writes the chain after its anchor as JSON lines, verifying it on the way.
func (in *Instance) Export(w io.Writer) error {
	in.st.mu.Lock()
	start := in.st.anchor.head
	in.st.mu.Unlock()
	bw := bufio.NewWriterSize(w, 1<<16)
	enc := json.NewEncoder(bw)
	err := in.scan(start, func(r *row) error {
		line := exportLine{Row: r.no, Head: r.head.String()}
		if err := line.fill(r); err != nil {
			return chainError(in.st, r.no, "%v", err)
		}
		return enc.Encode(&line)
	})
	if err = both(err, bw.Flush()); err != nil {
		return fmt.Errorf("%s: export: %w", in.st.place(), err)
	}
	return nil
}

func (l *exportLine) fill(r *row) error {
	switch r.kind {
	case kindInputs:
		first, last, epoch, inputs, err := decodeInputs(r.payload)
		l.Kind, l.First, l.Last, l.Epoch, l.Inputs = "inputs", first, last, uint64(epoch), hex.EncodeToString(inputs)
		return err
	case kindIntent:
		v, err := decodeIntent(r.payload)
		l.Kind, l.Key, l.Step, l.Ordinal, l.Verdict, l.Epoch = "intent", v.Key, v.Step, &v.Ordinal, v.Verdict, uint64(v.Epoch)
		l.ValidUntilCore, l.ValidUntilWall = &v.ValidUntilCore, &v.ValidUntilWall
		l.RequestDigest, l.Digest, l.Intent = v.RequestDigest.String(), v.Digest.String(), hex.EncodeToString(v.Bytes)
		return err
	case kindStatus:
		v, err := decodeStatus(r.payload)
		l.Kind, l.Key, l.Status, l.CoreTS, l.Reason, l.Epoch = "status", v.Key, v.Status.String(), &v.CoreTS, v.Reason, uint64(v.Epoch)
		return err
	}
	return fmt.Errorf("kind %d", r.kind)
}
