#!/bin/sh
# Installs what the development system and the tests run beside Go: PostgreSQL, SoftHSM, a C compiler for the signer,
# xmllint for checking bank files, and a browser for the pages that officers approve on. Does nothing where all of it is there.
set -eu

missing=""
command -v gcc >/dev/null || missing="$missing gcc libc6-dev"
command -v xmllint >/dev/null || missing="$missing libxml2-utils"
command -v xz >/dev/null || missing="$missing xz-utils"
command -v chromium >/dev/null || missing="$missing chromium"
command -v softhsm2-util >/dev/null || missing="$missing softhsm2"
ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || command -v postgres >/dev/null || missing="$missing postgresql"
[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null; then
    echo "please install:$missing" >&2
    exit 1
fi
sudo=""
[ "$(id -u)" -eq 0 ] || sudo="sudo"
export DEBIAN_FRONTEND=noninteractive
$sudo apt-get update -q
# shellcheck disable=SC2086 # a list of words
$sudo apt-get install -q -y --no-install-recommends $missing
