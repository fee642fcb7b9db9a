package main

import (
	"encoding/json"

	"github.com/catchment-net/catchment/internal/daemon"
)

// print prints a table for people.
func (a *app) print(t *daemon.Table) error {
	_, err := t.WriteTo(a.out)
	return err
}

// printJSON prints one value for programs.
func (a *app) printJSON(v any) error {
	enc := json.NewEncoder(a.out)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}
