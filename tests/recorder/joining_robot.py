# Joins as a board's main.py does, on whatever interpreter; run by test_joining.py.

import sys

from tallystick.evidence.errors import TallyError
from tallystick.recorder.joining import join

try:
    joined = join(sys.argv[1], None, print)
    print("joined" if joined else "nothing to join")
except TallyError as error:
    print("refused", error.reason, error.message)
