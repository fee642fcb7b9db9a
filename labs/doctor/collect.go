package doctor

import (
	"context"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Options configures Collect. Both are required.
type Options struct {
	// StateRoot is where labs keep their run-time files.
	StateRoot string
	// Binary is catchment, which is started again to try namespaces.
	Binary string
}

// patience is how long any program is waited for.
const patience = 5 * time.Second

// Collect looks at this host. It changes nothing that lasts: what it makes is gone when it returns.
func Collect(ctx context.Context, o Options) Facts {
	f := Facts{OS: runtime.GOOS, Root: os.Geteuid() == 0, StateRoot: o.StateRoot, Ports: map[int]string{}}
	if u, err := user.Current(); err == nil {
		f.User = u.Username
	}
	var uts unix.Utsname
	if unix.Uname(&uts) == nil {
		f.Kernel = unix.ByteSliceToString(uts.Release[:])
	}
	f.Sysctls = sysctls()
	f.Installer = installer()
	f.Programs = programs(ctx)
	if docker := f.Programs["docker"].Path; docker != "" {
		f.Docker = answers(ctx, docker)
	}
	f.Loopback, f.Blocks = loopback(ctx), blocksInUse()
	f.State = writable(o.StateRoot)
	f.Namespaces = namespaces(ctx, o.Binary)
	f.Netem = netem(ctx, f.Programs["tc"].Path)
	for _, port := range []int{53, 80, 179} {
		f.Ports[port] = listens(ctx, port)
	}
	limits(&f)
	return f
}

// reason is an error without what the reader sees anyhow.
func reason(err error) string {
	if err == nil {
		return ""
	}
	text := err.Error()
	if i := strings.LastIndex(text, ": "); i >= 0 {
		text = text[i+2:]
	}
	return text
}

func sysctls() map[string]string {
	values := map[string]string{}
	for _, name := range []string{
		"kernel.unprivileged_userns_clone", "user.max_user_namespaces", "user.max_net_namespaces",
		"kernel.apparmor_restrict_unprivileged_userns",
	} {
		if text, err := os.ReadFile("/proc/sys/" + strings.ReplaceAll(name, ".", "/")); err == nil {
			values[name] = strings.TrimSpace(string(text))
		}
	}
	return values
}

func installer() string {
	for _, name := range []string{"apt-get", "dnf", "apk"} {
		if _, err := exec.LookPath(name); err == nil {
			return name
		}
	}
	return ""
}

// programs finds what a lab can use. Daemons lie where a user's PATH does not lead.
func programs(ctx context.Context) map[string]Program {
	versions := map[string]string{
		"bgpd": "--version", "zebra": "--version", "bird": "--version", "unbound": "-V", "dig": "-v", "kdig": "-V", "curl": "--version",
		"tcpdump": "--version", "ip": "-V", "tc": "-V", "nft": "--version", "docker": "--version", "containerlab": "version --short",
	}
	found := map[string]Program{}
	for _, name := range slices.Sorted(maps.Keys(versions)) {
		if path := locate(name); path != "" {
			found[name] = Program{Path: path, Version: versionOf(ctx, path, strings.Fields(versions[name]))}
		}
	}
	return found
}

func locate(name string) string {
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	for _, dir := range []string{"/usr/lib/frr", "/usr/libexec/frr", "/usr/sbin", "/sbin", "/usr/local/sbin"} {
		path := filepath.Join(dir, name)
		if info, err := os.Stat(path); err == nil && info.Mode()&0o111 != 0 {
			return path
		}
	}
	return ""
}

// versionOf is the first word of a program's version text that begins with a digit.
func versionOf(ctx context.Context, path string, args []string) string {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	out, _ := exec.CommandContext(ctx, path, args...).CombinedOutput() //nolint:gosec // found in PATH; some tell it and fail
	return versionIn(string(out))
}

func versionIn(out string) string {
	line, _, _ := strings.Cut(out, "\n")
	for _, word := range strings.FieldsFunc(line, func(r rune) bool { return strings.ContainsRune(" ,-", r) }) {
		if word[0] >= '0' && word[0] <= '9' && strings.Contains(word, ".") {
			return word
		}
	}
	return ""
}

// answers says why docker's engine does not answer.
func answers(ctx context.Context, docker string) string {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	out, err := exec.CommandContext(ctx, docker, "version", "--format", "{{.Server.Version}}").CombinedOutput() //nolint:gosec // found in PATH
	switch {
	case err == nil:
		return ""
	case ctx.Err() != nil:
		return "no answer in " + patience.String()
	case strings.Contains(string(out), "permission denied"):
		return "permission denied"
	}
	line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	return line
}

func loopback(ctx context.Context) string {
	var c net.ListenConfig
	conn, err := c.ListenPacket(ctx, "udp4", "127.64.0.1:0")
	if err != nil {
		return reason(err)
	}
	return reason(conn.Close())
}

// blocksInUse counts the local runner's claims: unix sockets without a file, named after their blocks.
func blocksInUse() int {
	text, err := os.ReadFile("/proc/net/unix")
	if err != nil {
		return 0
	}
	return strings.Count(string(text), "@catchment/block/")
}

// writable tries the nearest folder that is there.
func writable(dir string) string {
	for {
		info, err := os.Stat(dir)
		if err == nil && info.IsDir() {
			break
		}
		if parent := filepath.Dir(dir); parent != dir {
			dir = parent
			continue
		}
		return "no folder"
	}
	f, err := os.CreateTemp(dir, ".doctor")
	if err != nil {
		return dir + ": " + reason(err)
	}
	_ = f.Close()
	return reason(os.Remove(f.Name()))
}

func listens(ctx context.Context, port int) string {
	var c net.ListenConfig
	l, err := c.Listen(ctx, "tcp", fmt.Sprintf(":%d", port))
	if err != nil {
		return reason(err)
	}
	return reason(l.Close())
}

func limits(f *Facts) {
	var r unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &r) == nil {
		f.Files = r.Max
	}
	if unix.Getrlimit(unix.RLIMIT_NPROC, &r) == nil {
		f.Processes = r.Cur
	}
	f.Memory = available()
	if text, err := os.ReadFile("/sys/devices/system/clocksource/clocksource0/current_clocksource"); err == nil {
		f.ClockSource = strings.TrimSpace(string(text))
	}
	var t unix.Timex
	if state, err := unix.Adjtimex(&t); err == nil {
		f.Synced = state != unix.TIME_ERROR && t.Status&unix.STA_UNSYNC == 0
	}
}

// available is what the kernel says can be had without swapping, in bytes.
func available() uint64 {
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0
	}
	for line := range strings.SplitSeq(string(text), "\n") {
		words := strings.Fields(line)
		if len(words) > 1 && words[0] == "MemAvailable:" {
			n, _ := strconv.ParseUint(words[1], 10, 64)
			return n << 10
		}
	}
	return 0
}
