//go:build !race

package fbas

// raceDetector says whether this build watches for races.
const raceDetector = false
