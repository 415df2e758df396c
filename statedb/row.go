package statedb

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/crc32"

	"github.com/msup/msup/ipc"
)

// Kinds of rows in the chain. Values are fixed for ever.
const (
	kindInputs = 1
	kindIntent = 2
	kindStatus = 3
)

const (
	intentHeaderBytes = 16 + 8 + 4 + 1 + 8 + 8 + 8 + 32 + 32 // without the intent itself
	statusHeaderBytes = 16 + 1 + 8 + 8                       // without the reason
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// chainStart is the head before the first row.
func chainStart(l ipc.Lineage) ipc.Digest {
	return sha256.Sum256(append([]byte("msup/1"), l[:]...))
}

// chainNext is the head after one more row.
func chainNext(prev ipc.Digest, rowNo uint64, kind uint8, payload []byte) ipc.Digest {
	var head [32 + 8 + 1]byte
	copy(head[:], prev[:])
	binary.BigEndian.PutUint64(head[32:], rowNo)
	head[40] = kind
	h := sha256.New()
	h.Write(head[:])
	h.Write(payload)
	var d ipc.Digest
	h.Sum(d[:0])
	return d
}

// row is one row of the ledger as stored.
type row struct {
	no      uint64
	kind    uint8
	input   ipc.InputNo // last input persisted up to and including this row
	payload []byte
	head    ipc.Digest
	crc     uint32
	ikey    []byte // of intents: instance number and key, for the unique index
}

// rowID packs the instance number and the row number into SQLite's rowid, so that the rows of one instance lie together, in order,
// in a table B-tree (which keeps payloads up to a page in place; a WITHOUT ROWID table spills above a quarter of a page).
func rowID(instance int64, rowNo uint64) int64 { return instance<<40 | int64(rowNo) }

// sum covers everything of the row that the chain does not.
func (r *row) sum(instance int64) uint32 {
	var b [8 + 1 + 8 + 32]byte
	binary.BigEndian.PutUint64(b[:], uint64(rowID(instance, r.no)))
	b[8] = r.kind
	binary.BigEndian.PutUint64(b[9:], uint64(r.input))
	copy(b[17:], r.head[:])
	c := crc32.Update(0, castagnoli, b[:])
	c = crc32.Update(c, castagnoli, r.ikey)
	return crc32.Update(c, castagnoli, r.payload)
}

func appendInputs(b []byte, first, last ipc.InputNo, epoch ipc.Epoch, inputs []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(first))
	b = binary.BigEndian.AppendUint64(b, uint64(last))
	b = binary.BigEndian.AppendUint64(b, uint64(epoch))
	return append(b, inputs...)
}

func decodeInputs(p []byte) (first, last ipc.InputNo, epoch ipc.Epoch, inputs []byte, err error) {
	if len(p) < inputsHeaderBytes {
		return 0, 0, 0, nil, fmt.Errorf("inputs payload of %d bytes, at least %d expected", len(p), inputsHeaderBytes)
	}
	first = ipc.InputNo(binary.BigEndian.Uint64(p))
	last = ipc.InputNo(binary.BigEndian.Uint64(p[8:]))
	if first == 0 || last < first {
		return 0, 0, 0, nil, fmt.Errorf("inputs %d to %d", first, last)
	}
	return first, last, ipc.Epoch(binary.BigEndian.Uint64(p[16:])), p[inputsHeaderBytes:], nil
}

// keyBytes turns a key into its 16 bytes.
func keyBytes(k ipc.Key) (out [16]byte, err error) {
	if !k.Valid() {
		return out, fmt.Errorf("key %q is not 32 lower-case hex characters: %w", k, ErrInvalid)
	}
	if _, err := hex.Decode(out[:], []byte(k)); err != nil {
		return out, fmt.Errorf("key %q: %w", k, err)
	}
	return out, nil
}

func keyString(b []byte) ipc.Key { return ipc.Key(hex.EncodeToString(b)) }

// indexKey is what the unique index holds: keys are unique per instance.
func indexKey(instance int64, key [16]byte) []byte {
	b := make([]byte, 0, 20)
	b = binary.BigEndian.AppendUint32(b, uint32(instance))
	return append(b, key[:]...)
}

func appendIntent(b []byte, key [16]byte, r *IntentRow) []byte {
	b = append(b, key[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(r.Step))
	b = binary.BigEndian.AppendUint32(b, r.Ordinal)
	b = append(b, r.Verdict)
	b = binary.BigEndian.AppendUint64(b, uint64(r.ValidUntilCore))
	b = binary.BigEndian.AppendUint64(b, uint64(r.ValidUntilWall))
	b = binary.BigEndian.AppendUint64(b, uint64(r.Epoch))
	b = append(b, r.RequestDigest[:]...)
	b = append(b, r.Digest[:]...)
	return append(b, r.Bytes...)
}

func decodeIntent(p []byte) (IntentRow, error) {
	if len(p) < intentHeaderBytes {
		return IntentRow{}, fmt.Errorf("intent payload of %d bytes, at least %d expected", len(p), intentHeaderBytes)
	}
	r := IntentRow{
		Key:            keyString(p[:16]),
		Step:           ipc.Step(binary.BigEndian.Uint64(p[16:])),
		Ordinal:        binary.BigEndian.Uint32(p[24:]),
		Verdict:        p[28],
		ValidUntilCore: ipc.Nanos(binary.BigEndian.Uint64(p[29:])),
		ValidUntilWall: ipc.Nanos(binary.BigEndian.Uint64(p[37:])),
		Epoch:          ipc.Epoch(binary.BigEndian.Uint64(p[45:])),
		Bytes:          p[intentHeaderBytes:],
	}
	copy(r.RequestDigest[:], p[53:])
	copy(r.Digest[:], p[85:])
	return r, nil
}

func appendStatus(b []byte, key [16]byte, r *StatusRow) []byte {
	b = append(b, key[:]...)
	b = append(b, byte(r.Status))
	b = binary.BigEndian.AppendUint64(b, uint64(r.CoreTS))
	b = binary.BigEndian.AppendUint64(b, uint64(r.Epoch))
	return append(b, r.Reason...)
}

func decodeStatus(p []byte) (StatusRow, error) {
	if len(p) < statusHeaderBytes {
		return StatusRow{}, fmt.Errorf("status payload of %d bytes, at least %d expected", len(p), statusHeaderBytes)
	}
	return StatusRow{
		Key:    keyString(p[:16]),
		Status: ipc.Status(p[16]),
		CoreTS: ipc.Nanos(binary.BigEndian.Uint64(p[17:])),
		Epoch:  ipc.Epoch(binary.BigEndian.Uint64(p[25:])),
		Reason: string(p[statusHeaderBytes:]),
	}, nil
}

// sumOf is the checksum of small side records: crc32c over length-prefixed fields.
func sumOf(fields ...any) uint32 {
	var b []byte
	for _, f := range fields {
		switch v := f.(type) {
		case uint64:
			b = binary.BigEndian.AppendUint64(b, v)
		case int64:
			b = binary.BigEndian.AppendUint64(b, uint64(v))
		case string:
			b = binary.BigEndian.AppendUint32(b, uint32(len(v)))
			b = append(b, v...)
		case []byte:
			b = binary.BigEndian.AppendUint32(b, uint32(len(v)))
			b = append(b, v...)
		default:
			panic(fmt.Sprintf("statedb: sumOf(%T)", f))
		}
	}
	return crc32.Checksum(b, castagnoli)
}
