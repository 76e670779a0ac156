//go:build !release

// Package softkey is a keyring in memory, for tests and development: its keys are as safe as the process's memory, and
// gone with it. Every file carries the build constraint !release, so a release build that imports the package by
// mistake does not compile.
package softkey
