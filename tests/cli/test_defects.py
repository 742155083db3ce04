"""tests/cli/test_defects.py: every defect that the specification names for dumps, archives, pictures and
text (spec data.md 1.1, 1.2, 1.12; robustness.md 2.3 to 2.5) has a generated file and an expected
outcome, here or in the test that ELSEWHERE names. DEEM names the program."""
import gzip
import io
import json
import os
import re
import shutil
import struct
import sys
import unittest
import zipfile
import zlib

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import dump  # noqa: E402
from test_ingest import Case, run  # noqa: E402

NAMED = (["ARC%d" % n for n in range(1, 19)] + ["JPG%d" % n for n in range(1, 10)] +
         ["WEP%d" % n for n in range(1, 5)] + ["PNG%d" % n for n in range(1, 5)] +
         ["IMG1", "IMG2", "IMG3", "GPU1"] + ["JSN%d" % n for n in range(1, 12)])
ZIP, TAR, LINES = ("tests/ingest/test_%s.c" % n for n in ("zip", "source_tar", "source_jsonl"))
IMAGE, GOLDENS = "tests/core/test_image.c", "tests/core/test_image_goldens.c"
POLICY = (GOLDENS, "every_picture_gives_the_verdict_and_the_bytes_of_the_policy")
ELSEWHERE = {
    "ARC1": (ZIP, "a_member_that_lies_about_itself_is_stopped"),
    "ARC2": (LINES, "bombs_stop_at_the_ratio"),
    "ARC3": (ZIP, "members_that_share_bytes_are_refused"),
    "ARC4": (ZIP, "local_header_and_directory_must_agree"),
    "ARC5": (ZIP, "sizes_of_64_bits_are_taken_in_their_order"),
    "ARC6": (ZIP, "sizes_that_follow_the_data_are_read"),
    "ARC7": (ZIP, "a_shifted_or_split_archive_is_refused"),
    "ARC10": (TAR, "a_sparse_member_is_refused"),
    "ARC15": (TAR, "a_tar_cut_at_any_byte_gives_its_whole_samples"),
    "ARC16": (LINES, "damaged_gzip_gives_all_up_to_the_fault"),
    "JPG1": (IMAGE, "limits_refuse_the_first_value_beyond_them"),
    "JPG2": (IMAGE, "a_jpeg_of_more_scans_than_allowed_is_refused"),
    "JPG3": POLICY, "JPG4": POLICY, "JPG5": POLICY, "JPG7": POLICY, "JPG8": POLICY,
    "JPG9": ("tests/shards/test_damage.c", "a_flipped_bit_is_an_error_or_changes_nothing"),
    "WEP1": POLICY, "PNG2": POLICY, "PNG4": POLICY,
    "IMG1": (IMAGE, "other_files_are_refused_by_what_they_look_like"),
    "IMG2": (IMAGE, "limits_refuse_the_first_value_beyond_them"),
    "IMG3": ("tests/loader/test_decode.c", None), "GPU1": ("tests/loader/test_decode.c", None),
    "JSN1": ("tests/core/test_json.c", "limits_hold_just_below_and_just_above"),
    "JSN3": ("tests/core/test_json.c", "every_golden_line_reads_as_it_must"),
    "JSN4": (LINES, "the_last_of_equal_keys_counts"),
    "JSN6": (LINES, "a_line_at_the_limit_is_read_and_one_over_it_is_passed"),
    "JSN7": (LINES, "golden_documents_are_damaged_where_they_must_be"),
    "JSN9": ("tests/ingest/masks/export_masks.py", None),
    "JSN10": ("tests/ingest/masks/export_masks.py", None),
}


def sample(key, caption="a wooden boat on the water", golden="jpeg-420.jpg", **more):
    return dump.pair(key, golden, caption, **more)


