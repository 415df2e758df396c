package statedb

import (
	"bufio"
	"crypto/sha256"
	"database/sql/driver"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/msup/msup/ipc"
)

// exportVersion is that of the portable file: lines of JSON, described in FORMAT.md.
const exportVersion = 1

// portableLine is one line of a portable file; exactly one field is set.
type portableLine struct {
	Begin      *portableBegin      `json:"msup_state,omitempty"`
	Instance   *portableInstance   `json:"instance,omitempty"`
	Row        *portableRow        `json:"row,omitempty"`
	Lease      *portableLease      `json:"lease,omitempty"`
	Checkpoint *portableCheckpoint `json:"checkpoint,omitempty"`
	Complete   *portableComplete   `json:"complete,omitempty"`
	End        *portableEnd        `json:"end,omitempty"`
}

// portableBegin opens the file.
type portableBegin struct {
	Version          int   `json:"version"`
	LedgerSchema     int64 `json:"ledger_schema"`
	CheckpointSchema int64 `json:"checkpoint_schema"`
	Instances        int   `json:"instances"`
}

// portableInstance opens an instance: its identity, and where its chain begins.
type portableInstance struct {
	Number     int64           `json:"number"`
	Bot        ipc.BotID       `json:"bot"`
	Strategy   ipc.StrategyID  `json:"strategy"`
	Instance   ipc.InstanceID  `json:"instance"`
	Lineage    hexBytes        `json:"lineage"`
	Created    ipc.Nanos       `json:"created_ns"`
	Durability uint8           `json:"durability"` // under which it was last persisted
	Anchor     *portableAnchor `json:"anchor,omitempty"`
}

type portableAnchor struct {
	Row        uint64      `json:"row"`
	Input      ipc.InputNo `json:"input_no"`
	Head       hexBytes    `json:"head"`
	KeptCount  int64       `json:"kept_count"`
	KeptDigest hexBytes    `json:"kept_digest"`
}

// portableRow is one row of the ledger; bytes are hex.
type portableRow struct {
	Row   uint64      `json:"row"`
	Kind  string      `json:"kind"`
	Input ipc.InputNo `json:"input_no"` // last input persisted up to this row
	Head  hexBytes    `json:"head"`
	Epoch uint64      `json:"epoch"`

	First  ipc.InputNo `json:"first_input,omitempty"`
	Last   ipc.InputNo `json:"last_input,omitempty"`
	Inputs hexBytes    `json:"inputs,omitempty"`

	Key            ipc.Key   `json:"key,omitempty"`
	Step           ipc.Step  `json:"step,omitempty"`
	Ordinal        uint32    `json:"ordinal,omitempty"`
	Verdict        uint8     `json:"verdict,omitempty"`
	ValidUntilCore ipc.Nanos `json:"valid_until_core_ns,omitempty"`
	ValidUntilWall ipc.Nanos `json:"valid_until_wall_ns,omitempty"`
	RequestDigest  hexBytes  `json:"request_digest,omitempty"`
	Digest         hexBytes  `json:"digest,omitempty"`
	Intent         hexBytes  `json:"intent,omitempty"`

	Status string    `json:"status,omitempty"`
	CoreTS ipc.Nanos `json:"core_ts_ns,omitempty"`
	Reason hexBytes  `json:"reason,omitempty"` // hex: it must come back byte for byte, valid UTF-8 or not
}

type portableLease struct {
	Epoch     ipc.Epoch `json:"epoch"`
	PID       int       `json:"pid"`
	StartTime uint64    `json:"start_time"`
	BootID    string    `json:"boot_id"`
	Nonce     hexBytes  `json:"nonce"`
	WallTS    ipc.Nanos `json:"wall_ns"`
}

type portableCheckpoint struct {
	Slot int    `json:"slot"`
	Body []byte `json:"body"` // base64: it may have 32 MiB
}

// portableComplete closes an instance.
type portableComplete struct {
	Rows int64    `json:"rows"`
	Last uint64   `json:"last_row"`
	Head hexBytes `json:"head"`
}

// portableEnd closes the file: the SHA-256 of all lines before it.
type portableEnd struct {
	Lines  int64    `json:"lines"`
	SHA256 hexBytes `json:"sha256"`
}

