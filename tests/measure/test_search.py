"""The search's answer is the smallest sparsity whose figures meet the budget, and the best there is where none does."""

import json

import pytest

from platon_compress.budget import Budget, Figures
from platon_compress.errors import InputError
from platon_compress.measure import half_blocks, trial_files
from platon_compress.measure.search import LEAST, LEAST_TIME, MOST, Form, search
from platon_compress.measure.trial_masks import TrialMasks
from platon_compress.pruning.unit_costs import UnitCosts
from platon_compress.structure import find_couplings
from platon_compress.testing import tiny_transformer

ELEMENT, NEURONS = Form("element", "float32"), Form("neuron", "float32")
STRUCTURED = Form("structured", "float32")
COSTS = UnitCosts(  # 13 s like the dense model below
    rest_seconds=1.0,
    curves={
        "4 heads of 8 in 32": tuple((n, n / 2) for n in range(5)),
        "64 neurons in 32": tuple((n, n / 16) for n in range(0, 65, 8)),
    },
)


@pytest.fixture(scope="module")
def model():
    return tiny_transformer("bert")[0]


@pytest.fixture
def found(model, tmp_path, monkeypatch):
    """found(budget) -> the search where dense takes 13 s, 12 of them in the 12 layers, and a CSR layer its density."""
    rows = [
        {"out": out, "in": width, "density": d, "rows": 8, "threads": 1, "dense_seconds": 1, "csr_seconds": d}
        for out, width in ((32, 32), (64, 32), (32, 64))
        for d in (0.01, 0.6)
    ]
    table = tmp_path / "table.json"
    table.write_text(json.dumps({"kind": "cost-table", "schema": 2, "rows": rows}))
    made = {}

    def masked_file(model, masks, inputs, config, path, **settings):
        density = sum(int(mask.sum()) for mask in masks.values()) / sum(
            mask.numel() for mask in masks.values()
        )
        made[path.name] = density
        path.write_bytes(bytes(round(1000 + 5 * density * 16_384)))

    def dense_files(model, inputs, folder):
        (folder / "dense.onnx").write_bytes(bytes(1000 + 4 * 16_384))
        return {"dense": folder / "dense.onnx"}, ()

    def time_files(files, inputs, threads, runs):
        """Half a second of the rest is gained by the sparse file, which the table cannot know."""
        return {
            name: (13.0 if name == "dense" else 0.5 + 12 * made[p.name],) * runs for name, p in files.items()
        }

    for name, fake in (
        ("_masked_file", masked_file),
        ("_dense_files", dense_files),
        ("time_files", time_files),
    ):
        monkeypatch.setattr(trial_files, name, fake)
    return lambda budget, forms=(ELEMENT, NEURONS): search(
        model, budget, forms=forms, tokens=8, threads=1, runs=2, cost_table=table
    )


def test_the_smallest_sparsity_that_meets_it(found):
    result = found(Budget(max_latency_seconds=4.0))
    row = result.rows[0]
    assert row.form == ELEMENT
    assert row.meets
    # 0.5 + 12 (1 - s) <= 4 from s = 0.7083 on; the table alone says 1 + 12 (1 - s), and takes its file at 0.75
    assert (row.sparsity, row.measured_sparsity) == (0.71, 0.75)
    assert row.figures.latency_seconds == pytest.approx(0.5 + 12 * 0.29, abs=0.1)
    assert row.figures.speedup == pytest.approx(13 / row.figures.latency_seconds)
    assert result.can_be_met


def test_every_part_of_the_budget_counts(found):
    fast = found(Budget(min_speedup=2.0)).rows[0].sparsity
    small = found(Budget(max_size_bytes=1000 + round(5 * 0.2 * 16_384))).rows[0].sparsity
    both = found(Budget(min_speedup=2.0, max_size_bytes=1000 + round(5 * 0.2 * 16_384))).rows[0].sparsity
    assert small == pytest.approx(0.8, abs=0.011)
    assert fast < small == both


def test_what_is_easy_takes_the_least(found):
    assert {row.sparsity for row in found(Budget(max_latency_seconds=12.9)).rows} == {LEAST}


def test_what_cannot_be_met_says_the_best(found):
    result = found(Budget(max_latency_seconds=0.1))
    assert not result.can_be_met
    assert [row.sparsity for row in result.rows] == [MOST, MOST]
    assert result.refusal().startswith(
        "no sparsity up to 98% meets the budget (at most 100 ms): the best is element float32 at 98% with "
    )
    assert result.refusal().endswith("; raise the budget, or take a smaller model")


