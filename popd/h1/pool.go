package h1

import "sync"

// pools hold the buffers of all connections of a Server. An idle connection of the kernel's holds none.
type pools struct{ in, out sync.Pool } // of *[inBytes]byte and *[outBytes]byte: arrays, since putting a slice would allocate

func (p *pools) getIn() []byte {
	if a, ok := p.in.Get().(*[inBytes]byte); ok {
		return a[:]
	}
	return make([]byte, inBytes)
}

// putIn takes back what getIn gave; a buffer that has grown is left to the collector.
func (p *pools) putIn(b []byte) {
	if cap(b) == inBytes {
		p.in.Put((*[inBytes]byte)(b[:inBytes]))
	}
}

func (p *pools) getOut() []byte {
	if a, ok := p.out.Get().(*[outBytes]byte); ok {
		return a[:0]
	}
	return make([]byte, 0, outBytes)
}

func (p *pools) putOut(b []byte) {
	if cap(b) == outBytes {
		p.out.Put((*[outBytes]byte)(b[:outBytes]))
	}
}

// ensureOut has c.out ready for appending.
func (c *conn) ensureOut() {
	if c.out == nil {
		c.out = c.s.pools.getOut()
	}
}

// putBuffers gives all back.
func (c *conn) putBuffers() {
	if c.buf != nil {
		c.s.pools.putIn(c.buf)
	}
	if c.out != nil {
		c.s.pools.putOut(c.out)
	}
	c.buf, c.out = nil, nil
}
