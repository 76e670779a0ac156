package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"github.com/diamante/gateway/cmd/internal/boot"
	"github.com/diamante/gateway/cmd/internal/paper"
	"github.com/diamante/gateway/keymgmt"
)

// Bounds of what is asked of the staff listener.
const (
	deskTimeout  = 30 * time.Second
	maxAnswer    = 8 << 20 // bytes: a page of requests
	deskPause    = 500 * time.Millisecond
	deskPatience = 15 * time.Second // for the signer to look at an approval
)

// desk is the gateway's staff listener, from outside. Nothing that it says is believed: what is approved is read here.
type desk struct {
	url      string
	name     string
	material boot.TLS
	client   *http.Client
}

func (d *desk) flags(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&d.url, "gateway", "", "URL of the gateway's staff listener")
	f.StringVar(&d.name, "gateway-name", "", "the name in its certificate, if it is not the host")
	f.StringVar(&d.material.Cert, "cert", "", "your certificate")
	f.StringVar(&d.material.Key, "cert-key", "", "its private key; mode 0600")
	f.StringVar(&d.material.CA, "ca", "", "the authority of the listener's certificate")
}

func (d *desk) open() error {
	if u, err := url.Parse(d.url); err != nil || u.Scheme != "https" || u.Host == "" || u.Path != "" && u.Path != "/" {
		return errors.New("--gateway is https://HOST:PORT")
	}
	tlsConfig, err := d.material.ClientConfig(d.name)
	if err != nil {
		return err
	}
	d.client = &http.Client{Transport: &http.Transport{TLSClientConfig: tlsConfig}, Timeout: deskTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return nil
}

// waitingRequest is a request that waits, as the gateway shows it.
type waitingRequest struct {
	ID        string        `json:"id"`
	Request   paper.Request `json:"request"`
	SHA256    string        `json:"sha256"`
	Why       string        `json:"why"`
	State     string        `json:"state"`
	Outcome   string        `json:"outcome"`
	At        string        `json:"at"`
	Until     string        `json:"until"`
	Approvals []given       `json:"approvals"`
}

// given is what became of an approval.
type given struct {
	Officer string `json:"officer"`
	Nonce   string `json:"nonce"`
	Expires string `json:"expires"`
	By      string `json:"handed_in_by"`
	At      string `json:"at"`
	State   string `json:"state"`
	Reason  string `json:"reason"`
}

func (d *desk) list(ctx context.Context) ([]waitingRequest, error) {
	var page struct {
		Records []waitingRequest `json:"records"`
		Next    string           `json:"next"`
	}
	err := d.call(ctx, http.MethodGet, "/v1/approvals?limit=200", nil, &page)
	return page.Records, err
}

func (d *desk) waiting(ctx context.Context, id string) (w waitingRequest, err error) {
	if err = d.call(ctx, http.MethodGet, "/v1/approvals/"+url.PathEscape(id), nil, &w); err == nil && w.State != "open" {
		err = fmt.Errorf("the request is %q: %q", w.State, w.Outcome)
	}
	return w, err
}

func (d *desk) hand(ctx context.Context, id string, c keymgmt.Consent) error {
	return d.call(ctx, http.MethodPost, "/v1/approvals/"+url.PathEscape(id)+"/consents", c, nil)
}

// seen waits a little for the signer to look at an approval, and says what came of it.
func (d *desk) seen(ctx context.Context, id, nonce string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, deskPatience)
	defer cancel()
	tick := time.NewTicker(deskPause)
	defer tick.Stop()
	for {
		var w waitingRequest
		if err := d.call(ctx, http.MethodGet, "/v1/approvals/"+url.PathEscape(id), nil, &w); err != nil && ctx.Err() == nil {
			return "", err
		}
		if w.State == "granted" {
			return "it was the last that was needed: the request is signed", nil
		}
		for _, g := range w.Approvals {
			if g.Nonce == nonce && g.State == "good" {
				return fmt.Sprintf("the signer counts it, and waits for more: %q", w.Why), nil
			}
			if g.Nonce == nonce && g.State == "refused" {
				return "", fmt.Errorf("the signer refuses it: %q", g.Reason)
			}
		}
		select {
		case <-ctx.Done():
			return "the signer has not looked at it yet", nil
		case <-tick.C:
		}
	}
}

func (d *desk) call(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		raw, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(raw)
	}
	u, err := url.Parse(d.url)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, method, "https://"+u.Host+path, body)
	if err != nil {
		return err
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := d.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return err
	case len(raw) > maxAnswer:
		return fmt.Errorf("the gateway's answer is larger than %d bytes", maxAnswer)
	case resp.StatusCode/100 != 2:
		return fmt.Errorf("the gateway answers %s: %.1000q", resp.Status, raw)
	case out == nil:
		return nil
	}
	return json.Unmarshal(raw, out)
}
