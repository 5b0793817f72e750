"""Damaged and hostile versions of a file, some of which know its format. Bytes in, bytes out; the generator decides."""

import json
import re
import struct
import zlib
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from random import Random
from typing import Any

NUMBERS = (0, 1, -1, 2, 127, 255, 65535, 65536, 2**24, 2**31 - 1, 2**31, 2**32 - 1, 2**53, 2**63 - 1, 2**63, 10**30)
NUMBER_TEXTS = (
    *map(str, NUMBERS), "-2147483648", "1e308", "-1e308", "1e999", "1e-999", "nan", "inf", "-inf", "", " ", "²", "٣",
    "0x10", "1_000", "007", "1.5", "1,5", "9" * 5000, "0." + "0" * 400 + "1",
)  # fmt: skip
TEXTS = (
    "../../../../../../etc/passwd", "/etc/passwd", "..\\..\\secret.tif", "C:\\secret.tif", "C:secret.tif",
    "\\\\server\\share\\x.tif", "//server/share/x.tif", "file:///etc/passwd", "a" * 300, "a/" * 300 + "x", "a" * 70_000,
    "nul\0byte", "\x1b[2J\x1b]0;x\x07", "\u202egnp.exe", "=1+1", "@SUM(1)", "<script>alert(1)</script>", "&amp;",
    "&#0;", "&lol;", "%00", "${HOME}", "~", ".", "..", "", " ", "\n", "\t", "\ud800", "\ufeff", "²", "ﬁ", "CON", "-",
    "--help", "None", "null", "true", "[]", "{}", "#REF!",
)  # fmt: skip
JSON_VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2**31, 2**63, 10**30, 1e308, -1e308, 1.5, float("nan"), float("inf"), "", "x", "../x",
    "/etc/passwd", "a" * 5000, "nul\0byte", "\ud800", [], [[]], [0], [None], [1, 2, 3, 4, 5, 6, 7], {}, {"a": 1},
    [10**6, 10**6, 10**6], ["y", "x"], [{}] * 3,
)  # fmt: skip
_TIFF_VALUES = (0, 1, 2, 3, 5, 7, 8, 16, 32, 64, 255, 32773, 65535, 2**16, 2**20, 2**24, 2**31 - 1, 2**31, 2**32 - 1)
_TIFF_TAGS = (
    254, 255, 256, 257, 258, 259, 262, 266, 269, 270, 273, 274, 277, 278, 279, 282, 284, 305, 317, 320, 322, 323, 324,
    325, 330, 338, 339, 347, 530, 32997, 33628, 33629, 34412, 50838, 50839, 65420,
)  # fmt: skip

_ENTITIES = "".join(f'<!ENTITY {name} "{f"&{before};" * 20}">' for before, name in pairwise("abcdefghij"))
_BOMB = f'<?xml version="1.0"?><!DOCTYPE l [<!ENTITY a "lollollol">{_ENTITIES}]><l>&j;</l>'
_HOSTILE_XML = (
    _BOMB,
    '<?xml version="1.0"?><!DOCTYPE l [<!ENTITY x SYSTEM "file:///etc/passwd">]><l>&x;</l>',
    '<?xml version="1.0"?><!DOCTYPE l SYSTEM "http://127.0.0.1:9/x.dtd"><l/>',
    "<a>" * 20_000,
    "<a>" * 20_000 + "</a>" * 20_000,
    "<a " + " ".join(f'b{n}="1"' for n in range(5000)) + "/>",
    "<a>" + "x" * 3_000_000 + "</a>",
)

_LARGE = 50_000

Mutation = Callable[[bytes, Random], bytes]


def mutate(data: bytes, name: str, random: Random) -> bytes:
    """A damaged version of a file: one to four mutations, of its format (by its name) or of any bytes."""
    own = _BY_SUFFIX.get(name.rpartition(".")[2].lower(), ())
    for _ in range(random.choice((1, 1, 1, 2, 2, 4))):
        if len(data) > _LARGE:  # to search it for what could change takes longer than to read it
            break
        mutations = own if own and random.random() < 0.75 else _ANY
        with suppress(RecursionError):  # of what an earlier mutation has nested
            data = random.choice(mutations)(data, random)
    return data


