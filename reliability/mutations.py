"""Mutate honest weight files: bytes, and parts whose lengths and checksums are corrected afterwards.

A mutant is a function of a generator alone, so a seed names it. Nothing here is ever unpickled.
"""

import json
import random
import struct
from collections.abc import Callable

from fsfm_jax.weights import safetensors_file
from reliability.honest_files import PTH, SAFETENSORS, SMALL, Seed, instructions, packed, seeds, unpacked

CANARY = "canary"  # a file of this name would mean that something was executed
# Edges of the sizes that formats count in.
INTEGERS = [value + step for value in (0, 1 << 7, 1 << 8, 1 << 15, 1 << 16, 1 << 31, 1 << 32, 1 << 40, 1 << 62, 1 << 63)
            for step in (-1, 0, 1)] + [-(1 << 31), 2, 3, 6, 24, 32, 33, (1 << 64) - 1]  # fmt: skip
NAMES = ["../../x", "/etc/passwd", "a\\b", "weights/../x", "weights//data.pkl", "weights/data.pkl", "weights/data/0",
         "", "weights/data/\x1b[2J", "other/data/0", "weights/data/0\0.txt", "weights/data/\u0142", "weights/",
         "."]  # fmt: skip
VALUES = [None, True, False, 0, -1, 1, 2**31, 2**53, 2**63, 2**64, 10**25, 1.5, -0.0, "", "F32", "BOOL", "F8_E4M3",
          "\ud800", "x" * 70_000, [], {}, [[]], [0] * 40, [2**40, 2**40], [0, 2**63], {"dtype": "F32"},
          [1.0, True]]  # fmt: skip
RAW = [b"1" * 5000, b"-1", b"1e999", b"NaN", b"-Infinity", b"[" * 50_000, b'{"":' * 3_000, b" " * 100_000, b"\xff",
       b"\0", b'"w":1,"w":1,', b"\\ud800", b"[0,0]", b"00", b"0x10", b"true", b",", b"}", b"{}", b'"',
       b"[]," * 20_000]  # fmt: skip
RUN = b"X\x0c\0\0\0touch canary"
HOSTILE = [  # instructions that run something in Python's own unpickler, or ask for much
    b"cos\nsystem\n" + RUN + b"\x85R", b"cbuiltins\neval\n" + RUN + b"\x85R", b"(" + RUN + b"ios\nsystem\n",
    b"(cos\nsystem\n" + RUN + b"o", b"cos\nsystem\n" + RUN + b"\x85\x81", b"cos\nsystem\n" + RUN + b"\x85}\x92",
    b"\x8c\x02os\x8c\x06system\x93" + RUN + b"\x85R", b"ctorch\nSize\n}X\x0c\0\0\0__setstate__cos\nsystem\nsb",
    b"\x82\1", b"\x83\1\0", b"\x84\1\0\0\0", b"P0\n", b"0", b"1", b"2", b"\x97", b"\x98", b"I99\n", b"L99L\n",
    b"\x96" + b"\xff" * 7 + b"\x7f", b"\x8d" + b"\xff" * 8, b"\x8e" + b"\0" * 7 + b"\x80", b"\x8b" + b"\xff" * 4,
    b"\x8b\0\0\x01\0" + b"\x7f" * 65536, b")" + b"\x85" * 10_000, b"})" + b"\x85" * 10_000 + b"Ns", b"]" * 10_000,
    b"]" * 200 + b"a" * 199, b"]q\xf0h\xf0a", b"}q\xf1", b"h\xf0h\xf0\x86q\xf0",
    b"]q\xf0" + b"](h\xf0h\xf0eq\xf0" * 40, b"(" * 10_000, b"r\xff\xff\xff\xff",
    b"t", b"u", b"e", b"Q", b"b", b"R", b"\x81", b"a", b"s", b"\x90", b"\x94", b"h\0",
    b"cnumpy\ndtype\n", b"cnumpy.core.multiarray\nscalar\n", b"ctorch._utils\n_rebuild_tensor_v2\n", b"ctorch\nSize\n",
    b"c__builtin__\nset\n", b"c_codecs\nencode\n", b"cpathlib\nPosixPath\n", b"cargparse\nNamespace\n",
    b"c\xff\n\xff\n", b"S'a'\n", b"X\1\0\0\0\xff", b"X\3\0\0\0\xed\xa0\x80", b"ctorch\nDoubleStorage\n",
    b"ctorch\nBoolStorage\n", b"\x80\xff", b".",
]  # fmt: skip
# Places and sizes of the fields of every record of an archive, by its first four bytes.
FIELDS = {
    b"PK\3\4": [(4, 2), (6, 2), (8, 2), (14, 4), (18, 4), (22, 4), (26, 2), (28, 2)],
    b"PK\1\2": [(6, 2), (8, 2), (10, 2), (16, 4), (20, 4), (24, 4), (28, 2), (30, 2), (32, 2), (34, 2), (42, 4)],
    b"PK\5\6": [(4, 2), (6, 2), (8, 2), (10, 2), (12, 4), (16, 4), (20, 2)],
    b"PK\6\6": [(4, 8), (16, 4), (20, 4), (24, 8), (32, 8), (40, 8), (48, 8)],
    b"PK\6\7": [(4, 4), (8, 8), (16, 4)],
}


