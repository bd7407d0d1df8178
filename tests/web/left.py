"""What is left behind by what was served, without the collector's help."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def nothing_collected() -> Iterator[Callable[..., list[object]]]:
    """What is free at once needs no full collection, which comes once in a long while. Gives a look at what there is of some
    types, beside what was there before.
    """
    gc.freeze()
    gc.disable()
    try:
        yield lambda *types: [each for each in gc.get_objects() if isinstance(each, types)]
    finally:
        gc.enable()
        gc.unfreeze()
