"""The distillation loss against a naive one, the teacher's checks, and short trainings with it."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from thinned import thinned
from tiny_berts import LETTERS, letter_texts, letter_tokenizer, tiny_bert
from transformers import (
    TrainerCallback,
    ViTConfig,
)
from transformers import ViTForImageClassification as ViT

from platon_compress.errors import InputError
from platon_compress.pruning import PlatonCallback, PruneConfig, latest_complete_checkpoint
from platon_compress.recipe import DataSection, DistillSection, TrainSection
from platon_compress.tasks.checkpoint import Checkpoint
from platon_compress.tasks.data.tables import Rows
from platon_compress.tasks.distillation import answer_loss, hidden_loss, make_teacher
from platon_compress.tasks.examples import Examples
from platon_compress.tasks.image_classification import ImageClassification
from platon_compress.tasks.text_classification import TextClassification
from platon_compress.tasks.trainer import TaskTrainer
from platon_compress.tasks.training import _arguments, train
from platon_compress.testing import naive_distillation_loss

LABELS = ["bad", "good", "odd"]
TASK = TextClassification(DataSection(max_length=32))


def _bert(tokenizer, *, seed, labels=LABELS, dropout=0.1, **sizes):
    model = tiny_bert(
        seed=seed, dropout=dropout, vocab_size=len(tokenizer), id2label=dict(enumerate(labels)), **sizes
    )
    with torch.no_grad():  # answers far enough apart to be worth comparing
        model.classifier.weight.mul_(30)
    return Checkpoint(model, tokenizer, "text-classification")


@pytest.fixture
def tokenizer(tmp_path):
    return letter_tokenizer(tmp_path)


@pytest.fixture
def examples(tokenizer):
    texts = letter_texts(48)
    rows = Rows(texts, [LABELS[len(text) % 3] for text in texts])
    return TASK.encode(rows, _bert(tokenizer, seed=0), LABELS)


def _trainer(student, teacher, training, folder, **settings):
    values = {"epochs": 2, "batch_size": 8, "learning_rate": 1e-3, "evaluations": 2, **settings}
    section = TrainSection(**values)
    return TaskTrainer(
        task=TASK,
        teacher=teacher,
        evaluation=TASK.evaluation(training, student, 8),
        model=student.model,
        args=_arguments(section, 12 // section.gradient_accumulation_steps, folder),
        train_dataset=training,
        eval_dataset=training,
        data_collator=lambda items: TASK.collate(items, student.processor),
    )


@pytest.mark.parametrize(("weight", "temperature"), [(0.5, 2.0), (1.0, 1.0), (0.3, 4.0)])
def test_the_loss_is_the_naive_one(tokenizer, examples, tmp_path, weight, temperature):
    """Rule: the training loss of a batch against float64 loops, at most 1e-5 relative."""
    student, teacher = _bert(tokenizer, seed=1, dropout=0.0), _bert(tokenizer, seed=2)
    settings = DistillSection(weight=weight, temperature=temperature)
    trainer = _trainer(
        student, make_teacher(teacher, "t", settings, TASK, LABELS, student), examples, tmp_path
    )
    batch = TASK.collate([examples[i] for i in range(8)], tokenizer)
    inputs = {name: tensor for name, tensor in batch.items() if name != "labels"}
    ours, theirs = (c.model.double()(**inputs).logits.detach() for c in (student, teacher))
    student.model.float().train(), teacher.model.float()
    loss = trainer.compute_loss(student.model, dict(batch))
    wanted = naive_distillation_loss(ours, theirs, batch["labels"], weight=weight, temperature=temperature)
    assert loss.item() == pytest.approx(wanted, rel=1e-5)
    loss.backward()
    assert all(p.grad is None for p in teacher.model.parameters())


def test_a_validation_is_the_tasks_metric(tokenizer, examples, tmp_path):
    student = _bert(tokenizer, seed=1)
    teacher = make_teacher(_bert(tokenizer, seed=2), "t", DistillSection(), TASK, LABELS, student)
    trainer = _trainer(student, teacher, examples, tmp_path)
    batch = TASK.collate([examples[i] for i in range(48)], tokenizer)
    labels = batch.pop("labels")
    right = student.model.eval()(**batch).logits.argmax(-1) == labels
    assert trainer.evaluate()["eval_accuracy"] == pytest.approx(float(right.float().mean()))


def test_padding_has_no_part_in_the_hidden_states(tokenizer):
    generator = torch.Generator().manual_seed(3)
    ours, theirs = (
        tuple(torch.randn(2, 5, 4, generator=generator) for _ in range(3)) for _ in range(2)
    )  # fmt: skip
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0]])
    errors = [
        float((a[b, p] - c[b, p]).double() @ (a[b, p] - c[b, p]).double()) / 4
        for a, c in zip(ours, theirs, strict=True)
        for b in range(2)
        for p in range(5)
        if mask[b, p]
    ]
    assert float(hidden_loss(ours, theirs, mask)) == pytest.approx(sum(errors) / len(errors), rel=1e-6)
    everywhere = sum(float((a - c).square().mean()) for a, c in zip(ours, theirs, strict=True)) / 3
    assert float(hidden_loss(ours, theirs)) == pytest.approx(everywhere, rel=1e-6)


def test_relative_errors_count_alike_whatever_the_size_of_a_layers_states():
    generator = torch.Generator().manual_seed(3)
    ours, theirs = (
        [torch.randn(2, 5, 4, generator=generator) * size for size in (0.01, 1, 30)] for _ in range(2)
    )
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0]])
    kept = mask.bool().numpy()
    shares = [
        ((a - c).numpy()[kept].astype(np.float64) ** 2).mean()
        / (c.numpy()[kept].astype(np.float64) ** 2).mean()
        for a, c in zip(ours, theirs, strict=True)
    ]
    assert float(hidden_loss(ours, theirs, mask, relative=True)) == pytest.approx(np.mean(shares), rel=1e-6)
    grown = [[states * 7 for states in side] for side in (ours, theirs)]
    assert float(hidden_loss(*grown, mask, relative=True)) == pytest.approx(np.mean(shares), rel=1e-6)


def test_half_precision_answers_are_compared_in_single():
    logits = torch.tensor([[6.0, -6.0, 0.0]], dtype=torch.bfloat16)
    other = torch.tensor([[5.0, -6.0, 0.0]], dtype=torch.bfloat16)
    loss = answer_loss(logits, other, 2.0)
    assert loss.dtype == torch.float32
    wanted = naive_distillation_loss(logits, other, torch.tensor([0]), weight=1, temperature=2.0)
    assert float(loss) == pytest.approx(wanted, rel=1e-5)


def test_classes_are_matched_by_name(tokenizer, examples, tmp_path):
    student = _bert(tokenizer, seed=1)
    shuffled = _bert(tokenizer, seed=2, labels=["odd", "bad", "good"])
    teacher = make_teacher(shuffled, "t", DistillSection(), TASK, LABELS, student)
    assert teacher.columns == (1, 2, 0)
    batch = TASK.collate([examples[i] for i in range(4)], tokenizer)
    answers = teacher.answer(batch).logits
    inputs = {name: tensor for name, tensor in batch.items() if name != "labels"}
    assert torch.equal(answers, shuffled.model(**inputs).logits[:, [1, 2, 0]])
    assert not answers.requires_grad


def test_teachers_that_do_not_fit_are_refused(tokenizer, tmp_path):
    student = _bert(tokenizer, seed=1)
    settings = DistillSection(hidden=1.0)
    with pytest.raises(InputError, match=r"'t' does not fit: .*label 'bad' .* none of the model's: x, y, z"):
        make_teacher(_bert(tokenizer, seed=2, labels=["x", "y", "z"]), "t", settings, TASK, LABELS, student)
    with pytest.raises(
        InputError, match=r"'t' does not fit: it knows 4 classes \(bad, .*\), the data has 3 \("
    ):
        make_teacher(_bert(tokenizer, seed=2, labels=[*LABELS, "new"]), "t", settings, TASK, LABELS, student)
    (tmp_path / "other").mkdir()
    other = _bert(letter_tokenizer(tmp_path / "other", [*LETTERS, "q"]), seed=2)
    with pytest.raises(InputError, match=r"has another tokenizer than the student, so one batch cannot"):
        make_teacher(other, "t", settings, TASK, LABELS, student)
    wide = _bert(tokenizer, seed=2, hidden_size=48)
    with pytest.raises(InputError, match=r"'t' has hidden_size 48, the student 32; set distill\.hidden=0"):
        make_teacher(wide, "t", settings, TASK, LABELS, student)
    assert make_teacher(wide, "t", DistillSection(), TASK, LABELS, student).columns == (0, 1, 2)
    deeper = _bert(tokenizer, seed=1, num_hidden_layers=3)
    with pytest.raises(
        InputError, match=r"'t' has num_hidden_layers 2, the student 3; set distill\.hidden=0"
    ):
        make_teacher(student, "t", settings, TASK, LABELS, deeper)


def test_a_shallower_student_learns_from_the_layers_at_the_same_depth(tokenizer, examples):
    student, teacher = (
        _bert(tokenizer, seed=1, num_hidden_layers=3),
        _bert(tokenizer, seed=2, num_hidden_layers=6),
    )
    made = make_teacher(teacher, "t", DistillSection(hidden=1.0), TASK, LABELS, student)
    assert made.layers == (2, 4, 6)
    inputs = TASK.collate([examples[i] for i in range(4)], tokenizer)
    ours = TASK.forward(student.model, inputs, hidden=True)
    theirs = TASK.forward(teacher.model, inputs, hidden=True)
    hidden = made.loss(ours, inputs)[1].detach()
    matched = [theirs.hidden_states[layer] for layer in (2, 4, 6)]
    assert float(hidden) == pytest.approx(
        float(hidden_loss(ours.hidden_states[1:], matched, inputs["attention_mask"]))
    )
    same = make_teacher(
        teacher, "t", DistillSection(hidden=1.0), TASK, LABELS, _bert(tokenizer, seed=3, num_hidden_layers=6)
    )
    assert same.layers == (1, 2, 3, 4, 5, 6)


@pytest.mark.parametrize("hidden", [0.0, 0.5])
def test_accumulated_batches_give_the_gradient_of_one(tokenizer, examples, tmp_path, hidden):
    """Rule: two batches of 4 accumulated equal one of 8 in the first step's weights (no dropout, equal lengths)."""
    ids = torch.randint(5, 13, (48, 6), generator=torch.Generator().manual_seed(0)).tolist()
    features = [{"input_ids": row, "attention_mask": [1] * 6, "token_type_ids": [0] * 6} for row in ids]
    same = Examples(features, np.arange(48) % 3)
    settings = DistillSection(hidden=hidden)
    weights = []
    for size, accumulated in ((8, 1), (4, 2)):
        student = _bert(tokenizer, seed=1, dropout=0.0)
        teacher = make_teacher(_bert(tokenizer, seed=2), "t", settings, TASK, LABELS, student)
        trainer = _trainer(
            student, teacher, same, tmp_path, batch_size=size, gradient_accumulation_steps=accumulated
        )  # fmt: skip
        norms = []
        trainer.add_callback(_Norms(norms))
        trainer.train()
        weights.append(norms[0])
    assert weights[0] == pytest.approx(weights[1], rel=1e-4)


