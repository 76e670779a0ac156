//go:build failpoint

package main

import (
	"os"
	"strings"
	"sync"
	"syscall"
)

// failpoint returns a function that kills this process, as SIGKILL does, the first time that a point named in the
// environment is passed. The name is written to the file of the second variable before, so that the next process goes on.
func failpoint() func(name string) {
	want, spent := os.Getenv("DIAMANTE_FAILPOINT"), os.Getenv("DIAMANTE_FAILPOINT_SPENT")
	if want == "" || spent == "" {
		return nil
	}
	var mu sync.Mutex
	return func(name string) {
		mu.Lock()
		defer mu.Unlock()
		if done, err := os.ReadFile(spent); name != want || err == nil && strings.TrimSpace(string(done)) == want {
			return
		}
		if err := os.WriteFile(spent, []byte(name), 0o600); err != nil {
			panic("diamante-gateway: failpoint: " + err.Error())
		}
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {} // the signal arrives before this returns
	}
}
