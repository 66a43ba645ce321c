"""YAML that floods, repeats itself or refers to itself is refused before anything is built of it."""

import pytest

from platon_compress.errors import InputError
from platon_compress.yaml_file import parse_yaml, read_yaml


def _bomb(levels, width=9):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * width)}]" for i in range(1, levels)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (_bomb(6), r"r grows to more than 20,000 values at line \d"),
        (_bomb(40), r"r grows to more than 20,000 values"),
        ("a: &a {b: *a}", "^r holds an alias of itself at line 1; write the values out$"),
        ("a: &a [1, [*a]]", "r holds an alias of itself"),
        ("a: 1\nb: 2\na: 3", "r has the key 'a' twice at line 3; keep one"),
        ("s: {k: 1, k: 1}", "r has the key 'k' twice at line 1"),
        ("- {x: 1, 'x': 2}", "r has the key 'x' twice"),
        ("x: " + "[" * 60 + "]" * 60, "r is nested deeper than 50 levels"),
        ("x: " + "{a: " * 5000, "r is nested too deeply"),
        ("when: 2024-13-45", "r holds a value that cannot be read"),
        ("x: !!python/object/apply:os.system ['true']", "r is no valid YAML at line 1"),
        ("a: 1\n\tb: 2", "r is no valid YAML at line 2"),
        ("a: 1\n---\nb: 2", "r is no valid YAML at line 2"),
        ("a: \x07", "r is no valid YAML"),
        ("? [a, b]\n: {c: 1}\n? {d: e}\n: 1", "r is no valid YAML"),
    ],
)
def test_hostile_yaml_gets_one_line_at_once(text, message):
    with pytest.raises(InputError, match=message) as caught:
        parse_yaml(text, "r")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_aliases_that_stay_small_are_read():
    assert parse_yaml("a: &a {x: 1}\nb: *a\nc: {<<: *a, y: 2}", "r") == {
        "a": {"x": 1},
        "b": {"x": 1},
        "c": {"x": 1, "y": 2},
    }


@pytest.mark.parametrize("text", ["", "# only a comment\n", "null", "- a\n- b", "12"])
def test_a_file_without_sections_names_the_way_to_start(tmp_path, text):
    path = tmp_path / "r.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match="not sections; `platon-compress init` writes one"):
        read_yaml(path)


def test_a_large_file_is_not_parsed(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text("a: [" + "1, " * 400_000 + "1]")
    with pytest.raises(InputError, match="larger than 1,000,000 bytes"):
        read_yaml(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"\xff\xfe\x00a", "it is no UTF-8 text"), (None, "No such file"), ("folder", "Is a directory")],
)
def test_what_is_no_file_of_text_gets_one_line(tmp_path, content, message):
    path = tmp_path / "r.yaml"
    if content == "folder":
        path.mkdir()
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=f"cannot read the recipe .*{message}.*; check the path"):
        read_yaml(path)


def test_a_byte_order_mark_is_no_key(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_bytes(b"\xef\xbb\xbfa: 1\n")
    assert read_yaml(path) == {"a": 1}
