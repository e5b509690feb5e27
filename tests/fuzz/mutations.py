"""Damage to the bytes of a file, drawn at random: as disks and networks do it, and as formats are most easily hurt."""

import random
import re
import struct
import zlib
from collections.abc import Callable

NUMBERS = (0, 1, 2, 3, 255, 256, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**50, 2**63 - 1, 2**64 - 1)
PNG_HEAD = 8  # bytes of its signature
TOKENS = (b"null", b"-1", b"1e999", b"NaN", b"9" * 40, b'""', b'"x"', b"[]", b"{}", b"true", b"[" * 2000, b'"\\ud800"')

Mutation = Callable[[bytearray, random.Random], None]


def flip_bits(content: bytearray, rng: random.Random) -> None:
    """Turns one to eight bits over."""
    for _ in range(rng.randint(1, 8)):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)


def set_number(content: bytearray, rng: random.Random) -> None:
    """Puts a number at an edge of its range into 1, 2, 4 or 8 bytes."""
    size = min(rng.choice((1, 2, 4, 8)), len(content))
    place = rng.randrange(len(content) - size + 1)
    value = rng.choice(NUMBERS) % 2 ** (8 * size)
    content[place : place + size] = value.to_bytes(size, rng.choice(("little", "big")))


def _range(content: bytearray, rng: random.Random) -> slice:
    start = rng.randrange(len(content))
    return slice(start, start + rng.choice((1, 16, 512, len(content))))


def zero_range(content: bytearray, rng: random.Random) -> None:
    """Makes a range zero, as a download into a file of its size leaves it."""
    part = _range(content, rng)
    content[part] = bytes(len(content[part]))


def remove_range(content: bytearray, rng: random.Random) -> None:
    """Takes a range out; at the end, that cuts the file short."""
    del content[_range(content, rng)]


def repeat_range(content: bytearray, rng: random.Random) -> None:
    """Puts a copy of a range into another place."""
    part = bytes(content[_range(content, rng)])
    place = rng.randrange(len(content))
    content[place:place] = part


def overwrite_range(content: bytearray, rng: random.Random) -> None:
    """Writes a range over another one, as a block of a disk in the wrong place."""
    part = bytes(content[_range(content, rng)])
    place = rng.randrange(len(content))
    content[place : place + len(part)] = part


ANY_FILE: tuple[Mutation, ...] = (flip_bits, set_number, zero_range, remove_range, repeat_range, overwrite_range)


def tiff_entry(content: bytearray, rng: random.Random) -> None:
    """Changes tag, type, count or value of an entry of a TIFF's directories; they stay whole otherwise."""
    order = "<" if content[:2] == b"II" else ">"
    big = struct.unpack_from(order + "H", content, 2)[0] == 43
    count_format, entry_size, offset_format = ("Q", 20, "Q") if big else ("H", 12, "I")
    (place,) = struct.unpack_from(order + offset_format, content, 8 if big else 4)
    entries = []
    while place and len(entries) < 1000:
        (count,) = struct.unpack_from(order + count_format, content, place)
        first = place + struct.calcsize(count_format)
        entries += [first + entry_size * number for number in range(count)]
        (place,) = struct.unpack_from(order + offset_format, content, first + entry_size * count)
    entry = rng.choice(entries)
    field, form = rng.choice(((0, "H"), (2, "H"), (4, offset_format), (4 + struct.calcsize(offset_format), "I")))
    known = [struct.unpack_from(order + "H", content, other)[0] for other in entries]
    limit = 2 ** (8 * struct.calcsize(form))
    value = rng.choice((*NUMBERS, *known)) % limit
    struct.pack_into(order + form, content, entry + field, value)


def png_chunk(content: bytearray, rng: random.Random) -> None:
    """Changes a chunk of a PNG and its check sum with it, so that only what is in it can tell."""
    chunks = []
    place = PNG_HEAD
    while place + 12 <= len(content):
        (size,) = struct.unpack_from(">I", content, place)
        chunks.append((place, size))
        place += 12 + size
    place, size = rng.choice(chunks)
    data = content[place + 4 : place + 8 + size]  # with its kind
    rng.choice((flip_bits, set_number, zero_range))(data, rng)
    content[place + 4 : place + 12 + size] = data + struct.pack(">I", zlib.crc32(data))


def jpeg_segment(content: bytearray, rng: random.Random) -> None:
    """Changes the length or the content of a segment of a JPEG's head."""
    segments = []
    place = 2
    while place + 4 <= len(content) and content[place] == 0xFF:
        (size,) = struct.unpack_from(">H", content, place + 2)
        segments.append((place, size))
        if content[place + 1] == 0xDA:  # the pixels follow
            break
        place += 2 + size
    place, size = rng.choice(segments)
    at = place + rng.choice((1, 2, 3, rng.randrange(4, 4 + size)))
    content[min(at, len(content) - 1)] = rng.randrange(256)


def text_token(content: bytearray, rng: random.Random) -> None:
    """Puts something else in the place of a word, a number or a bracket of a text."""
    tokens = list(re.finditer(rb'"[^"]*"|[-+.\w]+|[^\s\w]', bytes(content)))
    token = rng.choice(tokens)
    content[token.start() : token.end()] = rng.choice((*TOKENS, rng.choice(tokens)[0], b""))


OF_FORMAT: dict[str, tuple[Mutation, ...]] = {
    "tiff": (tiff_entry,),
    "png": (png_chunk,),
    "jpeg": (jpeg_segment,),
    "text": (text_token,),
    "": (),
}


def damage(content: bytes, form: str, rng: random.Random) -> tuple[bytes, str]:
    """A damaged copy, and the name of what was done; half of the time as that format is most easily hurt."""
    own = OF_FORMAT[form]
    mutation = rng.choice(own) if own and rng.random() < 0.5 else rng.choice(ANY_FILE)
    changed = bytearray(content)
    mutation(changed, rng)
    return bytes(changed), mutation.__name__
