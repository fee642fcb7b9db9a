package origin

import (
	"errors"
	"fmt"
	"io"
)

// alphabet makes bodies that can be read in a terminal; a symbol takes six bits.
const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

// symbolsPerWord is how many symbols one 64-bit word gives; lineLength counts the newline that ends a line.
const (
	symbolsPerWord = 8
	lineLength     = 64
)

// bodyReader is the one right body for an identity (path, size, asker): a line that says whose it is, then symbols that
// depend on the identity and the offset alone, so that a byte in the wrong place, a missing one and another body's all
// show. It implements io.ReadSeeker without holding the body.
type bodyReader struct {
	head string // first line
	seed uint64
	size int64
	at   int64
}

func newBody(path string, size int64, owner string) *bodyReader {
	head := fmt.Sprintf("%s for everybody\n", path)
	if owner != "" {
		head = fmt.Sprintf("%s for %s only\n", path, owner)
	}
	return &bodyReader{head: head, seed: hash(fmt.Sprintf("%s\x00%d\x00%s", path, size, owner)), size: size}
}

// hash is FNV-1a, 64 bits: stable between versions and processes.
func hash(s string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * 1099511628211
	}
	return h
}

// Read fills p with the bytes from the reader's place on.
func (b *bodyReader) Read(p []byte) (int, error) {
	if b.at >= b.size {
		return 0, io.EOF
	}
	n := int(min(int64(len(p)), b.size-b.at))
	b.fill(p[:n], b.at)
	b.at += int64(n)
	return n, nil
}

// fill writes the bytes from offset on.
func (b *bodyReader) fill(p []byte, offset int64) {
	i := 0
	if offset < int64(len(b.head)) {
		i = copy(p, b.head[offset:])
	}
	word, have := uint64(0), int64(-1)
	for ; i < len(p); i++ {
		o := offset + int64(i)
		if o%lineLength == lineLength-1 {
			p[i] = '\n'
			continue
		}
		if index := o / symbolsPerWord; index != have {
			word, have = mix(b.seed, uint64(index)), index
		}
		p[i] = alphabet[word>>(6*uint(o%symbolsPerWord))&63]
	}
}

// mix is SplitMix64 in counter mode: any word of the body without those before it.
func mix(seed, index uint64) uint64 {
	z := seed + (index+1)*0x9e3779b97f4a7c15
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// Seek moves the reader's place (io.Seeker).
func (b *bodyReader) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += b.at
	case io.SeekEnd:
		offset += b.size
	}
	if offset < 0 {
		return 0, errors.New("seek before the start of a body")
	}
	b.at = offset
	return offset, nil
}
