package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/catchment-net/catchment/labs/catalog"
	"github.com/catchment-net/catchment/labs/runner"
)

// TestMain makes a copy of the test binary that is called catchment and behaves so. A lab's runner and its nodes are
// that file started again (os.Executable), so they are catchment, too.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"catchment": main})
}

// TestScripts plays the scenes of testdata/script: what a person types, and what must come of it.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup:               setupScene,
		Condition:           sceneCondition,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"status":      cmdStatus,
			"lastline":    cmdLastLine,
			"waitfor":     cmdWaitFor,
			"within":      cmdWithin,
			"ready":       cmdReady,
			"freeport":    cmdFreePort,
			"occupy":      cmdOccupy,
			"serve":       cmdServe,
			"lifeline":    cmdLifeline,
			"signal":      cmdSignal,
			"replace":     cmdReplace,
			"expand":      cmdExpand,
			"quickstart":  cmdQuickstart,
			"labports":    cmdLabPorts,
			"nothingleft": cmdNothingLeft,
			"killrunner":  cmdKillRunner,
		},
	})
}

// setupScene gives each scene run-time and home folders of its own, and ends the labs that a failed scene leaves.
func setupScene(env *testscript.Env) error {
	runtime, err := os.MkdirTemp("", "scene") // short: unix sockets go below it
	if err != nil {
		return err
	}
	env.Setenv("XDG_RUNTIME_DIR", runtime)
	env.Setenv("HOME", filepath.Join(env.WorkDir, "home"))
	env.Setenv("CATCHMENT_ADMIN", "")
	env.Setenv("PATH", env.Getenv("PATH")+":/usr/sbin:/sbin") // BIRD is there, and not every user's PATH has it
	// Under the race detector every process of the scene, the nodes of a lab included, reports into the work folder.
	races := filepath.Join(env.WorkDir, ".race")
	env.Setenv("GORACE", "log_path="+races)
	env.Defer(func() {
		reports, err := filepath.Glob(races + ".*")
		if err != nil {
			env.T().Fatal(err)
		}
		for _, file := range reports {
			text, err := os.ReadFile(file)
			env.T().Fatal(string(text), err)
		}
	})
	env.Defer(func() {
		root := filepath.Join(runtime, "catchment")
		for _, name := range runner.Running(root) {
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			lab, err := runner.Connect(root, name)
			if err == nil {
				err = lab.Down(ctx)
			}
			if err != nil {
				env.T().Log("end lab:", err)
			}
			cancel()
		}
		if err := os.RemoveAll(runtime); err != nil {
			env.T().Log(err)
		}
	})
	return nil
}

// sceneCondition knows [netns]: whether this user can make a network namespace with addresses of its own.
func sceneCondition(cond string) (bool, error) {
	if cond != "netns" {
		return false, fmt.Errorf("unknown condition %q", cond)
	}
	for _, tool := range []string{"unshare", "nsenter"} {
		if _, err := exec.LookPath(tool); err != nil {
			return false, nil
		}
	}
	try := exec.Command("unshare", "--map-root-user", "--net", "sh", "-c", "PATH=$PATH:/usr/sbin:/sbin; ip link set lo up && ip route add local 10.77.0.0/16 dev lo")
	return try.Run() == nil, nil
}

// cmdQuickstart unpacks the shipped lab: quickstart DIR.
func cmdQuickstart(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: quickstart DIR")
	}
	ts.Check(catalog.Extract("quickstart", ts.MkAbs(args[0])))
}

// exitStatus is a program's exit status; ok is false where it did not run at all.
func exitStatus(err error) (code int, ok bool) {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0, true
	case errors.As(err, &exit):
		return exit.ExitCode(), true
	}
	return 0, false
}
