package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
)

// The exit statuses of every command (design §15).
const (
	Done      = 0 // it did what was asked
	No        = 1 // an expectation failed, a remote refused, a daemon could not go on
	BadInput  = 2 // the input or the set-up is wrong
	CannotRun = 3 // this host cannot do it
)

// ExitError is an error that knows the exit status of the command it ends. Err is nil where all has been said already.
type ExitError struct {
	Code int
	Err  error
}

// Error is the text of the error within.
func (e *ExitError) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("exit status %d", e.Code)
	}
	return e.Err.Error()
}

// Unwrap returns the error within.
func (e *ExitError) Unwrap() error { return e.Err }

// ExitCode is the exit status.
func (e *ExitError) ExitCode() int { return e.Code }

// WithCode gives err an exit status, unless it is nil or already has one.
func WithCode(code int, err error) error {
	var known interface{ ExitCode() int }
	if err == nil || errors.As(err, &known) {
		return err
	}
	return &ExitError{Code: code, Err: err}
}

// Report tells the user of err as "PROGRAM: text" and returns the exit status. Errors that were joined are told one by
// one. An error that can show itself with an excerpt of the file (Render, as *conf.Problems can) does so, and means
// BadInput unless it says otherwise. An error without a status means No. Never a stack trace: a panic is a defect and
// prints its own.
func Report(w io.Writer, program string, err error) int {
	if err == nil {
		return Done
	}
	tell(w, program, err)
	var known interface{ ExitCode() int }
	var shown renderer
	switch {
	case errors.As(err, &known):
		return known.ExitCode()
	case errors.As(err, &shown):
		return BadInput
	}
	return No
}

// renderer is an error that shows itself better than in one line.
type renderer interface{ Render(w io.Writer) error }

func tell(w io.Writer, program string, err error) {
	if parts := joined(err); parts != nil {
		for _, part := range parts {
			tell(w, program, part)
		}
		return
	}
	var silent *ExitError
	var shown renderer
	switch {
	case errors.As(err, &silent) && silent.Err == nil:
	case errors.As(err, &shown):
		_ = shown.Render(w) // nowhere is left to tell that stderr is closed
	case errors.Is(err, context.Canceled):
		fmt.Fprintf(w, "%s: interrupted\n", program)
	default:
		fmt.Fprintf(w, "%s: %v\n", program, err)
	}
}

// joined returns the parts of an error that errors.Join made, also one that has got an exit status since; nil for any
// other.
func joined(err error) []error {
	if e, ok := err.(*ExitError); ok && e.Err != nil { //nolint:errorlint // only the outermost error counts here
		err = e.Err
	}
	j, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return nil
	}
	var texts []string
	for _, part := range j.Unwrap() {
		texts = append(texts, part.Error())
	}
	if strings.Join(texts, "\n") != err.Error() {
		return nil // a text around its parts, which would be lost
	}
	return j.Unwrap()
}
