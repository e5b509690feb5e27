"""The one way to read a file of annotations, whatever tool wrote it."""

import gzip
import io
import zipfile
from pathlib import Path

from crcfp_jax.common.errors import UserError
from crcfp_jax.common.files import describe_os_error, read_bytes
from crcfp_jax.common.words import one_line
from data_pipelines.annotations.geojson import parse_geojson
from data_pipelines.annotations.model import AnnotationFile
from data_pipelines.annotations.xml import parse_xml

ANNOTATION_SUFFIXES = (".geojson.gz", ".json.gz", ".xml.gz", ".zip", ".geojson", ".json", ".xml")
GZIP_MAGIC, ZIP_MAGIC = b"\x1f\x8b", b"PK\x03\x04"
LARGEST = 2**29  # bytes, unpacked: some hundred thousand outlines, in some GB of memory while they are parsed


def read_annotations(path: Path) -> AnnotationFile:
    """Annotations in pixels of the full-resolution image.

    Raises:
        UserError: the file can't be read, or is of no form that is known.
    """
    try:
        if path.stat().st_size > LARGEST:
            raise UserError(f"{path} is larger than {LARGEST >> 20} MiB: export fewer objects into one file")
        content = read_bytes(path)
        if content.startswith(GZIP_MAGIC):
            with gzip.open(path) as file:
                content = file.read(LARGEST + 1)
        elif content.startswith(ZIP_MAGIC):  # as QuPath compresses
            content = _only_member(path, content)
    except (UserError, MemoryError):
        raise
    except gzip.BadGzipFile as error:
        raise _damaged(path, error) from error
    except OSError as error:
        raise UserError(f"cannot read {describe_os_error(error, path)}") from error
    except Exception as error:  # gzip and zipfile raise what they like for damaged bytes
        raise _damaged(path, error) from error
    if len(content) > LARGEST:
        raise UserError(f"{path} unpacks to more than {LARGEST >> 20} MiB; it was not read")
    if not content.strip():
        raise UserError(f"{path} is empty: export it again")
    if content.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        return parse_xml(path, content)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not in UTF-8: export it again from QuPath as GeoJSON") from error
    return parse_geojson(path, text)


def _damaged(path: Path, error: Exception) -> UserError:
    return UserError(f"{path} is truncated or damaged ({one_line(error)}): copy it again")


def _only_member(path: Path, content: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        names = [entry for entry in archive.infolist() if not entry.is_dir()]
        if len(names) != 1:
            raise UserError(f"{path} holds {len(names)} files, where the annotations of one image belong: unpack it")
        with archive.open(names[0]) as file:
            return file.read(LARGEST + 1)
