// Package k8s is the one provider that Vault names itself. See discover.
package k8s

import (
	"errors"
	"log"
)

// Provider finds nobody.
type Provider struct{}

// Addrs finds nobody.
func (*Provider) Addrs(map[string]string, *log.Logger) ([]string, error) {
	return nil, errors.New("k8s: this server looks for no others")
}
