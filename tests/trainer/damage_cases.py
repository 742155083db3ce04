#!/usr/bin/env python3
"""damage_cases.py DEEM CASE...: breaks every reference case in many ways and runs it. Each break must end
in exit 65 with a report that names what was broken, soon, whatever the sizes. Standard library only."""
import json
import os
import struct
import subprocess
import sys
import tempfile
import time

SECONDS = 20  # of one run; a refusal takes a fraction of one
FILES = ("weights.safetensors", "inputs.safetensors", "expected.safetensors")
# Members that only inform: any value may stand there.
FREE = {"uncond_prob", "min_distance_of_sampled_pixel_to_integer", "downsample_factor", "drop_path", "dropout",
        "attention_dropout", "context_pe_rows", "table_length", "llm_layers", "eos", "ref_l", "ref_r", "box_l", "box_r", "bos", "pad",
        "clip_sample", "scaling_factor"}
# The same in one module's case.
FREE_IN = {"loss-text": {"image_tokens"}, "optim": {"cross_every"}, "perceiver2": {"image"}}
REALS = {"rope_base", "base_spatial_shape", "base", "prompt_offsets"}  # no size: any positive number may stand there


def read_tensors(path):
    with open(path, "rb") as f:
        data = f.read()
    size = struct.unpack("<Q", data[:8])[0]
    head = json.loads(data[8:8 + size])
    head.pop("__metadata__", None)
    body = data[8 + size:]
    return {k: (v["dtype"], v["shape"], body[slice(*v["data_offsets"])]) for k, v in head.items()}


def write_tensors(path, tensors):
    head, at = {}, 0
    for name, (dtype, shape, data) in tensors.items():
        head[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + len(data)]}
        at += len(data)
    text = json.dumps(head).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + b"".join(t[2] for t in tensors.values()))


