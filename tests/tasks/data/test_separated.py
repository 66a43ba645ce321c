"""Tables of commas and tabs: a quote is a quote where the file says so, and a character of the text elsewhere."""

import csv

import pytest

from platon_compress.errors import InputError
from platon_compress.tasks.data.separated import comma_separated, tab_separated

TEXTS = [
    "plain",
    "tab\tinside",
    "two\nlines",
    'she said "no"',
    '"all of it"',
    "tab\tand\nline, both",
    "",
    '"',
]


def _read(text):
    columns, origin = tab_separated(text, "train file t.tsv")
    return columns, [origin.place(i) for i in range(len(origin.lines))]


def _frame(texts):
    pandas = pytest.importorskip("pandas")
    return pandas.DataFrame({"text": texts, "label": range(len(texts))})


@pytest.mark.parametrize(
    "quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC], ids=["minimal", "all", "nonnumeric"]
)
@pytest.mark.parametrize("texts", [TEXTS, TEXTS[3:5], TEXTS[:2], TEXTS[:1], TEXTS[2:3]], ids=len)
def test_what_a_data_frame_writes_comes_back(quoting, texts):
    text = _frame(texts).to_csv(sep="\t", index=False, quoting=quoting)
    columns, _ = _read(text)
    assert columns["text"] == texts
    assert columns["label"] == [str(i) for i in range(len(texts))]


@pytest.mark.parametrize(
    "sentences",
    [
        ['"the film" is good', "plain"],
        ['"a whole sentence ."', '"and another"', "plain"],
        ['`` a "bare" one', 'ends with "'],
        ['"opens and', "goes on", 'closes"'],
        ['"opens only'],
        ['""', '"'],
        ['"', "x", '"'],
    ],
)
def test_bare_quotes_stay_characters(sentences):
    """Rule: in the layout of GLUE no sentence loses a character, and no row is swallowed."""
    text = "sentence\tlabel\n" + "".join(f"{s}\t{i}\n" for i, s in enumerate(sentences))
    columns, places = _read(text)
    assert columns["sentence"] == sentences
    assert places[-1] == f"row {len(sentences)} (line {len(sentences) + 1}) of the train file t.tsv"


def test_the_columns_beside_the_quotes_tell_rows_from_lines():
    """Rule 3: both readings have even rows, and only one of them has labels where labels stand."""
    held = 'text\tlabel\n"one\ttab and\na line"\t1\n'
    assert _read(held)[0] == {"text": ["one\ttab and\na line"], "label": ["1"]}
    for labels in (("1", "0"), ("good", "bad")):
        text = f'text\tlabel\n"opens\t{labels[0]}\ncloses"\t{labels[1]}\nx\t{labels[0]}\ny\t{labels[1]}\n'
        assert _read(text)[0]["text"] == ['"opens', 'closes"', "x", "y"]


def test_what_a_spreadsheet_quotes_for_its_commas():
    text = 'text\tlabel\r\n"well, yes"\t1\r\n"so ""good"""\t0\r\n'
    assert _read(text)[0]["text"] == ["well, yes", 'so "good"']


def test_quoted_names_say_that_quotes_are_quotes():
    assert _read('"text"\t"label"\n"a b"\t1\n')[0] == {"text": ["a b"], "label": ["1"]}


def test_lines_count_those_inside_quotes():
    columns, places = _read('text\tlabel\n"two\nlines"\t1\nx\t0\n')
    assert columns["text"] == ["two\nlines", "x"]
    assert [place.split(" of ")[0] for place in places] == ["row 1 (line 2)", "row 2 (line 4)"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('text\tlabel\n"a\t1\nb\n', r"line 3 of the train file t\.tsv has 1 fields, its first line 2; fix"),
        ('text\tlabel\n"x\ny"\t1\nb\n', r"line 4 of the train file t\.tsv has 1 fields"),
        (
            'text\n"one\ntwo"\n',
            r"has 2 rows where its quotes are characters, but 1 where .* \(see line 2\); save it as",
        ),
        (
            'title\ttext\nx\t"a\nb\tc"\n',
            r"has 2 rows where its quotes are characters, but 1 where they are quotes",
        ),
        (
            'text\tlabel\n"opens\t1\na\t0\nb\t1\nc\ncloses"\t0\n',
            r"line 2 .*opens a quote that is closed 4 lines below, with rows between; double or remove quotes",
        ),
    ],
)
def test_what_could_be_read_in_two_ways_is_refused(text, message):
    with pytest.raises(InputError, match=message):
        _read(text)


def test_commas_are_strict_about_quotes():
    assert comma_separated('a,b\n"x, ""y""",1\n', "file")[0]["a"] == ['x, "y"']
    with pytest.raises(InputError, match=r"line 2 of the file: .*; fix that line"):
        comma_separated('a,b\n"x" y,1\n', "file")
