//go:build !failpoint

package main

// failpoint returns nil: a gateway that is not built for killing has no points at which to fail.
func failpoint() func(name string) { return nil }
