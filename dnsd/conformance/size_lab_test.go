//go:build lab

package conformance

// generatedZones of the thorough comparison.
const generatedZones = 2500
