"""Where studies lie: a folder, or a bucket of an object store. Both read, replace, list and lock files by name."""

from pathlib import Path

from mmssl.bucket import Bucket
from mmssl.files import Folder

Storage = Folder | Bucket


def storage_at(word: str | Path) -> Storage:
    """The storage that a user names: a folder, or s3://BUCKET/PREFIX.

    Raises:
        UserError: it is neither.
    """
    return Bucket.of(str(word)) if "://" in str(word) else Folder(Path(word).expanduser().absolute())
