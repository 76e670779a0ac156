package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/diamante/gateway/custody/book"
)

// ErrNoPGBench: PostgreSQL's pgbench is not installed.
var ErrNoPGBench = errors.New("bench: no pgbench")

// insertRecord is the statement of package audit and a record as it writes one. pgbench begins its script anew, with the
// same random numbers, when it loses to another client; hence the server makes up the record's id.
const insertRecord = `INSERT INTO audit.record (id, at, action, body) SELECT r.id, '2026-01-02T03:04:05Z', $1,
	convert_to('{"action":"' || $1 || '","actor":{"kind":"worker","name":"bench"},"at":"2026-01-02T03:04:05Z","data":{"amount":"0.0000001",' ||
	'"credit":"bench/credit1000","currency":"USD/7","debit":"bench/debit1000","ref":"pgbench-1234567890-1234567890"},"id":"' || r.id || '",' ||
	'"subject":"pgbench-1234567890-1234567890","v":1}', 'UTF8')
	FROM (SELECT replace(gen_random_uuid()::text, '-', '') AS id) r`

// Script returns what pgbench runs: the statements of Run with their values made up by pgbench.
func Script(accounts int) string {
	id := `'pgbench-' || :a || '-' || :b`
	record := func(action string) string { return fill(insertRecord, `'`+action+`'`) }
	outbox := func(action string) string { return fill(insertOutbox, `'`+action+`'`, id) }
	return strings.Join([]string{
		fmt.Sprintf(`\set debit random(1, %d)`, accounts),
		fmt.Sprintf(`\set credit random(1, %d)`, accounts),
		`\set a random(1, 9000000000000000000)`,
		`\set b random(1, 9000000000000000000)`,
		`BEGIN ISOLATION LEVEL SERIALIZABLE;`,
		fill(book.InsertTransfer, id, `'bench/debit' || :debit`, `'bench/credit' || :credit`, `'USD/7'`, `1`, id),
		outbox("transfer.held"), record("transfer.held"),
		`COMMIT;`,
		`BEGIN ISOLATION LEVEL SERIALIZABLE;`,
		fill(book.InsertResolution, id, `'posted'`),
		outbox("transfer.posted"), record("transfer.posted"),
		`COMMIT;`, ``,
	}, "\n")
}

// fill puts values in the place of $1, $2, ...
func fill(sql string, values ...string) string {
	for i, v := range values {
		sql = strings.ReplaceAll(sql, "$"+strconv.Itoa(i+1), v)
	}
	return strings.Join(strings.Fields(sql), " ") + ";"
}

var tps = regexp.MustCompile(`(?m)^tps = ([0-9]+)`)

// pgbench runs the script and returns how often a second.
func pgbench(ctx context.Context, c Config) (perSecond int, err error) {
	program, err := findPGBench()
	if err != nil {
		return 0, err
	}
	dir, err := os.MkdirTemp("", "pgbench")
	if err != nil {
		return 0, fmt.Errorf("bench: %w", err)
	}
	defer os.RemoveAll(dir)
	script := filepath.Join(dir, "transfer.sql")
	if err := os.WriteFile(script, []byte(Script(c.Accounts)), 0o600); err != nil {
		return 0, fmt.Errorf("bench: %w", err)
	}
	server, err := pgx.ParseConfig(c.URL)
	if err != nil {
		return 0, errors.New("bench: cannot read the connection string") // the cause would quote a password
	}
	clients, seconds := strconv.Itoa(c.Clients), strconv.Itoa(int(c.For.Seconds()))
	cmd := exec.CommandContext(ctx, program, "--no-vacuum", "--protocol=prepared", "--max-tries=0", "--client="+clients, "--jobs=2",
		"--time="+seconds, "--file="+script)
	cmd.Env = append(os.Environ(), "PGHOST="+server.Host, "PGPORT="+strconv.Itoa(int(server.Port)), "PGUSER="+server.User,
		"PGDATABASE="+server.Database, "PGPASSWORD="+server.Password)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return 0, fmt.Errorf("bench: pgbench: %w: %.1000s", err, stderr.String())
	}
	found := tps.FindSubmatch(out)
	if found == nil {
		return 0, fmt.Errorf("bench: pgbench printed no tps: %.1000s", out)
	}
	return strconv.Atoi(string(found[1]))
}

// findPGBench looks where Debian keeps the server's programs as well.
func findPGBench() (string, error) {
	if found, err := exec.LookPath("pgbench"); err == nil {
		return found, nil
	}
	if found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/pgbench"); len(found) > 0 {
		return found[len(found)-1], nil
	}
	return "", ErrNoPGBench
}
