package main

import (
	"bytes"
	"encoding/binary"
	"testing"

	"pgregory.net/rapid"
)

// However a capture comes in pieces, and wherever it is cut off, what is passed on ends with a whole packet.
func TestWholePackets(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		order := binary.AppendByteOrder(binary.LittleEndian)
		if rapid.Bool().Draw(t, "big endian") {
			order = binary.BigEndian
		}
		file := append(order.AppendUint32(nil, 0xa1b23c4d), make([]byte, pcapHeader-4)...)
		ends := []int{0, len(file)}
		for _, size := range rapid.SliceOfN(rapid.IntRange(0, 300), 0, 10).Draw(t, "sizes") {
			file = order.AppendUint32(append(file, make([]byte, 8)...), uint32(size))
			file = append(file, make([]byte, 4+size)...)
			ends = append(ends, len(file))
		}
		var out bytes.Buffer
		w := &wholePackets{to: &out}
		come := 0
		for cut := rapid.IntRange(0, len(file)).Draw(t, "cut"); come < cut; {
			n := rapid.IntRange(1, cut-come).Draw(t, "piece")
			if _, err := w.Write(file[come : come+n]); err != nil {
				t.Fatal(err)
			}
			come += n
			want := 0
			for _, end := range ends {
				if end <= come {
					want = end
				}
			}
			if !bytes.Equal(out.Bytes(), file[:want]) {
				t.Fatalf("of %d bytes %d were passed on, want %d", come, out.Len(), want)
			}
		}
	})
}

func FuzzWholePackets(f *testing.F) {
	f.Add(make([]byte, 60))
	f.Fuzz(func(t *testing.T, in []byte) {
		var out bytes.Buffer
		_, err := (&wholePackets{to: &out}).Write(in)
		if !bytes.HasPrefix(in, out.Bytes()) || err != nil && out.Len() > 0 {
			t.Errorf("%d bytes in, %d out, %v", len(in), out.Len(), err)
		}
	})
}
