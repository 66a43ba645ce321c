"""The simulation of threads against schedules written out by hand, the study on one small setting, and its tables."""

import json

import numpy as np
import pytest
import threads
from splitting.layers import SHAPES, Block, random_weights, trained_weights
from splitting.schedule import Loop, simulate
from tables.threads import threads_tables

from platon_compress.errors import InputError
from platon_compress.export.kernels.native import NativePool
from platon_compress.library import selected_kernel


def _loop(*items, per_panel=None, **costs):
    return Loop(name="x", before=0.5, items=items, per_panel=per_panel or len(items), **costs)


@pytest.mark.parametrize(
    ("loop", "count", "seconds", "busy"),
    [
        (_loop(1, 1, 1, 1), 1, 4, (4,)),
        (_loop(1, 1, 1, 1), 2, 2, (2, 2)),
        (_loop(1, 1, 1, 1), 8, 1, (1, 1, 1, 1, 0, 0, 0, 0)),
        (_loop(3, 1, 1, 1), 2, 3, (3, 3)),
        (_loop(1, 1, 1, 3), 2, 4, (2, 4)),  # in order, not the longest first
        # two tiles for two threads, then an item each: nobody waits
        (_loop(1, 1, packing=1, tiles=2), 2, 1.5, (1.5, 1.5)),
        # one tile: the second thread waits for it
        (_loop(1, 1, packing=1, tiles=1), 2, 2, (2, 1)),
        # a panel each: both pack their own
        (_loop(1, 1, per_panel=1, packing=1, tiles=4), 2, 2, (2, 2)),
        # whoever ends last closes the panel; the other one is free for the next panel
        (_loop(1, 2, per_panel=2, closing=1), 2, 3, (1, 3)),
        (_loop(1, 2, 1, 1, per_panel=2, closing=1), 2, 4, (4, 3)),
    ],
)
def test_schedules(loop, count, seconds, busy):
    ended = simulate(loop, count)
    assert ended.seconds == pytest.approx(seconds)
    assert ended.busy == pytest.approx(busy)
    assert sum(ended.busy) == pytest.approx(loop.shared_seconds)
    assert ended.waits == pytest.approx(1 - sum(busy) / (count * seconds))
    assert ended.balance == pytest.approx(max(busy) * count / sum(busy))


def test_threads_that_come_late():
    loop = _loop(1, 1, 1, 1)
    assert simulate(loop, 2, 0.5).seconds == pytest.approx(2.5)
    assert simulate(loop, 2, 1.5).busy == pytest.approx((3, 1))
    assert simulate(loop, 8, 9).seconds == pytest.approx(4)  # nobody waits for who has nothing to do
    assert simulate(loop, 2, 2).waits == pytest.approx(1 - 4 / 6)


@pytest.mark.parametrize("count", [1, 2, 3, 7, 16])
def test_no_schedule_beats_its_bounds(count):
    rng = np.random.default_rng(count)
    for _ in range(50):
        panels, per_panel = int(rng.integers(1, 6)), int(rng.integers(1, 9))
        items = tuple(rng.uniform(1, 2, panels * per_panel))
        packing, closing = float(rng.uniform(0, 3)), float(rng.uniform(0, 2))
        loop = _loop(*items, per_panel=per_panel, packing=packing, tiles=6, closing=closing)
        ended = simulate(loop, count)
        assert sum(ended.busy) == pytest.approx(loop.shared_seconds)
        assert ended.seconds >= max(loop.shared_seconds / count, *items) - 1e-9
        assert ended.seconds <= loop.shared_seconds + 1e-9
        assert max(ended.busy) <= ended.seconds + 1e-9


def test_a_block_is_cut_for_the_cores_that_it_is_meant_for():
    shape, rows = SHAPES["minilm-l6"], 128
    weights = random_weights(shape, 0.95)
    items = {}
    with NativePool(1) as pool:
        for cores in (1, 4, 16):
            with Block(shape, weights, selected_kernel(), (cores, 0), 1, rows) as block:
                loops = {loop.name: loop for loop in block.loops(pool, 1)}
            assert list(loops) == [
                "queries, keys, values", "attention", "attention output", "feed-forward, first", "feed-forward, second",
            ]  # fmt: skip
            assert all(loop.before >= 0 and min(loop.items) >= 0 for loop in loops.values())
            assert len(loops["attention"].items) == shape.heads
            items[cores] = len(loops["attention output"].items)
    assert items == {1: 2, 4: 8, 16: 16}  # two panels of 64 rows


def test_item_times_have_room_for_all_items():
    shape = SHAPES["minilm-l6"]
    with (
        NativePool(1) as pool,
        Block(shape, random_weights(shape, 0.95), selected_kernel(), (4, 0), 1, 32) as block,
    ):
        with pytest.raises(InputError, match="raise it"):
            pool.item_seconds(block.steps(pool)["attention"], most=3)
        assert len(pool.item_seconds(block.steps(pool)["attention"], most=12)) == 13


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    folder = tmp_path_factory.mktemp("threads")
    words = [
        "--models",
        "minilm-l6",
        "--sparsities",
        "0.9",
        "--rounds",
        "1",
        "--pairs",
        "6",
        "--least-rows",
        "0,96",
    ]
    assert threads.main([*words, "--threads", "1,2,16", "-o", str(folder)]) == 0
    return json.loads((folder / "threads.json").read_text())


def test_the_study_and_its_tables(result):
    assert [(row["batch"], row["tokens"]) for row in result["rows"]] == [(1, 32), (1, 128), (8, 128)]
    for row in result["rows"]:
        assert [(cut["least_rows"], cut["threads"]) for cut in row["cuts"]] == [
            (0, 2),
            (0, 16),
            (96, 2),
            (96, 16),
        ]
        for cut in row["cuts"]:
            assert 0 <= cut["waits"] < 1
            assert 0 < cut["serial"] < 1
            assert 1 <= cut["balance"] <= cut["threads"]
            for loop in cut["items"]:
                assert loop["count"] >= cut["fewest_items"]
                assert len(loop["items"].split()) == min(loop["count"], 32)
        few, many = (
            next(c for c in row["cuts"] if (c["least_rows"], c["threads"]) == (n, 16)) for n in (96, 0)
        )
        assert few["fewest_items"] <= many["fewest_items"]
    blocks, loops = threads_tables({"threads": result})
    assert len(blocks.rows) == 3
    assert blocks.head[5:8] == ("2 threads", "16 threads", "16 threads, chunks of 96 rows")
    assert [row[1] for row in loops.rows[:5]] == [loop["name"] for loop in result["rows"][0]["alone"]]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--models", "gpt"], "choose of bert-base, minilm-l6"),
        (["--threads", "2,4"], "must begin with 1"),
        (["--trained", "0.9=nowhere", "--models", ""], "holds no model.safetensors"),
    ],
)
def test_wrong_words(words, message, tmp_path, capsys):
    assert threads.main([*words, "-o", str(tmp_path)]) == 2
    assert message in capsys.readouterr().err


def test_another_model_is_refused(tmp_path):
    from safetensors.numpy import save_file

    save_file({"x": np.zeros(3, np.float32)}, tmp_path / "model.safetensors")
    with pytest.raises(InputError, match="holds no MiniLM-L6: queries, keys, values is"):
        trained_weights(tmp_path, SHAPES["minilm-l6"])
