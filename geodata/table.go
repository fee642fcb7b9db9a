package geodata

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"unsafe"
)

// MaxLists is how many distinct lists a Table can hold.
const MaxLists = 1 << 16

// Table answers for every address with a list of candidates, and with the network that shares the whole list. It is
// immutable and safe for concurrent use: a reload compiles a new one and swaps the pointer.
//
// Health is not in it. Since ranges are merged only where the whole list is equal, a scope once given stays right
// whatever fails (design §7).
type Table struct {
	lists  [][]uint16 // lists[0]: of those of whom nothing is known
	v4, v6 *trie
}

// Compile asks decide for the list of each distinct Facts and builds the table of them. Decide must depend on nothing
// but its argument, which it must not keep or change; what the numbers in a list mean is its own affair. List 0 is that
// of the zero Facts.
func (a *Atlas) Compile(decide func(*Facts) []uint16) (*Table, error) {
	t := &Table{}
	ids := map[string]uint32{}
	of := make([]uint32, len(a.facts))
	var key []byte
	for i := range a.facts {
		list := decide(&a.facts[i])
		key = key[:0]
		for _, n := range list {
			key = binary.LittleEndian.AppendUint16(key, n)
		}
		id, ok := ids[string(key)]
		if !ok {
			if len(t.lists) == MaxLists {
				return nil, fmt.Errorf("more than %d different orders of POPs; want coarser decisions: fewer POPs in order of distance, or fewer rules with orders of their own", MaxLists)
			}
			id = uint32(len(t.lists))
			ids[string(key)] = id
			t.lists = append(t.lists, append([]uint16(nil), list...))
		}
		of[i] = id
	}
	t.v4, t.v6 = newTrie(a.v4.translate(of)), newTrie(a.v6.translate(of))
	return t, nil
}

// Lookup returns the number of addr's list, and the length of the widest network around addr in which everybody has
// that list. An IPv4-mapped IPv6 address counts as IPv6. For an address that is not valid it is list 0, scope 0.
func (t *Table) Lookup(addr netip.Addr) (list uint16, scope uint8) {
	if addr.Is4() {
		e := t.v4.lookup4(addr)
		return e.list(), e.scope()
	}
	if !addr.IsValid() {
		return 0, 0
	}
	e := t.v6.lookup6(addr)
	return e.list(), e.scope()
}

// List returns the list of that number. It must not be changed.
func (t *Table) List(n uint16) []uint16 { return t.lists[n] }

// Lists is the number of distinct lists; they are numbered from 0.
func (t *Table) Lists() int { return len(t.lists) }

// Size is the memory that the table takes, in bytes.
func (t *Table) Size() int {
	lists := 0
	for _, l := range t.lists {
		lists += int(unsafe.Sizeof(l)) + 2*cap(l)
	}
	return lists + t.v4.size() + t.v6.size()
}
