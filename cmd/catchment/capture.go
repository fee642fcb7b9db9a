package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"

	"github.com/spf13/cobra"

	"github.com/catchment-net/catchment/labs/layout"
	"github.com/catchment-net/catchment/labs/runner"
)

func (a *app) labCapture() *cobra.Command {
	var lab, file string
	var long time.Duration
	cmd := &cobra.Command{
		Use: "capture LINK", Short: "Write the packets that cross a link, as a pcap file",
		Long: `Write what either end of a link sends, as a pcap file, until interrupted: what the link then delays, loses or
swallows is in it. LINK is written as in the topology, or as its two ends. On a terminal the packets are shown by
tcpdump. A lab of the local runner has no packets.`,
		Args: cobra.ExactArgs(1),
		Example: `  catchment lab capture "ams -> arc" -w ams.pcap
  catchment lab capture "ams -> arc" --for 10s > ams.pcap
  catchment lab capture "ams -> arc" | tcpdump -nr - tcp port 179`,
		ValidArgsFunction: completeFirst(&lab, linkNames),
		RunE: func(cmd *cobra.Command, args []string) error {
			l, err := connect(lab)
			if err != nil {
				return err
			}
			link, err := layout.FindLink(l.Topology(), args[0])
			if err != nil {
				return err
			}
			ctx := cmd.Context()
			if long > 0 {
				var stop context.CancelFunc
				ctx, stop = context.WithTimeout(ctx, long)
				defer stop()
			}
			return a.capture(ctx, l, link.Name(), file)
		},
	}
	cmd.Flags().StringVarP(&file, "write", "w", "", "the file to write (default: standard output)")
	cmd.Flags().DurationVar(&long, "for", 0, "end by itself after this time (default: never)")
	return labFlag(cmd, &lab)
}

func linkNames(l *runner.Remote) []string {
	var names []string
	for _, link := range l.Topology().Internet.Links {
		names = append(names, link.Name())
	}
	return names
}

// capture writes to the file, to a tcpdump where people would see it, or to what standard output leads to.
func (a *app) capture(ctx context.Context, l *runner.Remote, link, file string) error {
	switch {
	case file != "":
		out := &lateFile{name: file}
		err := errors.Join(l.Capture(ctx, link, &wholePackets{to: out}), out.Close())
		if err == nil {
			_, err = fmt.Fprintf(a.err, "%d bytes written to %s\n", out.bytes, file)
		}
		return err
	case terminal(a.out):
		return a.showPackets(ctx, l, link)
	}
	return l.Capture(ctx, link, &wholePackets{to: a.out})
}

// showPackets has tcpdump print the capture. It ends when the capture does, having shown all of it.
func (a *app) showPackets(ctx context.Context, l *runner.Remote, link string) error {
	path, err := exec.LookPath("tcpdump")
	if err != nil {
		return errors.New("a capture is not for a terminal; write it with -w FILE, or see it here with tcpdump (`sudo apt-get install -y tcpdump`)")
	}
	show := exec.Command(path, "-nr", "-") //nolint:noctx,gosec // the end of its input ends it
	show.Stdout, show.Stderr = a.out, a.err
	in, err := show.StdinPipe()
	if err != nil {
		return fmt.Errorf("make pipe to tcpdump: %w", err)
	}
	late := &lateStart{cmd: show, in: in}
	err = l.Capture(ctx, link, &wholePackets{to: late})
	_ = in.Close()
	if late.started {
		_ = show.Wait() // ^C reaches it, too
	}
	return err
}

// lateFile is a file that comes to be with its first bytes: a capture that is refused leaves none.
type lateFile struct {
	name  string
	file  *os.File
	bytes int64
}

// Write creates the file if need be, and writes.
func (f *lateFile) Write(b []byte) (int, error) {
	if f.file == nil && len(b) > 0 {
		var err error
		if f.file, err = os.Create(f.name); err != nil {
			return 0, fmt.Errorf("write capture: %w", err)
		}
	}
	if f.file == nil {
		return 0, nil
	}
	n, err := f.file.Write(b)
	f.bytes += int64(n)
	return n, err
}

// Close closes the file if there is one.
func (f *lateFile) Close() error {
	if f.file == nil {
		return nil
	}
	return f.file.Close()
}

// lateStart starts a program with the first bytes for it.
type lateStart struct {
	cmd     *exec.Cmd
	in      io.Writer
	started bool
}

// Write starts the program if need be, and writes to it.
func (s *lateStart) Write(b []byte) (int, error) {
	if !s.started && len(b) > 0 {
		if err := s.cmd.Start(); err != nil {
			return 0, fmt.Errorf("start tcpdump: %w", err)
		}
		s.started = true
	}
	if !s.started {
		return 0, nil
	}
	return s.in.Write(b)
}
