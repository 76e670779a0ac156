package main

import (
	"slices"

	log "github.com/hashicorp/go-hclog"
	kubernetes "github.com/hashicorp/vault-plugin-auth-kubernetes"
	kv "github.com/hashicorp/vault-plugin-secrets-kv"
	"github.com/hashicorp/vault/builtin/credential/approle"
	"github.com/hashicorp/vault/builtin/credential/cert"
	"github.com/hashicorp/vault/builtin/logical/pki"
	"github.com/hashicorp/vault/builtin/logical/transit"
	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/hashicorp/vault/sdk/physical/file"
	"github.com/hashicorp/vault/vault"
)

// The engines and ways to log in.
var (
	engines = map[string]logical.Factory{"transit": tidiedFactory(transit.Factory), "pki": tidiedFactory(pki.Factory), "kv": tidiedFactory(kv.Factory)}
	logins  = map[string]logical.Factory{"approle": tidiedFactory(approle.Factory), "cert": tidiedFactory(cert.Factory), "kubernetes": tidiedFactory(kubernetes.Factory)}
)

// newCore opens the storage; the core is sealed.
func newCore(data string, logger log.Logger) (*vault.Core, error) {
	storage, err := file.NewFileBackend(map[string]string{"path": data}, logger.Named("storage"))
	if err != nil {
		return nil, err
	}
	return vault.NewCore(&vault.CoreConfig{Physical: storage, StorageType: "file", LogicalBackends: engines,
		CredentialBackends: logins, BuiltinRegistry: builtins{}, DisableMlock: true, Logger: logger})
}

// builtins tells Vault which plugins are part of it: those above.
type builtins struct{}

func factories(kind consts.PluginType) map[string]logical.Factory {
	switch kind {
	case consts.PluginTypeSecrets:
		return engines
	case consts.PluginTypeCredential:
		return logins
	}
	return nil
}

// Contains reports whether there is such a plugin.
func (builtins) Contains(name string, kind consts.PluginType) bool {
	return factories(kind)[name] != nil
}

// Get returns what makes the plugin's factory.
func (builtins) Get(name string, kind consts.PluginType) (func() (any, error), bool) {
	factory, ok := factories(kind)[name]
	return func() (any, error) { return factory, nil }, ok
}

// Keys returns the names of the plugins of a kind, in order.
func (builtins) Keys(kind consts.PluginType) (names []string) {
	for name := range factories(kind) {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// DeprecationStatus says that none is on its way out.
func (b builtins) DeprecationStatus(name string, kind consts.PluginType) (consts.DeprecationStatus, bool) {
	return consts.Supported, b.Contains(name, kind)
}

// IsBuiltinEntPlugin says that none needs a licence.
func (builtins) IsBuiltinEntPlugin(string, consts.PluginType) bool { return false }
