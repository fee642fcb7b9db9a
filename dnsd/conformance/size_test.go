//go:build !lab

package conformance

// generatedZones keep the comparison to a few seconds.
const generatedZones = 150
