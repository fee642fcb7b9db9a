package daemon

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"time"
)

// Systemd is where and how often a service tells its manager that it is well (sd_notify(3), sd_watchdog_enabled(3)).
// The zero value tells nobody.
type Systemd struct {
	Socket   string        // $NOTIFY_SOCKET: a path, or @NAME in the abstract name space
	Watchdog time.Duration // $WATCHDOG_USEC: how long silence is allowed; 0 for ever
}

// SystemdFrom reads what systemd has put into the environment. getenv is os.Getenv.
func SystemdFrom(getenv func(string) string) Systemd {
	s := Systemd{Socket: getenv("NOTIFY_SOCKET")}
	if pid := getenv("WATCHDOG_PID"); pid != "" && pid != strconv.Itoa(os.Getpid()) {
		return s // meant for another process of the service
	}
	if usec, err := strconv.ParseInt(getenv("WATCHDOG_USEC"), 10, 64); err == nil && usec > 0 {
		s.Watchdog = time.Duration(usec) * time.Microsecond
	}
	return s
}

// notify sends one datagram. The connection is made anew each time: the manager may have been restarted.
func (s Systemd) notify(state string) error {
	if s.Socket == "" {
		return nil
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: s.Socket, Net: "unixgram"}) // Go takes @NAME as abstract
	if err != nil {
		return fmt.Errorf("open notify socket %q: %w", s.Socket, err)
	}
	defer conn.Close()
	_, err = conn.Write([]byte(state))
	return err
}