def hostile_name(name: str, random: Random) -> str:
    """Another name of a file, with its ending kept most of the time; no "/" and no NUL, which no file has."""
    stem, dot, suffix = name.rpartition(".")
    mutated = random.choice((_numbers_in_text, _texts_in_text, _flip_letters))(stem, random)
    mutated = mutated.replace("/", "_").replace("\0", "_")[:200]
    ending = suffix if random.random() < 0.9 else random.choice(("tif", "TIFF", "png", "xml", "htd", "x", ""))
    encoded = f"{mutated}{dot}{ending}".encode("utf-8", "surrogatepass")[:250]
    return encoded.decode("utf-8", "ignore").strip("/") or "x"


# Any bytes


def _flip_bits(data: bytes, random: Random) -> bytes:
    changed = bytearray(data)
    for _ in range(random.randint(1, 8)):
        if changed:
            changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
    return bytes(changed)


def _truncate(data: bytes, random: Random) -> bytes:
    return data[: random.randrange(len(data) + 1)]


def _cut(data: bytes, random: Random) -> bytes:
    start = random.randrange(len(data) + 1)
    return data[:start] + data[start + random.randint(1, 64) :]


def _insert(data: bytes, random: Random) -> bytes:
    at = random.randrange(len(data) + 1)
    return data[:at] + random.randbytes(random.randint(1, 64)) + data[at:]


def _splice(data: bytes, random: Random) -> bytes:
    """A part of the file once more, elsewhere in it."""
    start, at = (random.randrange(len(data) + 1) for _ in range(2))
    part = data[start : start + random.randint(1, 512)]
    return data[:at] + part + data[at + (len(part) if random.random() < 0.5 else 0) :]


def _integer(data: bytes, random: Random) -> bytes:
    form = random.choice(("<H", ">H", "<I", ">I", "<Q", ">Q"))
    size = struct.calcsize(form)
    if len(data) < size:
        return data
    at = random.randrange(len(data) - size + 1)
    value = (random.choice(NUMBERS) + random.choice((0, 0, 1, -1))) % 2 ** (8 * size)
    return data[:at] + struct.pack(form, value) + data[at + size :]


def _zeros(data: bytes, random: Random) -> bytes:
    at = random.randrange(len(data) + 1)
    count = min(random.choice((1, 16, 256, 4096)), len(data) - at)
    return data[:at] + bytes(count) + data[at + count :]


_ANY: tuple[Mutation, ...] = (_flip_bits, _truncate, _cut, _insert, _splice, _integer, _zeros)

# TIFF


def _tiff_entries(data: bytes) -> tuple[str, list[int], list[int]]:
    """Byte order, offsets of the 12-byte entries of all directories, and offsets of the links between directories."""
    order = "<" if data[:2] == b"II" else ">"
    entries: list[int] = []
    links = [4]
    at, seen = 4, set()
    while at + 4 <= len(data):
        (directory,) = struct.unpack_from(order + "I", data, at)
        if directory in seen or not 8 <= directory <= len(data) - 2:
            break
        seen.add(directory)
        (count,) = struct.unpack_from(order + "H", data, directory)
        entries += [directory + 2 + 12 * n for n in range(count) if directory + 14 + 12 * n <= len(data)]
        at = directory + 2 + 12 * count
        links.append(at)
    return order, entries, links


def _tiff_tag(data: bytes, random: Random) -> bytes:
    order, entries, _ = _tiff_entries(data)
    if not entries:
        return data
    changed, at = bytearray(data), random.choice(entries)
    for part in random.sample(("tag", "type", "count", "value"), random.choice((1, 1, 2))):
        if part == "tag":
            struct.pack_into(order + "H", changed, at, random.choice(_TIFF_TAGS))
        elif part == "type":
            struct.pack_into(order + "H", changed, at + 2, random.choice((0, 1, 2, 3, 4, 5, 6, 9, 11, 12, 13, 16, 17)))
        else:
            struct.pack_into(order + "I", changed, at + (4 if part == "count" else 8), random.choice(_TIFF_VALUES))
    return bytes(changed)


def _tiff_size(data: bytes, random: Random) -> bytes:
    """A directory's width, length, bits, samples or strips become something else: what an image claims to be."""
    order, entries, _ = _tiff_entries(data)
    wanted = {256, 257, 258, 259, 277, 278, 279, 322, 323, 339}
    chosen = [at for at in entries if struct.unpack_from(order + "H", data, at)[0] in wanted]
    if not chosen:
        return data
    changed = bytearray(data)
    for at in random.sample(chosen, min(len(chosen), random.choice((1, 2, 3)))):
        struct.pack_into(order + "HII", changed, at + 2, 4, 1, random.choice(_TIFF_VALUES))
    return bytes(changed)


