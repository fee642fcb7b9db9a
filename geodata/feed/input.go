package feed

import (
	"archive/zip"
	"bufio"
	"compress/gzip"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/catchment-net/catchment/geodata"
)

// input is one file of a source.
type input struct {
	notes
	fsys fs.FS // where files that belong to it are
	name string
	r    *bufio.Reader
}

// open finds the files that a source is made of: itself, or the blocks files of a folder or zip of MaxMind's.
func open(source string) (fsys fs.FS, names []string, done func(), err error) {
	info, err := os.Stat(source)
	switch {
	case err != nil:
		return nil, nil, nil, fmt.Errorf("read geodata: %w", err)
	case info.IsDir():
		fsys, done = os.DirFS(source), func() {}
	case strings.EqualFold(filepath.Ext(source), ".zip"):
		z, err := zip.OpenReader(source)
		if err != nil {
			return nil, nil, nil, fmt.Errorf("read geodata %q: %w", source, err)
		}
		fsys, done = z, func() { z.Close() }
	default:
		return os.DirFS(filepath.Dir(source)), []string{filepath.Base(source)}, func() {}, nil
	}
	err = fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && strings.Contains(path.Base(name), "-Blocks-") && path.Ext(name) == ".csv" {
			names = append(names, name)
		}
		return err
	})
	if err != nil {
		done()
		return nil, nil, nil, fmt.Errorf("read geodata %q: %w", source, err)
	}
	return fsys, names, done, nil
}

// file is an open file, unpacked as it is read.
type file struct {
	*bufio.Reader
	io.Closer
}

// readAhead is a reader's buffer, in bytes; what is peeked at must fit into it.
const readAhead = 1 << 18

func openFile(fsys fs.FS, name string) (*file, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, fmt.Errorf("read geodata: %w", err)
	}
	r := bufio.NewReaderSize(f, readAhead)
	if magic, _ := r.Peek(2); len(magic) < 2 || magic[0] != 0x1f || magic[1] != 0x8b { // RFC 1952 §2.3.1
		return &file{r, f}, nil
	}
	z, err := gzip.NewReader(r)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("read geodata %q: %w", name, err)
	}
	return &file{bufio.NewReaderSize(z, readAhead), f}, nil
}

func (in *input) readMMDB(add emit) error {
	data, err := io.ReadAll(in.r)
	if err != nil {
		return fmt.Errorf("read geodata %q: %w", in.file, err)
	}
	db, err := geodata.FromBytes(data)
	if err != nil {
		return fmt.Errorf("read geodata %q: %w", in.file, err)
	}
	return db.Ranges(add)
}

// eachLine calls fn for each line without its end.
func (in *input) eachLine(fn func(line int, text []byte) error) error {
	s := bufio.NewScanner(in.r)
	s.Buffer(nil, readAhead)
	line := 0
	for s.Scan() {
		line++
		if err := fn(line, s.Bytes()); err != nil {
			return err
		}
	}
	return s.Err()
}
