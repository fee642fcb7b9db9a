package accesslog

import (
	"errors"
	"fmt"
	"io"
	"os"
)

// file is what a log is written to: PATH, with PATH.1 (the newest) to PATH.keep behind it.
type file struct {
	path   string
	rotate int64 // bytes
	keep   int

	f    *os.File // nil: not open
	size int64
}

const stdout = "-"

// write writes whole lines. After an error the file is closed, and the next write opens it anew.
func (f *file) write(lines []byte) error {
	if len(lines) == 0 {
		return nil
	}
	if err := f.ready(int64(len(lines))); err != nil {
		return err
	}
	n, err := f.f.Write(lines)
	f.size += int64(n)
	if err != nil {
		f.close()
		return fmt.Errorf("write access log: %w", err)
	}
	return nil
}

// ready opens the file if it is closed, and puts it aside if n more bytes are too many.
func (f *file) ready(n int64) error {
	if f.f == nil {
		if err := f.open(); err != nil {
			return err
		}
	}
	if f.path == stdout || f.size == 0 || f.size+n <= f.rotate {
		return nil
	}
	f.close()
	if err := f.putAside(); err != nil {
		return fmt.Errorf("rotate access log: %w", err)
	}
	return f.open()
}

// putAside moves PATH.1 to PATH.2 and so on, and PATH to PATH.1. The oldest is overwritten.
func (f *file) putAside() error {
	for i := f.keep - 1; i >= 1; i-- {
		err := os.Rename(fmt.Sprintf("%s.%d", f.path, i), fmt.Sprintf("%s.%d", f.path, i+1))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return os.Rename(f.path, f.path+".1")
}

// open opens the path for appending. A line that was torn by a full disk or a crash gets its end, so that it spoils no
// other.
func (f *file) open() error {
	if f.path == stdout {
		f.f = os.Stdout
		return nil
	}
	w, err := os.OpenFile(f.path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o640)
	if err != nil {
		return fmt.Errorf("open access log: %w", err)
	}
	f.size, err = w.Seek(0, io.SeekEnd)
	last := []byte{'\n'}
	if err == nil && f.size > 0 {
		_, err = w.ReadAt(last, f.size-1)
	}
	if err == nil && last[0] != '\n' {
		f.size++
		_, err = w.Write([]byte{'\n'})
	}
	if err != nil {
		_ = w.Close() // it is of no use
		return fmt.Errorf("open access log: %w", err)
	}
	f.f = w
	return nil
}

func (f *file) close() {
	if f.f != nil && f.path != stdout {
		_ = f.f.Close() // each write was checked
	}
	f.f = nil
}
