"""Every row of robustness.md 2.6 to 2.8 as a generated file: a bad record is quarantined under its code, a bad file
ends with 65, its name and byte, and nothing new under a final name. usage: hostile.py DEEM [unittest arguments]"""
import os, pickle, struct, sys, unittest, zlib

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import export_masks
from export_masks import Case, Refer, PascalPart, EMPTY, ann, coco_file, rows, square
from export_masks import mat_char, mat_element, mat_file, mat_mask, mat_matrix, mat_struct

H, W = 40, 60


class Masks(Case):
    """2.6: what becomes of one annotation with this segmentation."""
    def outcome(self, segs, **more):
        self.picture("000000000077.jpg", W, H)
        rows_ = [ann(k + 1, s) for k, s in enumerate(segs)]
        text = coco_file([ann(999, [square(1, 1, 9)])] + rows_, **more)
        self.export("coco", self.write("a.json", text), options=["--tolerance", "10000"])
        self.assertIn(999, [a["id"] for a in self.coco["annotations"]])
        codes = {}
        for r in self.rows:
            self.assertEqual((r["file"], r["stage"]), ("a.json", "masks"))
            codes[r["record"] - 1] = r["code"]
        return [codes.get(k) for k in range(len(segs))]

    def rle(self, counts, size=(H, W)):
        return {"size": list(size), "counts": counts}

    def test_RLE1_counts(self):
        area = H * W
        self.assertEqual(self.outcome([self.rle([0, area + 1]), self.rle([0, area - 1]), self.rle([2**32, area - 2**32]), self.rle([2**32 + area]),
                                       self.rle([0, area]), self.rle([100, 0, 100, 300, area - 500]), self.rle([area]), self.rle([0] * 50 + [area]),
                                       self.rle([1.5, area]), self.rle([-1, area + 1]), self.rle([True, area - 1]), self.rle(["5"]), self.rle([])]),
                         ["mask-sum"] * 4 + [None] * 4 + ["mask-not-an-integer", "mask-negative",
                          "mask-not-an-integer", "mask-not-an-integer", "mask-sum"])
        self.assertEqual(self.reasons()[0], {"empty": 2})  # all zeros: the whole area first, and behind 50 empty runs

    def test_RLE1_ten_million_runs(self):
        text = '{"images":[{"id":77,"file_name":"000000000077.jpg","width":60,"height":40}],"annotations":[{"id":1,"image_id":77,"category_id":1,"iscrowd":0,' + \
            '"segmentation":{"size":[40,60],"counts":[' + "1," * 10**7 + '1]}}],"categories":[{"id":1,"name":"x"}]}'
        self.export("coco", self.write("a.json", text), images=False)
        self.assertEqual(self.reasons()[1], {"mask-work": 1})

    def test_RLE2_strings(self):
        found = self.outcome([self.rle(s) for s in ("P", "\x01", "~~~~", "p", "o" * 20, "1O" * 40, "", "0\x000", "\u00e9", "oooooooooooooo0", "Zm2", "`0Zk2")])
        self.assertEqual(found, ["mask-cut", "mask-byte", "mask-byte", "mask-byte", "mask-overflow", "mask-negative", "mask-sum", "mask-byte", "mask-byte",
                                 "mask-overflow", "mask-sum", "mask-sum"])

    def test_RLE3_sizes(self):
        sizes = [(0, 60), (40, 0), (-40, 60), (2**31, 60), (2**31, 2**31), (60, 40), (40,), (40, 60, 1), ("40", 60), (2**63, 1), (40.5, 60)]
        found = self.outcome([self.rle([2400], s) for s in sizes] + [{"counts": [2400]}, {"size": [H, W]}])
        self.assertEqual(found, ["mask-size"] * 3 + ["mask-size-differs"] * 3 + ["mask-size"] * 6 + ["mask-absent"])

    def test_RLE4_polygons(self):
        big = [float(i % 977) for i in range(2 * 10**6)]
        self.assertEqual(self.outcome([[[float("nan"), 1, 2, 3, 4, 5]], [[1e30, 1, 20, 30, -1e30, 5]], [[float("inf"), 1, 2, 3, 4, 5]], [[3, 4]], [big],
                                       [[1e6, 1e6, 2e6, 1e6, 2e6, 2e6]], [[1, 2, 3, "4", 5, 6]], [[1, 2, 3, None, 5, 6]], [5], {}, 7, "x"]),
                         ["mask-not-finite", None, "mask-not-finite", None, None, None, "mask-not-a-number", "mask-not-a-number", "mask-not-a-list",
                          "mask-absent", "mask-not-a-list", "mask-not-a-list"])


