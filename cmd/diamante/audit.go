package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/diamante/gateway/cmd/internal/boot"
	"github.com/diamante/gateway/compliance/export"
	"github.com/diamante/gateway/keymgmt/evidence"
)

// Bounds of an export: how long it may take and how large it may be, in bytes.
const (
	exportTimeout = 10 * time.Minute
	maxPackage    = 1 << 30
)

func auditCommand() *cobra.Command {
	c := &cobra.Command{Use: "audit", Short: "Check what the audit log proves"}
	var key string
	var asJSON bool
	verify := &cobra.Command{
		Use: "verify FILE --key LOG_PUBLIC_KEY", Args: cobra.ExactArgs(1),
		Short: "Verify a package of a log, or the evidence of one signature, offline: needs nothing but the two files",
		RunE: func(c *cobra.Command, args []string) error {
			return verifyFile(args[0], key, asJSON, c.OutOrStdout())
		},
	}
	verify.Flags().StringVar(&key, "key", "", "file with the log's public key: the gateway's for a package, the signer's for evidence")
	verify.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	if err := verify.MarkFlagRequired("key"); err != nil {
		panic("diamante: " + err.Error())
	}
	c.AddCommand(verify)
	return c
}

// verifyFile verifies a package or the evidence of a signature: which of them it is shows in the file.
func verifyFile(path, key string, asJSON bool, stdout io.Writer) error {
	check, checkJSON := export.VerifyFile, export.VerifyFileJSON
	bundle, err := evidence.IsBundle(path)
	if err != nil {
		return err
	}
	if bundle {
		check, checkJSON = evidence.VerifyFile, evidence.VerifyFileJSON
	}
	if asJSON {
		return checkJSON(path, key, stdout)
	}
	return check(path, key, stdout)
}

func exportCommand() *cobra.Command {
	var from, to, purpose, staff, out string
	var material boot.TLS
	c := &cobra.Command{
		Use: "export", Short: "Fetch a signed package of the audit log from the staff listener", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			body, err := json.Marshal(map[string]string{"from": from, "to": to, "purpose": purpose})
			if err != nil {
				return err
			}
			tlsConfig, err := material.ClientConfig("")
			if err != nil {
				return err
			}
			client := &http.Client{Transport: &http.Transport{TLSClientConfig: tlsConfig}, Timeout: exportTimeout}
			req, err := http.NewRequestWithContext(c.Context(), http.MethodPost, staff+"/v1/exports", bytes.NewReader(body))
			if err != nil {
				return err
			}
			req.Header.Set("Content-Type", "application/json")
			req.Header.Set("Idempotency-Key", fmt.Sprintf("export-%d", time.Now().UnixNano()))
			resp, err := client.Do(req)
			if err != nil {
				return err
			}
			defer resp.Body.Close()
			return keep(resp, out, c.OutOrStdout())
		},
	}
	c.Flags().StringVar(&from, "from", "", "first moment, such as 2026-11-01T00:00:00Z")
	c.Flags().StringVar(&to, "to", "", "the moment after the last")
	c.Flags().StringVar(&purpose, "purpose", "", "why; it is recorded")
	c.Flags().StringVar(&staff, "staff", "https://localhost:8445", "URL of the staff listener")
	c.Flags().StringVar(&out, "out", "audit.tar", "file to write")
	c.Flags().StringVar(&material.Cert, "cert", "", "your certificate")
	c.Flags().StringVar(&material.Key, "cert-key", "", "its private key; mode 0600")
	c.Flags().StringVar(&material.CA, "ca", "", "the authority of the listener's certificate")
	return c
}

// keep writes a successful answer into a new file.
func keep(resp *http.Response, out string, stdout io.Writer) error {
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusCreated {
		why, _ := io.ReadAll(io.LimitReader(resp.Body, boot.MaxConfig)) // what arrived of the reason is all there is
		return fmt.Errorf("the gateway answers %s: %s", resp.Status, why)
	}
	f, err := os.OpenFile(out, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	n, err := io.Copy(f, io.LimitReader(resp.Body, maxPackage+1))
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil && n > maxPackage {
		err = fmt.Errorf("the package is larger than %d bytes", int64(maxPackage))
	}
	if err == nil {
		_, err = fmt.Fprintf(stdout, "%s: %d bytes\n", out, n)
	}
	return err
}
