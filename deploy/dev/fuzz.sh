#!/bin/sh
# Runs every fuzz target of the module for $1 each, one after another. New failing inputs land in testdata/fuzz of the
# package: commit them. Interesting inputs are minimised once only, since minimising can take the whole of a short run.
set -eu

# What is under deploy has modules of its own: they judge, and are not shipped.
grep -rl --include='*_test.go' --exclude-dir=deploy '^func Fuzz' . | xargs -n1 dirname | sort -u | while read -r dir; do
    for target in $(grep -h '^func Fuzz' "$dir"/*_test.go | sed 's/^func \(Fuzz[A-Za-z0-9_]*\).*/\1/'); do
        echo "== $dir $target"
        go test -run '^$' -fuzz "^$target\$" -fuzztime "$1" -fuzzminimizetime 1x "$dir"
    done
done
