import pytest

from platon_compress.pruning import PruneConfig
from platon_compress.pruning.schedule import Schedule


def _mnli(sparsity):
    config = PruneConfig(
        sparsity=sparsity, total_steps=98176, initial_warmup_steps=5400, final_warmup_steps=27000
    )
    return Schedule.of(config)


@pytest.mark.parametrize(
    ("step", "remaining_10", "remaining_20", "masked"),
    [
        (5400, 1, 1, False),
        (5401, 0.9999589522, 0.9999635131, False),
        (20000, 0.5238763093, 0.5767789416, True),
        (38288, 0.2125, 0.3, False),
        (50000, 0.1300311467, 0.2266943527, True),
        (71177, 0.1, 0.2, True),
        (98176, 0.1, 0.2, True),
    ],
)
def test_published_mnli_schedule(step, remaining_10, remaining_20, masked):
    for sparsity, remaining in ((0.9, remaining_10), (0.8, remaining_20)):
        schedule = _mnli(sparsity)
        assert schedule.remaining(step) == pytest.approx(remaining, abs=5e-11)
        assert schedule.sparsity(step) == pytest.approx(1 - remaining, abs=5e-11)
        assert schedule.masks_at(step) is masked


def test_final_sparsity_is_the_configured_number():
    for sparsity in (0.3, 0.55, 0.9, 0.95):
        schedule = _mnli(sparsity)
        assert schedule.sparsity(98176) == sparsity
        assert schedule.is_final(71177)
        assert not schedule.is_final(71176)


def test_sparsity_never_falls():
    schedule = Schedule.of(PruneConfig(sparsity=0.9, total_steps=200))
    values = [schedule.sparsity(step) for step in range(1, 220)]
    assert values == sorted(values)
    assert values[0] == 0
    assert values[-1] == 0.9


def test_a_rise_may_begin_above_zero():
    """The paper's formula with r0 = 1 - start: half of the way in steps is 7/8 of the way in sparsity."""
    config = PruneConfig(sparsity=0.9, start_sparsity=0.5, total_steps=200, mask_interval=1)
    schedule = Schedule.of(config)
    assert [schedule.sparsity(step) for step in (1, 20)] == [0, 0]
    assert not schedule.masks_at(20)
    assert 0.5 < schedule.sparsity(21) < 0.511
    assert schedule.sparsity(80) == pytest.approx(0.5 + 0.4 * 7 / 8)
    assert schedule.sparsity(141) == schedule.sparsity(200) == 0.9
    rise = [schedule.sparsity(step) for step in range(20, 201)]
    assert rise == sorted(rise)


def test_a_family_stops_where_its_own_rise_arrives():
    """Rule 1 with r0 = 0.4: at each member the rise is within a step of it."""
    family = (0.7, 0.8, 0.9)
    schedule = Schedule.of(
        PruneConfig(sparsity=0.9, family=family, start_sparsity=0.6, total_steps=1400, mask_interval=2)
    )
    assert [hold.sparsity for hold in schedule.holds] == list(family)
    for hold in schedule.holds[:-1]:
        before, after = schedule.sparsity(hold.first - 1), schedule.sparsity(hold.last + 1)
        assert before <= hold.sparsity <= after
        assert after - before < 0.003
    assert schedule.holds[0].first == 100 + int(600 * (1 - (0.2 / 0.3) ** (1 / 3))) + 1


def test_reference_mode_may_jump():
    config = PruneConfig(
        sparsity=0.5,
        total_steps=10,
        initial_warmup_steps=4,
        final_warmup_steps=8,
        mask_interval=1,
        reference_compat=True,
    )
    schedule = Schedule.of(config)
    assert [schedule.remaining(step) for step in (4, 5)] == [1.0, 0.5]


@pytest.mark.parametrize("shape", ["cubic", "constant", "one_shot"])
@pytest.mark.parametrize(
    ("total", "initial", "final", "interval"),
    [
        (10, 1, 3, 1),
        (10, 0, 3, 7),
        (23, 3, 10, 2),
        (23, 10, 1, 3),
        (100, 10, 40, 60),
        (100, 50, 7, 10),
        (100, 3, 1, 7),
    ],
)
def test_the_first_mask_and_the_full_sparsity_are_where_walking_finds_them(
    shape, total, initial, final, interval
):
    schedule = Schedule(0.9, total, initial, final, interval, shape)
    steps = range(1, total + 1)
    assert schedule.first_mask == next(t for t in steps if t >= interval and schedule.masks_at(t))
    assert schedule.last_before_final + 1 == next(t for t in steps if schedule.is_final(t))
