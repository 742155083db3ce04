"""Writes MATLAB level-5 files: matrices of bytes, text and structs, compressed or plain. Source: MathWorks,
"MAT-File Format", chapter 1. Standard library only."""
import struct
import zlib


def mat_element(kind, data):
    return struct.pack("<II", kind, len(data)) + data + b"\0" * (-len(data) % 8)


def mat_matrix(cls, dims, name, *body, flags=0):
    head = mat_element(6, struct.pack("<II", cls | flags << 8, 0))
    head += mat_element(5, struct.pack(f"<{len(dims)}i", *dims)) + mat_element(1, name.encode())
    return mat_element(14, head + b"".join(body))


def mat_char(text, name=""):
    return mat_matrix(4, (1, len(text)), name, mat_element(4, text.encode("utf-16-le")))


def mat_mask(rows, name=""):
    """rows: bytes or 0/1 lists, one a row; stored column by column."""
    h, w = len(rows), len(rows[0]) if rows else 0
    columns = bytes(rows[y][x] for x in range(w) for y in range(h))
    return mat_matrix(9, (h, w), name, mat_element(2, columns))


def mat_struct(elements, name="", fields=None):
    """elements: list of dicts of finished matrices."""
    fields = fields or list(elements[0])
    names = b"".join(f.encode().ljust(32, b"\0") for f in fields)
    body = b"".join(e[f] for e in elements for f in fields)
    head = struct.pack("<HHI", 5, 4, 32), mat_element(1, names)
    return mat_matrix(2, (1, len(elements)), name, *head, body)


def mat_file(*variables, compress=True):
    text = b"MATLAB 5.0 MAT-file, made by a script of deem".ljust(116)
    head = text + b"\0" * 8 + struct.pack("<H", 0x100) + b"IM"
    if not compress:
        return head + b"".join(variables)
    packed = [zlib.compress(v) for v in variables]
    return head + b"".join(struct.pack("<II", 15, len(p)) + p for p in packed)


EMPTY = mat_matrix(6, (0, 0), "", mat_element(9, b""))