def header(name, size=0, kind=b"0", **fields):
    """A ustar header; `fields` are raw bytes for octal (the size), checksum, magic or linkname."""
    h = bytearray(512)
    h[:len(name)] = name
    h[100:108] = b"0000444\0"
    h[108:124] = b"0000000\0" * 2
    h[124:136] = fields.get("octal", b"%011o\0" % size)
    h[136:148] = b"00000000000\0"
    h[156:157] = kind
    h[257:265] = fields.get("magic", b"ustar\x0000")
    link = fields.get("link", b"")
    h[157:157 + len(link)] = link
    h[148:156] = b" " * 8
    h[148:156] = fields.get("checksum", b"%06o\0 " % sum(h))
    return bytes(h)


def member(name, data, kind=b"0", **fields):
    return header(name, len(data), kind, **fields) + data + bytes(-len(data) % 512)


def pax(pairs):
    text = b""
    for key, value in pairs:
        body = b" " + key + b"=" + value + b"\n"
        n = len(body)
        while len(b"%d" % n) + len(body) != n:
            n = len(b"%d" % n) + len(body)
        text += b"%d" % n + body
    return text


class Archives(Case):
    def lines(self, files, code=65):
        """Exit code, manifest and codes of quarantine rows of a dump of these files."""
        pictures = dump.Pictures(self.path("pictures"))
        self.names = [pictures.add(g) for g in ("jpeg-420.jpg", "jpeg-444.jpg")]
        for name, data in files.items():
            os.makedirs(self.path("docs"), exist_ok=True)
            with open(self.path("docs", name), "wb") as f:
                f.write(data)
        self.mmc4("out", "--tolerance", "10000", code=code)
        return [r["code"] for r in self.quarantine()]

    def text(self, n=3):
        return b"".join(json.dumps(dump.document("http://u/%d" % i, ["Text %d." % i, "More."], [
            dump.image(dump.stem(k) + ".jpg", k) for k in range(2)])).encode() + b"\n"
                        for i in range(n))

    def tar(self, *blocks, code=0, end=True):
        os.makedirs(self.path("tars"), exist_ok=True)
        with open(self.path("tars", "00000.tar"), "wb") as f:
            f.write(b"".join(blocks) + bytes(1024 if end else 0))
        self.pairs("out", "--tolerance", "10000", code=code)
        self.counts()
        return [r["code"] for r in self.quarantine()]

    def whole(self, n, **more):
        return b"".join(member(name.encode(), data)
                        for name, data in sample("00000%05d" % n, **more))

    def stored(self):
        return self.counts()[0]["stored"]

    def test_ARC8_archives_in_archives_are_not_opened(self):
        inner = io.BytesIO()
        with zipfile.ZipFile(inner, "w") as z:
            z.writestr("a.jsonl", self.text())
        outer = io.BytesIO()
        with zipfile.ZipFile(outer, "w") as z:
            z.writestr("a.jsonl.zip", inner.getvalue())
        self.assertEqual(self.lines({"a.jsonl.zip": outer.getvalue()}), ["zip-no-lines"])
        self.assertEqual(self.stored(), 0)

    def test_ARC8_gzip_in_gzip_is_no_text(self):
        deep = self.text()
        for _ in range(40):
            deep = gzip.compress(deep, mtime=0)
        codes = self.lines({"a.jsonl.gz": deep}, code=0)
        self.assertEqual(set(codes), {"json-syntax"})
        self.assertEqual(self.stored(), 0)

    def test_ARC9_sizes_of_every_notation(self):
        data = sample("0000000009")
        name, bytes_ = data[0]
        for size, whole in ((b"%011o\0" % len(bytes_), True), (b"%11o " % len(bytes_), True),
                            (b"\x80" + struct.pack(">IQ", 0, len(bytes_))[1:], True),
                            (b"\xff" * 12, False), (b"\x80" + b"\xff" * 11, False),
                            (b"77777777777\0", False), (b"12x4567\0\0\0\0\0", False)):
            with self.subTest(size=size):
                rest = b"".join(member(n.encode(), d) for n, d in data[1:])
                codes = self.tar(self.whole(1), member(name.encode(), bytes_, octal=size), rest,
                                 self.whole(2), code=0 if whole else 65)
                self.assertEqual(bool(codes), not whole)
                self.assertEqual(self.stored() == 3, whole)
                self.assertGreaterEqual(self.stored(), 1)
            shutil.rmtree(self.path("out"))

    def test_ARC9_a_wrong_checksum(self):
        bad = member(b"0000000003.jpg", b"x", checksum=b"000123\0 ")
        codes = self.tar(self.whole(1), bad, self.whole(2), code=65)
        self.assertIn("tar-header", codes)
        self.assertGreaterEqual(self.stored(), 1)

    def test_ARC11_extended_headers(self):
        long = b"d" * 200 + b"/0000000001"
        parts = b""
        for name, data in sample("x"):
            ending = name[1:].encode()
            parts += member(b"PaxHeader", pax([(b"path", long + ending)]), b"x") + member(b"short", data)
        codes = self.tar(member(b"global", pax([(b"comment", b"all of it")]), b"g"), parts,
                         self.whole(2))
        self.assertEqual(codes, [])
        self.assertEqual(self.stored(), 2)

    def test_ARC11_gnu_long_names(self):
        parts = b""
        for name, data in sample("x"):
            full = b"e" * 180 + b"/0000000001" + name[1:].encode() + b"\0"
            parts += member(b"././@LongLink", full, b"L", magic=b"ustar  \0") + member(
                b"short", data, magic=b"ustar  \0")
        self.assertEqual(self.tar(parts, self.whole(2)), [])
        self.assertEqual(self.stored(), 2)

    def test_ARC11_extended_headers_that_lie(self):
        for text in (b"999999999999 path=x\n", b"5 path=x\n", b"11 path=x\n", b"x path=y\n",
                     pax([(b"size", b"99999999999999999999")]), pax([(b"path", b"a\0b")])):
            with self.subTest(text=text):
                os.makedirs(self.path("tars"), exist_ok=True)
                with open(self.path("tars", "00000.tar"), "wb") as f:
                    f.write(self.whole(1) + member(b"p", text, b"x") + self.whole(2) + bytes(1024))
                r = run("ingest", "pairs", "--out", self.path("out"), "--tokenizer",
                        dump.TOKENIZER, "--tolerance", "10000", "--quiet", self.path("tars"))
                self.assertIn(r.returncode, (0, 65), r.stderr)
                self.counts()
                self.assertGreaterEqual(self.stored(), 1)
            shutil.rmtree(self.path("out"))

    def test_ARC11_a_special_header_of_gigabytes(self):
        codes = self.tar(self.whole(1), header(b"p", 4 << 30, b"x"), self.whole(2), code=65)
        self.assertTrue(codes)
        self.assertEqual(self.stored(), 1)

    def test_ARC12_links_and_devices_are_not_opened(self):
        odd = b"".join(header(b"0000000007.jpg", 0, kind, link=b"/etc/passwd")
                       for kind in (b"1", b"2", b"3", b"4", b"5", b"6"))
        self.tar(self.whole(1), odd, self.whole(2))
        self.assertEqual(self.stored(), 2)

    def test_ARC13_names_are_keys_and_never_paths(self):
        keys = ["../../escape", "/absolute", "a//b", "back\\slash", "c:drive", "Case", "case",
                "\u00e9", "e\u0301"]
        members = []
        for key in keys:
            members += sample(key)
        before = sorted(os.listdir(self.dir))
        with_names = b"".join(member(n.encode(), d) for n, d in members)
        self.tar(with_names)
        self.assertEqual(self.stored(), len(keys))
        self.assertEqual(sorted(set(os.listdir(self.dir)) - set(before)), ["out", "tars"])
        found = sorted(d["key"] for s in self.inspect() for d in s["documents"])
        self.assertEqual(found, sorted("00000:" + k for k in keys))

    def test_ARC13_control_bytes_in_names_are_damage_and_reach_no_terminal(self):
        parts = b"".join(member(b"\x1b[31mred\n" + n[1:].encode(), d) for n, d in sample("x"))
        os.makedirs(self.path("tars"))
        with open(self.path("tars", "00000.tar"), "wb") as f:
            f.write(parts + self.whole(2) + bytes(1024))
        r = run("ingest", "pairs", "--out", self.path("out"), "--tokenizer", dump.TOKENIZER,
                "--tolerance", "10000", self.path("tars"))
        self.assertNotIn("\x1b[31m", r.stderr)
        self.assertEqual(self.stored(), 1)
        with open(self.path("out", "quarantine.jsonl"), "rb") as f:
            self.assertNotIn(b"\x1b", f.read())

    def test_ARC14_samples_whose_members_come_in_any_order_and_dots_in_names(self):
        a, b = sample("0000000001", order="json jpg txt"), sample("0000000002", order="txt json jpg")
        dots = [(n.replace(".", ".seg."), d) for n, d in sample("0000000003")]
        self.assertEqual(self.tar(b"".join(member(n.encode(), d) for n, d in a + b + dots)),
                         ["sample-no-json"])
        self.assertEqual(self.stored(), 2)

    def test_ARC14_two_pictures(self):
        extra = [("0000000001.png", dump.picture("png-rgb8.png"))]
        self.assertEqual(self.tar(b"".join(member(n.encode(), d)
                                           for n, d in sample("0000000001")[:2] + extra)),
                         ["sample-two-pictures"])

    def test_ARC17_contents_that_are_not_what_the_name_says(self):
        whole = io.BytesIO()
        with zipfile.ZipFile(whole, "w") as z:
            z.writestr("a.jsonl", self.text())
        packed = gzip.compress(self.text(), mtime=0)
        codes = self.lines({"a.jsonl.gz": self.text(), "b.jsonl.zip": packed, "c.jsonl.zst": packed,
                            "d.jsonl": packed, "e.jsonl": whole.getvalue()})
        self.assertEqual(self.stored(), 0)
        self.assertEqual(len({r["file"] for r in self.quarantine()}), 5)
        self.assertTrue(all(codes))
        self.assertTrue(all(i["incomplete"] or i["quarantined"] for i in self.manifest()["inputs"]))

    def test_ARC18_what_is_no_file_of_bytes(self):
        dump.Pictures(self.path("pictures"))
        os.makedirs(self.path("docs"))
        os.mkfifo(self.path("docs", "a.jsonl"))
        with open(self.path("docs", "b.jsonl"), "wb"):
            pass
        os.symlink("nowhere", self.path("docs", "c.jsonl"))
        os.makedirs(self.path("docs", "d.jsonl"))
        self.mmc4()
        self.assertEqual([i["file"] for i in self.manifest()["inputs"]], ["b.jsonl"])
        r = run("ingest", "mmc4", "--out", self.path("fifo"), "--tokenizer", dump.TOKENIZER,
                "--images", self.path("pictures"), self.path("docs", "a.jsonl"))
        self.assertIn(r.returncode, (64, 65, 74))

    def test_a_python_dictionary_is_no_json(self):
        line = b"{'url': 'u', 'text_list': ['x'], 'image_info': []}\n"
        self.assertEqual(self.lines({"a.jsonl": line}, code=0), ["json-syntax"])

    def test_key_widths_of_two_runs_mix(self):
        self.tar(b"".join(member(n.encode(), d) for n, d in sample("000000001") + sample("0000000001")))
        self.assertEqual(self.stored(), 2)

    def test_JSN11_text_that_is_not_utf_8(self):
        doc = self.text(1).decode().strip()
        codes = self.lines({"a.jsonl": (doc.replace("Text", "Te\u00e9xt") + "\n").encode("latin-1"),
                            "b.jsonl": doc.encode("utf-16")}, code=0)
        self.assertEqual(set(codes), {"json-syntax"})
        self.assertEqual([r["file"] for r in self.quarantine()][0], "b.jsonl")
        self.assertEqual(self.stored(), 1)
        self.assertEqual(self.manifest()["inputs"][0]["notes"]["utf8-replaced"], 1)

    def test_JSN5_odd_characters_and_JSN2_JSN8_odd_numbers(self):
        doc = json.loads(self.text(1))
        odd = "\u2028 \u202e bidi \ue000 " + "a" + "\u0301" * 1000 + " \ufeff"
        lines = [dict(doc, url="1", text_list=[odd, "More."]),
                 dict(doc, url="2", similarity_matrix=[[float("nan"), float("inf")], [1e308, -1e308]]),
                 dict(doc, url="3", similarity_matrix=[]),
                 dict(doc, url="4", similarity_matrix=[[1] * 100000]),
                 dict(doc, url="5", similarity_matrix=[[0.1], []])]
        raw = b"".join(json.dumps(d).encode() + b"\n" for d in lines)
        raw += json.dumps(dict(doc, url="6")).replace("Text", "T\\udfff\\ud800x").encode() + b"\n"
        raw += b'{"url":"\xff\xfe","text_list":["\xc0\xaf \xed\xa0\x80 x"],"image_info":[]}\n'
        self.assertEqual(self.lines({"a.jsonl": raw}, code=0), [])
        self.assertEqual(self.stored(), 6)


