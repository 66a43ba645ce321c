"""The tasks that a recipe can train, by their names: one room each."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from platon_compress.tasks.image_classification import ImageClassification
from platon_compress.tasks.question_answering import QuestionAnswering
from platon_compress.tasks.sentence_similarity import SentenceSimilarity
from platon_compress.tasks.task import Task
from platon_compress.tasks.text_classification import TextClassification
from platon_compress.tasks.text_multi_label import TextMultiLabel
from platon_compress.tasks.text_ranking import TextRanking
from platon_compress.tasks.text_regression import TextRegression
from platon_compress.tasks.token_classification import TokenClassification

if TYPE_CHECKING:
    from platon_compress.recipe import DataSection

__all__ = ["ROOMS", "task_of"]

_ROOMS = (
    TextClassification,
    TextMultiLabel,
    TextRegression,
    TokenClassification,
    QuestionAnswering,
    SentenceSimilarity,
    TextRanking,
    ImageClassification,
)
ROOMS: Mapping[str, type[Task]] = {
    room.name if room.problem is None else f"{room.name}/{room.problem}": room for room in _ROOMS
}
"""By task; behind a slash the problems that a task has beside its usual one, as in METRICS."""


def task_of(name: str, data: "DataSection", metric: str | None = None) -> Task:
    """The task called `name` for `data`. Raises InputError for a metric that it does not have."""
    room = ROOMS.get(f"{name}/{data.problem}", ROOMS[name])
    return room(data, metric)
