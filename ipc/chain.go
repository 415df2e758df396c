package ipc

import (
	"crypto/sha256"
	"encoding/binary"
)

// ChainStart is the head of a ledger without rows: SHA-256("msup/1" ‖ lineage).
func ChainStart(l Lineage) Digest {
	b := append([]byte("msup/1"), l[:]...)
	return sha256.Sum256(b)
}

// ChainNext is the head after a row: SHA-256(head ‖ u64be row_no ‖ u8 kind ‖ payload). Rows of one instance are numbered from 1
// without gaps, so a lost, changed or moved row changes every later head.
func ChainNext(head Digest, rowNo uint64, kind uint8, payload []byte) Digest {
	h := sha256.New()
	var prefix [len(Digest{}) + 8 + 1]byte
	copy(prefix[:], head[:])
	binary.BigEndian.PutUint64(prefix[len(head):], rowNo)
	prefix[len(prefix)-1] = kind
	h.Write(prefix[:])
	h.Write(payload)
	var next Digest
	h.Sum(next[:0])
	return next
}
