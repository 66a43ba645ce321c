"""The counting selection against a sort, on ordinary and on awkward scores."""

import pytest
import torch

from platon_compress.pruning.masks import arrays
from platon_compress.pruning.masks.arrays import Scratch
from platon_compress.pruning.masks.threshold import (
    SAMPLE_STRIDE,
    select_between,
    select_capped,
    select_each,
    select_smallest,
)


def _cut(scores, k):
    signed = any(bool(torch.signbit(piece).any()) for piece in scores)
    return select_smallest(lambda: (p.clone() for p in scores), k, Scratch(), signed=signed)


def _expected(scores, k):
    ordered = torch.cat(scores).sort().values
    value = ordered[k - 1]
    return float(value), int((ordered < value).sum()), int((ordered == value).sum())


_TINY = torch.finfo(torch.float32).tiny


@pytest.mark.parametrize(
    "scores",
    [
        [torch.rand(1000), torch.rand(7)],
        [torch.rand(1000) ** 20],
        [torch.zeros(50), torch.rand(50)],
        [torch.full((40,), 0.25)],
        [torch.arange(100.0) * _TINY / 64],  # subnormal
        [torch.tensor([0.0, float("inf"), 3e38, 1e-45])],
        [torch.randn(500), torch.tensor([-0.0, 0.0, -0.0, float("-inf")])],
        [torch.randint(0, 4, (300,)).float() - 2],
    ],
)
def test_equals_a_sort(scores):
    torch.manual_seed(0)
    size = sum(len(piece) for piece in scores)
    for k in {1, 2, size // 3 + 1, size // 2 + 1, size - 1, size} - {0}:
        cut = _cut(scores, k)
        assert (cut.value, cut.below, cut.ties) == _expected(scores, k)


def _between(scores, k):
    whole = torch.cat(scores)
    sample = iter([whole[::SAMPLE_STRIDE].clone()])
    return select_between(lambda: (p.clone() for p in scores), sample, k, len(whole), Scratch())


@pytest.mark.parametrize("power", [1, 8])
@pytest.mark.parametrize("share", [1e-5, 0.1, 0.5, 0.9, 0.99999, 1.0])
def test_sampling_equals_a_sort(power, share):
    torch.manual_seed(2)
    scores = [torch.rand(700_000) ** power, torch.randn(500_000).abs() ** power / 4]
    k = max(1, int(1_200_000 * share))
    cut = _between(scores, k)
    assert (cut.value, cut.below, cut.ties) == _expected(scores, k)


def test_sampling_gives_up_on_ties_and_on_a_misleading_sample():
    assert _between([torch.zeros(9000), torch.rand(1000)], 5000) is None
    scores = torch.rand(61 * 500)
    scores[::SAMPLE_STRIDE] += 5  # the sample holds just the large ones
    assert _between([scores], 10_000) is None


def test_neighbouring_floats_are_told_apart():
    base = torch.full((64,), 1.5)
    base.view(torch.int32).add_(torch.arange(64, dtype=torch.int32))
    assert _cut([base.flip(0)], 40).value == float(base[39])


def test_counts_are_exact_beyond_float_precision():
    """17.8M scores: a count kept in float32 would stop at 2^24."""
    piece = torch.zeros(1 << 20)
    last = torch.ones(3)
    cut = select_smallest(lambda: (p.clone() for p in [piece] * 17 + [last]), (17 << 20) + 1, Scratch())
    assert (cut.value, cut.below, cut.ties) == (1.0, 17 << 20, 3)


def test_reduce_sees_every_histogram():
    """Two ranks with half of the scores each agree with one process that holds them all."""
    torch.manual_seed(1)
    halves = [torch.rand(400), torch.rand(300)]
    seen = []
    select_smallest(
        lambda: iter([halves[1].clone()]), 150, Scratch(), reduce=lambda h: seen.append(h.clone())
    )
    assert len(seen) == 2
    other = iter(_two_histograms(halves[1], _expected(halves, 350)[0]))
    cut = select_smallest(
        lambda: iter([halves[0].clone()]), 350, Scratch(), reduce=lambda h: h.add_(next(other))
    )
    assert (cut.value, cut.below, cut.ties) == _expected(halves, 350)


def _two_histograms(scores, value):
    """Of the upper bits, then of the lower ones; bin 0 counts the scores below the range of the pass."""
    keys, pivot = scores.view(torch.int32), torch.tensor(value).view(torch.int32)
    yield torch.bincount((keys >> 16) + 32769, minlength=65538)
    first, last = pivot >> 16 << 16, (pivot >> 16 << 16) + 65535
    yield torch.bincount((keys.clamp(first - 1, last + 1) - first) + 1, minlength=65538)


@pytest.mark.parametrize("make", [torch.rand, torch.randn, lambda n: torch.randint(-3, 4, (n,)).float()])
def test_several_rankings_at_once(make):
    torch.manual_seed(3)
    rankings = [[make(700)], [make(40), make(500)], [make(1)]]
    ks = [100, 540, 1]
    passes = [lambda pieces=pieces: (p.clone() for p in pieces) for pieces in rankings]
    reductions = []
    cuts = select_each(
        passes, ks, Scratch(), signed=True, reduce=lambda table: reductions.append(table.shape)
    )
    for cut, pieces, k in zip(cuts, rankings, ks, strict=True):
        assert (cut.value, cut.below, cut.ties) == _expected(pieces, k)
    assert reductions == [(3, 2050), (3, 2050), (3, 1026)]


@pytest.mark.parametrize("least", [[0, 0, 0], [140, 30, 0], [0, 120, 100]])
@pytest.mark.parametrize("tied", [False, True])
def test_capped_members(tied, least):
    """Against a sort of what the limits let through."""
    torch.manual_seed(4)
    members = [torch.rand(300), torch.rand(200) / 8, torch.rand(250) * 4]
    if tied:
        members = [(member * 16).floor() for member in members]
    most = [150, 120, 240]
    for more in (1, 100, 200, 289, 290, sum(most) - sum(least)):
        k = sum(least) + more
        passes = [lambda member=member: iter([member.clone()]) for member in members]
        cuts = select_capped(passes, k, (least, most), Scratch())
        free = [m.sort().values[low:high] for m, low, high in zip(members, least, most, strict=True)]
        value = float(torch.cat(free).sort().values[more - 1])
        assert [cut.value for cut in cuts] == [value] * 3
        assert [cut.below for cut in cuts] == [int((member < value).sum()) for member in members]
        assert [cut.ties for cut in cuts] == [int((member == value).sum()) for member in members]


def test_scratch_reuses_its_buffers():
    scratch = Scratch()
    first = scratch.get("a", torch.empty(10))
    assert scratch.get("a", torch.empty(6)).data_ptr() == first.data_ptr()
    assert scratch.get("b", torch.empty(6)).data_ptr() != first.data_ptr()


def test_chunks_cover_everything(monkeypatch):
    monkeypatch.setattr(arrays, "CHUNK", 4)
    pieces = list(arrays.chunks(torch.arange(10), torch.arange(10)))
    assert [len(a) for a, _ in pieces] == [4, 4, 2]
    assert torch.cat([b for _, b in pieces]).tolist() == list(range(10))
