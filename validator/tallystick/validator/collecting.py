"""Python's collector of cycles, for a process whose caches hold hundreds of thousands of objects.

By default it looks at all of them again and again while a batch makes new ones, and nearly nothing
of what a validator makes is a cycle: a fifth of the writer's time went there.
"""

import gc

# Containers more than were freed before the young ones are looked at, and how many such turns
# before older ones are.
THRESHOLDS = (50_000, 20, 20)


def collect_seldom() -> None:
    """For the whole process, once, at its start."""
    gc.collect()
    gc.freeze()  # modules and what they made live as long as the process
    gc.set_threshold(*THRESHOLDS)
