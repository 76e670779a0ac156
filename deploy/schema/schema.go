// Package schema holds all DDL, as numbered files per database, and applies it.
//
// common/ goes into every database first, then gateway/ or signer/. A file that has been released is never edited: a
// change is a new file, and the programs run correctly both before and after each. Migrate is run by an operator
// (diamante migrate) with the owner's role; the programs' own roles cannot change the schema.
package schema

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"

	_ "github.com/jackc/pgx/v5/stdlib" // the database/sql driver that goose needs
	"github.com/pressly/goose/v3"
)

//go:embed common/*.sql gateway/*.sql signer/*.sql
var files embed.FS

// Database says which program's database is meant. Zero is invalid.
type Database uint8

// The databases.
const (
	Gateway Database = iota + 1
	Signer
)

var folders = map[Database]string{Gateway: "gateway", Signer: "signer"}

// String returns the database's folder here, which is also its usual name.
func (d Database) String() string { return folders[d] }

// Role returns the role that the program connects as. Migrate makes it without a password; an operator gives it one.
func (d Database) Role() string { return "diamante_" + folders[d] }

// Migrate brings the database at url up to the newest schema and returns how many files it applied. It is safe to run
// at any time, also twice at once.
func Migrate(ctx context.Context, url string, d Database) (applied int, err error) {
	return each(ctx, url, d, func(p *goose.Provider) (int, error) {
		results, err := p.Up(ctx)
		return len(results), err
	})
}

// Pending returns how many files Migrate would apply.
func Pending(ctx context.Context, url string, d Database) (int, error) {
	return each(ctx, url, d, func(p *goose.Provider) (int, error) {
		all, err := p.Status(ctx)
		n := 0
		for _, s := range all {
			if s.State == goose.StatePending {
				n++
			}
		}
		return n, err
	})
}

// each adds up what do returns for the folders of the database, in order, while nobody else migrates it.
func each(ctx context.Context, url string, d Database, do func(p *goose.Provider) (int, error)) (sum int, err error) {
	if folders[d] == "" {
		return 0, errors.New("schema: no such database")
	}
	db, err := sql.Open("pgx", url)
	if err != nil {
		return 0, errors.New("schema: cannot read the connection string") // the cause would quote a password
	}
	defer db.Close()
	db.SetMaxOpenConns(1) // the advisory lock and the migrations share one session
	if _, err := db.ExecContext(ctx, `SELECT pg_advisory_lock(hashtext('diamante schema'))`); err != nil {
		return 0, fmt.Errorf("schema: %w", err)
	}
	for _, folder := range []string{"common", folders[d]} {
		sub, err := fs.Sub(files, folder)
		if err != nil {
			return sum, fmt.Errorf("schema: %w", err)
		}
		p, err := goose.NewProvider(goose.DialectPostgres, db, sub, goose.WithTableName("migration_"+folder))
		if err != nil {
			return sum, fmt.Errorf("schema: %s: %w", folder, err)
		}
		n, err := do(p)
		sum += n
		if err != nil {
			return sum, fmt.Errorf("schema: %s: %w", folder, err)
		}
	}
	return sum, nil
}
