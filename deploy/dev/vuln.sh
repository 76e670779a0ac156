#!/bin/sh
# Runs govulncheck ($1) against a copy of the Go vulnerability database, so that it needs no network: the archive
# govulndb/db.tar.xz in $DIAMANTE_SHARED_DATA or ../shared/data. Without the archive it says so and asks the network.
set -eu

data="${DIAMANTE_SHARED_DATA:-../shared/data}"
archive="$data/govulndb/db.tar.xz"
if [ ! -f "$archive" ]; then
    echo "no $archive: asking the online database"
    exec go run "$1" ./...
fi
dir="$(mktemp -d)"
trap 'rm -rf "$dir"' EXIT
tar -xJf "$archive" -C "$dir"
index="$(find "$dir" -path '*index/db.json' | head -n 1)"
[ -n "$index" ] || { echo "$archive holds no database" >&2; exit 1; }
go run "$1" -db "file://$(dirname "$(dirname "$index")")" ./...