def _tiff_link(data: bytes, random: Random) -> bytes:
    """The next directory is this one, another, or nowhere."""
    order, entries, links = _tiff_entries(data)
    links = [at for at in links if at + 4 <= len(data)]
    if not links:
        return data
    changed = bytearray(data)
    places = [0, 8, len(data), len(data) - 6, 2**31, 2**32 - 1, *[max(0, at - 2) for at in entries[:1]]]
    struct.pack_into(order + "I", changed, random.choice(links), random.choice(places) % 2**32)
    return bytes(changed)


def _tiff_description(data: bytes, random: Random) -> bytes:
    """The first run of text that looks like metadata is damaged in place; its length stays."""
    found = re.search(rb"(?:<\?xml|<MetaData|<OME|ImageJ=|\{\"shape)[^\0]*", data)
    if found is None:
        return data
    text = random.choice((_numbers, _texts, _flip_bits, _lines, _xml_elements))(found[0], random)
    text = text.replace(b"\0", b" ")[: len(found[0])].ljust(len(found[0]))
    return data[: found.start()] + text + data[found.end() :]


# PNG


def _png_chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    chunks, at = [], 8
    while at + 12 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += 12 + length
    return chunks


def _png(chunks: list[tuple[bytes, bytes]]) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big") for kind, body in chunks
    )


def _png_chunk(data: bytes, random: Random) -> bytes:
    """A chunk is damaged, doubled, dropped, moved or renamed, with a right checksum."""
    chunks = _png_chunks(data)
    if not chunks:
        return data
    at = random.randrange(len(chunks))
    kind, body = chunks[at]
    what = random.randrange(5)
    if what == 0:
        chunks[at] = (kind, random.choice(_ANY)(body, random) if body else random.randbytes(9))
    elif what == 1:
        chunks.insert(random.randrange(len(chunks) + 1), (kind, body))
    elif what == 2:
        del chunks[at]
    elif what == 3:
        chunks.append(chunks.pop(at))
    else:
        chunks[at] = (
            random.choice((b"PLTE", b"tRNS", b"IDAT", b"IEND", b"acTL", b"fcTL", b"fdAT", b"gAMA", b"sBIT")),
            body,
        )
    return _png(chunks)


def _png_header(data: bytes, random: Random) -> bytes:
    chunks = _png_chunks(data)
    if not chunks or len(chunks[0][1]) < 13:
        return data
    header = bytearray(chunks[0][1])
    if random.random() < 0.7:
        value = (random.choice(NUMBERS) + random.choice((0, 0, 1, -1))) % 2**32
        struct.pack_into(">I", header, random.choice((0, 4)), value)
    else:
        header[random.randrange(8, 13)] = random.choice((0, 1, 2, 3, 4, 6, 8, 16, 255))
    return _png([(chunks[0][0], bytes(header)), *chunks[1:]])


def _png_bomb(data: bytes, random: Random) -> bytes:
    """A chunk that inflates to 64 MB: pixels, a profile or a text."""
    chunks = _png_chunks(data) or [(b"IHDR", bytes(13))]
    packed = zlib.compress(bytes(64_000_000), 1)
    kind, body = random.choice(
        (
            (b"IDAT", packed),
            (b"iCCP", b"x\0\0" + packed),
            (b"zTXt", b"x\0\0" + packed),
            (b"iTXt", b"x\0\1\0\0\0" + packed),
        )
    )
    return _png([chunks[0], (kind, body), *chunks[1:]])


# Texts


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass" if "\ud800" in text else "surrogateescape")


def _replace_one(pattern: str, text: str, choices: tuple[str, ...], random: Random) -> str:
    found = list(re.finditer(pattern, text))
    if not found:
        return text
    chosen = random.choice(found)
    return text[: chosen.start()] + random.choice(choices) + text[chosen.end() :]


def _numbers_in_text(text: str, random: Random) -> str:
    return _replace_one(r"-?\d+(?:\.\d+)?(?:[eE]-?\d+)?", text, NUMBER_TEXTS, random)


def _texts_in_text(text: str, random: Random) -> str:
    return _replace_one(r"(?<=[\">\t,])[^\"<>\t,\n]+(?=[\"<\t,\n])|(?<=: )[^\n]+|[A-Za-z]+", text, TEXTS, random)


