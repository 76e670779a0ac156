package story

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// maxAnswer bounds what is read of an answer, in bytes; an export package is the largest.
const maxAnswer = 64 << 20

// pollInterval is how often the story asks for what it waits for.
const pollInterval = 100 * time.Millisecond

// request is one HTTP call.
type request struct {
	Method, URL string
	Type        string // content type of Body
	Token       string // bearer token
	Key         string // idempotency key
	Body        []byte
}

// Problem is an answer that is not a success: problem+json, or SEP-10's {"error": ...}.
type Problem struct {
	Status int    `json:"status"`
	Type   string `json:"type"`
	Title  string `json:"title"`
	Detail string `json:"detail"`
	Err    string `json:"error"`
}

// Error says what the server said.
func (p *Problem) Error() string {
	return fmt.Sprintf("HTTP %d %s %s %s %s", p.Status, p.Type, p.Title, p.Detail, p.Err)
}

// call makes a request and decodes a successful answer into the value given: a *[]byte takes it raw, nil ignores it.
func call(ctx context.Context, client *http.Client, r request, into any) error {
	req, err := http.NewRequestWithContext(ctx, r.Method, r.URL, bytes.NewReader(r.Body))
	if err != nil {
		return fmt.Errorf("story: %w", err)
	}
	for name, value := range map[string]string{"Content-Type": r.Type, "Idempotency-Key": r.Key} {
		if value != "" {
			req.Header.Set(name, value)
		}
	}
	if r.Token != "" {
		req.Header.Set("Authorization", "Bearer "+r.Token)
	}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("story: %w", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("story: %s %s: %w", r.Method, r.URL, err)
	}
	if resp.StatusCode >= 300 {
		p := &Problem{}
		_ = json.Unmarshal(body, p) // a body that is no problem leaves the status alone to speak
		p.Status = resp.StatusCode
		return fmt.Errorf("story: %s %s: %w", r.Method, r.URL, p)
	}
	switch into := into.(type) {
	case nil:
		return nil
	case *[]byte:
		*into = body
		return nil
	}
	if err := json.Unmarshal(body, into); err != nil {
		return fmt.Errorf("story: %s %s: %w", r.Method, r.URL, err)
	}
	return nil
}

// answered turns the result of a call that may safely be repeated into what eventually wants: true when done, an error
// when it is final, neither when the same call should be made again (the server was away or busy).
func answered(err error) (bool, error) {
	var p *Problem
	switch {
	case err == nil:
		return true, nil
	case errors.As(err, &p) && strings.HasSuffix(p.Type, "/idempotency-key-in-use"):
		return false, nil // the call before this one, whose answer was lost, may not have ended yet
	case errors.As(err, &p) && p.Status < 500 && p.Status != http.StatusTooManyRequests:
		return false, err
	}
	return false, nil
}

// eventually asks again until done says yes or fails, for at most the time given.
func eventually(ctx context.Context, atMost time.Duration, done func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, atMost)
	defer cancel()
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		ok, err := done()
		if ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("story: waited for %s in vain", atMost)
		case <-tick.C:
		}
	}
}
