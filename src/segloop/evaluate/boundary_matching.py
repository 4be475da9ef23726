"""Which pixels of one boundary map stand for which of another: one to one, within a distance, as near as can be.

Among all matchings of most pairs the one of least total distance, as the boundary benchmark of BSDS500 takes it. Most of
that needs no optimisation: which predicted pixels are matched in every matching of most pairs follows from the pairs alone
(Dulmage and Mendelsohn), and only where some are left over does the distance decide which.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from segloop.errors import InputError
from segloop.geometry.frames import BoolArray
from segloop.geometry.masks import IntArray

# Small enough for a processor's cache, large enough that NumPy's calls cost little.
_NODES_AT_ONCE = 700_000
_PLACES_AT_ONCE = 4_000_000
_DENSE_SIZE = 2_000_000
_LIKELY_CHOICES = 6

FloatColumn = npt.NDArray[np.float64]


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
    back = reach.transposed()
    nearest = _Nearest(reach, back)
    step = max(1, _NODES_AT_ONCE // (reach.num_own + reach.num_others))
    for start in range(0, num_maps, step):
        group = active[start : start + step]
        columns = np.tile(group, (1, num_truths)).reshape(-1)
        matching = _most_pairs(reach, back, np.flatnonzero(columns), len(group))
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
class _Pairs:
    """Which others each pixel of one kind may be matched with; those of pixel i lie from ends[i] to ends[i + 1].

    Rows are true pixels, columns predicted ones, each once for every truth, truth after truth.
    """

    ends: IntArray
    others: IntArray
    distances: FloatColumn
    num_others: int

    @property
    def num_own(self) -> int:
        return len(self.ends) - 1

    def pairs_of(self, own: IntArray) -> tuple[IntArray, IntArray]:
        """The pairs of these pixels, and for each pair the place of its pixel among those given."""
        first, count = self.ends[own], self.ends[own + 1] - self.ends[own]
        place = np.repeat(np.arange(len(own)), count)
        within = np.arange(len(place)) - np.repeat(np.cumsum(count) - count, count)
        return first[place] + within, place

    def transposed(self) -> _Pairs:
        """The pairs from the other side, the nearest first."""
        own = np.repeat(np.arange(self.num_own), np.diff(self.ends))
        order = np.lexsort((own, self.distances, self.others))
        counts = np.bincount(self.others, minlength=self.num_others)
        ends = np.concatenate([[0], np.cumsum(counts)])
        return _Pairs(ends, own[order], self.distances[order], self.num_own)


def _reach(used: BoolArray, truths: BoolArray, max_distance: float) -> _Pairs:
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
    step = max(1, _PLACES_AT_ONCE // len(offsets))
    counts, rows, reached_at = [], [], []
    for number in numbers.reshape(len(truths), -1):
        for start in range(0, len(places), step):
            reached = number[places[start : start + step, None] + offsets]
            present = reached >= 0
            counts.append(present.sum(axis=1))
            rows.append(reached[present])
            reached_at.append(np.broadcast_to(lengths, present.shape)[present])
    ends = np.concatenate([[0], np.cumsum(np.concatenate(counts))])
    return _Pairs(ends, np.concatenate(rows).astype(np.int64), np.concatenate(reached_at), num_rows)


@dataclass(frozen=True, eq=False)
class _Matching:
    """A matching of most pairs for several predictions.

    Row r of prediction t has the number t * (number of rows) + r, and columns likewise. columns: those that have a pair.
    contested: rows that a column left over reaches along alternating paths; in any matching of most pairs they are
    matched, and with columns that they reach in turn.
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


def _most_pairs(reach: _Pairs, back: _Pairs, columns: IntArray, num_maps: int) -> _Matching:
    """Grow trees of alternating paths from all pixels left over on one side at once, and flip those that end at an open one.

    Trees share no pixel, so all paths of a round can be flipped together; a round that finds none ends the search, from
    whichever side it was. back: reach, transposed. The trees of all left over columns then hold the contested rows.
    """
    columns = columns[np.diff(reach.ends)[columns % reach.num_own] > 0]
    maps, inner = np.divmod(columns, reach.num_own)
    pairs, place = reach.pairs_of(inner)
    is_row = np.zeros(num_maps * back.num_own, dtype=np.bool_)
    is_row[reach.others[pairs] + (maps * back.num_own)[place]] = True
    is_column = np.zeros(num_maps * reach.num_own, dtype=np.bool_)
    is_column[columns] = True
    rows = np.flatnonzero(is_row)
    partner_of_row = np.full(len(is_row), -1, dtype=np.int64)
    partner_of_column = np.full(len(is_column), -1, dtype=np.int64)
    while True:
        left_over = columns[partner_of_column[columns] < 0]
        open_rows = rows[partner_of_row[rows] < 0]
        if len(left_over) <= len(open_rows):
            ends, came_from = _grow(reach, left_over, partner_of_row, is_row)
            _flip(ends, came_from, partner_of_row, partner_of_column)
        else:
            ends, came_from = _grow(back, open_rows, partner_of_column, is_column)
            _flip(ends, came_from, partner_of_column, partner_of_row)
        if not len(ends):
            _, came_from = _grow(reach, left_over, partner_of_row, is_row)
            return _Matching(columns, partner_of_row, partner_of_column, came_from >= 0)