// hexBytes are bytes in hex.
type hexBytes []byte

// MarshalText writes hex.
func (b hexBytes) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, b), nil }

// UnmarshalText reads hex.
func (b *hexBytes) UnmarshalText(text []byte) (err error) {
	*b, err = hex.AppendDecode(make([]byte, 0, len(text)/2), text)
	return err
}

func (b hexBytes) digest(what string) (d ipc.Digest, err error) {
	if len(b) != len(d) {
		return d, fmt.Errorf("%s of %d bytes", what, len(b))
	}
	copy(d[:], b)
	return d, nil
}

// portableWriter writes lines and sums them.
type portableWriter struct {
	w     *bufio.Writer
	sum   hash.Hash
	lines int64
}

func (p *portableWriter) line(l *portableLine) error {
	b, err := json.Marshal(l)
	if err != nil {
		return err
	}
	b = append(b, '\n')
	p.sum.Write(b)
	p.lines++
	_, err = p.w.Write(b)
	return err
}

// ExportInfo says what an export wrote.
type ExportInfo struct {
	Instances int
	Rows      int64
	Lines     int64
	SHA256    ipc.Digest // of all lines but the last
	LeftOut   []error    // checkpoint slots that do not count
}

// Export writes every instance as lines of JSON that another machine can read and Import takes back: identity, chain, leases,
// checkpoints. Each chain is verified before its first line; what is damaged is refused, and what has been written by then is no whole file.
func (v *View) Export(w io.Writer) (ExportInfo, error) {
	p := &portableWriter{w: bufio.NewWriterSize(w, 1<<16), sum: sha256.New()}
	info := ExportInfo{Instances: len(v.states)}
	err := p.line(&portableLine{Begin: &portableBegin{Version: exportVersion, LedgerSchema: ledgerSchema.current(),
		CheckpointSchema: checkpointSchema.current(), Instances: len(v.states)}})
	if err != nil {
		return info, fmt.Errorf("export %s: %w", v.Dir(), err)
	}
	for _, st := range v.states {
		rows, left, err := v.exportInstance(p, st)
		info.Rows, info.LeftOut = info.Rows+rows, append(info.LeftOut, left...)
		if err != nil {
			return info, fmt.Errorf("export %s: %w", v.Dir(), err)
		}
	}
	info.Lines = p.lines
	p.sum.Sum(info.SHA256[:0])
	if err := p.line(&portableLine{End: &portableEnd{Lines: info.Lines, SHA256: info.SHA256[:]}}); err != nil {
		return info, fmt.Errorf("export %s: %w", v.Dir(), err)
	}
	if err := p.w.Flush(); err != nil {
		return info, fmt.Errorf("export %s: %w", v.Dir(), err)
	}
	return info, nil
}

// exportInstance writes one instance from one snapshot of the ledger; the slots are read before it, so that it reaches them. A slot that
// does not count is left out and told.
func (v *View) exportInstance(p *portableWriter, known *state) (rows int64, left []error, err error) {
	st := &state{id: known.id, addr: known.addr, lineage: known.lineage, created: known.created}
	stored, unread := v.db.slots.bodies(st)
	if unread != nil {
		left = append(left, unread)
	}
	c, err := v.db.read.acquireLong()
	if err != nil {
		return 0, left, err
	}
	defer v.db.read.releaseLong(c)
	err = c.snapshot(func() error {
		if err := compareTail(c, st, v.marks); err != nil {
			return err
		}
		var mark *markRecord
		if m, ok := v.marks[st.id]; ok {
			mark = &m
		}
		w, err := walk(c, st, mark)
		if err != nil {
			return err
		}
		rows = w.rows
		if err := p.line(&portableLine{Instance: describeInstance(st, w, mark)}); err != nil {
			return err
		}
		if err := errors.Join(p.rows(c, st), p.leases(c, st)); err != nil {
			return err
		}
		problems, err := p.slots(c, st, w, stored)
		if left = append(left, problems...); err != nil {
			return err
		}
		return p.line(&portableLine{Complete: &portableComplete{Rows: rows, Last: w.head.RowNo, Head: w.head.Hash[:]}})
	})
	return rows, left, err
}

