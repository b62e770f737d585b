"""Find out which label belongs to which record when the map of ids is lost.

Chroma from 1.0 on gives labels in the order of the queue, and the rowids of records grow in the
same order. A record that was deleted leaves a gap in both. So there is a number that, added to the
place of a record, gives its label. Chroma before 1.0 numbers the records of a batch in another
order, and nothing can be found out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ("label_candidates",)

Numbers = NDArray[np.int64]

_MAX_LABEL: Final = 1 << 28
_FEW: Final = 8


def label_candidates(
    labels: Numbers, rowids: Numbers, other_rowids: Numbers, max_left_over: int
) -> Iterator[Numbers]:
    """Yield every assignment of labels to records in which each record has an element.

    Args:
        labels: The labels of the elements that the index has, ascending.
        rowids: The rowids of the records that were in the index when it was written, ascending.
        other_rowids: The rowids of all other collections, ascending, which count for the places.
        max_left_over: How many elements may belong to no record, because it was deleted since.
    """
    left_over = len(labels) - len(rowids)
    if not len(rowids) or not 0 <= left_over <= max_left_over or labels[-1] > _MAX_LABEL:
        return
    places = rowids - np.searchsorted(other_rowids, rowids)
    places = places - places[0]
    last = int(labels[-1])
    if places[-1] >= last:
        return
    exists = np.zeros(last + 1, np.bool_)
    exists[labels] = True
    offsets = np.arange(1, last - int(places[-1]) + 1)
    for place in places.tolist():
        offsets = offsets[exists[offsets + place]]
        if len(offsets) <= _FEW:
            break
    for offset in offsets.tolist():
        if exists[places + offset].all():
            yield places + offset
