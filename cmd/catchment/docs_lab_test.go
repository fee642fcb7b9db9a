//go:build lab

package main

import "testing"

// Pages with labs take their time: a drill lasts as long as it says.
func TestPagesWithLabs(t *testing.T) {
	for page, text := range pages(t) {
		all := blocksOf(page, text)
		for _, b := range all {
			if b.has("lab") {
				t.Run(page, func(t *testing.T) { playPage(t, all, true) })
				break
			}
		}
	}
}