def _flip(
    ends: IntArray, came_from: IntArray, partner_of_end: IntArray, partner_of_root: IntArray
) -> None:
    """Match what is unmatched on the paths to these ends, and unmatch what is matched, in place."""
    while len(ends):
        own = came_from[ends]
        before = partner_of_root[own]
        partner_of_end[ends], partner_of_root[own] = own, ends
        ends = before[before >= 0]


def _grow(
    table: _Pairs, roots: IntArray, partner_of_other: IntArray, is_other: BoolArray
) -> tuple[IntArray, IntArray]:
    """Of the other side an open pixel for each root that reaches one, and for each pixel the one it was reached from.

    That is less than 0 for those not reached. is_other: which of the other side there are at all.
    """
    num_maps = len(is_other) // table.num_others
    num_own = num_maps * table.num_own
    came_from = np.where(is_other, -1, -2)
    claim = np.empty(max(len(is_other), num_own), dtype=np.int64)
    root_of = np.empty(num_own, dtype=np.int64)
    root_of[roots] = roots
    is_done = np.zeros(num_own, dtype=np.bool_)
    path_ends = [np.zeros(0, dtype=np.int64)]
    front, maps = roots, roots // table.num_own
    while len(front):
        pairs, place = table.pairs_of(front - maps * table.num_own)
        others = table.others[pairs] + (maps * table.num_others)[place]
        is_new = came_from[others] == -1
        others, place = others[is_new], place[is_new]
        mine = _claimed(others, claim)
        others, place = others[mine], place[mine]
        came_from[others] = front[place]
        root, partner = root_of[front[place]], partner_of_other[others]
        ends, done = others[partner < 0], root[partner < 0]
        path_ends.append(ends[_claimed(done, claim)])
        is_done[done] = True
        onward = (partner >= 0) & ~is_done[root]
        front, maps = partner[onward], maps[place[onward]]
        root_of[front] = root[onward]
    return np.concatenate(path_ends), came_from


def _claimed(wanted: IntArray, claim: IntArray) -> BoolArray:
    """For every value the last of those that want it; `claim` is room to work in."""
    claim[wanted] = np.arange(len(wanted))
    return np.asarray(claim[wanted] == np.arange(len(wanted)))


