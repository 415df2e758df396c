package statedb

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	sqlite3 "github.com/mattn/go-sqlite3"
	"golang.org/x/sys/unix"

	"github.com/msup/msup/ipc"
)

const (
	// maxPortableLine bounds one line before it is read: the inputs of the largest batch in hex, or the largest checkpoint in base64.
	maxPortableLine    = 2*MaxInputsBytes + maxCheckpointBytes*2
	importRowsPerTx    = 2000
	importBytesPerTx   = 8 << 20
	remedyExport       = "export it again from the state directory; nothing was imported"
	importFolderSuffix = ".importing-"
)

// Import makes a fresh state directory of what Export wrote. A directory that holds anything is refused, and so is a file of another
// version, one that was cut off, or one in which a byte was changed. The directory appears whole, or not at all.
func Import(r io.Reader, dir string) (*Report, error) {
	return fresh(dir, func(tmp string) error {
		im := &importer{lines: portableReader{r: bufio.NewReaderSize(r, 1<<16), sum: sha256.New()}, dir: tmp, marks: make(map[int64]markRecord)}
		return im.run()
	})
}

// fresh makes a state directory beside its place, verifies it, and moves it there.
func fresh(dir string, fill func(tmp string) error) (report *Report, err error) {
	if err := requireEmpty(dir); err != nil {
		return nil, err
	}
	dir = filepath.Clean(dir)
	parent := filepath.Dir(dir)
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return nil, diskError(parent, "creating the folder", err)
	}
	tmp, err := os.MkdirTemp(parent, filepath.Base(dir)+importFolderSuffix)
	if err != nil {
		return nil, diskError(parent, "creating the folder", err)
	}
	defer func() {
		if err != nil {
			err = both(err, os.RemoveAll(tmp))
		}
	}()
	if err := fill(tmp); err != nil {
		return nil, err
	}
	if report, err = Verify(tmp); err != nil {
		return nil, err
	}
	if err := report.Err(); err != nil {
		return nil, &Error{Kind: ErrCorrupt, Place: dir, Cause: "what would be written does not verify", Err: err, Remedy: "nothing was written; msup state verify names what is wrong with the original"}
	}
	if err := both(sweep(tmp), syncFiles(tmp)); err != nil {
		return nil, err
	}
	// Whoever has put something there meanwhile keeps it: rename replaces an empty folder only.
	if err := os.Rename(tmp, dir); err != nil {
		return nil, diskError(dir, "moving the finished directory to its place", err)
	}
	report.Dir = dir
	return report, syncDir(parent)
}

// sweep removes what reading leaves: SQLite's shared memory, and empty logs.
func sweep(dir string) error {
	for _, s := range []*schema{ledgerSchema, checkpointSchema} {
		path := filepath.Join(dir, s.file)
		if log, err := os.Stat(path + "-wal"); err != nil || log.Size() > 0 {
			continue
		}
		if err := errors.Join(os.Remove(path+"-wal"), os.Remove(path+"-shm")); err != nil {
			return diskError(path, "removing the empty log", err)
		}
	}
	return nil
}

func syncFiles(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return diskError(dir, "syncing the directory", err)
	}
	for _, e := range entries {
		f, err := os.Open(filepath.Join(dir, e.Name()))
		if err != nil {
			return diskError(dir, "syncing the directory", err)
		}
		if err := errors.Join(f.Sync(), f.Close()); err != nil {
			return diskError(dir, "syncing "+e.Name(), err)
		}
	}
	return syncDir(dir)
}

// requireEmpty refuses a place where anything is.
func requireEmpty(dir string) error {
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case errors.Is(err, unix.ENOTDIR):
		return &Error{Kind: ErrNotEmpty, Place: dir, Cause: "it is a file", Remedy: "name a directory that does not exist yet"}
	case err != nil:
		return diskError(dir, "looking at the directory", err)
	case len(entries) > 0:
		return &Error{Kind: ErrNotEmpty, Place: dir, Cause: "it holds " + entries[0].Name(), Remedy: "name a directory that does not exist yet, or an empty one"}
	}
	return nil
}

// portableReader reads lines and sums them.
type portableReader struct {
	r     *bufio.Reader
	sum   hash.Hash
	lines int64
}

