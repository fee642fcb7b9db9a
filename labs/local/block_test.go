package local

import "testing"

func TestBlocksCoexistAndAreGivenBack(t *testing.T) {
	a, err := claimBlock()
	if err != nil {
		t.Fatal(err)
	}
	b, err := claimBlock()
	if err != nil {
		t.Fatal(err)
	}
	if a.number == b.number || a.addr(1) == b.addr(1) {
		t.Fatalf("two labs share block %d and address %v", a.number, a.addr(1))
	}
	if got := a.addr(1).As4()[0]; got != 127 {
		t.Fatalf("address %v is not loopback", a.addr(1))
	}
	number := a.number
	if err := a.release(); err != nil {
		t.Fatal(err)
	}
	again, err := claimBlock()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = again.release() }()
	defer func() { _ = b.release() }()
	if again.number > number {
		t.Fatalf("block %d was released, yet the next lab got %d", number, again.number)
	}
}

func TestBlockAddressesStayInside(t *testing.T) {
	last := &block{number: blocks - 1}
	if got, want := last.addr(blockHosts).String(), "127.127.255.254"; got != want {
		t.Errorf("last address of the last block: got %v, want %v", got, want)
	}
	if got, want := (&block{number: 1}).addr(1).String(), "127.64.4.1"; got != want {
		t.Errorf("first address of block 1: got %v, want %v", got, want)
	}
	for _, b := range []int{0, 1, portBlocks - 1, blocks - 1} {
		if p := (&block{number: b}).port(portsInBlock - 1); p < firstPort || p > 65535 {
			t.Errorf("block %d: access port %d is no port", b, p)
		}
	}
}
