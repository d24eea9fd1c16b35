#!/usr/bin/env python3
"""The sweep over disks of growing size in steps of 16 KiB."""
# label: night
# timeout: 10800
import os
import sys

os.environ.setdefault("DISK_STEP", "16")

from test_disk_sweep import SweepTest, can_mount  # noqa: E402 (it reads DISK_STEP)
from support import main

__all__ = ["SweepTest"]

if __name__ == "__main__":
    if not can_mount():
        print("SKIPPED: a full disk takes the right to mount small ones")
        sys.exit(0)
    main()