// next decodes a line. Its sum is taken in by accept, for the last line is not part of it.
func (p *portableReader) next() (l portableLine, raw []byte, err error) {
	for {
		part, err := p.r.ReadSlice('\n')
		if len(raw)+len(part) > maxPortableLine {
			return l, nil, p.bad("longer than %d bytes", maxPortableLine)
		}
		raw = append(raw, part...)
		if err == nil {
			break
		}
		if errors.Is(err, io.EOF) {
			return l, nil, p.bad("the file is cut off: its last line is missing")
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return l, nil, fmt.Errorf("import: reading line %d: %w", p.lines+1, err)
		}
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(&l); err != nil {
		return l, nil, p.bad("%v", err)
	}
	if d.InputOffset() != int64(len(raw)-1) {
		return l, nil, p.bad("something follows the JSON")
	}
	return l, raw, nil
}

func (p *portableReader) accept(raw []byte) {
	p.sum.Write(raw)
	p.lines++
}

func (p *portableReader) bad(format string, args ...any) error {
	return &Error{Kind: ErrCorrupt, Place: fmt.Sprintf("import: line %d", p.lines+1), Cause: fmt.Sprintf(format, args...), Remedy: remedyExport}
}

// importer fills a fresh directory.
type importer struct {
	lines  portableReader
	dir    string
	ledger *conn
	slots  *conn
	marks  map[int64]markRecord

	rows, bytes int // of the running transaction
	at          *importing
}

// importing is the instance that is being read.
type importing struct {
	st    *state
	mark  markRecord
	head  Head
	input ipc.InputNo
	rows  int64
	epoch ipc.Epoch
}

func (im *importer) run() (err error) {
	first, raw, err := im.lines.next()
	if err != nil {
		return err
	}
	if first.Begin == nil {
		return &Error{Kind: ErrForeign, Place: "import: line 1", Cause: `it does not begin with {"msup_state": …}`, Remedy: "name a file that msup state export wrote"}
	}
	b := first.Begin
	if b.Version != exportVersion || b.LedgerSchema != ledgerSchema.current() || b.CheckpointSchema != checkpointSchema.current() {
		return &Error{Kind: ErrVersion, Place: "import: line 1", Remedy: "import it with the msup that exported it, or a newer one; nothing was imported",
			Cause: fmt.Sprintf("file version %d, schemas %d and %d; this msup reads %d, %d and %d", b.Version, b.LedgerSchema, b.CheckpointSchema,
				exportVersion, ledgerSchema.current(), checkpointSchema.current())}
	}
	im.lines.accept(raw)
	if im.ledger, err = im.create(ledgerSchema); err != nil {
		return err
	}
	if im.slots, err = im.create(checkpointSchema); err != nil {
		return both(err, im.ledger.close())
	}
	err = im.fill(b.Instances)
	if err = both(err, both(im.ledger.close(), im.slots.close())); err != nil {
		return err
	}
	return writeMarks(im.dir, im.marks)
}

// create makes an empty database and opens its first transaction.
func (im *importer) create(s *schema) (*conn, error) {
	c, err := openConn(filepath.Join(im.dir, s.file), false)
	if err != nil {
		return nil, err
	}
	err = tune(c, None) // nothing of it counts before syncFiles
	if err == nil {
		err = s.migrate(c, 0)
	}
	if err == nil {
		err = diskError(c.path, "beginning", c.exec("BEGIN IMMEDIATE"))
	}
	if err != nil {
		return nil, both(err, c.close())
	}
	return c, nil
}

func (im *importer) fill(instances int) error {
	for {
		l, raw, err := im.lines.next()
		if err != nil {
			return err
		}
		if l.End != nil {
			return im.end(l.End, instances)
		}
		if err := im.take(&l); err != nil {
			var own *Error
			if errors.As(err, &own) {
				return err
			}
			return im.lines.bad("%v", err)
		}
		im.lines.accept(raw)
		if im.rows >= importRowsPerTx || im.bytes >= importBytesPerTx {
			if err := im.commit("BEGIN IMMEDIATE"); err != nil {
				return err
			}
		}
	}
}

func (im *importer) commit(then string) error {
	im.rows, im.bytes = 0, 0
	for _, c := range []*conn{im.ledger, im.slots} {
		err := c.exec("COMMIT")
		if err == nil {
			err = c.script("PRAGMA wal_checkpoint(TRUNCATE)")
		}
		if err == nil && then != "" {
			err = c.exec(then)
		}
		if err != nil {
			return diskError(c.path, "importing", err)
		}
	}
	return nil
}

func (im *importer) end(e *portableEnd, instances int) error {
	switch sum := im.lines.sum.Sum(nil); {
	case im.at != nil:
		return im.lines.bad("the file ends within instance %s", im.at.st.addr)
	case !bytes.Equal(sum, e.SHA256) || e.Lines != im.lines.lines:
		return im.lines.bad("the SHA-256 of %d lines is %x, the file says %x of %d: it was changed or damaged", im.lines.lines, sum, []byte(e.SHA256), e.Lines)
	case len(im.marks) != instances:
		return im.lines.bad("%d instances, %d were announced", len(im.marks), instances)
	}
	if _, err := im.lines.r.ReadByte(); !errors.Is(err, io.EOF) {
		return im.lines.bad("something follows the last line")
	}
	return im.commit("")
}

// take stores one line.
func (im *importer) take(l *portableLine) error {
	if (l.Instance == nil) == (im.at == nil) {
		return errors.New("a line out of its place")
	}
	switch {
	case l.Instance != nil:
		return im.instance(l.Instance)
	case l.Row != nil:
		return im.row(l.Row)
	case l.Lease != nil:
		return im.lease(l.Lease)
	case l.Checkpoint != nil:
		return im.checkpoint(l.Checkpoint)
	case l.Complete != nil:
		return im.complete(l.Complete)
	}
	return errors.New("a line without content")
}

func (im *importer) instance(p *portableInstance) error {
	st := &state{id: p.Number, created: p.Created, addr: ipc.Address{Bot: p.Bot, Strategy: p.Strategy, Instance: p.Instance}}
	if err := st.addr.Validate(); err != nil {
		return err
	}
	if _, twice := im.marks[st.id]; st.id < 1 || st.id > maxInstances || len(p.Lineage) != len(st.lineage) || twice {
		return fmt.Errorf("instance number %d, lineage of %d bytes", p.Number, len(p.Lineage))
	}
	copy(st.lineage[:], p.Lineage)
	at := &importing{st: st, head: Head{Hash: chainStart(st.lineage)}, mark: markRecord{lineage: st.lineage, generation: 1}}
	if at.mark.durability = Durability(p.Durability); at.mark.durability > None {
		return fmt.Errorf("durability %d", p.Durability)
	}
	if err := store(im.ledger, "INSERT INTO instances (id, bot, strategy, instance, lineage, created_ns, crc) VALUES (?, ?, ?, ?, ?, ?, ?)",
		st.id, string(p.Bot), string(p.Strategy), string(p.Instance), st.lineage[:], int64(st.created), int64(st.identitySum())); err != nil {
		return err
	}
	im.at = at
	if p.Anchor == nil {
		return nil
	}
	head, err := p.Anchor.Head.digest("head")
	if err != nil {
		return err
	}
	a := anchor{head: Head{RowNo: p.Anchor.Row, Hash: head}, lastInput: p.Anchor.Input, keptCount: p.Anchor.KeptCount}
	if a.keptDigest, err = p.Anchor.KeptDigest.digest("kept_digest"); err != nil || a.head.RowNo > maxRowNo {
		return fmt.Errorf("anchor at row %d: %w", a.head.RowNo, err)
	}
	at.head, at.input = a.head, a.lastInput
	return store(im.ledger, "INSERT INTO anchors (instance, row_no, input_no, head, kept_count, kept_digest, crc) VALUES (?, ?, ?, ?, ?, ?, ?)",
		st.id, int64(a.head.RowNo), int64(a.lastInput), a.head.Hash[:], a.keptCount, a.keptDigest[:], int64(a.sum(st.id)))
}

// row stores a row under the head that its content gives; Verify later compares it with what was kept below the anchor.
func (im *importer) row(p *portableRow) error {
	at := im.at
	r := row{no: p.Row, input: p.Input}
	var err error
	if r.head, err = p.Head.digest("head"); err != nil {
		return err
	}
	if err := p.encode(&r, at.st.id); err != nil {
		return err
	}
	if r.no == 0 || r.no > maxRowNo {
		return fmt.Errorf("row %d", r.no)
	}
	if r.no > at.head.RowNo {
		if want := chainNext(at.head.Hash, r.no, r.kind, r.payload); r.no != at.head.RowNo+1 || want != r.head {
			return fmt.Errorf("row %d after row %d: head %s, computed %s", r.no, at.head.RowNo, r.head, want)
		}
		at.head, at.input = Head{RowNo: r.no, Hash: r.head}, r.input
	}
	at.rows++
	im.rows++
	im.bytes += len(r.payload)
	var index any
	if r.ikey != nil {
		index = r.ikey
	}
	return store(im.ledger, insertRow, rowID(at.st.id, r.no), int64(r.kind), int64(r.input), r.payload, r.head[:], int64(r.sum(at.st.id)), index)
}

// store inserts a record; what the schema forbids is the file's fault, all else the disk's.
func store(c *conn, query string, args ...driver.Value) error {
	err := c.exec(query, args...)
	var se sqlite3.Error
	if errors.As(err, &se) && se.Code == sqlite3.ErrConstraint {
		return fmt.Errorf("the record is there already: %w", err)
	}
	return diskError(c.path, "importing", err)
}

// encode makes the payload that fill took apart.
func (p *portableRow) encode(r *row, instance int64) error {
	switch p.Kind {
	case "inputs":
		r.kind = kindInputs
		r.payload = appendInputs(nil, p.First, p.Last, ipc.Epoch(p.Epoch), p.Inputs)
		return nil
	case "intent":
		key, err := keyBytes(p.Key)
		if err != nil {
			return err
		}
		in := IntentRow{Key: p.Key, Step: p.Step, Ordinal: p.Ordinal, Verdict: p.Verdict, ValidUntilCore: p.ValidUntilCore,
			ValidUntilWall: p.ValidUntilWall, Epoch: ipc.Epoch(p.Epoch), Bytes: p.Intent}
		if in.RequestDigest, err = p.RequestDigest.digest("request_digest"); err != nil {
			return err
		}
		if in.Digest, err = p.Digest.digest("digest"); err != nil {
			return err
		}
		r.kind, r.ikey, r.payload = kindIntent, indexKey(instance, key), appendIntent(nil, key, &in)
		return nil
	case "status":
		key, err := keyBytes(p.Key)
		if err != nil {
			return err
		}
		for s := ipc.StatusStaged; s <= ipc.StatusWithdrawn; s++ {
			if s.String() == p.Status {
				r.kind, r.payload = kindStatus, appendStatus(nil, key, &StatusRow{Status: s, CoreTS: p.CoreTS, Epoch: ipc.Epoch(p.Epoch), Reason: string(p.Reason)})
				return nil
			}
		}
		return fmt.Errorf("status %.20q", p.Status)
	}
	return fmt.Errorf("a row of kind %.20q", p.Kind)
}

func (im *importer) lease(p *portableLease) error {
	l := Lease{Epoch: p.Epoch, LeaseRow: LeaseRow{PID: p.PID, StartTime: p.StartTime, BootID: p.BootID, WallTS: p.WallTS}}
	if len(p.Nonce) != len(l.Nonce) || uint64(p.Epoch) > maxRowNo || len(p.BootID) > 256 {
		return fmt.Errorf("lease of epoch %d", p.Epoch)
	}
	copy(l.Nonce[:], p.Nonce)
	im.at.epoch = max(im.at.epoch, l.Epoch)
	im.rows++
	id := rowID(im.at.st.id, uint64(l.Epoch))
	return store(im.ledger, "INSERT INTO leases (id, pid, start_time, boot_id, nonce, wall_ns, crc) VALUES (?, ?, ?, ?, ?, ?, ?)",
		id, int64(l.PID), int64(l.StartTime), l.BootID, l.Nonce[:], int64(l.WallTS), int64(l.sum(id)))
}

func (im *importer) checkpoint(p *portableCheckpoint) error {
	if p.Slot != 0 && p.Slot != 1 {
		return fmt.Errorf("checkpoint slot %d", p.Slot)
	}
	if _, err := decodeCheckpoint(im.at.st.lineage, p.Body); err != nil {
		return fmt.Errorf("checkpoint slot %d: %w", p.Slot, err)
	}
	im.bytes += len(p.Body)
	return store(im.slots, "INSERT INTO slots (lineage, slot, body) VALUES (?, ?, ?)", im.at.st.lineage[:], int64(p.Slot), p.Body)
}

// complete closes an instance. Its mark says exactly what was imported: a row that is lost later is noticed.
func (im *importer) complete(p *portableComplete) error {
	at := im.at
	if head, err := p.Head.digest("head"); err != nil || at.rows != p.Rows || at.head.RowNo != p.Last || at.head.Hash != head {
		return fmt.Errorf("%s ends after %d rows at row %d, the file says %d and %d", at.st.addr, at.rows, at.head.RowNo, p.Rows, p.Last)
	}
	at.mark.head, at.mark.epoch = at.head, at.epoch
	im.marks[at.st.id] = at.mark
	im.at = nil
	return nil
}

// writeMarks makes a mark file.
func writeMarks(dir string, marks map[int64]markRecord) error {
	m, err := openMark(dir, Power, marks)
	if err != nil {
		return err
	}
	for id, r := range marks {
		if err := m.write(id, r); err != nil {
			return both(err, m.close())
		}
	}
	return m.close()
}

// Err is all that Verify found wrong, as one error; nil when nothing is.
func (r *Report) Err() error {
	all := r.Problems
	for i := range r.Instances {
		all = append(all[:len(all):len(all)], r.Instances[i].Problems...)
	}
	return errors.Join(all...)
}
