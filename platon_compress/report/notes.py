"""What a reader must know to judge the numbers: what was left out, replaced, helped or disturbed."""

from collections.abc import Iterator, Mapping

from platon_compress.report.run_data import RunData

__all__ = ["run_notes", "spoken_counts"]


def run_notes(run: RunData) -> tuple[str, ...]:
    """What a reader must know to judge the numbers."""
    return (*_variant_notes(run), *_weight_notes(run), *_comparison_notes(run))


def _variant_notes(run: RunData) -> Iterator[str]:
    for variant in run.bench.variants.values():
        if variant.unavailable:
            yield f"{variant.file}: {variant.unavailable}."
        on_cpu = variant.executed_nodes.get("CPUExecutionProvider", {})
        if run.bench.config.device != "cpu" and on_cpu:
            yield f"{variant.file}: {sum(on_cpu.values())} nodes ran on the CPU ({spoken_counts(on_cpu)})."
    native = run.bench.variants["compressed"].native_kernel
    if native is False:
        yield "The sparse layers did not run in the native kernel; the times are those of dense operators."
    if native is None and not run.bench.unavailable:
        yield "compressed.onnx contains no sparse layer; stock ONNX Runtime runs it without our library."


def _weight_notes(run: RunData) -> Iterator[str]:
    for name, reason in run.stage("bake").get("skipped", ()):
        yield f"{name} was not pruned: {reason}."
    if idle := (run.plan.get("idle") or {}).get("reason"):
        yield f"{idle}."
    exported = run.stage("export").get("compressed") or {}
    for name, reason in exported.get("skipped", ()):
        yield f"{name} is not in the file as planned: {reason}."


def _comparison_notes(run: RunData) -> Iterator[str]:
    if not run.has_dense_model:
        yield "No dense model was given; 'dense' here means the same sparse weights in dense kernels."
    if run.split == "test":
        yield "Parity and the metric were measured on the test rows; curves and int8 settings used only the validation rows."
    if run.parity.get("inputs") == "random inputs":
        yield "Parity was checked on random inputs because the run had no data."
    load, cores = run.bench.environment.get("load_average"), run.bench.environment.get("cores_logical")
    if load and cores and load[0] > cores:
        yield f"The machine was busy (load {load[0]} on {cores} cores): trust the ratios rather than individual times."
    dense, pruned = (run.stage(stage).get("steps") for stage in ("dense", "prune"))
    if dense and pruned and dense != pruned:
        longer = "; a dense model trained for as long might be better" if dense < pruned else ""
        yield f"The dense and pruned models were trained for {dense:,} and {pruned:,} steps respectively{longer}."
    if held := run.stage("prune").get("held"):
        start = "the dense baseline" if held["from_dense"] else "the weights stored with them"
        yield f"The masks come from {held['masks_from']} and stayed fixed; the pruned model continued from {start}."
    elif (run.recipe.get("prune") or {}).get("from_dense"):
        yield "The pruned model continued from the weights of the dense baseline; its step count covers both trainings."
    if averaged := run.stage("prune").get("averaged_steps"):
        yield f"The weights are averaged over the last {averaged} training steps, during which the mask stayed fixed."
    yield from _distillation_note(run)
    yield from _speedup_note(run)
    if run.stage("prune").get("per_millisecond"):
        yield "Weights were ranked by score per measured millisecond of their layer, not by score alone."


def _speedup_note(run: RunData) -> Iterator[str]:
    pruned = run.stage("prune")
    if pruned.get("granularity") != "structured":
        return
    gone = run.stage("choose").get("sparsity", pruned["sparsity_target"])
    yield (
        f"Heads, neurons and layers were chosen for {1 / (1 - gone):.3g} times the speed of dense, based on half blocks "
        "timed before training."
    )


def _distillation_note(run: RunData) -> Iterator[str]:
    """The pruned model may have had a help that the dense one had not: a reader must know."""
    pruned = run.stage("prune").get("distillation")
    if pruned is None:
        return
    alike = ", all layers weighted equally" if pruned.get("relative") else ""
    hidden = f", hidden states with weight {pruned['hidden']:g}{alike}" if pruned["hidden"] else ""
    softened = f", temperature {pruned['temperature']:g}" if pruned["temperature"] is not None else ""
    yield (
        f"The pruned model was trained with distillation from {pruned['teacher']} ({pruned['weight']:.0%} of the "
        f"loss{softened}{hidden}); {_baseline_training(run)}."
    )


def _baseline_training(run: RunData) -> str:
    dense = run.stage("dense")
    if dense.get("steps") == 0:
        return "the dense model is that same teacher, as given"
    if dense.get("distillation") is None:
        return "the dense model was trained on the labels only, without distillation"
    return "there were no labels, so the dense model learnt from the same teacher for as many steps"


def spoken_counts(counts: Mapping[str, int]) -> str:
    """`33 csr, 3 dense`."""
    return ", ".join(f"{count} {name}" for name, count in counts.items())