def jpeg_without(marker, data):
    """Drops the segments of one marker."""
    out, at = data[:2], 2
    while data[at + 1] != 0xda:
        size = struct.unpack(">H", data[at + 2:at + 4])[0]
        if data[at + 1] != marker:
            out += data[at:at + 2 + size]
        at += 2 + size
    return out + data[at:]


def riff(*chunks, size=None):
    body = b"WEBP" + b"".join(n + struct.pack("<I", len(d)) + d + b"\0" * (len(d) % 2)
                              for n, d in chunks)
    return b"RIFF" + struct.pack("<I", len(body) if size is None else size) + body


def png(*chunks):
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in chunks)


def webp_chunk(data):
    return data[12:16], data[20:20 + struct.unpack("<I", data[16:20])[0]]


class Pictures(Case):
    """Each picture in a document of its own, next to two that are sound."""

    def fates(self, pictures):
        folder = dump.Pictures(self.path("pictures"))
        good = [folder.add(g) for g in ("jpeg-420.jpg", "jpeg-444.jpg")]
        lines = []
        for i, data in enumerate(pictures):
            name = "%012x.jpg" % (0xdef000000000 + i)
            with open(self.path("pictures", name), "wb") as f:
                f.write(data)
            lines.append(dump.document("http://u/%d" % i, ["Text %d." % i, "More."],
                                       [dump.image(n, 0) for n in [name] + good]))
        dump.write_lines(self.path("docs", "a.jsonl"), lines)
        self.mmc4()
        codes = {int(r["record"]): r["code"] for r in self.quarantine()}
        self.assertEqual(self.counts()[0]["stored"], len(pictures))
        return [codes.get(i, "kept") for i in range(len(pictures))]

    def test_JPG6_broken_headers_end_in_a_named_code(self):
        data = dump.picture("jpeg-420.jpg")
        sof = data.index(b"\xff\xc0")
        dqt = data.index(b"\xff\xdb")

        def patch(at, value):
            return data[:at] + value + data[at + len(value):]
        cases = {
            "height 0, told later": patch(sof + 5, b"\0\0"),
            "ids repeated": patch(sof + 13, data[sof + 10:sof + 11]),
            "quantiser 9": patch(dqt + 4, b"\x09"),
            "quantisers missing": jpeg_without(0xdb, data),
            "a table with too many codes": data.replace(b"\xff\xc4", b"\xff\xc4\x00\x15\x00" + b"\xff" * 16 + b"\0\0\xff\xc4", 1),
            "two frames": data[:sof] + data[sof:sof + 19] + data[sof:],
            "only a start": b"\xff\xd8",
        }
        fates = dict(zip(cases, self.fates(list(cases.values()))))
        for name, fate in fates.items():
            self.assertTrue(fate.startswith("picture-"), (name, fate))

    def test_JPG6_what_is_odd_but_sound_is_kept(self):
        data = dump.picture("jpeg-420.jpg")
        thumbnail = data[:2] + b"\xff\xe1" + struct.pack(">H", 8 + min(len(data), 60000)) + \
            b"Exif\0\0" + data[:60000] + data[2:]
        self.assertEqual(self.fates([thumbnail, jpeg_without(0xc4, dump.picture("jpeg-no-huffman.jpg"))]),
                         ["kept", "kept"])

    def test_WEP2_WEP3_WEP4_containers_that_lie(self):
        sound = dump.picture("webp-size-17x31-lossless.webp")
        name, body = webp_chunk(sound)
        huge = struct.pack("<B", 0x10) + b"\0" * 3 + b"\xff" * 6
        frame = b"\0" * 6 + b"\0\0\0\0\0\0" + b"\0\0\0\0" + name + struct.pack("<I", len(body)) + body
        cases = [
            riff((name, body), size=0xfffffff0),
            sound[:16] + b"\xff\xff\xff\xff" + sound[20:],
            riff((b"VP8X", huge), (name, body)),
            riff((b"VP8X", b"\x02" + huge[1:]), (b"ANIM", bytes(6)), *[(b"ANMF", frame)] * 1000),
            riff((b"VP8X", b"\0" * 10)),
            sound[:21] + b"\xff" * 40 + sound[61:],
        ]
        for fate in self.fates(cases):
            self.assertTrue(fate.startswith("picture-"), fate)

    def test_PNG1_PNG3_chunks(self):
        size = struct.pack(">IIBBBBB", 20, 20, 8, 2, 0, 0, 0)
        rows = zlib.compress(b"".join(b"\0" + bytes(60) for _ in range(20)))
        bomb = zlib.compress(bytes(10 << 20))
        split = [(b"IDAT", rows[i:i + 1]) for i in range(len(rows))]
        sound = [
            png((b"IHDR", size), *[(b"zTXt", b"k\0\0" + bomb)] * 20, (b"IDAT", rows), (b"IEND", b"")),
            png((b"IHDR", size), (b"iCCP", b"p\0\0" + bomb), (b"IDAT", rows), (b"IEND", b"")),
            png((b"IHDR", size), *split, (b"IEND", b"")),
            png((b"IHDR", size), (b"gAMA", bytes(4)), (b"IDAT", rows), (b"IEND", b"")),
            png((b"IHDR", size), (b"acTL", bytes(8)), (b"IDAT", rows), (b"IEND", b"")),
        ]
        broken = [
            png((b"IDAT", rows), (b"IHDR", size), (b"IEND", b"")),
            png((b"IHDR", size), (b"IEND", b"")),
            png((b"IHDR", size[:-1]), (b"IDAT", rows), (b"IEND", b"")),
            png((b"IHDR", struct.pack(">IIBBBBB", 2 ** 31 - 1, 1, 1, 0, 0, 0, 0)), (b"IDAT", rows), (b"IEND", b"")),
            png((b"IHDR", struct.pack(">IIBBBBB", 20, 20, 8, 3, 0, 0, 0)), (b"IDAT", rows), (b"IEND", b"")),
        ]
        fates = self.fates(sound + broken)
        self.assertEqual(fates[:len(sound)], ["kept"] * len(sound))
        for fate in fates[len(sound):]:
            self.assertTrue(fate.startswith("picture-"), fate)


class Catalogue(unittest.TestCase):
    def test_every_named_defect_has_a_test(self):
        here = " ".join(n for c in (Archives, Pictures) for n in dir(c) if n.startswith("test_"))
        for name in NAMED:
            if name in ELSEWHERE:
                path, test = ELSEWHERE[name]
                with open(os.path.join(dump.ROOT, path)) as f:
                    text = f.read()
                self.assertTrue(test is None or re.search(r"\b%s\b" % test, text), (name, path, test))
            else:
                self.assertRegex(here, r"%s(_|\b)" % name)


if __name__ == "__main__":
    unittest.main()
