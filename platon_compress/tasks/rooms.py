"""The tasks that a recipe can train, by their names: one room each."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from platon_compress.tasks.image_classification import ImageClassification
from platon_compress.tasks.question_answering import QuestionAnswering
from platon_compress.tasks.task import Task
from platon_compress.tasks.text_classification import TextClassification
from platon_compress.tasks.token_classification import TokenClassification

if TYPE_CHECKING:
    from platon_compress.recipe import DataSection

__all__ = ["ROOMS", "task_of"]

ROOMS: Mapping[str, type[Task]] = {
    room.name: room
    for room in (TextClassification, TokenClassification, QuestionAnswering, ImageClassification)
}


def task_of(name: str, data: "DataSection", metric: str | None = None) -> Task:
    """The task called `name` for `data`. Raises InputError for a metric that it does not have."""
    return ROOMS[name](data, metric)
