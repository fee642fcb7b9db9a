package upstream

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestLateSignDoesNotCutTheBodyOff: a dial that was overtaken by another connection reports its handshake after the
// header has come; that must not start the time anew.
func TestLateSignDoesNotCutTheBodyOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ended atomic.Int64
		s := watchSilence(time.Second, func() { ended.Add(1) })
		time.Sleep(900 * time.Millisecond)
		s.sign()
		time.Sleep(900 * time.Millisecond)
		if ended.Load() != 0 {
			t.Fatal("ended in spite of a sign")
		}
		s.stop()
		s.sign()
		time.Sleep(time.Minute)
		if ended.Load() != 0 {
			t.Error("ended after stop")
		}
		watchSilence(time.Second, func() { ended.Add(1) })
		time.Sleep(time.Minute)
		if ended.Load() != 1 {
			t.Errorf("silence ended %d exchanges, want 1", ended.Load())
		}
	})
}
