"""Which pixels of one boundary map stand for which of another: one to one, within a distance, as near as can be.

Among all matchings of most pairs the one of least total distance, as the boundary benchmark of BSDS500 takes it. Most of
that needs no optimisation: which predicted pixels are matched in every matching of most pairs follows from the pairs alone
(Dulmage and Mendelsohn), and only where some are left over does the distance decide which.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from segloop.errors import InputError
from segloop.geometry.frames import BoolArray
from segloop.geometry.masks import IntArray

_NODES_AT_ONCE = 4_000_000


@dataclass(frozen=True, eq=False)
class BoundaryMatch:
    """What T predictions have in common with A truths.

    matched: (T, H, W) predicted pixels that stand for a pixel of at least one truth. num_true: (T, A) true pixels matched.
    """

    matched: BoolArray
    num_true: IntArray


def match_boundaries(predicted: BoolArray, truths: BoolArray, max_distance: float) -> BoundaryMatch:
    """Match the pixels of each of T predictions (T, H, W) with those of each of A truths (A, H, W), every pair for itself.

    max_distance: between a pixel and the one it stands for, in pixels. Raises InputError for maps of different sizes,
    or for no truth.
    """
    if predicted.ndim != 3 or truths.ndim != 3 or predicted.shape[1:] != truths.shape[1:]:
        raise InputError(
            f"predictions have shape {predicted.shape} and true boundaries {truths.shape}: "
            "both are (N, height, width) and of one image"
        )
    if not len(truths):
        raise InputError("there are no true boundaries to match with: give at least one map")
    if not 0 <= max_distance < np.inf:
        raise InputError(f"max_distance is a number of pixels from 0 on, got {max_distance}")
    num_maps, num_truths = len(predicted), len(truths)
    matched = np.zeros(predicted.shape, dtype=np.bool_)
    num_true = np.zeros((num_maps, num_truths), dtype=np.int64)
    used = np.asarray(predicted.any(axis=0))
    if not used.any() or not truths.any():
        return BoundaryMatch(matched, num_true)
    owner = np.nonzero(truths)[0]
    active = predicted[:, used]
    reach = _reach(used, truths, max_distance)
    nearest = _Nearest(reach)
    step = max(1, _NODES_AT_ONCE // (reach.num_columns + reach.num_rows))
    for start in range(0, num_maps, step):
        group = active[start : start + step]
        columns = np.tile(group, (1, num_truths)).reshape(-1)
        matching = _most_pairs(reach, np.flatnonzero(columns), len(group))
        columns[:] = False
        columns[matching.columns[~matching.is_contested]] = True
        columns[nearest.columns(matching)] = True
        is_found = columns.reshape(-1, num_truths, group.shape[1]).any(axis=1)
        matched[start : start + step, used] = is_found
        is_paired = matching.partner_of_row.reshape(len(group), -1) >= 0
        for number, row in enumerate(is_paired, start=start):
            num_true[number] = np.bincount(owner[row], minlength=num_truths)
    return BoundaryMatch(matched, num_true)


@dataclass(frozen=True, eq=False)
class _Reach:
    """Which true pixels (rows) each predicted one (column) may stand for; a column for each truth, truth after truth.

    ends: the pairs of column c are those from ends[c] to ends[c + 1].
    """

    num_rows: int
    ends: IntArray
    rows: IntArray
    distances: npt.NDArray[np.float64]

    @property
    def num_columns(self) -> int:
        return len(self.ends) - 1

    def pairs_of(self, columns: IntArray) -> tuple[IntArray, IntArray]:
        """The pairs of these columns, and for each of them the place of its column among those given."""
        first, count = self.ends[columns], self.ends[columns + 1] - self.ends[columns]
        place = np.repeat(np.arange(len(columns)), count)
        within = np.arange(len(place)) - np.repeat(np.cumsum(count) - count, count)
        return first[place] + within, place


def _reach(used: BoolArray, truths: BoolArray, max_distance: float) -> _Reach:
    """The pairs between any pixel that is used and any true one."""
    (height, width), margin = used.shape, int(min(max_distance, max(used.shape)))
    numbers = np.full((len(truths), height + 2 * margin, width + 2 * margin), -1, dtype=np.int32)
    num_rows = int(truths.sum())
    inner = numbers[:, margin : margin + height, margin : margin + width]
    inner[truths] = np.arange(num_rows, dtype=np.int32)
    dy, dx = np.mgrid[-margin : margin + 1, -margin : margin + 1].reshape(2, -1)
    distances = np.hypot(dy, dx)
    near = distances <= max_distance
    stride = numbers.shape[2]
    offsets, lengths = (dy * stride + dx)[near], distances[near]
    y, x = np.nonzero(used)
    places = (y + margin) * stride + x + margin
    step = max(1, _NODES_AT_ONCE // len(offsets))
    counts, rows, reached_at = [], [], []
    for number in numbers.reshape(len(truths), -1):
        for start in range(0, len(places), step):
            reached = number[places[start : start + step, None] + offsets]
            present = reached >= 0
            counts.append(present.sum(axis=1))
            rows.append(reached[present])
            reached_at.append(np.broadcast_to(lengths, present.shape)[present])
    ends = np.concatenate([[0], np.cumsum(np.concatenate(counts))])
    return _Reach(num_rows, ends, np.concatenate(rows).astype(np.int64), np.concatenate(reached_at))


@dataclass(frozen=True, eq=False)
class _Matching:
    """A matching of most pairs for several predictions; row r of prediction t has the number t * num_rows + r, and so on.

    columns: those that have a pair. contested: rows that a column left over reaches along alternating paths; in any matching
    of most pairs they are matched, and with columns that they reach in turn.
    """

    columns: IntArray
    partner_of_row: IntArray
    partner_of_column: IntArray
    contested: BoolArray

    @property
    def is_contested(self) -> BoolArray:
        """Of `columns`: those left over and those they compete with; all others are matched in any such matching."""
        partner = self.partner_of_column[self.columns]
        return np.asarray((partner < 0) | self.contested[partner])


def _most_pairs(reach: _Reach, columns: IntArray, num_maps: int) -> _Matching:
    """Grow trees of alternating paths from all columns left over at once, and flip those that end at an open row.

    Trees share no row, so all paths of a round can be flipped together; the round that finds none has seen all that
    is contested.
    """
    columns = columns[np.diff(reach.ends)[columns % reach.num_columns] > 0]
    partner_of_row = np.full(num_maps * reach.num_rows, -1, dtype=np.int64)
    partner_of_column = np.full(num_maps * reach.num_columns, -1, dtype=np.int64)
    while True:
        left_over = columns[partner_of_column[columns] < 0]
        ends, came_from = _grow(reach, left_over, partner_of_row, len(partner_of_column))
        if not len(ends):
            return _Matching(columns, partner_of_row, partner_of_column, came_from >= 0)
        while len(ends):
            column = came_from[ends]
            before = partner_of_column[column]
            partner_of_row[ends], partner_of_column[column] = column, ends
            ends = before[before >= 0]


def _grow(
    reach: _Reach, roots: IntArray, partner_of_row: IntArray, num_columns: int
) -> tuple[IntArray, IntArray]:
    """An open row for each root that reaches one, and for each row the column that it was reached from, or -1."""
    came_from = np.full(len(partner_of_row), -1, dtype=np.int64)
    claim = np.empty(len(partner_of_row), dtype=np.int64)
    root_of = np.empty(num_columns, dtype=np.int64)
    root_of[roots] = roots
    is_done = np.zeros(num_columns, dtype=np.bool_)
    path_ends = [np.zeros(0, dtype=np.int64)]
    front = roots
    while len(front):
        maps, inner = np.divmod(front, reach.num_columns)
        pairs, place = reach.pairs_of(inner)
        rows = reach.rows[pairs] + (maps * reach.num_rows)[place]
        is_new = came_from[rows] < 0
        rows, place = rows[is_new], place[is_new]
        # Of several columns that reach a row at once, the last takes it.
        claim[rows] = np.arange(len(rows))
        mine = claim[rows] == np.arange(len(rows))
        rows, place = rows[mine], place[mine]
        came_from[rows] = front[place]
        root, partner = root_of[front[place]], partner_of_row[rows]
        is_open = partner < 0
        done, first = np.unique(root[is_open], return_index=True)
        path_ends.append(rows[is_open][first])
        is_done[done] = True
        onward = ~is_open & ~is_done[root]
        front = partner[onward]
        root_of[front] = root[onward]
    return np.concatenate(path_ends), came_from


class _Nearest:
    """Decides where columns are left over; remembers, for neighbouring thresholds share most of their pixels."""

    def __init__(self, reach: _Reach) -> None:
        self._reach = reach
        self._known: dict[bytes, IntArray] = {}

    def columns(self, matching: _Matching) -> IntArray:
        """The contested columns that are matched where the total distance is least."""
        contested = matching.columns[matching.is_contested]
        parts = self._connected(contested)
        return np.concatenate([np.zeros(0, dtype=np.int64), *map(self._solve, parts)])

    def _connected(self, columns: IntArray) -> list[IntArray]:
        """Groups of columns that compete with each other, directly or through others."""
        from scipy.sparse import csr_array
        from scipy.sparse.csgraph import connected_components

        if not len(columns):
            return []
        maps, inner = np.divmod(columns, self._reach.num_columns)
        pairs, place = self._reach.pairs_of(inner)
        rows = self._reach.rows[pairs] + (maps * self._reach.num_rows)[place]
        _, rows = np.unique(rows, return_inverse=True)
        size = len(columns) + int(rows.max()) + 1
        graph = csr_array((np.ones(len(rows)), (place, len(columns) + rows)), shape=(size, size))
        _, labels = connected_components(graph, directed=False)
        order = np.argsort(labels[: len(columns)], kind="stable")
        _, starts = np.unique(labels[order], return_index=True)
        return np.split(columns[order], starts[1:])

    def _solve(self, columns: IntArray) -> IntArray:
        from scipy.sparse import csr_array
        from scipy.sparse.csgraph import min_weight_full_bipartite_matching

        inner = columns % self._reach.num_columns
        key = inner.tobytes()
        if key not in self._known:
            pairs, place = self._reach.pairs_of(inner)
            rows, row = np.unique(self._reach.rows[pairs], return_inverse=True)
            # One more than the distance: zero would be no pair, and all matchings in question have as many pairs.
            weights = (self._reach.distances[pairs] + 1, (row, place))
            table = csr_array(weights, shape=(len(rows), len(columns)))
            _, chosen = min_weight_full_bipartite_matching(table)
            self._known[key] = np.asarray(chosen, dtype=np.int64)
        return columns[self._known[key]]
