package feed

import (
	"archive/zip"
	"bufio"
	"bytes"
	"compress/flate"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
)

const (
	// maxLineBytes bounds one line: a snapshot of 65,536 levels a side needs about 4 MiB.
	maxLineBytes = 8 << 20
	readBuffer   = 128 << 10
)

// container is how the bytes of a file are wrapped.
type container uint8

const (
	plain container = iota
	gzipped
	zipped
)

// file reads the lines of one file, unwrapping gzip and zip by their magic numbers, never by the name.
type file struct {
	path  string
	entry string // name of the zip's one file
	kind  container
	line  int64 // lines given so far
	size  int64

	osFile  *os.File
	lines   *bufio.Reader
	long    []byte // holds a line longer than the buffer
	closers []io.Closer
	cut     error // a zip without its directory: what to report at the end
}

func isEOF(err error) bool { return errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) }

// openFile opens path; read counts the bytes taken from disk.
func openFile(path string, read *atomic.Int64) (*file, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("opening feed: %w", err)
	}
	stat, err := f.Stat()
	if err == nil && stat.IsDir() {
		err = fmt.Errorf("%s is a directory", path)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("opening feed: %w", err), f.Close())
	}
	out := &file{path: path, osFile: f, size: stat.Size()}
	var magic [4]byte
	n, err := f.ReadAt(magic[:], 0)
	if err != nil && !isEOF(err) {
		return nil, errors.Join(fmt.Errorf("reading %s: %w", path, err), f.Close())
	}
	err = nil // a file shorter than a magic number is plain
	counted := &countingReader{f, read}
	switch {
	case n >= 2 && magic[0] == 0x1f && magic[1] == 0x8b:
		out.kind = gzipped
		err = out.openGzip(counted)
	case n == 4 && bytes.Equal(magic[:], []byte("PK\x03\x04")):
		out.kind = zipped
		err = out.openZip(read)
	default:
		out.lines = bufio.NewReaderSize(counted, readBuffer)
	}
	if err != nil {
		return nil, errors.Join(err, out.close())
	}
	return out, nil
}

func (f *file) openGzip(r io.Reader) error {
	z, err := gzip.NewReader(bufio.NewReaderSize(r, readBuffer))
	if err != nil {
		return f.failure(err)
	}
	f.closers = append(f.closers, z)
	f.lines = bufio.NewReaderSize(z, readBuffer)
	return nil
}

func (f *file) openZip(read *atomic.Int64) error {
	archive, err := zip.NewReader(&countingReaderAt{f.osFile, read}, f.size)
	if err != nil {
		return f.openCutZip(&countingReader{f.osFile, read}, err)
	}
	var one *zip.File
	for _, e := range archive.File {
		if e.FileInfo().IsDir() {
			continue
		}
		if one != nil {
			return formatError(f.path, fmt.Sprintf("the zip holds several files (%q, %q)", one.Name, e.Name), "give one zip per instrument and day")
		}
		one = e
	}
	if one == nil {
		return formatError(f.path, "the zip is empty", "fetch it again")
	}
	r, err := one.Open()
	if err != nil {
		return f.failure(err)
	}
	f.entry = one.Name
	f.closers = append(f.closers, r)
	f.lines = bufio.NewReaderSize(r, readBuffer)
	return nil
}

// openCutZip reads a zip whose directory, at the end of the file, is missing: the first entry's data may still be there.
func (f *file) openCutZip(r io.Reader, cause error) error {
	buf := bufio.NewReaderSize(r, readBuffer)
	var h [30]byte
	if _, err := io.ReadFull(buf, h[:]); err != nil {
		return f.failure(err)
	}
	flags, method := binary.LittleEndian.Uint16(h[6:]), binary.LittleEndian.Uint16(h[8:])
	if method != zip.Deflate || flags&1 != 0 {
		return &FileError{File: f.path, Kind: ErrTruncated, Cause: cause}
	}
	names := make([]byte, int(binary.LittleEndian.Uint16(h[26:]))+int(binary.LittleEndian.Uint16(h[28:])))
	if _, err := io.ReadFull(buf, names); err != nil {
		return f.failure(err)
	}
	f.entry = string(names[:binary.LittleEndian.Uint16(h[26:])])
	f.cut = cause
	z := flate.NewReader(buf)
	f.closers = append(f.closers, z)
	f.lines = bufio.NewReaderSize(z, readBuffer)
	return nil
}

