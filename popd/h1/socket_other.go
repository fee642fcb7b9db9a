//go:build !linux

package h1

// openRaw finds nothing here.
func (c *conn) openRaw() {}

// fill reads at least one byte more into the buffer.
func (c *conn) fill() error {
	if err := c.eof; err != nil {
		return err
	}
	return c.fillPlain()
}

// send writes c.vec.
func (c *conn) send() error { return c.sendPieces() }
