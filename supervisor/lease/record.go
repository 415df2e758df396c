package lease

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"time"

	"github.com/msup/msup/ipc"
)

// A lock file is two slots, each a page: magic, length and CRC-32C of the JSON that follows. The valid one with the higher number counts.
const (
	slotBytes = 4096
	fileBytes = 2 * slotBytes
	slotHead  = 12
	slotMagic = "MLS1"

	// maxEpoch is the ledger's: a record that claims more is no record.
	maxEpoch = 1<<40 - 1
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// errNoRecord: neither slot can be read.
var errNoRecord = errors.New("no valid record")

// record is what an owner writes down about itself (LS-2). Times are in ns.
type record struct {
	Number    uint64    `json:"number"` // of the write
	Bot       string    `json:"bot"`
	Strategy  string    `json:"strategy"`
	Instance  string    `json:"instance"`
	Epoch     ipc.Epoch `json:"epoch"`
	Nonce     string    `json:"nonce"` // of the process start, hex
	PID       int       `json:"pid"`
	Start     uint64    `json:"start_ticks"` // since boot, from /proc/PID/stat
	Boot      string    `json:"boot_id"`
	Heartbeat ipc.Nanos `json:"heartbeat_boottime_ns"`
	TTL       ipc.Nanos `json:"ttl_ns"` // the owner's own: by it alone is it judged
	Since     ipc.Nanos `json:"since_wall_ns"`
	Released  bool      `json:"released"`
}

func (r *record) address() ipc.Address {
	return ipc.Address{Bot: ipc.BotID(r.Bot), Strategy: ipc.StrategyID(r.Strategy), Instance: ipc.InstanceID(r.Instance)}
}

func (r *record) identity() Identity { return Identity{PID: r.PID, Start: r.Start, Boot: r.Boot} }

// silent is how long ago the owner's last heartbeat was.
func (r *record) silent(now ipc.Nanos) time.Duration { return time.Duration(now - r.Heartbeat) }

// encode makes the slot of a record.
func (r *record) encode() ([]byte, error) {
	body, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("writing a lease record: %w", err)
	}
	if len(body) > slotBytes-slotHead {
		return nil, fmt.Errorf("a lease record of %d bytes; %d fit", len(body), slotBytes-slotHead)
	}
	slot := make([]byte, slotBytes)
	copy(slot, slotMagic)
	binary.LittleEndian.PutUint32(slot[4:], uint32(len(body)))
	copy(slot[slotHead:], body)
	binary.LittleEndian.PutUint32(slot[8:], slotSum(slot, len(body)))
	return slot, nil
}

func slotSum(slot []byte, n int) uint32 {
	sum := crc32.Update(0, castagnoli, slot[:8])
	return crc32.Update(sum, castagnoli, slot[slotHead:slotHead+n])
}

// decodeFile finds the newest valid record among the slots of a file.
func decodeFile(file []byte) (newest record, err error) {
	err = errNoRecord
	for ; len(file) >= slotHead; file = file[min(slotBytes, len(file)):] {
		r, slotErr := decodeSlot(file[:min(slotBytes, len(file))])
		if slotErr != nil {
			continue
		}
		if err != nil || r.Number > newest.Number {
			newest, err = r, nil
		}
	}
	return newest, err
}

func decodeSlot(slot []byte) (r record, err error) {
	if len(slot) < slotHead || string(slot[:4]) != slotMagic {
		return r, errNoRecord
	}
	n := binary.LittleEndian.Uint32(slot[4:])
	if int64(n) > int64(len(slot)-slotHead) || binary.LittleEndian.Uint32(slot[8:]) != slotSum(slot, int(n)) {
		return r, errNoRecord
	}
	if err := json.Unmarshal(slot[slotHead:slotHead+n], &r); err != nil {
		return r, fmt.Errorf("%w: %w", errNoRecord, err)
	}
	nonce, hexErr := hex.DecodeString(r.Nonce)
	if hexErr != nil || len(nonce) != len(ipc.Nonce{}) || r.Epoch > maxEpoch || r.PID < 1 || r.TTL <= 0 || r.address().Validate() != nil {
		return r, errNoRecord
	}
	return r, nil
}
