"""A run stays in its folder, whoever the folder comes from."""

import os
import stat
from pathlib import Path

from platon_compress.errors import InputError

__all__ = ["refuse_links"]


def refuse_links(folder: Path) -> None:
    """Raises InputError when `folder` holds anything but files and folders: what is written there stays there.

    A folder may come from a stranger; links in it could lead a run to write or remove elsewhere.
    """
    for root, folders, names in os.walk(folder):
        for name in (*folders, *names):
            path = Path(root) / name
            mode = path.lstat().st_mode
            if stat.S_ISLNK(mode):
                raise InputError(
                    f"{path} is a symbolic link to {os.readlink(path)}, and a run stays in its folder; put the "
                    "original there, or give another --output"
                )
            if not (stat.S_ISDIR(mode) or stat.S_ISREG(mode)):
                raise InputError(
                    f"{path} is neither a file nor a folder; remove it, or give another --output"
                )
