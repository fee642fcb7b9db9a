package speaker

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"

	"github.com/osrg/gobgp/v3/pkg/log"
)

// logger carries gobgp's log lines to slog, one step less loud: what it warns of is ordinary in the life of a session.
// It also listens for what gobgp only logs and we must know: protection that could not be set, and why a session ended.
type logger struct {
	to *slog.Logger
	// All take a neighbour's address; they are called from within gobgp and must not block or call it. What a
	// notification said (RFC 9003) comes before the end of its session.
	unprotected, said, ended func(key, why string)
}

// unprotectedMessages are gobgp's log lines for MD5 and GTSM that are not in force.
var unprotectedMessages = [...]string{"failed to set md5", "cannot set TTL", "failed to set peer connection TTL"}

func (l *logger) log(level slog.Level, msg string, fields log.Fields) {
	for _, m := range unprotectedMessages {
		if strings.HasPrefix(msg, m) {
			l.unprotected(fmt.Sprint(fields["Key"]), fmt.Sprintf("%s: %v%v", msg, orEmpty(fields["Err"]), orEmpty(fields["Error"])))
		}
	}
	switch msg {
	case "received notification", "sent notification":
		if text, ok := fields["Communicated-Reason"].(string); ok && text != "" {
			l.said(fmt.Sprint(fields["Key"]), text)
		}
	case "Peer Down":
		l.ended(fmt.Sprint(fields["Key"]), fmt.Sprint(fields["Reason"]))
	}
	if !l.to.Enabled(context.Background(), level) {
		return
	}
	attrs := []slog.Attr{slog.String("said", msg)}
	for _, k := range slices.Sorted(maps.Keys(fields)) {
		key := strings.ReplaceAll(strings.ToLower(k), " ", "_")
		if key == "key" {
			key = "peer"
		}
		attrs = append(attrs, slog.Any(key, fields[k]))
	}
	l.to.LogAttrs(context.Background(), level, "gobgp", attrs...)
}

func orEmpty(v any) any {
	if v == nil {
		return ""
	}
	return v
}

func (l *logger) Panic(msg string, fields log.Fields) {
	l.log(slog.LevelError, msg, fields)
	panic("gobgp: " + msg)
}

// Fatal is called by gobgp's gRPC server alone, which we do not start.
func (l *logger) Fatal(msg string, fields log.Fields) { l.Panic(msg, fields) }
func (l *logger) Error(msg string, fields log.Fields) { l.log(slog.LevelWarn, msg, fields) }
func (l *logger) Warn(msg string, fields log.Fields)  { l.log(slog.LevelInfo, msg, fields) }
func (l *logger) Info(msg string, fields log.Fields)  { l.log(slog.LevelDebug, msg, fields) }
func (l *logger) Debug(msg string, fields log.Fields) { l.log(slog.LevelDebug-4, msg, fields) }
func (l *logger) SetLevel(log.LogLevel)               {}

func (l *logger) GetLevel() log.LogLevel {
	if l.to.Enabled(context.Background(), slog.LevelDebug-4) {
		return log.DebugLevel
	}
	return log.InfoLevel
}
