package schema

import (
	"context"
	"encoding/hex"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// Create makes the program's database on a server where the caller is superuser, migrates it, gives the program's role
// its password, and lets nobody else connect. What exists already is kept; the password is set anew each time. admin
// returns a connection string for the superuser and a database.
func Create(ctx context.Context, admin func(database string) string, d Database, password string) error {
	name := d.Role()
	exists := false
	err := execute(ctx, admin("postgres"), func(conn *pgx.Conn) error {
		if err := conn.QueryRow(ctx, `SELECT EXISTS (SELECT 1 FROM pg_database WHERE datname = $1)`, name).Scan(&exists); err != nil || exists {
			return err
		}
		_, err := conn.Exec(ctx, "CREATE DATABASE "+pgx.Identifier{name}.Sanitize())
		return err
	})
	if err != nil {
		return err
	}
	if _, err := Migrate(ctx, admin(name), d); err != nil {
		return err
	}
	return execute(ctx, admin("postgres"), func(conn *pgx.Conn) error {
		id := pgx.Identifier{name}.Sanitize()
		// Roles and passwords cannot be parameters of a statement; hexadecimal needs no quoting.
		for _, sql := range []string{
			"REVOKE ALL ON DATABASE " + id + " FROM PUBLIC",
			"GRANT CONNECT ON DATABASE " + id + " TO " + id,
			"ALTER ROLE " + id + " PASSWORD '" + hex.EncodeToString([]byte(password)) + "'",
		} {
			if _, err := conn.Exec(ctx, sql); err != nil {
				return err
			}
		}
		return nil
	})
}

// URL returns the connection string for the program's role as Create set it up: TLS with a verified server, SCRAM.
func URL(d Database, password, address, caFile string) string {
	return fmt.Sprintf("postgres://%s:%s@%s/%s?sslmode=verify-full&sslrootcert=%s", d.Role(), hex.EncodeToString([]byte(password)), address, d.Role(), caFile)
}

func execute(ctx context.Context, url string, do func(conn *pgx.Conn) error) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return fmt.Errorf("schema: %w", err)
	}
	defer conn.Close(ctx)
	if err := do(conn); err != nil {
		return fmt.Errorf("schema: %w", err)
	}
	return nil
}
