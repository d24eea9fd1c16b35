#!/usr/bin/env python3
"""All cases of the cross products of which the tests by day take a part (see support.py: one_of)."""
# label: night
# timeout: 10800
import glob
import os
import unittest

os.environ["ESPALIER_EVERY_CASE"] = "1"

from support import content, main  # noqa: E402 (it reads ESPALIER_EVERY_CASE)

FOLDER = os.path.dirname(os.path.abspath(__file__))


def load_tests(loader, _tests, _pattern):
    """Those of the scripts that leave out cases by day."""
    names = [os.path.basename(path)[:-3] for path in sorted(glob.glob(f"{FOLDER}/test_*.py"))
             if path != os.path.abspath(__file__) and not path.endswith("_long.py")
             and any(f"self.{word}(".encode() in content(path)
                     for word in ("one_of", "refused", "assert_same_bytes"))]
    assert names
    return unittest.TestSuite(map(loader.loadTestsFromName, names))


if __name__ == "__main__":
    main()