class _Norms(TrainerCallback):
    """The norm of the gradient in front of each optimiser step."""

    def __init__(self, norms):
        self.norms = norms

    def on_pre_optimizer_step(self, args, state, control, **kwargs):
        gradients = [p.grad for p in kwargs["model"].parameters() if p.grad is not None]
        self.norms.append(float(torch.stack([g.norm() for g in gradients]).norm()))


class _Stop(TrainerCallback):
    def __init__(self, step):
        self.step = step

    def on_step_end(self, args, state, control, **kwargs):
        control.should_save = control.should_training_stop = state.global_step >= self.step


@pytest.mark.parametrize(
    "settings", thinned([{}, {"gradient_accumulation_steps": 2}, {"bf16": True}], every=3)
)
def test_resuming_is_bit_identical(tokenizer, examples, tmp_path, settings):
    """Pruning with a teacher that has dropout modules, killed after step 5 and resumed."""

    def prepared(folder, resume=None, seed=1):
        student = _bert(tokenizer, seed=1)
        teacher = make_teacher(
            _bert(tokenizer, seed=2), "t", DistillSection(hidden=0.1), TASK, LABELS, student
        )
        teacher.model.train(), teacher.model.eval()
        torch.manual_seed(seed)
        trainer = _trainer(student, teacher, examples, folder, **settings)
        config = PruneConfig(sparsity=0.7, mask_interval=2, initial_warmup_steps=1, final_warmup_steps=1)
        callback = PlatonCallback(config, resume_from=resume).attach(trainer)
        return trainer, callback, student

    whole, first, one = prepared(tmp_path / "whole")
    whole.train()
    part, _, _ = prepared(tmp_path / "part")
    part.add_callback(_Stop(5))
    part.train()
    folder = latest_complete_checkpoint(tmp_path / "part")
    assert folder.name == "checkpoint-5"
    saved = load_file(folder / "model.safetensors")
    assert saved.keys() == one.model.state_dict().keys()  # nothing of the teacher
    resumed, second, other = prepared(tmp_path / "part", folder, seed=9)
    resumed.train(resume_from_checkpoint=str(folder))
    for (name, a), b in zip(one.model.named_parameters(), other.model.parameters(), strict=True):
        assert torch.equal(a, b), name
    masks = first.pruner.masks()
    assert all(torch.equal(mask, masks[name]) for name, mask in second.pruner.masks().items())


