#!/usr/bin/env bash
# Says which tracked sources clang-format would change. Other versions format differently, so only
# version 14 counts.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
if ! command -v clang-format-14 > /dev/null; then
  echo "SKIPPED: no clang-format-14"
  exit 0
fi
if ! git rev-parse --git-dir > /dev/null 2>&1; then
  echo "SKIPPED: not a git checkout, so it is not known which files are tracked"
  exit 0
fi
git ls-files -z -- '*.cpp' '*.hpp' | xargs -0 -r clang-format-14 --dry-run --Werror
