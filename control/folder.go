package control

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// Limits of a folder.
const (
	MaxFiles     = 20000
	MaxFileBytes = 256 << 20 // of a zone or a table of measurements; other files are limited by conf.MaxBytes
)

// Load reads and checks a folder. Mistakes come as *conf.Problems with the folder before each file's name; what
// cannot be read at all as an error of its own.
func Load(dir string) (*Snapshot, error) {
	files, err := readFolder(os.DirFS(dir))
	if err != nil {
		return nil, fmt.Errorf("read configuration in %q: %w", dir, err)
	}
	return parse(folderName(dir), files, reading{folder: folderLabel(dir)})
}

// LoadFS is Load for a folder inside the program or elsewhere; name becomes the topology's name.
func LoadFS(name string, fsys fs.FS) (*Snapshot, error) {
	files, err := readFolder(fsys)
	if err != nil {
		return nil, fmt.Errorf("read configuration %q: %w", name, err)
	}
	return parse(name, files, reading{})
}

// folderName is the topology's name: that of its folder.
func folderName(dir string) string {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return filepath.Base(dir)
	}
	return filepath.Base(abs)
}

// folderLabel is what messages put before a file's name: nothing for the current folder.
func folderLabel(dir string) string {
	if dir == "." || dir == "" {
		return ""
	}
	return filepath.ToSlash(filepath.Clean(dir))
}

// readFolder reads topology.yaml, steering.csv, measured.csv and everything in sites/, zones/ and parent/.
func readFolder(fsys fs.FS) (map[string][]byte, error) {
	list, err := listFolder(fsys)
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{}
	for _, f := range list {
		text, err := fs.ReadFile(fsys, f.name)
		if err != nil {
			return nil, err
		}
		files[f.name] = text
	}
	return files, nil
}

// listed is one file of a folder as its directory shows it.
type listed struct {
	name  string
	size  int64
	mtime int64 // nanoseconds
}

// listFolder lists the files of a folder in a fixed order. What editors and version control leave behind is skipped.
func listFolder(fsys fs.FS) ([]listed, error) {
	if _, err := fs.Stat(fsys, "."); err != nil {
		if bare, ok := errors.AsType[*fs.PathError](err); ok {
			err = bare.Err // the caller names the folder; here it is only "."
		}
		return nil, err
	}
	var list []listed
	for _, name := range rootFiles() {
		info, err := fs.Stat(fsys, name)
		switch {
		case err == nil && info.Size() > MaxFileBytes:
			return nil, fmt.Errorf("%q has %d bytes: at most %d are read", name, info.Size(), MaxFileBytes)
		case err == nil:
			list = append(list, listed{name, info.Size(), info.ModTime().UnixNano()})
		case !errors.Is(err, fs.ErrNotExist):
			return nil, err
		}
	}
	for _, folder := range folders() {
		entries, err := fs.ReadDir(fsys, folder)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		for _, e := range entries {
			if leftover(e.Name()) {
				continue
			}
			name := path.Join(folder, e.Name())
			info, err := fs.Stat(fsys, name)
			switch {
			case errors.Is(err, fs.ErrNotExist): // gone since ReadDir
				continue
			case err != nil:
				return nil, err
			case info.IsDir():
				return nil, fmt.Errorf("%q is a folder: put its files into %s/ itself", name, folder)
			case !info.Mode().IsRegular():
				return nil, fmt.Errorf("%q is no regular file", name)
			case info.Size() > MaxFileBytes:
				return nil, fmt.Errorf("%q has %d bytes: at most %d are read", name, info.Size(), MaxFileBytes)
			}
			list = append(list, listed{name, info.Size(), info.ModTime().UnixNano()})
		}
	}
	if len(list) > MaxFiles {
		return nil, fmt.Errorf("%d files: at most %d are read", len(list), MaxFiles)
	}
	return list, nil
}

// leftover reports whether a file is an editor's or a version control system's.
func leftover(base string) bool {
	return strings.HasPrefix(base, ".") || strings.HasSuffix(base, "~") || strings.HasPrefix(base, "#") ||
		strings.HasSuffix(base, ".swp") || strings.HasSuffix(base, ".bak") || strings.HasSuffix(base, ".orig") || strings.HasSuffix(base, ".rej")
}
