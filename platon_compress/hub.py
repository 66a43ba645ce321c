"""A compressed model onto the hub, with a model card."""

import tempfile
from pathlib import Path
from typing import Any

from platon_compress.compressed import save_compressed
from platon_compress.conversion import CompressedModel
from platon_compress.errors import InputError, first_line
from platon_compress.files import write_text

__all__ = ["model_card", "push_to_hub"]


def push_to_hub(
    compressed: CompressedModel,
    repo_id: str,
    *,
    processor: Any = None,
    card: str | None = None,
    private: bool | None = None,
    token: str | None = None,
    commit_message: str = "Upload a compressed model",
) -> str:
    """Upload what :func:`save_compressed` writes, and ``card`` as README.md; the address of the commit.

    Without ``card``: :func:`model_card`. A run's report.md is a good one too.

    Raises:
        InputError: what save_compressed raises, and what the hub answers where it refuses.
    """
    from huggingface_hub import HfApi

    with tempfile.TemporaryDirectory() as scratch:
        folder = save_compressed(compressed, Path(scratch) / "model", processor=processor)
        write_text(folder / "README.md", model_card(compressed, repo_id) if card is None else card)
        api = HfApi(token=token)
        try:
            repository = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
            done = api.upload_folder(repo_id=repository, folder_path=folder, commit_message=commit_message)
        except Exception as error:  # no network, no token, no permission: each with its own error class
            raise InputError(
                f"cannot upload to {repo_id!r}: {first_line(error)}; log in with `hf auth login`, or give a token"
            ) from error
    return str(getattr(done, "commit_url", done))


def model_card(compressed: CompressedModel, repo_id: str) -> str:
    """Markdown with the front-matter of the hub: what is sparse, what was removed, how it is read."""
    summary = compressed.to_dict()
    size = sum(weight.out_features * weight.in_features for weight in compressed.csr.values())
    base = str(getattr(getattr(compressed.model, "config", None), "_name_or_path", "") or "")
    lines = ["---", "library_name: platon-compress", "tags: [pruning, sparse, platon]"]
    if base.count("/") == 1 and not Path(base).exists():
        lines.append(f"base_model: {base}")
    lines += [
        "---",
        f"# {repo_id.rpartition('/')[2]}",
        "",
        f"A pruned {type(compressed.model).__name__}.",
        "",
    ]
    lines += ["| | |", "|---|---|", f"| sparse weights | {summary['csr_weights']} |"]
    if size:
        lines.append(f"| zeros in them | {1 - summary['csr_nnz'] / size:.1%} |")
    for kind in ("heads", "neurons"):
        groups = [entry for entry in compressed.removed if entry.kind == kind]
        if groups:
            gone = sum(entry.before - entry.after for entry in groups)
            lines.append(
                f"| {kind} removed | {gone} of {sum(entry.before for entry in groups)} in {len(groups)} layers |"
            )
    code = f'from platon_compress import load_compressed\n\nmodel = load_compressed("{repo_id}").model'
    lines += ["", "    pip install platon-compress[train]", "", "```python", code, "```", ""]
    return "\n".join(lines)