def integer(draw: random.Random, size: int) -> bytes:
    """Draw a number of `size` bytes, at an edge or anywhere."""
    value = draw.choice(INTEGERS) if draw.random() < 0.8 else draw.getrandbits(8 * size)
    return (value & ((1 << 8 * size) - 1)).to_bytes(size, draw.choice(["little", "little", "big"]))


# Bytes.


def flipped_bits(draw: random.Random, seed: Seed) -> bytes:
    """Flip a few bits."""
    data = bytearray(seed.data)
    for _ in range(draw.choice([1, 1, 2, 8])):
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    return bytes(data)


def set_bytes(draw: random.Random, seed: Seed) -> bytes:
    """Set a few bytes to other values."""
    data = bytearray(seed.data)
    for _ in range(draw.choice([1, 1, 2, 8])):
        data[draw.randrange(len(data))] = draw.choice([0, 255, draw.randrange(256)])
    return bytes(data)


def set_integers(draw: random.Random, seed: Seed) -> bytes:
    """Set an integer somewhere to a number at an edge."""
    data, size = bytearray(seed.data), draw.choice([1, 2, 4, 8])
    place = draw.randrange(len(data) - size)
    data[place : place + size] = integer(draw, size)
    return bytes(data)


def truncated(draw: random.Random, seed: Seed) -> bytes:
    """Keep the beginning or the end of the file."""
    place = draw.randrange(len(seed.data))
    return seed.data[:place] if draw.random() < 0.7 else seed.data[place:]


def duplicated(draw: random.Random, seed: Seed) -> bytes:
    """Repeat a part of the file."""
    first, last = sorted(draw.randrange(len(seed.data) + 1) for _ in range(2))
    return seed.data[:last] + seed.data[first:]


def deleted(draw: random.Random, seed: Seed) -> bytes:
    """Delete a few bytes."""
    place = draw.randrange(len(seed.data))
    return seed.data[:place] + seed.data[place + draw.choice([1, 1, 2, 4, 8, 64]) :]


def spliced(draw: random.Random, seed: Seed) -> bytes:
    """Join the beginning of one file and the end of another."""
    other = draw.choice([other for other in seeds() if len(other.data) < SMALL]).data
    return seed.data[: draw.randrange(len(seed.data) + 1)] + other[draw.randrange(len(other)) :]


# Parts of an archive.


def with_program(seed: Seed, change: Callable[[bytes], bytes]) -> bytes:
    """Replace the description of the archive's content, with a right checksum."""
    return packed([(name, change(data) if name.endswith("/data.pkl") else data) for name, data in unpacked(seed.data)])


def rewritten_program(draw: random.Random, seed: Seed) -> bytes:
    """Leave out, repeat, move or exchange instructions, or insert hostile ones."""

    def change(program: bytes) -> bytes:
        codes = list(instructions(program))
        for _ in range(draw.choice([1, 1, 2, 5])):
            place, other = draw.randrange(len(codes)), draw.randrange(len(codes))
            match draw.randrange(6):
                case 0:
                    codes[place : place + draw.choice([1, 2, 5])] = []
                case 1:
                    codes[place:place] = codes[place : place + draw.choice([1, 3, 9])] * draw.choice([1, 2, 100])
                case 2:
                    codes[place], codes[other] = codes[other], codes[place]
                case 3:
                    codes[place] = codes[other]
                case 4:
                    codes.insert(place, draw.choice(HOSTILE))
                case _:
                    codes[place] = draw.choice(HOSTILE)
            codes = codes or [b"N"]
        return b"".join(codes)

    return with_program(seed, change)


def changed_arguments(draw: random.Random, seed: Seed) -> bytes:
    """Change numbers and letters in the arguments of the instructions, which stay."""

    def change(program: bytes) -> bytes:
        codes = list(instructions(program))
        starts = b"KMJ" if draw.random() < 0.5 else range(256)  # half the time those of numbers: sizes, shapes, strides
        places = [place for place, code in enumerate(codes) if len(code) > 1 and code[0] in starts]
        for place in draw.choices(places, k=draw.choice([1, 1, 2, 5])):
            code = codes[place]
            if code[0] in b"KMJ" and draw.random() < 0.5:
                codes[place] = b"\x8a\x10" + draw.choice(INTEGERS).to_bytes(16, "little", signed=True)
            else:
                size = min(len(code) - 1, draw.choice([1, 2, 4, 8]))
                start = draw.randrange(1, len(code) - size + 1)
                codes[place] = code[:start] + integer(draw, size) + code[start + size :]
        return b"".join(codes)

    return with_program(seed, change)


