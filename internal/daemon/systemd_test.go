package daemon

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The manager hears of readiness, of the watchdog's beat and of the stop, in this order.
func TestSystemdHears(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	sock, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer sock.Close()
	if err := sock.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	hear := func() string {
		buf := make([]byte, 128)
		n, err := sock.Read(buf)
		if err != nil {
			t.Error(err)
		}
		return string(buf[:n])
	}
	signals := make(chan os.Signal, 1)
	err = Run(t.Context(), Options{Name: "test", Signals: signals, Systemd: Systemd{Socket: path, Watchdog: 20 * time.Millisecond}}, func(p *Process) (Daemon, error) {
		return &fake{
			run: func(ctx context.Context) error {
				p.Ready(nil)
				heard := []string{hear(), hear()}
				if got := strings.Join(heard, " "); got != "READY=1 WATCHDOG=1" {
					t.Errorf("heard %q, want READY=1 WATCHDOG=1", got)
				}
				signals <- syscall.SIGTERM
				return untilDone(ctx)
			},
			drain: func(context.Context) error {
				for got := "WATCHDOG=1"; got != "STOPPING=1"; {
					if got = hear(); got != "WATCHDOG=1" && got != "STOPPING=1" {
						t.Errorf("heard %q, want STOPPING=1", got)
						break
					}
				}
				return nil
			},
		}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestSystemdFrom(t *testing.T) {
	tests := []struct {
		name string
		env  map[string]string
		want Systemd
	}{
		{"no systemd", nil, Systemd{}},
		{"notify only", map[string]string{"NOTIFY_SOCKET": "@x"}, Systemd{Socket: "@x"}},
		{"watchdog", map[string]string{"NOTIFY_SOCKET": "/n", "WATCHDOG_USEC": "3000000"}, Systemd{Socket: "/n", Watchdog: 3 * time.Second}},
		{"watchdog of ours", map[string]string{"WATCHDOG_USEC": "1000", "WATCHDOG_PID": itoa(os.Getpid())}, Systemd{Watchdog: time.Millisecond}},
		{"watchdog of another", map[string]string{"WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"}, Systemd{}},
		{"nonsense", map[string]string{"WATCHDOG_USEC": "-1"}, Systemd{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := SystemdFrom(func(k string) string { return tt.env[k] }); got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}
