package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/catchment-net/catchment/labs/catalog"
	"github.com/catchment-net/catchment/labs/local"
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
		UpdateScripts:       os.Getenv("UPDATE_SCRIPTS") != "",
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
			"quickstart":  cmdQuickstart,
			"labports":    cmdLabPorts,
			"nothingleft": cmdNothingLeft,
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
	env.Defer(func() {
		root := filepath.Join(runtime, "catchment")
		for _, name := range local.Running(root) {
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			lab, err := local.Connect(root, name)
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

// sceneCondition knows [lowports]: whether this user may listen below port 1024.
func sceneCondition(cond string) (bool, error) {
	if cond != "lowports" {
		return false, fmt.Errorf("unknown condition %q", cond)
	}
	l, err := net.Listen("tcp", "127.77.0.9:80")
	if err != nil {
		return false, nil
	}
	return true, l.Close()
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
