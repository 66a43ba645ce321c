"""A Trainer with a tiny BERT classifier and rows of random tokens, for tests of what pruning does inside of it."""

import torch
import transformers
from torch.utils.data import Dataset

_TOKENS = 40


class TokenRows(Dataset):
    """Rows of six tokens; the label says whether their sum is odd."""

    def __init__(self, count=32):
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        ids = torch.randint(3, _TOKENS, (6,), generator=torch.Generator().manual_seed(index))
        return {"input_ids": ids, "labels": int(ids.sum()) % 2}


def tiny_trainer(folder, *, seed=0, callbacks=None, eval_dataset=None, compute_metrics=None, **arguments):
    """It logs each of 16 steps and saves nothing, unless `arguments` of TrainingArguments say otherwise."""
    torch.manual_seed(seed)
    config = transformers.BertConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, vocab_size=_TOKENS,
        max_position_embeddings=16,
    )  # fmt: skip
    usual = {
        "max_steps": 16, "per_device_train_batch_size": 4, "learning_rate": 1e-3, "logging_steps": 1,
        "save_strategy": "no", "report_to": "none", "disable_tqdm": True, "use_cpu": True,
    }  # fmt: skip
    return transformers.Trainer(
        model=transformers.BertForSequenceClassification(config),
        args=transformers.TrainingArguments(output_dir=str(folder), **{**usual, **arguments}),
        train_dataset=TokenRows(),
        eval_dataset=eval_dataset,
        compute_metrics=compute_metrics,
        callbacks=callbacks,
    )