class _Nearest:
    """Decides where columns are left over; remembers, for neighbouring thresholds share most of their pixels.

    Every row takes its nearest column. Rows that take the same one become a group, which is given its least total distance
    whatever others take; groups that then take the same column are joined, until none do. So each group has its least
    total distance, and so have all together.
    """

    def __init__(self, reach: _Pairs, back: _Pairs) -> None:
        self._reach = reach
        self._back = back
        self._known: dict[bytes, IntArray] = {}
        self._scratch = np.empty(reach.num_own, dtype=np.int64)

    def columns(self, matching: _Matching) -> IntArray:
        """The contested columns that are matched where the total distance is least."""
        rows = np.flatnonzero(matching.contested)
        choices = self._choices(rows, matching)
        taken = choices.others[choices.ends[:-1]]
        every = np.arange(len(rows))
        group = every
        while len(rows):
            in_conflict = np.flatnonzero(_grows(group, _joined(group, every, taken, choices)))
            if not len(in_conflict):
                break
            # To what else they will turn is joined at once: that spares rounds, and a larger group is no less right.
            pairs, place = choices.pairs_of(in_conflict)
            likely = pairs < choices.ends[in_conflict[place]] + _LIKELY_CHOICES
            owners = np.concatenate([every, in_conflict[place[likely]]])
            columns = np.concatenate([taken, choices.others[pairs[likely]]])
            label = _joined(group, owners, columns, choices)
            grown = np.flatnonzero(_grows(group, label))
            group = label[group]
            grown = grown[np.argsort(group[grown], kind="stable")]
            taken[grown] = self._solve(choices, rows, grown, group[grown])
        return taken

    def _choices(self, rows: IntArray, matching: _Matching) -> _Pairs:
        """The contested columns in reach of contested rows, the nearest first."""
        contested = np.zeros(len(matching.partner_of_column), dtype=np.bool_)
        contested[matching.columns[matching.is_contested]] = True
        maps, inner = np.divmod(rows, self._reach.num_others)
        pairs, place = self._back.pairs_of(inner)
        columns = self._back.others[pairs] + (maps * self._reach.num_own)[place]
        present = contested[columns]
        counts = np.bincount(place[present], minlength=len(rows))
        ends = np.concatenate([[0], np.cumsum(counts)])
        distances = self._back.distances[pairs[present]]
        return _Pairs(ends, columns[present], distances, len(contested))

    def _solve(
        self, choices: _Pairs, rows: IntArray, members: IntArray, group: IntArray
    ) -> IntArray:
        """For these members, group after group, the columns of their group's least total distance."""
        pairs, place = choices.pairs_of(members)
        starts = np.flatnonzero(np.diff(group, prepend=-1))
        bounds = np.append(starts, len(members))
        pair_bounds = np.append(np.searchsorted(place, starts), len(pairs))
        # Numbers that are the same for every prediction, by which what is known is found again.
        maps, names = np.divmod(rows[members], self._reach.num_others)
        columns = choices.others[pairs] - (maps * self._reach.num_own)[place]
        distances = choices.distances[pairs]
        taken = np.empty(len(members), dtype=np.int64)
        for (start, end), (first, last) in zip(
            pairwise(bounds.tolist()), pairwise(pair_bounds.tolist()), strict=True
        ):
            own = columns[first:last]
            key = names[start:end].tobytes() + own.tobytes()
            if key not in self._known:
                row, size = place[first:last] - start, end - start
                self._known[key] = self._least(row, own, distances[first:last], size)
            taken[start:end] = self._known[key]
        return np.asarray(taken + maps * self._reach.num_own, dtype=np.int64)

    def _least(
        self, row: IntArray, columns: IntArray, distances: FloatColumn, num_rows: int
    ) -> IntArray:
        """The columns of the least total distance for rows that can all be matched at once."""
        from scipy.optimize import linear_sum_assignment
        from scipy.sparse import csr_array
        from scipy.sparse.csgraph import min_weight_full_bipartite_matching

        place, scratch = np.arange(len(columns)), self._scratch
        scratch[columns] = place
        # In their own order, so that of equal totals every truth prefers the same pixels.
        names = np.sort(columns[scratch[columns] == place])
        scratch[names] = place[: len(names)]
        column, shape = scratch[columns], (num_rows, len(names))
        if num_rows * len(names) <= _DENSE_SIZE:
            table = np.full(shape, np.inf)
            table[row, column] = distances
            return np.asarray(names[linear_sum_assignment(table)[1]], dtype=np.int64)
        # One more than the distance: zero would be no pair, and all matchings in question have as many pairs. Rows shuffled:
        # along lines, where neighbours want the same, this solver can take hours for what is a moment in another order.
        order = np.random.default_rng(0).permutation(num_rows)
        sparse = csr_array((distances + 1, (order[row], column)), shape=shape)
        _, chosen = min_weight_full_bipartite_matching(sparse)
        return np.asarray(names[chosen[order]], dtype=np.int64)


def _joined(group: IntArray, members: IntArray, columns: IntArray, choices: _Pairs) -> IntArray:
    """For each group the number of the one it becomes part of, when those whose members share a column are joined."""
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import connected_components

    number = np.zeros(choices.num_others, dtype=np.int64)
    number[columns] = 1
    np.cumsum(number, out=number)
    num_groups = int(group.max()) + 1
    size = num_groups + int(number[-1])
    links = (group[members], num_groups - 1 + number[columns])
    graph = csr_array((np.ones(len(columns), dtype=np.int8), links), shape=(size, size))
    _, labels = connected_components(graph, directed=False)
    return np.asarray(labels[:num_groups], dtype=np.int64)


def _grows(group: IntArray, label: IntArray) -> BoolArray:
    """Which members belong to a group that is joined with another."""
    is_joined = np.bincount(label) > 1
    return np.asarray(is_joined[label[group]], dtype=np.bool_)
