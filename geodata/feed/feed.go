// Package feed reads geodata in the forms it is published in: MaxMind's and DB-IP's CSVs, tables of address ranges, the
// text export of IPFire's location database, the registries' delegation files, and MMDBs.
package feed

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"github.com/catchment-net/catchment/geodata"
)

// Format is the form of a source.
type Format string

// The forms that Read knows.
const (
	Detect  Format = ""            // by the content
	MMDB    Format = "mmdb"        // MaxMind DB, version 2
	MaxMind Format = "maxmind-csv" // GeoLite2 or GeoIP2: a blocks file with its locations, or the folder or zip of both
	CSV     Format = "csv"         // ranges or networks with a header, or in DB-IP's, IP2Location's or iptoasn's columns
	IPFire  Format = "ipfire"      // `location dump`
	RIR     Format = "rir"         // delegated-REGISTRY-extended-latest
)

// Formats lists the names of all forms.
func Formats() []string {
	return []string{string(MMDB), string(MaxMind), string(CSV), string(IPFire), string(RIR)}
}

// Options say how a source is to be read. The zero value finds out.
type Options struct {
	Format  Format
	Columns []string // of a CSV without a header: start end network country continent region city lat lon asn, or - to leave out
}

// emit takes one row.
type emit func(geodata.Range) error

// Read calls add for each row of the source at path: a file, gzipped or not, or for MaxMind's CSVs the folder or zip. All
// mistakes are reported, up to 20, as file:line. It returns the form that it found.
func Read(path string, o Options, add func(geodata.Range) error) (Format, error) {
	fsys, names, done, err := open(path)
	if err != nil {
		return o.Format, err
	}
	defer done()
	if len(names) == 0 {
		return MaxMind, fmt.Errorf("%s: no GeoLite2-…-Blocks-….csv in it; want MaxMind's folder or zip, or name a file", path)
	}
	format := o.Format
	for _, name := range names {
		f, err := openFile(fsys, name)
		if err != nil {
			return format, err
		}
		file := filepath.Join(filepath.Dir(path), name)
		if len(names) > 1 || name != filepath.Base(path) {
			file = filepath.Join(path, name)
		}
		in := &input{fsys: fsys, name: name, r: f.Reader, notes: notes{file: file}}
		if format == Detect {
			format = detect(in.r)
		}
		err = in.read(format, o.Columns, add)
		if closed := f.Close(); err == nil {
			err = closed
		}
		if err != nil {
			return format, err
		}
	}
	return format, nil
}

func (in *input) read(format Format, columns []string, add emit) error {
	switch format {
	case MMDB:
		return in.readMMDB(add)
	case MaxMind:
		return in.readMaxMind(add)
	case CSV:
		return in.readCSV(columns, add)
	case IPFire:
		return in.readIPFire(add)
	case RIR:
		return in.readRIR(add)
	}
	return fmt.Errorf("%s: format %q; want one of %s", in.file, format, strings.Join(Formats(), ", "))
}

// detect looks at the first lines of a file.
func detect(r *bufio.Reader) Format {
	head, _ := r.Peek(sniffed)
	if i := bytes.LastIndexByte(head, '\n'); i > 0 {
		head = head[:i]
	}
	if !utf8.Valid(head) || bytes.IndexByte(head, 0) >= 0 {
		return MMDB
	}
	head = bytes.TrimPrefix(head, []byte("\ufeff"))
	for line := range bytes.Lines(head) {
		line = bytes.TrimSpace(line)
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		switch {
		case bytes.HasPrefix(line, []byte("aut-num:")), bytes.HasPrefix(line, []byte("net:")):
			return IPFire
		case bytes.Count(line, []byte("|")) >= 5:
			return RIR
		case bytes.HasPrefix(line, []byte("network,geoname_id")), bytes.HasPrefix(line, []byte("network,autonomous_system")),
			bytes.HasPrefix(line, []byte("geoname_id,")):
			return MaxMind
		}
		return CSV
	}
	return CSV
}

// sniffed is how many bytes of a file its form is told by.
const sniffed = 4096

// notes gathers the mistakes of one file.
type notes struct {
	file string
	errs []error
}

// maxMistakes is how many are told: a file of another kind has one in each of a million lines.
const maxMistakes = 20

// errEnough ends the reading of a file: what was noted says why.
var errEnough = errors.New("too many mistakes")

// fatal is a mistake behind which the rest of its file makes no sense.
type fatal struct{ error }

// mistake notes one, and returns errEnough when the rest is not worth telling.
func (n *notes) mistake(line int, err error) error {
	if err == nil {
		return nil
	}
	n.errs = append(n.errs, fmt.Errorf("%s:%d: %w", n.file, line, err))
	if len(n.errs) == maxMistakes {
		n.errs = append(n.errs, fmt.Errorf("%s: and perhaps more; stopped after %d mistakes", n.file, maxMistakes))
		return errEnough
	}
	if errors.As(err, &fatal{}) {
		return errEnough
	}
	return nil
}

// result joins what was noted with what ended the reading.
func (n *notes) result(err error) error {
	if err != nil && !errors.Is(err, errEnough) {
		n.errs = append(n.errs, fmt.Errorf("read %s: %w", n.file, err))
	}
	return errors.Join(n.errs...)
}
