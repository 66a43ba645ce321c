"""Words with tags: CoNLL files of every layout, tables of lists, data sets; what is no scheme is refused by line."""

import json

import pytest

from platon_compress.errors import InputError
from platon_compress.recipe import DataSection
from platon_compress.tasks.data.conll import read_conll
from platon_compress.tasks.data.tables import read_split

TASK = "token-classification"
WORDS = [["Ada", "left", "Turin"], ["Nobody", "came"]]
TAGS = [["B-PER", "O", "B-LOC"], ["O", "O"]]


def _conll(folder, text, **options):
    path = folder / "t.conll"
    path.write_bytes(text.encode())
    return read_conll(path, "train", **options)


def _section(path, **values):
    return DataSection(train=str(path), validation=str(path), **values)


def _found(rows):
    return [list(row) for row in rows.words], [list(row) for row in rows.tags]


@pytest.mark.parametrize(
    "text",
    [
        "Ada\tB-PER\nleft\tO\nTurin\tB-LOC\n\nNobody\tO\ncame\tO\n",
        "Ada B-PER\nleft O\nTurin B-LOC\n\n\n\nNobody O\ncame O",
        "\ufeffAda\tB-PER\r\nleft\tO\r\nTurin\tB-LOC\r\n\t\r\nNobody\tO\r\ncame\tO\r\n",
        "-DOCSTART- -X- O\n\nAda NNP B-PER\nleft VBD O\nTurin NNP B-LOC\n\n-DOCSTART- -X- O\n\nNobody NN O\ncame VB O\n",
        "# text = Ada left Turin\nAda\tB-PER\nleft\tO\nTurin\tB-LOC\n\n# sent_id 2\nNobody\tO\ncame\tO\n",
        "#begin document (a); part 0\nAda NN B-PER\nleft VB O\nTurin NN B-LOC\n\nNobody NN O\ncame VB O\n#end document\n",
    ],
    ids=["tabs", "spaces", "windows", "conll-2003", "comments", "ontonotes"],
)
def test_layouts_of_conll(tmp_path, text):
    assert _found(_conll(tmp_path, text)) == (WORDS, TAGS)


def test_a_hash_with_a_tag_is_a_word(tmp_path):
    rows = _conll(tmp_path, "#\tO\n# a comment\n#Turin\tB-LOC\n\n# other\n#\tO\n")
    assert _found(rows) == ([["#", "#Turin"], ["#"]], [["O", "B-LOC"], ["O"]])
    assert rows.origin.place(1) == "row 2 (line 6) of the train file t.conll"


def test_characters_that_python_takes_for_line_ends_stay_in_their_word(tmp_path):
    odd = ["a\u2028b", "c\x85d", "\x0ce", "f\u00a0g"]
    rows = _conll(tmp_path, "".join(f"{word} B-X\n" for word in odd))
    assert list(rows.words[0]) == odd


@pytest.mark.parametrize("tags", ["B-X I-X O", "I-X I-X O", "B-X E-X S-Y", "B-X L-X U-Y", "B-a-b I-a-b O"])
def test_every_scheme_is_taken(tmp_path, tags):
    text = "".join(f"w{i}\t{tag}\n" for i, tag in enumerate(tags.split()))
    assert [list(row) for row in _conll(tmp_path, text).tags] == [tags.split()]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Ada\tB-PER\n\nTurin\tLOC\n", r"^line 3 of the train file t\.conll: the tag 'LOC' is of no BIO scheme; .*B-NAME"),
        ("Ada\tB-\n", r"line 1 .*'B-' is of no BIO scheme"),
        ("Ada\tM-PER\n", r"line 1 .*'M-PER'"),
        ("Ada\tB_PER\n", r"line 1 .*'B_PER'"),
        ("a\tB-X\nb\tE-X\nc\tU-X\n", r"line 3 .* has a tag U-, but others are E- or S-: two schemes"),
        ("Ada\tO\nleft\tO\n", r"every tag of the train file t\.conll is O"),
        ("Ada\tB-PER\nleft\n", r"line 2 .* has 1 column, the first word's line 2; fix that line"),
        ("Ada\nleft\n", r"line 1 .* has 1 column, a word and its tag are needed"),
        ("Ada\tB-PER\n\tO\n", r"line 2 .* has no word in its first column"),
        ("1\tAda\tB-PER\n2\tleft\tO\n\n1\tTurin\tB-LOC\n", r"the first column .* counts the words; take it out"),
    ],
)  # fmt: skip
def test_a_damaged_file_is_named_by_line(tmp_path, text, message):
    with pytest.raises(InputError, match=message) as caught:
        _conll(tmp_path, text)
    assert "\n" not in str(caught.value)


