"""SenML CBOR in plain Python: the twin of ext/telemetry/cbor.pyx and senml_cbor.pyx."""

import base64
import struct
from fractions import Fraction
from typing import Any, NamedTuple

from tests.support.senml_twin import MAX_DEPTH, NUMBERS, MalformedError, Number, Pairs, Reading, decode_pack

# RFC 8428 section 6, table 4
LABELS = {-1: "bver", -2: "bn", -3: "bt", -4: "bu", -5: "bv", -6: "bs"} | dict(
    enumerate(["n", "u", "v", "vs", "vb", "s", "t", "ut", "vd"])
)
BREAK = object()


class Tag(NamedTuple):
    number: int
    item: Any


class Simple(NamedTuple):
    number: int


class Parser:
    """Recursive descent over RFC 8949; refuses text that is not UTF-8."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def take(self, size: int) -> bytes:
        if size > len(self.data) - self.at:
            raise MalformedError("ends early")
        self.at += size
        return self.data[self.at - size : self.at]

    def pieces(self, major: int) -> bytes:
        found = b""
        while self.data[self.at : self.at + 1] != b"\xff":
            head = self.take(1)[0]
            if head >> 5 != major or head & 31 == 31:
                raise MalformedError("piece")
            self.at -= 1
            piece = self.item(0)
            found += piece.encode() if isinstance(piece, str) else piece
        self.at += 1
        return found

    def items(self, count: int | None, depth: int) -> list[Any]:
        found: list[Any] = []
        while count is None or len(found) < count:
            item = self.item(depth, count is None)
            if item is BREAK:
                break
            found.append(item)
        return found

    def item(self, depth: int, may_break: bool = False) -> Any:
        head = self.take(1)[0]
        major, info = head >> 5, head & 31
        value: int | None = info
        raw = b""
        if 24 <= info <= 27:
            raw = self.take(1 << (info - 24))
            value = int.from_bytes(raw)
        elif info == 31 and major in (2, 3, 4, 5, 7):
            value = None
        elif info > 27:
            raise MalformedError("reserved")
        if major >= 4 and major < 7 and depth > MAX_DEPTH + 2:  # of the pack and its records, and 32 in a value
            raise MalformedError("deep")
        if major == 7:
            if value is None:
                if may_break:
                    return BREAK
                raise MalformedError("break")
            if info >= 25:
                return struct.unpack({25: ">e", 26: ">f", 27: ">d"}[info], raw)[0]
            if info == 24 and value < 32:
                raise MalformedError("simple")
            return {20: False, 21: True, 22: None}.get(value, Simple(value))
        if major == 0 or major == 1:
            assert value is not None
            return -1 - value if major else value
        if major == 2 or major == 3:
            data = self.pieces(major) if value is None else self.take(value)
            try:
                return data.decode() if major == 3 else data
            except UnicodeDecodeError as exc:
                raise MalformedError("UTF-8") from exc
        if major == 4:
            return self.items(value, depth + 1)
        if major == 5:
            if value is not None:
                value *= 2
            flat = self.items(value, depth + 1)
            if len(flat) % 2:
                raise MalformedError("odd map")
            return Pairs(zip(flat[::2], flat[1::2], strict=True))
        return Tag(value or 0, self.item(depth + 1))


def bignum(item: Any) -> int:
    if type(item) is int:
        return item
    if isinstance(item, Tag) and item.number in (2, 3) and isinstance(item.item, bytes):
        found = int.from_bytes(item.item)
        if found >= 1 << 512:
            raise MalformedError("long")
        return -1 - found if item.number == 3 else found
    raise MalformedError("number")


def number(item: Any) -> Number:
    """Any number as text that float() reads. Raises: MalformedError."""
    if type(item) is float:
        return Number(repr(item))
    if not isinstance(item, Tag) or item.number not in (4, 5):
        return Number(bignum(item))
    if not isinstance(item.item, list) or isinstance(item.item, Pairs) or len(item.item) != 2:
        raise MalformedError("fraction")
    exponent, mantissa = item.item[0], bignum(item.item[1])
    if type(exponent) is not int:
        raise MalformedError("exponent")
    if item.number == 4:
        return Number(f"{mantissa}e{exponent}")
    size = 56 if isinstance(item.item[1], Tag) else 64
    if max(mantissa, -1 - mantissa) >= 1 << size or mantissa == -(2**64):
        raise MalformedError("long bigfloat")
    exponent = max(-100_000, min(exponent, 100_000))
    try:
        return Number(repr(float(mantissa * Fraction(2) ** exponent)))
    except OverflowError:
        return Number("-inf" if mantissa < 0 else "inf")


def depth(value: Any) -> int:
    if isinstance(value, Tag):
        return 1 + depth(value.item)
    if isinstance(value, Pairs):
        return 1 + max((max(depth(key), depth(inner)) for key, inner in value), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth, value), default=0)
    return 0


def member(key: Any, value: Any) -> tuple[str, Any]:
    """As the JSON twin's parser would have given it."""
    if type(key) is int:
        label = LABELS.get(key, "unknown")
    elif isinstance(key, str):
        label = key
    else:
        raise MalformedError("label")
    if label == "bver" and (type(value) is not int or value < 0):
        raise MalformedError("version")
    if label in NUMBERS:
        return label, number(value)
    if label == "vd":
        if not isinstance(value, bytes):
            raise MalformedError("bytes expected")
        return label, base64.urlsafe_b64encode(value).decode().rstrip("=")
    if label not in ("bn", "bu", "n", "u", "vs", "vb"):
        if depth(value) > MAX_DEPTH:
            raise MalformedError("deep")
        return label, None
    return label, value


def parse(payload: bytes) -> Any:
    """One item and nothing behind it. Raises: MalformedError."""
    parser = Parser(payload.removeprefix(b"\xd9\xd9\xf7"))
    found = parser.item(0)
    if parser.at != len(parser.data):
        raise MalformedError("trailing bytes")
    return found


def decode(payload: bytes, received_ms: int) -> list[Reading]:
    """Raises: MalformedError."""
    pack = parse(payload)
    if not isinstance(pack, list) or isinstance(pack, Pairs) or not all(isinstance(one, Pairs) for one in pack):
        raise MalformedError("not an array of maps")
    return decode_pack([Pairs(member(*pair) for pair in record) for record in pack], received_ms)