// failure types an error of the layers below.
func (f *file) failure(err error) error {
	var corrupt flate.CorruptInputError
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF), f.kind != plain && errors.Is(err, io.EOF):
		return &FileError{File: f.path, Line: f.line, Kind: ErrTruncated, Cause: err}
	case errors.Is(err, gzip.ErrChecksum), errors.Is(err, gzip.ErrHeader), errors.Is(err, zip.ErrChecksum), errors.Is(err, zip.ErrFormat),
		errors.Is(err, zip.ErrAlgorithm), errors.As(err, &corrupt):
		return &FileError{File: f.path, Line: f.line, Kind: ErrDamaged, Cause: err}
	}
	return fmt.Errorf("reading %s after line %d: %w", f.path, f.line, err)
}

// next returns the following line without its end; whole is false for a last line that has none. The line is valid until the
// next call. At the end it returns io.EOF, or the *FileError that says why there is no more.
func (f *file) next() (line []byte, whole bool, err error) {
	line, err = f.lines.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		line, err = f.longLine(line)
	}
	switch {
	case err == nil:
		f.line++
		return bytes.TrimSuffix(line[:len(line)-1], []byte("\r")), true, nil
	case !isEOF(err):
		if errors.Is(err, errLongLine) {
			f.line++
			return nil, true, &LineError{File: f.path, Line: f.line, Cause: err, Remedy: "split it"}
		}
		return nil, false, f.failure(err)
	case f.cut != nil:
		return nil, false, &FileError{File: f.path, Line: f.line, Kind: ErrTruncated, Cause: f.cut}
	case len(line) == 0:
		return nil, false, io.EOF
	case f.kind == plain:
		return nil, false, &FileError{File: f.path, Line: f.line, Kind: ErrTruncated,
			Cause: errors.New("the last line has no line end, so it may be half a line; where it is whole, add one")}
	}
	f.line++
	return line, false, nil
}

var errLongLine = fmt.Errorf("line longer than %d bytes", maxLineBytes)

// longLine goes on reading a line that did not fit the buffer; one beyond the limit is read to its end and refused.
func (f *file) longLine(start []byte) ([]byte, error) {
	f.long = append(f.long[:0], start...)
	over := false
	for {
		part, err := f.lines.ReadSlice('\n')
		if !over {
			f.long = append(f.long, part...)
		}
		over = over || len(f.long) > maxLineBytes
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case over && (err == nil || isEOF(err)):
			f.long = nil
			return nil, errLongLine
		}
		return f.long, err
	}
}

func (f *file) close() error {
	var errs []error
	for _, c := range f.closers {
		// A damaged stream reports its damage on Close again; next has told of it already.
		var told *FileError
		if err := c.Close(); err != nil && !errors.As(f.failure(err), &told) {
			errs = append(errs, err)
		}
	}
	f.closers = nil
	errs = append(errs, f.osFile.Close())
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("closing %s: %w", f.path, err)
	}
	return nil
}

type countingReader struct {
	r io.Reader
	n *atomic.Int64
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n.Add(int64(n))
	return n, err
}

type countingReaderAt struct {
	r io.ReaderAt
	n *atomic.Int64
}

func (c *countingReaderAt) ReadAt(p []byte, off int64) (int, error) {
	n, err := c.r.ReadAt(p, off)
	c.n.Add(int64(n))
	return n, err
}
