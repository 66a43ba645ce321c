"""Tiny random models, exported with sparse weights, with tokenizers that are trained here."""

import torch
import transformers
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

CORPUS = (
    "Anna Schmidt flew from Berlin to New York with the United Nations in March.",
    "The quick brown fox jumps over the lazy dog; unbelievable, isn't it?",
    "Question answering needs long documents and short answers about people and places.",
    "Überraschung: naïve café owners pay 12.50 euros for 3,000 beans!",
)
NAMES = {
    "text": "ForSequenceClassification",
    "tokens": "ForTokenClassification",
    "answers": "ForQuestionAnswering",
    "plain": "Model",
}
POSITIONS = 48
_SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "attn_implementation": "eager",
}


def _word_pieces():
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    normalizer, splitter = normalizers.BertNormalizer(lowercase=True), pre_tokenizers.BertPreTokenizer()
    words = [word for text in CORPUS for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text))]
    vocabulary = {piece: number for number, piece in enumerate([*special, *_pieces(words)])}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, splitter
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(name, tokenizer.token_to_id(name)) for name in ("[CLS]", "[SEP]")],
    )
    names = dict(
        zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), special, strict=True)
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_max_length=POSITIONS, **names
    )


def _pieces(words):
    """Every letter and the halves of most words. The library's training draws lots among equals, and no seed decides."""
    letters = {"##"[: 2 * bool(place)] + letter for word in words for place, letter in enumerate(word)}
    halves = [piece for word in words for piece in (word[: len(word) // 2], f"##{word[len(word) // 2 :]}")]
    longer = dict.fromkeys(piece for piece in halves if len(piece.removeprefix("##")) > 1)
    return [*sorted(letters), *longer]


def _byte_pairs():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trainer = trainers.BpeTrainer(
        vocab_size=320, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    names = dict(
        zip(("cls_token", "pad_token", "sep_token", "unk_token", "mask_token"), special, strict=True)
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=POSITIONS,
        model_input_names=["input_ids", "attention_mask"],
        **names,
    )


TOKENIZERS = {"bert": _word_pieces, "roberta": _byte_pairs}
CLASSES = {"bert": "Bert", "roberta": "Roberta"}


def _model(family, head, tokenizer, settings):
    prefix = CLASSES[family]
    extra = {"pad_token_id": tokenizer.pad_token_id, "max_position_embeddings": POSITIONS}
    if family == "roberta":
        extra["max_position_embeddings"] += 2  # positions begin after the padding's id, 1
        extra["type_vocab_size"] = 1
    config = getattr(transformers, f"{prefix}Config")(
        vocab_size=len(tokenizer), **_SMALL, **extra, **settings
    )
    torch.manual_seed(7)
    model = getattr(transformers, f"{prefix}{NAMES[head]}")(config).eval()
    with torch.no_grad():  # answers that differ from text to text
        for name, parameter in model.named_parameters():
            if parameter.ndim == 2:
                parameter.normal_(0, 1.0 if "word_embeddings" in name else 0.3)
    return model


def _sparse(model):
    from platon_compress import PlanConfig, bake, convert, plan
    from platon_compress.planning import Form
    from platon_compress.selection import select

    baked = bake(model, {name: torch.rand_like(weight) < 0.4 for name, weight in select(model).items()})
    return convert(baked, plan(baked, PlanConfig(tokens=8, force=Form.CSR)))


def export(model, folder, inputs, **settings):
    """compressed.onnx with sparse layers, and config.json, in `folder`; the torch model that computes the same."""
    from platon_compress.export import export_onnx
    from platon_compress.export.config import ExportConfig

    compressed = _sparse(model)
    result = export_onnx(compressed, folder / "compressed.onnx", inputs, ExportConfig(**settings))
    assert result.sparse_nodes
    model.config.architectures = [type(model).__name__]
    model.config.save_pretrained(folder)
    return compressed.model


def make(folder, family, head, *, unpad=False, labels=None, **settings):
    """(torch model, tokenizer, folder): a model of the family with the head, exported beside its tokenizer."""
    if labels is not None:
        settings["id2label"] = dict(enumerate(labels))
        settings["label2id"] = {name: number for number, name in enumerate(labels)}
    tokenizer = TOKENIZERS[family]()
    inputs = tokenizer(list(CORPUS[:2]), padding=True, return_tensors="pt")
    model = export(_model(family, head, tokenizer, settings), folder, dict(inputs), remove_padding=unpad)
    tokenizer.save_pretrained(folder)
    return model, tokenizer, folder


def make_vit(folder, side=24):
    """(torch model, its processor, folder): a ViT of three labels for square pictures, exported likewise."""
    torch.manual_seed(5)
    names = ("cat", "dog", "car")
    config = transformers.ViTConfig(
        **_SMALL,
        image_size=side,
        patch_size=8,
        id2label=dict(enumerate(names)),
        label2id={name: number for number, name in enumerate(names)},
    )
    model = transformers.ViTForImageClassification(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim >= 2:
                parameter.normal_(0, 0.3)
    model = export(model, folder, {"pixel_values": torch.randn(2, 3, side, side)})
    processor = transformers.ViTImageProcessor(size={"height": side, "width": side})
    processor.save_pretrained(folder)
    return model, processor, folder
