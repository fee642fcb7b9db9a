//go:build lab

package geodata_test

import "testing"

func TestTableOfTheInternet(t *testing.T) { checkTable(t, internet(t), 200_000) }

func TestTableOfABenchWorld(t *testing.T) { checkTable(t, generated(t, 200_000, 50_000), 200_000) }
