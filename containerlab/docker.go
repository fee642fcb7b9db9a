package containerlab

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/catchment-net/catchment/labs"
)

// tools drives containerlab and docker as a person does, by their commands.
type tools struct {
	dir  string   // of the rendered lab
	file string   // its topology file
	lab  string   // its name
	env  []string // added to the environment
}

// Able says what this host lacks to run labs in containers, and how to get it; nil when it lacks nothing.
func Able(ctx context.Context) error {
	cannot := func(what, fix string) error {
		return &labs.CannotError{What: "run labs in containers: " + what, Fix: fix}
	}
	if os.Getuid() != 0 {
		return cannot("this is not root, who alone reaches into the containers' networks", "run it as root, or use --runner local")
	}
	if _, err := exec.LookPath("docker"); err != nil {
		return cannot("docker is not installed", "install it (Debian: docker.io)")
	}
	if _, err := exec.LookPath("containerlab"); err != nil {
		return cannot("containerlab is not installed", "see https://containerlab.dev/install")
	}
	if _, err := run(ctx, nil, "", "docker", "version", "--format", "{{.Server.Version}}"); err != nil {
		return cannot("the docker daemon does not answer", "start it: systemctl start docker")
	}
	return nil
}

// run runs a command; its error holds the last line that it printed.
func run(ctx context.Context, env []string, dir string, argv ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	if err := cmd.Run(); err != nil {
		said := lastLine(complaint.String())
		if said == "" {
			said = lastLine(out.String())
		}
		return nil, fmt.Errorf("%s: %w: %s", strings.Join(argv[:min(len(argv), 3)], " "), err, said)
	}
	return out.Bytes(), nil
}

// lastLine is the last line with something in it.
func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.TrimSpace(lines[len(lines)-1])
}

// deploy brings the containers up, or makes what is up equal to the topology file: a container that was killed and
// started again gets its cables back so. Anew throws away what is left of an earlier lab of the name.
func (t *tools) deploy(ctx context.Context, anew bool) error {
	argv := []string{"containerlab", "deploy", "-t", t.file}
	if anew {
		argv = append(argv, "--reconfigure")
	}
	_, err := run(ctx, t.env, t.dir, argv...)
	return err
}

// destroy takes everything away.
func (t *tools) destroy(ctx context.Context) error {
	_, err := run(ctx, t.env, t.dir, "containerlab", "destroy", "-t", t.file, "--cleanup")
	return err
}

// container is docker's name of a node of the topology file.
func (t *tools) container(node string) string { return "clab-" + t.lab + "-" + node }

// containerState is what docker knows of a container.
type containerState struct {
	Running, Paused bool
	Pid             int
	ExitCode        int
}

// inspect returns the containers' states by node.
func (t *tools) inspect(ctx context.Context, nodes ...string) (map[string]containerState, error) {
	argv := []string{"docker", "inspect", "--format", "{{json .State}}"}
	for _, n := range nodes {
		argv = append(argv, t.container(n))
	}
	out, err := run(ctx, nil, "", argv...)
	if err != nil {
		return nil, err
	}
	all := map[string]containerState{}
	dec := json.NewDecoder(bytes.NewReader(out))
	for _, n := range nodes {
		var s containerState
		if err := dec.Decode(&s); err != nil {
			return nil, fmt.Errorf("read what docker says of %q: %w", n, err)
		}
		all[n] = s
	}
	return all, nil
}

// docker does one thing to several containers at once.
func (t *tools) docker(ctx context.Context, verb string, nodes ...string) error {
	argv := []string{"docker", verb}
	for _, n := range nodes {
		argv = append(argv, t.container(n))
	}
	_, err := run(ctx, nil, "", argv...)
	return err
}

// lastWords are the last lines that a container has written.
func (t *tools) lastWords(ctx context.Context, node string) string {
	out, err := exec.CommandContext(ctx, "docker", "logs", "--tail", "3", t.container(node)).CombinedOutput()
	if err != nil {
		return err.Error()
	}
	return strings.ReplaceAll(strings.TrimSpace(string(out)), "\n", "; ")
}
