"""A small writer of MMDB files (IPv4, texts only), as the MaxMind DB format 2.0 describes them."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from pathlib import Path

MARKER = b"\xab\xcd\xefMaxMind.com"
UINT16, UINT32, MAP, TEXT, UINT64, ARRAY = 5, 6, 7, 2, 9, 11


def write_mmdb(path: Path, networks: Mapping[str, Mapping[str, str]]) -> Path:
    """A database of these IPv4 networks."""
    nodes: list[list[int | str | None]] = [[None, None]]
    for text in networks:
        network = ipaddress.ip_network(text)
        bits = f"{int(network.network_address):032b}"[: network.prefixlen]
        node = 0
        for bit in bits[:-1]:
            after = nodes[node][int(bit)]
            if after is None:
                nodes.append([None, None])
                nodes[node][int(bit)] = after = len(nodes) - 1
            assert isinstance(after, int)
            node = after
        nodes[node][int(bits[-1])] = text
    data, places = b"", dict[str, int]()
    for text, entry in networks.items():
        places[text] = len(data)
        data += _map({key: _text(value) for key, value in entry.items()})
    tree = b"".join(
        _record(child, places, len(nodes)).to_bytes(4, "big") for node in nodes for child in node
    )
    path.write_bytes(tree + b"\0" * 16 + data + MARKER + _metadata(len(nodes)))
    return path


def _record(child: int | str | None, places: Mapping[str, int], count: int) -> int:
    if child is None:
        return count  # nothing known
    return child if isinstance(child, int) else count + 16 + places[child]


def _metadata(count: int) -> bytes:
    return _map(
        {
            "node_count": _number(UINT32, count),
            "record_size": _number(UINT16, 32),
            "ip_version": _number(UINT16, 4),
            "database_type": _text("Test-ASN"),
            "languages": _head(ARRAY, 0),
            "binary_format_major_version": _number(UINT16, 2),
            "binary_format_minor_version": _number(UINT16, 0),
            "build_epoch": _number(UINT64, 1),
            "description": _map({}),
        }
    )


def _head(kind: int, size: int) -> bytes:
    assert size < 29 + 256
    short, more = (size, b"") if size < 29 else (29, bytes([size - 29]))
    control = bytes([short, kind - 7]) if kind > 7 else bytes([kind << 5 | short])
    return control + more


def _number(kind: int, value: int) -> bytes:
    packed = value.to_bytes(8, "big").lstrip(b"\0")
    return _head(kind, len(packed)) + packed


def _text(value: str) -> bytes:
    return _head(TEXT, len(value.encode())) + value.encode()


def _map(entries: Mapping[str, bytes]) -> bytes:
    return _head(MAP, len(entries)) + b"".join(_text(k) + v for k, v in entries.items())