def _agreement(one, other, tokenizer, examples):
    batch = TASK.collate(
        [{k: v for k, v in examples[i].items() if k != "labels"} for i in range(48)], tokenizer
    )
    with torch.no_grad():
        return float(
            (one.model(**batch).logits.argmax(-1) == other.model(**batch).logits.argmax(-1)).float().mean()
        )


def test_a_student_without_labels_learns_the_teachers_answers(tokenizer, examples, tmp_path):
    """Real training: the teacher is trained on labels first, the student sees texts alone."""
    teacher = _bert(tokenizer, seed=2, dropout=0.0)
    settings = TrainSection(epochs=30, batch_size=8, learning_rate=3e-3, evaluations=1)
    taught = train(TASK, teacher, examples, examples, settings, work_folder=tmp_path / "teacher")
    assert taught.scores.value > 0.8
    student = _bert(tokenizer, seed=7)
    before = _agreement(student, teacher, tokenizer, examples)
    unlabelled = TASK.encode(Rows(letter_texts(48, seed=5)), student, LABELS)
    assert "labels" not in unlabelled[0]
    section = DistillSection(teacher="t", labels=False)
    made = make_teacher(teacher, "t", section, TASK, LABELS, student)
    frozen = {name: p.clone() for name, p in teacher.model.named_parameters()}
    result = train(
        TASK, student, unlabelled, examples, settings, teacher=made, work_folder=tmp_path / "student"
    )
    after = _agreement(student, teacher, tokenizer, examples)
    assert after > max(before, 0.6)
    assert result.examples == 48
    assert not teacher.model.training
    assert all(torch.equal(p, frozen[name]) for name, p in teacher.model.named_parameters())


def test_images_are_taught_too(tmp_path):
    torch.manual_seed(0)
    config = ViTConfig(
        image_size=8, patch_size=4, num_channels=1, hidden_size=16, num_hidden_layers=1,
        num_attention_heads=2, intermediate_size=32, num_labels=3, id2label=dict(enumerate(LABELS)),
    )  # fmt: skip
    student, teacher = (Checkpoint(ViT(config).eval(), None, "image-classification") for _ in range(2))
    images = ImageClassification(DataSection())
    pixels = torch.randn(24, 1, 8, 8).numpy()
    rows = Examples([{"pixel_values": image} for image in pixels], np.arange(24) % 3)
    made = make_teacher(teacher, "t", DistillSection(hidden=1.0), images, LABELS, student)
    settings = TrainSection(epochs=20, batch_size=8, learning_rate=3e-3, evaluations=1)
    result = train(images, student, rows, rows, settings, teacher=made, work_folder=tmp_path)
    losses = [row["loss"] for row in result.history if "loss" in row]
    assert losses[-1] < 0.8 * losses[0]