def _flip_letters(text: str, random: Random) -> str:
    letters = list(text) or ["x"]
    letters[random.randrange(len(letters))] = random.choice(
        "=+-@_ .()[]{}'\"*?~#%&;|<>\n\t\r\x1b\u202e\u200bﬁ²٣é\x7f\x00"
    )
    return "".join(letters)


def _of_text(change: Callable[[str, Random], str]) -> Mutation:
    def mutation(data: bytes, random: Random) -> bytes:
        try:
            return _bytes(change(_text(data), random))
        except UnicodeError:
            return data

    return mutation


_numbers, _texts, _letters = _of_text(_numbers_in_text), _of_text(_texts_in_text), _of_text(_flip_letters)


def _lines(data: bytes, random: Random) -> bytes:
    """A line is dropped, doubled, doubled many times, moved, or joined with the next."""
    lines = data.split(b"\n")
    at = random.randrange(len(lines))
    what = random.randrange(5)
    if what == 0:
        del lines[at]
    elif what == 1:
        lines.insert(at, lines[at])
    elif what == 2:
        lines[at:at] = [lines[at]] * 300
    elif what == 3:
        lines.append(lines.pop(at))
    else:
        lines[at : at + 2] = [b"".join(lines[at : at + 2])]
    return b"\n".join(lines)


def _encoding(data: bytes, random: Random) -> bytes:
    try:
        text = data.decode("utf-8-sig")
        return text.encode(random.choice(("utf-16", "utf-16-le", "utf-32", "utf-7", "cp037", "latin-1")))
    except UnicodeError:
        return data


def _letters_of_another_encoding(data: bytes, random: Random) -> bytes:
    at = random.randrange(len(data) + 1)
    return (
        data[:at] + random.choice((b"\xe9", b"\xff\xfe", b"\0", b"\x80", b"\xed\xa0\x80", b"\r", b"\x1a")) + data[at:]
    )


def _quotes(data: bytes, random: Random) -> bytes:
    """A quote that nothing closes, a field of megabytes, or a line of thousands of fields."""
    at = random.randrange(len(data) + 1)
    more = random.choice(
        (b'"', b"'", b'"' + b"x" * 1_000_000 + b'"', b"x" * 200_000, b"\t" * 5000, b"," * 5000, b"\n" * 5000)
    )
    return data[:at] + more + data[at:]


# XML


def _xml_elements(data: bytes, random: Random) -> bytes:
    """An element or tag is dropped, doubled or moved."""
    pattern = random.choice((rb"<[^>]*>", rb"<(\w[\w:]*)\b[^>]*>[^<]*</\1>", rb'[\w:]+="[^"]*"'))
    found = list(re.finditer(pattern, data))
    if not found:
        return data
    chosen = random.choice(found)
    without = data[: chosen.start()] + data[chosen.end() :]
    what = random.randrange(3)
    if what == 0:
        return without
    at = chosen.end() if what == 1 else random.randrange(len(without) + 1)
    base = data if what == 1 else without
    return base[:at] + b" " * (chosen[0][:1] != b"<") + chosen[0] + base[at:]


def _xml_names(data: bytes, random: Random) -> bytes:
    names = sorted(set(re.findall(rb"[\w:]+(?=[=> ])", data)))
    if not names:
        return data
    return data.replace(random.choice(names), random.choice(names), random.choice((1, -1)))


def _xml_declaration(data: bytes, random: Random) -> bytes:
    body = re.sub(rb"^\xef\xbb\xbf|<\?xml.*?\?>", b"", data)
    encoding = random.choice(
        (b"utf-8", b"utf-16", b"cp437", b"x-none", b"utf-7", b"ebcdic-cp-us", b"big5", b"", b"iso-8859-1")
    )
    return b'<?xml version="1.0" encoding="' + encoding + b'"?>' + body


def _xml_hostile(data: bytes, random: Random) -> bytes:
    hostile = random.choice(_HOSTILE_XML).encode()
    if random.random() < 0.5:
        return hostile
    root = data.find(b">", data.find(b"<", 60)) + 1
    return data[:root] + hostile + data[root:]


# JSON


