package daemon

import (
	"bufio"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func itoa(n int) string { return strconv.Itoa(n) }

func at(seconds int64) func() time.Time { return func() time.Time { return time.Unix(seconds, 0) } }

func TestIncarnation(t *testing.T) {
	tests := []struct {
		name string
		file string // what the folder holds; "" for no file
		want uint64
	}{
		{"first start counts from the clock", "", 1000},
		{"later starts count up", "1000\n", 1001},
		{"a clock behind changes nothing", "5000\n", 5001},
		{"a damaged file counts from the clock", "10\x0000", 1000},
		{"an empty file counts from the clock", "\n", 1000},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			if tt.file != "" {
				if err := os.WriteFile(filepath.Join(dir, incarnationFile), []byte(tt.file), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			s, err := OpenState(StateOptions{Dir: dir, Now: at(1000)})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			if s.Incarnation != tt.want {
				t.Errorf("incarnation: got %d, want %d", s.Incarnation, tt.want)
			}
		})
	}
}

// Whatever the clock does, each start has a larger number than the one before.
func TestIncarnationsGrow(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		dir := t.TempDir() // a new one at each call
		var last uint64
		for range rapid.IntRange(2, 4).Draw(rt, "starts") {
			s, err := OpenState(StateOptions{Dir: dir, Now: at(rapid.Int64Range(-10, 1<<33).Draw(rt, "clock"))})
			if err != nil {
				rt.Fatal(err)
			}
			if s.Incarnation <= last {
				rt.Fatalf("incarnation %d after %d", s.Incarnation, last)
			}
			last = s.Incarnation
			if err := s.Close(); err != nil {
				rt.Fatal(err)
			}
		}
	})
}

const holdEnv = "CATCHMENT_TEST_HOLD_STATE"

// TestMain lets a test run this binary as a process that holds a state folder.
func TestMain(m *testing.M) {
	if dir := os.Getenv(holdEnv); dir != "" {
		if _, err := OpenState(StateOptions{Dir: dir}); err != nil {
			os.Exit(Report(os.Stderr, "holder", err))
		}
		os.Stdout.WriteString("held\n")
		time.Sleep(time.Minute) // the parent kills it first
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// A process that is killed leaves no lock behind, and while it lives its number is in the message.
func TestLockOfAnotherProcess(t *testing.T) {
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env = append(os.Environ(), holdEnv+"="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "held\n" {
		t.Fatalf("holder said %q, %v", line, err)
	}
	_, err = OpenState(StateOptions{Dir: dir})
	want := "is in use by process " + itoa(cmd.Process.Pid)
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("open a held folder: got error %v, want one with %q", err, want)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	var killed *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &killed) {
		t.Fatalf("holder ended with %v, want it killed", err)
	}
	s, err := OpenState(StateOptions{Dir: dir})
	if err != nil {
		t.Fatalf("open after the holder's death: %v", err)
	}
	s.Close()
}

func TestStateFolderCannotBeMade(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := OpenState(StateOptions{Dir: filepath.Join(file, "ams1")})
	if err == nil || !strings.Contains(err.Error(), "choose another with --state DIR") {
		t.Errorf("got error %v, want one that says what to do", err)
	}
}

func TestDefaultState(t *testing.T) {
	tests := []struct {
		name     string
		node     string
		writable bool
		env      map[string]string
		want     string // "" for an error
	}{
		{"root", "ams1", true, nil, "/var/lib/catchment/ams1"},
		{"user", "ams1", false, map[string]string{"HOME": "/home/u"}, "/home/u/.local/state/catchment/ams1"},
		{"user with XDG", "ams1", false, map[string]string{"HOME": "/home/u", "XDG_STATE_HOME": "/s"}, "/s/catchment/ams1"},
		{"a relative XDG path is ignored", "ams1", false, map[string]string{"HOME": "/home/u", "XDG_STATE_HOME": "s"}, "/home/u/.local/state/catchment/ams1"},
		{"no home", "ams1", false, nil, ""},
		{"a node's name stays a folder's name", "../etc", true, nil, ""},
		{"no name", "", true, nil, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := defaultState(tt.node, tt.writable, func(k string) string { return tt.env[k] })
			if got != tt.want || (err == nil) != (tt.want != "") {
				t.Errorf("got %q, %v; want %q", got, err, tt.want)
			}
		})
	}
}
