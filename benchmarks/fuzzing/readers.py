"""All fuzz targets of readers, by name."""

from fuzzing.data_readers import DATA_READERS
from fuzzing.folder_readers import FOLDER_READERS
from fuzzing.model_readers import MODEL_READERS

__all__ = ["READERS"]

READERS = {reader.name: reader for reader in (*FOLDER_READERS, *MODEL_READERS, *DATA_READERS)}