def changed_directory(draw: random.Random, seed: Seed) -> bytes:
    """Change fields of the records of the archive: sizes, places, counts, checksums, flags."""
    data = bytearray(seed.data)
    for _ in range(draw.choice([1, 1, 2, 3])):
        mark = draw.choice(list(FIELDS))
        starts = [place for place in range(len(data)) if data.startswith(mark, place)] if len(data) < SMALL else []
        start = draw.choice(starts) if starts else data.rfind(mark)
        place, size = draw.choice(FIELDS[mark])
        old = int.from_bytes(data[start + place : start + place + size], "little")
        near = ((old + draw.choice([-2, -1, 1, 2, 46, 30, 22])) & ((1 << 8 * size) - 1)).to_bytes(size, "little")
        if start >= 0 and start + place + size <= len(data):
            data[start + place : start + place + size] = draw.choice([near, integer(draw, size)])
    return bytes(data)


def changed_entries(draw: random.Random, seed: Seed) -> bytes:
    """Rename, repeat, remove, compress or replace entries, with a right checksum."""
    entries = list(unpacked(seed.data))
    place, other = draw.randrange(len(entries)), draw.randrange(len(entries))
    match draw.randrange(7):
        case 0:
            entries[place] = draw.choice(NAMES), entries[place][1]
        case 1:
            entries.insert(other, (draw.choice(NAMES), draw.randbytes(draw.choice([0, 1, 24]))))
        case 2:
            entries.insert(place, entries[other])
        case 3:
            del entries[place]
        case 4:
            entries[place] = entries[place][0], entries[other][1]
        case 5:
            content = entries[place][1]
            start = draw.randrange(len(content) + 1)
            entries[place] = entries[place][0], content[:start] + integer(draw, 1) + content[start + 1 :]
        case _:
            return packed(entries, compressed=True)
    return packed(entries)


# Parts of a safetensors file.


def with_header(seed: Seed, change: Callable[[bytes], bytes]) -> bytes:
    """Replace the header, with a right length."""
    (size,) = struct.unpack("<Q", seed.data[:8])
    text = change(seed.data[8 : 8 + size])
    return struct.pack("<Q", len(text)) + text + seed.data[8 + size :]


def changed_header(draw: random.Random, seed: Seed) -> bytes:
    """Change values, names and members of the JSON of the header."""

    def change(text: bytes) -> bytes:
        header = json.loads(text)
        for _ in range(draw.choice([1, 1, 2, 4])):
            node = header
            while True:
                keys = list(node) if isinstance(node, dict) else list(range(len(node)))
                key = draw.choice(keys) if keys else None
                if key is None or not isinstance(node[key], dict | list) or draw.random() < 0.2:
                    break
                node = node[key]
            if key is None:
                continue
            match draw.randrange(5):
                case 0:
                    node[key] = draw.choice(VALUES)
                case 1 if type(node[key]) is int:
                    node[key] += draw.choice([-24, -4, -1, 1, 4, 24, 2**32, 2**63])
                case 2:
                    del node[key]
                case 3 if isinstance(node, dict):
                    node[draw.choice(["__metadata__", "dtype", "shape", "../w", "\ud800", "\x1b[2J", ""])] = node[key]
                case _:
                    node[key] = draw.choice([*safetensors_file.DTYPES, [6], [3, 2], [1, 1, 6], 24, 0, 48])
        return json.dumps(header).encode() or text

    return with_header(seed, change)


def changed_header_text(draw: random.Random, seed: Seed) -> bytes:
    """Change letters of the header, and insert text that JSON would not be written with."""

    def change(text: bytes) -> bytes:
        for _ in range(draw.choice([1, 1, 2, 4])):
            place = draw.randrange(len(text) + 1)
            text = text[:place] + draw.choice([*RAW, draw.randbytes(1)]) + text[place + draw.choice([0, 0, 1, 2]) :]
        return text

    return with_header(seed, change)


OF_BYTES = (flipped_bits, set_bytes, set_integers, truncated, duplicated, deleted, spliced)
OF_PARTS = {
    PTH: (*(rewritten_program,) * 3, *(changed_arguments,) * 2, *(changed_directory,) * 2, changed_entries),
    SAFETENSORS: (*(changed_header,) * 2, changed_header_text),
}
BIG = 0.03  # share of the golden files, which take a hundred times as long


def mutant(seed: int, number: int) -> tuple[Seed, str, bytes]:
    """Return the honest file, the mutation, and its result."""
    draw = random.Random(f"{seed}/{number}")
    small = [one for one in seeds() if len(one.data) < SMALL]
    big = [one for one in seeds() if len(one.data) >= SMALL]
    chosen = draw.choice(big if draw.random() < BIG else small)
    change = draw.choice(OF_BYTES if draw.random() < 0.4 else OF_PARTS[chosen.kind])
    return chosen, change.__name__.replace("_", " "), change(draw, chosen)
