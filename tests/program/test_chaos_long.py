#!/usr/bin/env python3
"""The chaos test with 200 kills of infer, and 100 of prune and of import."""
# label: night
# timeout: 10800
import os

os.environ.setdefault("CHAOS_RUNS", "200")

from test_chaos import ChaosTest  # noqa: E402 (it reads CHAOS_RUNS)
from support import main

__all__ = ["ChaosTest"]

if __name__ == "__main__":
    main()
