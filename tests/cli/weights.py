#!/usr/bin/env python3
"""`deem weights`, from outside: published folders in, one composite file out, every number in its place.

    weights.py DEEM RECIPE WORK
"""
import json
import os
import shutil
import struct
import subprocess
import sys

deem, recipe, work = sys.argv[1:4]
here = os.path.dirname(os.path.abspath(__file__))
shutil.rmtree(work, ignore_errors=True)
os.makedirs(work)
failures = 0


def check(what, ok):
    global failures
    failures += not ok
    print("%s: %s" % ("ok" if ok else "FAIL", what))


def run(*args):
    p = subprocess.run([deem, "weights", *args], capture_output=True, text=True)
    return p.returncode, p.stdout, p.stderr


def read(path):
    with open(path, "rb") as f:
        n = struct.unpack("<Q", f.read(8))[0]
        header, data = json.loads(f.read(n)), f.read()
    header.pop("__metadata__", None)
    out = {}
    for name, t in header.items():
        b = data[t["data_offsets"][0]:t["data_offsets"][1]]
        out[name] = (t["shape"], struct.unpack("<%df" % (len(b) // 4), b))
    return out


def path(*p):
    return os.path.join(work, *p)


# 1. A model drawn from nothing gives the names and shapes.
code, _, err = run("import", recipe, "-o", path("drawn.safetensors"), "--set", "init.checkpoint=")
check("a model without published weights is drawn: %s" % err.strip()[:200], code == 0)
drawn = read(path("drawn.safetensors"))
sizes = {"vocab_base": 4000, "names": {n: s for n, (s, _) in drawn.items()}}
json.dump(sizes, open(path("sizes.json"), "w"))
subprocess.run([sys.executable, os.path.join(here, "..", "trainer", "make_published.py"), path("sizes.json"), work], check=True)
want = json.load(open(path("composite.json")))

# 2. Published folders, both ways of sharding.
folders = ["--convnext", path("convnext"), "--diffusion", path("diffusion")]
for llm in ("llama", "llama-st"):
    code, out, err = run("import", recipe, "-o", path("whole.safetensors"), "--llm", path(llm), *folders)
    check("import from %s: %s" % (llm, err.strip()[:300]), code == 0)
    got = read(path("whole.safetensors"))
    wrong = [n for n, xs in want.items() if list(got[n][1][:len(xs)]) != xs]
    check("every published number is in its place (%d tensors, wrong: %s)" % (len(want), wrong[:3]), not wrong)
    check("the text tower and projection of CLIP are left aside", "left over: 0" in out)

# 3. What is new: rules of the spec.
head, embed = got["text_decoder.head.weight"], got["mm_decoder.embed_tokens.weight"]
width = head[0][1]
check("new rows of the head are zero", not any(head[1][4000 * width:]))
rows = embed[1][4000 * width:]
spread = (sum(x * x for x in rows) / len(rows)) ** 0.5
check("new rows of the embedding are N(0, 0.02^2): %.4f" % spread, 0.017 < spread < 0.023)
check("head_new.bias is 95", set(got["text_decoder.head_new.bias"][1]) == {95.0})
check("head.bias is 0 and -100", set(got["text_decoder.head.bias"][1][:4000]) == {0.0} and set(got["text_decoder.head.bias"][1][4000:]) == {-100.0})
check("gates are zero", all(not any(v[1]) for n, v in got.items() if n.endswith("llama_cross_attn.gate")))
proj = got["visual_tokenizer.proj_t.weight"][1]
spread = (sum(x * x for x in proj) / len(proj)) ** 0.5
check("proj_t is N(0, 1e-3^2): %.6f" % spread, 0.9e-3 < spread < 1.1e-3 and abs(sum(proj) / len(proj)) < 2e-4)
offsets = [x for n, v in got.items() if n.startswith("mm_decoder.") and n.endswith("sampling_offsets.bias") for x in v[1]]
check("offset biases are U(-3, 3)", max(offsets) > 2 and min(offsets) < -2 and max(map(abs, offsets)) <= 3)
prompt = got["image_decoder.neg_prompt_embeds"][1]
check("the empty prompt was run through the text encoder", prompt != drawn["image_decoder.neg_prompt_embeds"][1])
again = run("import", recipe, "-o", path("again.safetensors"), "--llm", path("llama"), *folders)
check("the same command writes the same bytes", open(path("again.safetensors"), "rb").read() == open(path("whole.safetensors"), "rb").read())

# 4. Lists and export.
code, out, _ = run("list", path("llama"))
check("list names the tensors of all shards", code == 0 and "model.norm.weight" in out and "F16" in out)
code, _, err = run("export", path("whole.safetensors"), "-o", path("copy.safetensors"))
check("export keeps every number: %s" % err, code == 0 and read(path("copy.safetensors")) == got)

# 5. Bad input: one clear error, exit 65.
broken = path("broken")
shutil.copytree(path("llama"), broken)
index = os.path.join(broken, "pytorch_model.bin.index.json")
text = json.load(open(index))
text["weight_map"]["model.norm.weight"] = "../pytorch_model-00001-of-00002.bin"
json.dump(text, open(index, "w"))
code, _, err = run("list", broken)
check("a shard outside the folder is refused: %s" % err.strip()[:200], code == 65 and ".." in err)
code, _, err = run("import", recipe, "-o", path("no.safetensors"), "--llm", path("convnext"), *folders)
check("the wrong model is refused with a list: %s" % err.strip()[:200], code == 65 and "missing" in err)
check("nothing was written", not os.path.exists(path("no.safetensors")) and not os.path.exists(path("no.safetensors.tmp")))
evil = path("evil.bin")
import io, pickle, zipfile
class Evil:
    def __reduce__(self):
        return os.system, ("true",)
with zipfile.ZipFile(evil, "w") as z:
    z.writestr("archive/data.pkl", pickle.dumps({"a": Evil()}, 2))
code, _, err = run("list", evil)
check("a pickle that calls is refused: %s" % err.strip()[:200], code == 65 and "system" in err)
data = bytearray(open(path("convnext", "open_clip_pytorch_model.bin"), "rb").read())
for cut in (0, 1, 100, len(data) // 2, len(data) - 1):
    open(path("cut.bin"), "wb").write(data[:cut])
    code, _, err = run("list", path("cut.bin"))
    check("a .bin cut at %d is refused" % cut, code == 65 and err.startswith("error:"))
code, _, err = run("list", path("absent"))
check("an absent file is an error: %s" % err.strip()[:120], code in (65, 74))
code, _, err = run("import", recipe)
check("usage errors exit 64", code == 64)
print("%d failed" % failures)
sys.exit(failures > 0)