def _json_value(data: bytes, random: Random) -> bytes:
    """A value becomes one of another type, is removed, or gets company."""
    try:
        value = json.loads(data)
    except ValueError:
        return _numbers(data, random)
    holders: list[tuple[Any, Any]] = []

    def walk(node: Any) -> None:
        for key in node if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ():
            holders.append((node, key))
            walk(node[key])

    walk(value)
    if not holders:
        return json.dumps(random.choice(JSON_VALUES)).encode()
    for _ in range(random.choice((1, 1, 2))):
        node, key = random.choice(holders)
        what = random.random()
        present = key in node if isinstance(node, dict) else key < len(node)
        if what < 0.7 and present:
            node[key] = random.choice(JSON_VALUES)
        elif what < 0.85 and present:
            del node[key]
        elif isinstance(node, list) and node:
            node[:] = node * random.choice((2, 3, 100))
        elif isinstance(node, dict):
            node[random.choice(("x", "ome", "plate", "well", "", "\ud800"))] = random.choice(JSON_VALUES)
    return json.dumps(value).encode()


def _json_deep(data: bytes, random: Random) -> bytes:
    depth = random.choice((10, 900, 5000, 100_000))
    deep = b"[" * depth + b"]" * depth if random.random() < 0.5 else b'{"a":' * depth + b"1" + b"}" * depth
    found = list(re.finditer(rb'(?<=: )(?:\d+|"[^"]*"|null|true|false)', data))
    if not found or random.random() < 0.3:
        return deep
    chosen = random.choice(found)
    return data[: chosen.start()] + deep + data[chosen.end() :]


# YAML


def _yaml_hostile(data: bytes, random: Random) -> bytes:
    bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n" for before, name in pairwise("abcdefghij")
    )
    hostile = random.choice(
        (
            bomb,
            f"{bomb}results: *j\n",
            f"{bomb}seeds: *j\n",
            f"{bomb}datasets: *j\n",
            "bomb: !!python/object/apply:os.system ['touch /tmp/pwned']\n",
            "self: &self [*self]\n",
            "[" * 2000,
            "x: !!binary ////\n",
            "? [a, b]\n: c\n",
            "1: 2\n",
            "x: 2001-99-99\n",
            "<<: *nothing\n",
            "<<: [1]\n",
            "x: 1:2:3\n",
            "x: !!timestamp x\n",
            "x: !!int x\n",
        )
    ).encode()
    return random.choice((hostile, hostile + data, data + b"\n" + hostile))


# safetensors


def _safetensors_header(data: bytes, random: Random) -> bytes:
    """Its JSON header, or the JSON text in its metadata, is changed; the length of the header follows most often."""
    length = int.from_bytes(data[:8], "little")
    header, tensors = data[8 : 8 + length], data[8 + length :]
    try:
        content = json.loads(header)
        if random.random() < 0.6:
            own = content["__metadata__"]["equinuclei"].encode()
            content["__metadata__"]["equinuclei"] = random.choice((_json_value, _json_value, _json_deep))(
                own, random
            ).decode()
            header = json.dumps(content).encode()
        else:
            header = random.choice((_json_value, _json_deep))(header, random)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        header = _flip_bits(header, random)
    said = len(header) if random.random() < 0.9 else random.choice(NUMBERS) % 2**64
    return said.to_bytes(8, "little") + header + tensors


_TEXT: tuple[Mutation, ...] = (_numbers, _numbers, _texts, _texts, _letters, _lines, _encoding)
_TABLE: tuple[Mutation, ...] = (*_TEXT, _letters_of_another_encoding, _quotes)
_XML: tuple[Mutation, ...] = (*_TEXT, _xml_elements, _xml_elements, _xml_names, _xml_declaration, _xml_hostile)
_JSON: tuple[Mutation, ...] = (_json_value, _json_value, _json_value, _json_deep, _numbers, _texts, _letters)
_TIFF: tuple[Mutation, ...] = (_tiff_tag, _tiff_tag, _tiff_size, _tiff_size, _tiff_link, _tiff_description)
_PNG: tuple[Mutation, ...] = (_png_chunk, _png_header, _png_header, _png_bomb)
_YAML: tuple[Mutation, ...] = (*_TEXT, _yaml_hostile)
_BY_SUFFIX: dict[str, tuple[Mutation, ...]] = {
    **dict.fromkeys(("tif", "tiff"), _TIFF),
    "png": _PNG,
    **dict.fromkeys(("xml", "mlf", "mrf", "mes", "xdce"), _XML),
    **dict.fromkeys(("json", "zattrs", "zarray", "zgroup"), _JSON),
    **dict.fromkeys(("tsv", "csv", "htd", "txt"), _TABLE),
    "yaml": _YAML,
    "safetensors": (_safetensors_header,),
}