def test_the_result_is_json_able(found):
    data = json.loads(json.dumps(found(Budget(min_speedup=2.0)).to_dict()))
    assert (data["kind"], data["budget"]["min_speedup"], data["dense"]["speedup"]) == ("search", 2.0, 1.0)
    assert [row["form"]["granularity"] for row in data["rows"]] == ["element", "neuron"]


def test_structured_competes_by_its_measured_half_blocks(found, monkeypatch):
    asked = []
    monkeypatch.setattr(
        half_blocks, "measure_half_blocks", lambda *inputs, threads: asked.append(threads) or COSTS
    )
    result = found(Budget(min_speedup=2.0), (ELEMENT, STRUCTURED))
    assert asked == [1]
    row = result.rows[1]
    assert str(row.form) == "structured"
    assert row.meets
    # The file has half a second less to do beside its layers than the table knows: a little less than half must go.
    assert 0.45 <= row.sparsity < 0.5
    assert found(Budget(min_speedup=2.0), (ELEMENT,)).can_be_met
    assert asked == [1]
    assert found(Budget(max_latency_seconds=12.9), (STRUCTURED,)).rows[0].sparsity == LEAST_TIME


def test_structured_may_leave_nothing_and_still_miss_the_budget(found, monkeypatch):
    monkeypatch.setattr(half_blocks, "measure_half_blocks", lambda *inputs, threads: COSTS)
    result = found(Budget(max_latency_seconds=0.1), (STRUCTURED,))
    assert not result.can_be_met
    assert result.rows[0].sparsity == MOST
    assert result.rows[0].figures.size_bytes == result.dense.size_bytes - 4 * 16_384


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 0.8])
def test_a_structured_trial_keeps_its_time(model, share):
    trial = TrialMasks(model, "structured", COSTS)
    seconds = trial.seconds(share)
    assert seconds <= 13 * (1 - share) * (1 + 1e-9)
    assert seconds >= 13 * (1 - share) - 0.6  # less than one step of a curve
    masks = trial.masks(share)
    spent = COSTS.rest_seconds
    for coupling in find_couplings(model):
        units = masks[f"{coupling.consumer}.weight"].any(0).view(coupling.units, -1).any(1)
        spent += int(units.sum()) * (0.5 if coupling.kind == "heads" else 1 / 16)
    assert spent == pytest.approx(seconds)
    for name, (_, density) in trial.layers(share).items():
        assert float(masks[name].float().mean()) == pytest.approx(density)


def test_a_structured_trial_is_even(model):
    kept = {density for _, density in TrialMasks(model, "structured", COSTS).layers(0.5).values()}
    assert min(kept) >= 0.25
    assert max(kept) <= 0.75


@pytest.mark.parametrize(("budget", "forms"), [(Budget(max_drop=1), (ELEMENT,)), (Budget(min_speedup=2), ())])
def test_nothing_to_search_for(model, budget, forms):
    with pytest.raises(InputError, match="nothing to search for"):
        search(model, budget, forms=forms)


def test_masks_are_as_sparse_as_their_layers_say(model):
    for granularity in ("element", "4x1", "head", "neuron"):
        trial = TrialMasks(model, granularity)
        masks = trial.masks(0.75)
        for name, (_, density) in trial.layers(0.75).items():
            mask = masks.get(name)
            share = 1.0 if mask is None else float(mask.float().mean())
            assert share == pytest.approx(density, abs=0.12), (granularity, name)
            if granularity == "4x1":
                assert (mask.unflatten(0, (-1, 4)).float().mean(1) % 1 == 0).all()


def test_a_real_search_goes_all_the_way(model, tmp_path):
    """Nothing is faked but the table: dense, 8-bit and sparse files are exported and timed."""
    rows = [
        {"out": 32, "in": 32, "density": d, "rows": 8, "threads": 1, "dense_seconds": 1, "csr_seconds": d}
        for d in (0.01, 0.6)
    ]
    table = tmp_path / "table.json"
    table.write_text(json.dumps({"kind": "cost-table", "schema": 2, "rows": rows}))
    result = search(
        model, Budget(max_size_bytes=80_000), forms=(ELEMENT,), tokens=8, threads=1, runs=3, cost_table=table
    )
    assert isinstance(result.dense_int8, Figures)
    assert all(figures.latency_seconds > 0 for figures in (result.dense, result.rows[0].measured))
    assert result.rows[0].measured.size_bytes < result.dense.size_bytes
