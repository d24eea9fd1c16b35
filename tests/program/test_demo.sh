#!/usr/bin/env bash
# The demonstration of README.md, with the program that is under test.
# timeout: 240
set -euo pipefail
DEMO_FOLDER=$PWD/demo bash "$(dirname "${BASH_SOURCE[0]}")/../demo.sh" | tee demo.log
grep -q "^All four result files are equal byte by byte" demo.log
[ "$(sha256sum demo/result-*.h5 | cut -d ' ' -f 1 | sort -u | wc -l)" = 1 ]
[ "$(wc -l < demo/categories.tsv)" -gt 0 ]