class Case:
    """One case, copied as links into a folder of its own for every break."""

    def __init__(self, deem, folder, scratch):
        self.deem, self.folder, self.scratch = deem, folder, scratch
        self.name = os.path.basename(folder.rstrip("/"))
        with open(os.path.join(folder, "case.json")) as f:
            self.case = json.load(f)
        self.tensors = {n: read_tensors(os.path.join(folder, n)) for n in FILES}
        self.runs = 0
        self.faults = []

    def run(self, what, words, case=None, tensors=None, raw=None, codes=(65,)):
        """Runs the case with parts replaced: tensors {file: tensors}, raw {file: bytes or None}."""
        at = tempfile.mkdtemp(dir=self.scratch)
        for name in FILES + ("case.json",):
            path = os.path.join(at, name)
            if raw and name in raw:
                if raw[name] is not None:
                    with open(path, "wb") as f:
                        f.write(raw[name])
            elif name == "case.json" and case is not None:
                with open(path, "w") as f:
                    json.dump(case, f)
            elif tensors and name in tensors:
                write_tensors(path, tensors[name])
            else:
                os.symlink(os.path.join(os.path.abspath(self.folder), name), path)
        start = time.monotonic()
        try:
            done = subprocess.run([self.deem, "golden", at], capture_output=True, text=True, timeout=SECONDS)
            code, text = done.returncode, done.stderr
        except subprocess.TimeoutExpired:
            code, text = "none", "still running"
        self.runs += 1
        missing = [w for w in words if w not in text]
        if code not in codes or (code == 65 and missing):
            self.faults.append("%s: %s: exit %s after %.1f s, want %s and the words %s:\n    %s" % (
                self.name, what, code, time.monotonic() - start, codes, missing, text.strip()[:600]))

    def damage_files(self):
        """Files that are missing, cut or not what they should be."""
        for name in FILES + ("case.json",):
            with open(os.path.join(self.folder, name), "rb") as f:
                data = f.read()
            self.run("no " + name, [name], raw={name: None})
            for part in (b"", data[:7], data[:len(data) // 2], data.rstrip()[:-1]):
                self.run("%s cut to %d bytes" % (name, len(part)), [name], raw={name: part})
            self.run(name + " is text", [name], raw={name: b"\x00" * 64})
        self.run("all files gone", list(FILES) + ["case.json"], raw={n: None for n in FILES + ("case.json",)})

    def changed(self, file, name, value):
        tensors = dict(self.tensors[file])
        if value is None:
            del tensors[name]
        else:
            tensors[name] = value
        return {file: tensors}

    def sample(self, file):
        names = [n for n in self.tensors[file] if self.tensors[file][n][2] and n != "none"]
        return [names[i] for i in sorted({0, len(names) // 3, len(names) // 2, len(names) - 1})] if names else []

    def damage_tensors(self):
        """Tensors that are missing, of another shape or type, or not numbers."""
        for file in FILES:
            for name in self.sample(file):
                dtype, shape, data = self.tensors[file][name]
                says = [name]
                if name.startswith(("context_feat_proj", "visual_tokenizer.proj_i")) and self.case.get("stage") == "3":
                    continue  # there, and read by nobody
                self.run("%s: no %s" % (file, name), says, tensors=self.changed(file, name, None))
                if dtype == "F32":
                    nan = struct.pack("<f", float("nan")) + data[4:]
                    self.run("%s: NaN in %s" % (file, name), says,
                             tensors=self.changed(file, name, (dtype, shape, nan)))
                if file != "expected.safetensors":
                    if name.endswith("text_ids"):
                        says = ["inputs.safetensors"]  # the others are measured by it
                    if shape != shape[::-1] and name != "p0.table" and self.name != "mod-mmfs-wide":
                        self.run("%s: %s is turned" % (file, name), says, tensors=self.changed(
                            file, name, (dtype, shape[::-1], data)))
                    if shape and self.name != "mod-cliptext":
                        self.run("%s: %s is shorter" % (file, name), says[0].split(".")[-1:], tensors=self.changed(
                            file, name, (dtype, [shape[0] - 1] + shape[1:], data[:len(data) // shape[0] * (
                                shape[0] - 1)])))
                    other = "I32" if dtype == "F32" else "F32"
                    self.run("%s: %s is %s" % (file, name, other), says,
                             tensors=self.changed(file, name, (other, shape, data)),
                             codes=(65,) if dtype == "F32" else (0, 1, 65))

    def numbers(self):
        """Paths of all numbers and lists of numbers that give sizes."""
        roots = [("config", self.case["config"])]
        while roots:
            path, value = roots.pop()
            for key, v in value.items():
                if key in FREE or key in FREE_IN.get(self.case.get("module"), ()) or path.endswith(("patterns", "groups", "adamw")) or key == "schedules":
                    continue
                if isinstance(v, dict):
                    roots.append((path + "." + key, v))
                elif isinstance(v, (int, float)) and not isinstance(v, bool) or isinstance(v, list) and \
                        all(isinstance(x, int) for x in v):
                    yield path + "." + key, v

    def with_value(self, path, value):
        case = json.loads(json.dumps(self.case))
        at = case
        parts = path.split(".")
        for part in parts[:-1]:
            at = at[part]
        if value is None:
            del at[parts[-1]]
        else:
            at[parts[-1]] = value
        return case

    def damage_sizes(self):
        """Sizes that no model has: refused by name, before any work."""
        for path, old in self.numbers():
            key = path.split(".")[-1]
            self.run(path + " is missing", [path], case=self.with_value(path, None))
            for bad in (10**9, 2**62, 10**30, "many") if self.case["kind"] == "module" else (10**9,):
                value = [bad] + old[1:] if isinstance(old, list) else bad
                if (isinstance(old, float) or key in REALS) and not isinstance(bad, str):
                    continue
                self.run("%s is %s" % (path, bad), [path], case=self.with_value(path, value))
            if isinstance(old, int) and key not in ("soi", "image"):
                if old > 1 or key not in ("mask_align", "warmup"):
                    self.run(path + " is 0", [path], case=self.with_value(path, 0))
                if self.case["kind"] == "module":
                    self.run(path + " is one more", [], case=self.with_value(path, old + 1), codes=(0, 1, 65))
                self.run(path + " is 60000", [], case=self.with_value(path, 60000), codes=(0, 1, 65))

    def damage_report(self):
        """Several faults: all of them in one report."""
        if self.case["kind"] not in ("stage", "steps"):
            return
        weights, inputs = dict(self.tensors[FILES[0]]), dict(self.tensors[FILES[1]])
        gone = [next(n for n in weights if n.endswith("norm1.weight")), next(n for n in weights if "proj_t" in n)]
        for name in gone:
            del weights[name]
        picture = next(n for n in inputs if n.endswith("image"))
        del inputs[picture]
        self.run("three tensors gone", gone + [picture] * (self.case["kind"] == "stage"), tensors={FILES[0]: weights, FILES[1]: inputs})
        self.run("two bad sizes", ["llm.hidden", "llm_mmfs.shapes"], case=self.with_value(
            "config.llm_mmfs.shapes", [7]) | {"config": self.with_value("config.llm.heads", 5)["config"] | {
                "llm_mmfs": self.case["config"]["llm_mmfs"] | {"shapes": [7]}}})
        self.run("image_side 40", ["image_side"], case=self.with_value("config.image_side", 40))
        self.run("queries", ["num_queries"], case=self.with_value("config.num_queries", 4))
        for name in [n for n in inputs if n.endswith("text_ids") and not n.endswith("gt_text_ids")][:1]:
            dtype, shape, data = self.tensors[FILES[1]][name]
            vocab = self.case["config"]["vocab_size"]
            ids = list(struct.unpack("<%di" % (len(data) // 4), data))
            image, soi = self.case["config"]["ids"]["image"], self.case["config"]["ids"]["soi"]

            def put(change, words):
                new = [change(i, x) for i, x in enumerate(ids)]
                self.run("ids: " + words[0], words, tensors=self.changed(
                    FILES[1], name, (dtype, shape, struct.pack("<%di" % len(new), *new))))
            put(lambda i, x: vocab if i in (0, shape[1]) else x, ["outside the table", "text_ids[0,0]", "text_ids[1,0]"])
            put(lambda i, x: -1 if i == 3 else x, ["outside the table"])
            put(lambda i, x: 5 if x == image and i < shape[1] else x, ["image slots"])
            put(lambda i, x: 5 if x == soi else x, ["soi tokens"])
        if self.case["stage"] == "1" and self.case["kind"] == "stage":
            self.run("relative positions", ["query_relpos", "relative positions"],
                     case=self.with_value("config.llm_mmfs.max_images", 2))

    def damage_words(self):
        for key, value in (("kind", "stag"), ("kind", None), ("kind", 3)):
            self.run("kind", ["kind"], case=self.with_value(key, value))
        if self.case["kind"] == "module":
            self.run("module", ["module"], case=self.with_value("module", "vit"))
        if "stage" in self.case:
            self.run("stage", ["stage"], case=self.with_value("stage", "4"))
        self.run("tolerances", ["tolerances"], case=self.with_value("tolerances", None))
        self.run("config", ["config"], case=self.with_value("config", None))
        self.run("config is a list", ["config"], case=self.with_value("config", []))
        with open(os.path.join(self.folder, "case.json"), "rb") as f:
            text = f.read()
        self.run("two values", ["case.json"], raw={"case.json": text + b"{}"})
        self.run("deep", ["case.json"], raw={"case.json": b"[" * 100000})
        self.run("a list", ["case.json"], raw={"case.json": b"[1,2]"})


def main():
    deem, folders = sys.argv[1], sys.argv[2:]
    runs, faults = 0, []
    with tempfile.TemporaryDirectory() as scratch:
        for folder in folders:
            case = Case(deem, folder, scratch)
            case.damage_words()
            case.damage_files()
            case.damage_tensors()
            case.damage_sizes()
            case.damage_report()
            runs += case.runs
            faults += case.faults
    for fault in faults:
        print(fault)
    print("%d passed, %d failed" % (runs - len(faults), len(faults)))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
