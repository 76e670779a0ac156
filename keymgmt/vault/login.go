package vault

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
)

// login gets a token. Only Run calls it, so its state needs no lock.
type login interface {
	login(ctx context.Context, c *Client) (auth, error)
}

func newLogin(l Login) login {
	switch l.Method {
	case ByCertificate:
		return certificateLogin{l}
	case ByKubernetes:
		return kubernetesLogin{l}
	default: // Validate left one
		return &appRoleLogin{cfg: l}
	}
}

// enter sends what a method wants to know.
func (l Login) enter(ctx context.Context, c *Client, body any) (got auth, err error) {
	err = c.send(ctx, "", call{method: http.MethodPost, path: "auth/" + l.Mount + "/login", body: body}, intoAuth(&got))
	return got, err
}

// certificateLogin: the certificate itself is shown when the connection is made.
type certificateLogin struct{ cfg Login }

func (l certificateLogin) login(ctx context.Context, c *Client) (auth, error) {
	// Vault looks at the certificate of the connection. Our file may hold a newer one than the idle connections showed.
	c.http.CloseIdleConnections()
	return l.cfg.enter(ctx, c, struct {
		Name string `json:"name"`
	}{l.cfg.Role})
}

type kubernetesLogin struct{ cfg Login }

func (l kubernetesLogin) login(ctx context.Context, c *Client) (auth, error) {
	jwt, err := readToken(l.cfg.TokenFile)
	if err != nil {
		return auth{}, err
	}
	return l.cfg.enter(ctx, c, struct {
		Role string `json:"role"`
		JWT  string `json:"jwt"`
	}{l.cfg.Role, string(jwt)})
}

// maxToken bounds a file with a token.
const maxToken = 64 << 10

func readToken(file string) (token, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("vault: %w", err)
	}
	text = bytes.TrimSpace(text)
	if len(text) == 0 || len(text) > maxToken || bytes.ContainsAny(text, "\r\n\x00 ") {
		return "", fmt.Errorf("vault: %s does not hold one token", file)
	}
	return token(text), nil
}

// appRoleLogin logs in with a secret id that nobody has seen: it was wrapped by Vault, and Vault unwraps once. So if it
// was stolen on its way, we know.
type appRoleLogin struct {
	cfg    Login
	secret token             // unwrapped and not used yet
	used   [sha256.Size]byte // hash of the wrapping token that we unwrapped last
}

func (l *appRoleLogin) login(ctx context.Context, c *Client) (auth, error) {
	if l.secret == "" {
		secret, err := l.unwrap(ctx, c)
		if err != nil {
			return auth{}, err
		}
		l.secret = secret
	}
	got, err := l.cfg.enter(ctx, c, struct {
		Role   string `json:"role_id"`
		Secret string `json:"secret_id"`
	}{l.cfg.RoleID, string(l.secret)})
	if err == nil || errors.Is(err, ErrForbidden) || errors.Is(err, errBadRequest) {
		l.secret = "" // used up, or of no use
	}
	return got, err
}

// unwrap gets the secret id out of the wrapping, once it is sure that it is what it should be.
func (l *appRoleLogin) unwrap(ctx context.Context, c *Client) (token, error) {
	// 1. A wrapping token that we have not used ourselves.
	wrapping, err := readToken(l.cfg.TokenFile)
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("%w: %w", ErrNoSecretID, err)
	} else if err != nil {
		return "", err
	}
	if sha256.Sum256([]byte(wrapping)) == l.used {
		return "", fmt.Errorf("%w: %s holds the one that was used", ErrNoSecretID, l.cfg.TokenFile)
	}

	// 2. Unused, and made for this role: anyone can wrap something of his own.
	var about struct {
		Path string `json:"creation_path"`
	}
	lookup := call{method: http.MethodPost, path: "sys/wrapping/lookup", body: struct {
		Token string `json:"token"`
	}{string(wrapping)}}
	if err := c.send(ctx, "", lookup, into(&about)); err != nil {
		return "", alarming(err)
	}
	if want := "auth/" + l.cfg.Mount + "/role/" + l.cfg.Role + "/secret-id"; about.Path != want {
		return "", fmt.Errorf("%w: it was made by %s, not by %s", ErrWrappingToken, cut(about.Path), want)
	}

	// 3. Unwrapped. If somebody was faster, Vault says so; if the answer is lost, the next try raises the alarm, which is
	// the safe way to err.
	var found struct {
		Secret token `json:"secret_id"`
		Uses   int   `json:"secret_id_num_uses"`
	}
	if err := c.send(ctx, wrapping, call{method: http.MethodPost, path: "sys/wrapping/unwrap", body: struct{}{}}, into(&found)); err != nil {
		return "", alarming(err)
	}
	l.used = sha256.Sum256([]byte(wrapping))
	_ = os.Remove(l.cfg.TokenFile) // a mounted secret cannot be removed; then we remember
	if found.Secret == "" || found.Uses != 1 {
		return "", fmt.Errorf("%w: the role gives secret ids for %d logins; set secret_id_num_uses to 1", ErrNoSecretID, found.Uses)
	}
	return found.Secret, nil
}

// alarming tells a wrapping token that is not good from a Vault that is not well.
func alarming(err error) error {
	if errors.Is(err, ErrForbidden) || errors.Is(err, errBadRequest) || errors.Is(err, errAbsent) {
		return fmt.Errorf("%w: %w", ErrWrappingToken, err)
	}
	return err
}
