"""A training that goes on has all of its weights back, under whatever names transformers saved them."""

import torch
import transformers
from torch.utils.data import Dataset

from platon_compress.pruning import PlatonCallback, PruneConfig
from platon_compress.pruning.state.renamed import restore_renamed
from platon_compress.testing import tiny_transformer


class _Pictures(Dataset):
    def __len__(self):
        return 16

    def __getitem__(self, index):
        size = tiny_transformer("vit")[0].config.image_size
        return {
            "pixel_values": torch.randn(3, size, size, generator=torch.Generator().manual_seed(index)),
            "labels": index % 2,
        }


def _trainer(folder, callback, **settings):
    torch.manual_seed(0)
    model, _ = tiny_transformer("vit")
    arguments = transformers.TrainingArguments(
        output_dir=str(folder), max_steps=6, per_device_train_batch_size=4, learning_rate=1e-3, save_steps=3,
        report_to="none", disable_tqdm=True, use_cpu=True, remove_unused_columns=False, seed=1, **settings,
    )  # fmt: skip
    trainer = transformers.Trainer(
        model=model.train(), args=arguments, train_dataset=_Pictures(), eval_dataset=_Pictures(),
        compute_metrics=lambda _: {"worst": float(-trainer.state.global_step)},
    )  # fmt: skip
    callback.attach(trainer)
    return trainer


def _trained(folder, resume_from=None):
    trainer = _trainer(folder, PlatonCallback(_config(final=1), resume_from=resume_from))
    trainer.train(resume_from_checkpoint=resume_from and str(resume_from))
    return trainer.model.state_dict()


def _config(final):
    return PruneConfig(sparsity=0.5, mask_interval=1, initial_warmup_steps=1, final_warmup_steps=final)


def test_a_trainer_of_ones_own_goes_on_to_the_same_weights(tmp_path):
    whole = _trained(tmp_path)
    resumed = _trained(tmp_path, tmp_path / "checkpoint-3")
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())


def test_the_best_model_of_a_trainer_has_its_own_weights_and_masks(tmp_path):
    callback = PlatonCallback(_config(final=4))
    trainer = _trainer(
        tmp_path, callback, eval_strategy="steps", eval_steps=3, load_best_model_at_end=True,
        metric_for_best_model="worst", greater_is_better=True,
    )  # fmt: skip
    trainer.train()
    best = tmp_path / "checkpoint-3"
    assert trainer.state.best_model_checkpoint == str(best)
    stored = type(trainer.model).from_pretrained(best).state_dict()
    assert all(torch.equal(value, stored[name]) for name, value in trainer.model.state_dict().items())
    weights = dict(trainer.model.named_parameters())
    assert all(torch.equal(weights[name] != 0, mask) for name, mask in callback.pruner.masks().items())


def test_names_that_agree_are_left_to_the_trainer(tmp_path):
    model, _ = tiny_transformer("bert")
    model.save_pretrained(tmp_path)
    assert not restore_renamed(model, tmp_path)
    assert not restore_renamed(model, tmp_path / "nowhere")
    assert not restore_renamed(torch.nn.Linear(2, 2), tmp_path)
