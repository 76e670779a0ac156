package vault

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"

	"github.com/diamante/gateway/keymgmt"
)

// Store keeps sealed keys. They are no secrets, but without them the keys are lost: back them up.
type Store interface {
	// Load returns what was saved for key; an error that is fs.ErrNotExist says that nothing was.
	Load(ctx context.Context, key keymgmt.KeyID) ([]byte, error)
	// Save stores text durably; an error that is fs.ErrExist says that there is something, which was not changed.
	Save(ctx context.Context, key keymgmt.KeyID, text []byte) error
}

// KVStore keeps sealed keys in Vault's key-value engine, version 2.
type KVStore struct {
	client        *Client
	mount, prefix string
}

// NewKVStore makes a store below prefix of the engine at mount.
func NewKVStore(client *Client, mount, prefix string) (*KVStore, error) {
	if !validPath(mount) || !validPath(prefix) {
		return nil, fmt.Errorf("vault: key-value mount %.100q, prefix %.100q", mount, prefix)
	}
	return &KVStore{client, mount, prefix}, nil
}

func (s *KVStore) path(key keymgmt.KeyID) string {
	return s.mount + "/data/" + s.prefix + "/" + nameOf(key, "")
}

// entry is what the engine holds for one key.
type entry struct {
	Text string `json:"text"`
}

// Load reads the newest version.
func (s *KVStore) Load(ctx context.Context, key keymgmt.KeyID) ([]byte, error) {
	var got struct {
		Data entry `json:"data"`
	}
	err := s.client.do(ctx, call{method: http.MethodGet, path: s.path(key)}, into(&got))
	if errors.Is(err, errAbsent) {
		return nil, fmt.Errorf("vault: %w: %s", fs.ErrNotExist, s.path(key))
	}
	return []byte(got.Data.Text), err
}

// Save writes the first version only.
func (s *KVStore) Save(ctx context.Context, key keymgmt.KeyID, text []byte) error {
	type options struct {
		CAS int `json:"cas"` // 0: nothing there yet
	}
	body := struct {
		Data    entry   `json:"data"`
		Options options `json:"options"`
	}{Data: entry{string(text)}}
	err := s.client.do(ctx, call{method: http.MethodPost, path: s.path(key), body: body}, nil)
	if errors.Is(err, errBadRequest) {
		return fmt.Errorf("vault: %w: %s: %w", fs.ErrExist, s.path(key), err)
	}
	return err
}

// DirStore keeps sealed keys as files of a folder, which must exist.
type DirStore string

func (d DirStore) path(key keymgmt.KeyID) string {
	return filepath.Join(string(d), nameOf(key, "")+".json")
}

// Load reads the file.
func (d DirStore) Load(ctx context.Context, key keymgmt.KeyID) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	text, err := os.ReadFile(d.path(key))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, unavailable(err)
	}
	return text, err
}

// Save writes the file. It appears whole or not at all, and is on the disk when Save returns.
func (d DirStore) Save(ctx context.Context, key keymgmt.KeyID, text []byte) (err error) {
	if err := ctx.Err(); err != nil {
		return err
	}
	file, err := os.CreateTemp(string(d), ".new-*")
	if err != nil {
		return fmt.Errorf("vault: %w", err)
	}
	defer func() { err = errors.Join(err, os.Remove(file.Name())) }()
	_, err = file.Write(text)
	if err := errors.Join(err, file.Sync(), file.Close()); err != nil {
		return fmt.Errorf("vault: %w", err)
	}
	if err := os.Link(file.Name(), d.path(key)); err != nil { // unlike a rename, it does not replace
		return fmt.Errorf("vault: %w", err)
	}
	folder, err := os.Open(string(d))
	if err != nil {
		return fmt.Errorf("vault: %w", err)
	}
	return errors.Join(folder.Sync(), folder.Close())
}