class Pickles(Refer):
    """2.7: what the file refs(unc).p is refused with."""
    def refused(self, raw, what="", byte=None, **more):
        self.n = getattr(self, "n", 0) + 1
        self.export("refcoco", self.folder(None, raw=raw), code=65, out=f"r{self.n}", **more)
        self.assertIn("refs(unc).p: byte " + ("" if byte is None else f"{byte}: "), self.log, raw[:40])
        self.assertIn(what, self.log)

    def test_PKL1_each_refused_opcode(self):
        ops = {"GLOBAL": b"cos\nsystem\n", "STACK_GLOBAL": b"\x8c\x02os\x8c\x06system\x93", "INST": b"(ios\nsystem\n", "OBJ": b"(o", "NEWOBJ": b"))\x81",
               "NEWOBJ_EX": b")))\x92", "REDUCE": b"))R", "BUILD": b"}}b", "EXT1": b"\x82\x01", "EXT2": b"\x83\x01\x00", "EXT4": b"\x84\x01\0\0\0",
               "PERSID": b"Pabc\n", "BINPERSID": b"NQ", "NEXT_BUFFER": b"\x97", "READONLY_BUFFER": b"N\x98"}
        self.assertEqual(len(ops), 15)
        good = pickle.dumps([self.REF], 2)
        for name, op in ops.items():
            at = len(op) - 1 if name in ("STACK_GLOBAL", "OBJ", "NEWOBJ", "NEWOBJ_EX", "REDUCE", "BUILD", "BINPERSID", "READONLY_BUFFER") else 1 if name == "INST" else 0
            self.refused(op, name, at)                                 # alone, first
            self.refused(b"]" + op + b"a.", name, at + 1)              # inside a structure
            self.refused(good[:-1] + op + b".", name, len(good) - 1 + at)  # last
            self.refused(good + op)                                    # behind STOP
        self.refused(b"cos.path\njoin\n.", "os.path")
        self.refused(b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93.", "STACK_GLOBAL")

    def test_PKL2_text_forms(self):
        for raw in (b"L" + b"9" * 10**6 + b"L\n.", b"L9223372036854775808L\n.", b"S'x\n.", b"S\"x'\n.", b"S'x", b"I5", b"Vx", b"F1e\n.", b"Ix\n.", b"S'\\x4'\n.", b"V\\u12\n."):
            self.refused(raw)

    def test_PKL3_lengths(self):
        for raw in (b"\x8e" + struct.pack("<Q", 2**62), b"\x8b\xff\xff\xff\xff.", b"\x8b\xff\xff\xff\x7f.", b"X\xff\0\0\0x.", b"\x80\x04\x95" + struct.pack("<Q", 99) + b"N.",
                    b"\x80\x04\x95" + struct.pack("<Q", 12) + b"\x95" + struct.pack("<Q", 1) + b"N.", b"\x80\x04\x95" + struct.pack("<Q", 1) + b"X\1\0\0\0x."):
            self.refused(raw)

    def test_PKL4_memo(self):
        for raw in (b"j\xff\xff\xff\xff.", b"g5\n.", b"h\x05.", b"\x94.", b"q\x01.", b"p0\n."):
            self.refused(raw)

    def test_PKL5_shared_and_cyclic_structures(self):
        bomb = b"]q\x00"
        for i in range(1, 31):
            bomb += b"](h" + bytes([i - 1]) + b"h" + bytes([i - 1]) + b"eq" + bytes([i])
        self.refused(bomb + b".")
        self.refused(b"]q\x00h\x00a.")
        self.refused(b"}q\x00K\x01h\x00s.")

    def test_PKL6_stack(self):
        for raw in (b"a.", b"]a.", b"e.", b"t.", b"NN.", b".", b"", b"}(K\x01u.", b"}]Ns.", b"}}Ns.", b"(0.", b"1.", b"]0a.", b"2."):
            self.refused(raw)
        self.export("refcoco", self.folder(None, raw=pickle.dumps([self.REF], 0).replace(b"V11", b"V11")), out="fine")
        twice = pickle.dumps([dict(self.REF, split="val")], 2)[:-3] + b"X\x05\0\0\0splitX\x05\0\0\0trainsa."
        self.refused(twice[:5] + b"(" + twice[5:])

    def test_PKL7_depth(self):
        for one in (b"]", b")", b"("):
            self.refused(one * 10**6 + b"a" * 10**6 + b".")
        self.refused(b"N" + b"\x85" * 10**6 + b".")

    def test_PKL8_behind_the_end(self):
        good = pickle.dumps([self.REF], 2)
        for tail in (b"x", b"\n", good, b"."):
            self.refused(good + tail, byte=len(good) - 1)  # of the STOP


for name in [n for n in dir(Refer) if n.startswith("test_")]:
    setattr(Pickles, name, None)  # its own tests run in masks.export


class Mats(PascalPart):
    """2.8: what the file 2008_000002.mat is refused with."""
    def refused(self, data, what="", **more):
        self.n = getattr(self, "n", 0) + 1
        self.run_one(data, code=65, out=f"r{self.n}", **more)
        self.assertIn("2008_000002.mat: ", self.log)
        self.assertRegex(self.log, r"2008_000002\.mat: (byte \d+: |no variable)")
        self.assertIn(what, self.log)

    def good(self, compress=False):
        return self.anno([self.obj("person", [("head", rows(50, 40, 1, 1, 20, 20))])], compress=compress)

    def plain(self, *elements):
        return mat_file(*elements, compress=False)

    def test_MAT1_headers(self):
        good = self.good()
        for data in (good[:126] + b"XX" + good[128:], good[:126] + b"MI" + good[128:], good[:124] + b"\0\2" + good[126:], b"\0\0\0\0" + good[4:], good[:127], b"", b"text only " * 20,
                     struct.pack("<iiiii", 0, 1, 1, 0, 5) + b"anno\0" + struct.pack("<d", 1.0), b"\x89HDF\r\n\x1a\n" + bytes(500)):
            self.refused(data)
        self.refused(b"MATLAB 7.3 MAT-file".ljust(124) + b"\0\2IM" + bytes(384) + b"\x89HDF\r\n\x1a\n", "-v7")

    def test_MAT2_tags(self):
        head = self.good()[:128]
        inner = mat_element(6, struct.pack("<II", 9, 0)) + mat_element(5, struct.pack("<ii", 1, 1)) + mat_element(1, b"anno")
        for tail in (struct.pack("<II", 0, 8) + bytes(8), struct.pack("<II", 19, 8) + bytes(8), struct.pack("<II", 14, 2**32 - 1), struct.pack("<HHI", 2, 5, 0),
                     struct.pack("<HHI", 2, 7, 0), mat_element(14, inner + struct.pack("<II", 2, 4096) + bytes(8)), mat_element(14, inner + struct.pack("<II", 2, 1) + b"\1")[:-2], b"\1\0\0"):
            self.refused(head + tail)

    def test_MAT3_compression(self):
        one = mat_mask(rows(50, 40, 0, 0, 9, 9), "anno")
        bomb = zlib.compress(struct.pack("<II", 14, 2**29) + bytes(2**26))
        packed = zlib.compress(one)
        pair = lambda p: struct.pack("<II", 15, len(p)) + p
        head = self.good()[:128]
        for tail in (pair(bomb), pair(zlib.compress(pair(packed))), pair(packed[:-6]), pair(packed + b"trailing"), pair(b"\0" * 40), struct.pack("<II", 15, 10**6) + packed):
            self.refused(head + tail)

    def test_MAT4_dimensions(self):
        m = lambda dims, data=b"", kind=9, **more: self.plain(mat_matrix(kind, dims, "anno", mat_element(2, data), **more))
        for data in (m((65536, 65536)), m((2**31 - 1, 2**31 - 1)), m((-1, 5)), m((2, 2), b"123"), m((2, 2), b"12345"), m((), b""), m((1,) * 10**5, b"1"), m((1, 1), b"1", flags=8),
                     m((2, 2), b"1", 5)):
            self.refused(data)
        self.refused(m((2, 2), b"1", 5), "sparse")

    def test_MAT5_nesting(self):
        deep = mat_char("x")
        for _ in range(10**3):
            deep = mat_matrix(1, (1, 1), "", deep)
        names = lambda size, body: self.plain(mat_matrix(2, (1, 1), "anno", struct.pack("<HHI", 5, 4, size & 0xffffffff), mat_element(1, body), EMPTY))
        for data in (self.plain(deep), names(0, b""), names(2**31 - 1, b"x"), names(32, b"a" * 32), names(32, b"a".ljust(32, b"\0") + b"a".ljust(32, b"\0")), names(32, b"a")):
            self.refused(data)
        self.refused(self.plain(mat_matrix(2, (1, 1), "anno", struct.pack("<HHI", 5, 4, 32), mat_element(1, bytes(32) * 10**6))))

    def test_MAT6_classes(self):
        for kind, name in ((3, "object"), (16, "function"), (17, "opaque")):
            self.refused(self.plain(mat_matrix(kind, (1, 1), "anno")), name)
        lone = mat_matrix(4, (1, 5), "", mat_element(4, "head".encode("utf-16-le") + b"\0\xd8"))
        part = {"part_name": lone, "mask": mat_mask([[3] * 50 for _ in range(40)])}  # any number but 0 is inside
        whole = {"class": mat_char("person"), "class_ind": EMPTY, "mask": mat_mask(rows(50, 40, 0, 0, 9, 9)), "parts": mat_struct([part])}
        self.run_one(self.anno([whole], compress=False), out="fine")
        self.assertEqual([a["area"] for a in self.coco["annotations"]], [2000])

    def test_MAT7_parts(self):
        full = rows(50, 40, 1, 1, 20, 20)
        self.run_one(self.anno([self.obj("person", [("head", rows(60, 40, 1, 1, 20, 20)), ("hair", []), ("neck", rows(50, 40, 0, 0, 0, 0)), ("torso", full), ("arm", full)])]))
        self.assertEqual(self.reasons(), ({"empty": 2}, {"mask-size-differs": 1}))
        self.assertEqual(len(self.coco["annotations"]), 2)  # overlapping parts both stay


for name in [n for n in dir(PascalPart) if n.startswith("test_")]:
    setattr(Mats, name, None)

if __name__ == "__main__":
    export_masks.DEEM = sys.argv[1]
    unittest.main(argv=sys.argv[:1] + sys.argv[2:], defaultTest=["Masks", "Pickles", "Mats"])