def test_a_file_without_texts_and_one_of_another_encoding(tmp_path):
    path = tmp_path / "t.conll"
    path.write_text("\n\n-DOCSTART- O\n")
    with pytest.raises(InputError, match="the train data holds no rows"):
        read_split(_section(path), "train", TASK, 1)
    path.write_bytes("Zoë\tB-PER\n".encode("latin-1"))
    with pytest.raises(InputError, match=r"'t\.conll' is no UTF-8 text; save it as UTF-8"):
        read_split(_section(path), "train", TASK, 1)


def test_a_conll_file_of_another_ending_gets_its_cure(tmp_path):
    path = tmp_path / "t.tsv"
    path.write_text("Ada\tB-PER\nleft\tO\n")
    with pytest.raises(InputError, match=r"t\.tsv has no column 'tokens' .*one word a line, call it \.conll"):
        read_split(_section(path), "train", TASK, 1)
    with pytest.raises(InputError, match=r"'t\.words' is none of \.csv .*\.parquet .*\.conll"):
        read_split(_section(path.rename(tmp_path / "t.words")), "train", TASK, 1)


def test_unlabelled_texts_are_words_alone(tmp_path):
    rows = _conll(tmp_path, "Ada\nleft\n\nNobody\n", labelled=False)
    assert ([list(row) for row in rows.words], list(rows.tags)) == ([["Ada", "left"], ["Nobody"]], [])
    assert _conll(tmp_path, "Ada\tPERSON\n", labelled=False).words == [["Ada"]]


@pytest.mark.parametrize("spell", [json.dumps, str], ids=["json", "python"])
def test_tables_hold_lists(tmp_path, spell):
    path = tmp_path / "t.tsv"
    rows = zip(WORDS, TAGS, strict=True)
    path.write_text("tokens\ttags\n" + "".join(f"{spell(w)}\t{spell(t)}\n" for w, t in rows))
    assert _found(read_split(_section(path, label="tags"), "train", TASK, 1)) == (WORDS, TAGS)


def _jsonl(folder, *rows):
    path = folder / "t.jsonl"
    path.write_text(
        "".join(json.dumps(dict(zip(("tokens", "ner_tags"), row, strict=True))) + "\n" for row in rows)
    )
    return _section(path)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ((["a", "b"], ["O"]), r"row 2 \(line 2\) of the train file t\.jsonl has 2 words, but 1 tags"),
        ((["a", "b"], ["O", "PER"]), r"row 2 \(line 2\) .*the tag 'PER' is of no BIO scheme"),
        ((["a", "b"], [0, 1]), r"row 2 .* has tags without names \(ner_tags\).*ClassLabel"),
        (([], []), r"row 2 .* has no words \(tokens\).*; remove the row"),
        ((["a", " "], ["O", "O"]), r"row 2 .* a word that is empty or no text \(tokens\)"),
        (("a b", ["O", "O"]), r"row 2 .* holds no list under tokens: 'a b'; write a list"),
        ((["a", "b"], None), r"row 2 .* has no list \(ner_tags\)"),
    ],
)
def test_a_row_that_is_no_tagged_text_is_named(tmp_path, row, message):
    with pytest.raises(InputError, match=message):
        read_split(_jsonl(tmp_path, (["x"], ["B-X"]), row), "train", TASK, 1)


def test_a_data_set_brings_the_names_of_its_tags(tmp_path):
    datasets = pytest.importorskip("datasets")
    names = ["O", "B-PER", "B-LOC"]
    words = datasets.Sequence(datasets.Value("string"))
    features = datasets.Features(
        {"tokens": words, "ner_tags": datasets.Sequence(datasets.ClassLabel(names=names))}
    )
    numbers = [[names.index(tag) for tag in row] for row in TAGS]
    path = tmp_path / "train-00000-of-00001.parquet"

    def save(tags):
        datasets.Dataset.from_dict({"tokens": WORDS, "ner_tags": tags}, features=features).to_parquet(path)

    save(numbers)
    for section in (DataSection(dataset=str(tmp_path)), _section(path)):
        assert _found(read_split(section, "train", TASK, 1)) == (WORDS, TAGS)
    save([numbers[0], [0, -1]])
    with pytest.raises(
        InputError, match=r"row 2 .* has a tag that is none of the 3 class numbers \(ner_tags\)"
    ):
        read_split(_section(path), "train", TASK, 1)