// slots writes the slots that count. Where the log alone cannot be gone on from, one must.
func (p *portableWriter) slots(c *conn, st *state, w *walker, stored [2][]byte) (problems []error, err error) {
	written := 0
	for slot, body := range stored {
		if body == nil {
			continue
		}
		cp, err := decodeCheckpoint(st.lineage, body)
		if err == nil {
			err = reachedBy(c, st, w.head.RowNo, &cp)
		}
		if err != nil {
			problems = append(problems, fmt.Errorf("%s: checkpoint slot %d is left out: %w", st.place(), slot, err))
			continue
		}
		written++
		if err := p.line(&portableLine{Checkpoint: &portableCheckpoint{Slot: slot, Body: body}}); err != nil {
			return problems, err
		}
	}
	if written == 0 && w.anchor.lastInput > 0 {
		return problems, &Error{Kind: ErrNoCheckpoint, Place: st.place(), Err: errors.Join(problems...), Remedy: remedyRestore,
			Cause: fmt.Sprintf("the log begins after input %d and no checkpoint reaches it", w.anchor.lastInput)}
	}
	return problems, nil
}

func describeInstance(st *state, w *walker, m *markRecord) *portableInstance {
	out := &portableInstance{Number: st.id, Bot: st.addr.Bot, Strategy: st.addr.Strategy, Instance: st.addr.Instance,
		Lineage: st.lineage[:], Created: st.created}
	if a := w.anchor; a.head.RowNo > 0 {
		out.Anchor = &portableAnchor{Row: a.head.RowNo, Input: a.lastInput, Head: a.head.Hash[:], KeptCount: a.keptCount, KeptDigest: a.keptDigest[:]}
	}
	if m != nil {
		out.Durability = uint8(m.durability)
	}
	return out
}

func (p *portableWriter) rows(c *conn, st *state) error {
	return diskError(c.path, "exporting "+st.place(), c.query(func(v []driver.Value) error {
		r, err := decodeRow(st, v)
		if err != nil {
			return err
		}
		line := portableRow{Row: r.no, Input: r.input, Head: r.head[:]}
		if err := line.fill(&r); err != nil {
			return chainError(st, r.no, "%v", err)
		}
		return p.line(&portableLine{Row: &line})
	}, 7, selectRows, rowID(st.id, 1), rowID(st.id, maxRowNo)))
}

func (p *portableWriter) leases(c *conn, st *state) error {
	return diskError(c.path, "exporting the leases of "+st.place(), c.query(func(v []driver.Value) error {
		l, err := decodeLease(v)
		if err != nil {
			return err
		}
		return p.line(&portableLine{Lease: &portableLease{Epoch: l.Epoch, PID: l.PID, StartTime: l.StartTime, BootID: l.BootID, Nonce: l.Nonce[:], WallTS: l.WallTS}})
	}, 7, selectLeases, rowID(st.id, 0), rowID(st.id, maxRowNo)))
}

func (l *portableRow) fill(r *row) error {
	switch r.kind {
	case kindInputs:
		first, last, epoch, inputs, err := decodeInputs(r.payload)
		l.Kind, l.First, l.Last, l.Epoch, l.Inputs = "inputs", first, last, uint64(epoch), inputs
		return err
	case kindIntent:
		v, err := decodeIntent(r.payload)
		l.Kind, l.Key, l.Step, l.Ordinal, l.Verdict, l.Epoch = "intent", v.Key, v.Step, v.Ordinal, v.Verdict, uint64(v.Epoch)
		l.ValidUntilCore, l.ValidUntilWall = v.ValidUntilCore, v.ValidUntilWall
		l.RequestDigest, l.Digest, l.Intent = v.RequestDigest[:], v.Digest[:], v.Bytes
		return err
	case kindStatus:
		v, err := decodeStatus(r.payload)
		l.Kind, l.Key, l.Status, l.CoreTS, l.Reason, l.Epoch = "status", v.Key, v.Status.String(), v.CoreTS, hexBytes(v.Reason), uint64(v.Epoch)
		return err
	}
	return fmt.Errorf("kind %d", r.kind)
}
