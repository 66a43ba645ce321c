"""What a message holds of other people's names and files, it stays one line."""

import pickle

import pytest

from platon_compress.errors import CheckFailedError, InputError, MissingExtraError, PlatonError

_BREAKS = "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"


@pytest.mark.parametrize("kind", [PlatonError, InputError, MissingExtraError, CheckFailedError])
@pytest.mark.parametrize("mark", _BREAKS)
def test_a_message_is_one_line(kind, mark):
    error = kind(f"the columns: two{mark}lines, text")
    assert str(error) == "the columns: two lines, text"
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_other_messages_are_as_they_were():
    assert str(InputError("a column 'größe'\tand more")) == "a column 'größe'\tand more"
    assert str(InputError()) == ""
    assert set(_BREAKS) == {mark for mark in map(chr, range(0x3000)) if len(f"a{mark}b".splitlines()) > 1}
