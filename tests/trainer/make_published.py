#!/usr/bin/env python3
"""Small folders of weights in each published layout, without PyTorch.

    make_published.py SIZES.json OUT

writes OUT/llama (sharded .bin with an index, float16), OUT/llama-st (sharded safetensors, bfloat16),
OUT/convnext (open_clip_pytorch_model.bin with a text tower beside the trunk) and OUT/diffusion (unet and
vae in safetensors and .bin, text_encoder, tokenizer, scheduler), with numbers that follow from the
names, so that a test knows what must have been read. OUT/composite.json holds
the numbers of every published tensor under its composite name. SIZES.json: "vocab_base" and "names", composite
name -> shape.
"""
import io
import json
import os
import pickle
import random
import struct
import sys
import types
import zipfile


def values(name, count):
    r = random.Random(name)
    return [r.randrange(-256, 257) / 128.0 for _ in range(count)]


def exact(x):
    """Rounds to 8 significant bits, so that every file type holds the same number."""
    if x == 0:
        return 0.0
    bits = struct.unpack("<I", struct.pack("<f", x))[0] & 0xFFFF0000
    return struct.unpack("<f", struct.pack("<I", bits))[0]


def count_of(shape):
    n = 1
    for s in shape:
        n *= s
    return n


def pack(dtype, xs):
    if dtype == "F32":
        return struct.pack("<%df" % len(xs), *xs)
    if dtype == "F16":
        return struct.pack("<%de" % len(xs), *xs)
    if dtype == "BF16":
        return b"".join(struct.pack("<f", x)[2:] for x in xs)
    raise ValueError(dtype)


class Storage:
    def __init__(self, dtype, key, count):
        self.dtype, self.key, self.count = dtype, key, count


class Tensor:
    """Pickles as torch._utils._rebuild_tensor_v2(storage, offset, size, stride, False, OrderedDict())."""

    def __init__(self, storage, offset, shape, stride):
        self.args = (storage, offset, tuple(shape), tuple(stride), False)

    def __reduce__(self):
        import collections
        return rebuild, self.args + (collections.OrderedDict(),)


torch = types.ModuleType("torch")
utils = types.ModuleType("torch._utils")


def rebuild():
    pass


rebuild.__name__ = rebuild.__qualname__ = "_rebuild_tensor_v2"
rebuild.__module__ = "torch._utils"
utils._rebuild_tensor_v2 = rebuild
for cls in ("FloatStorage", "HalfStorage", "BFloat16Storage"):
    t = type(cls, (), {"__module__": "torch"})
    setattr(torch, cls, t)
sys.modules["torch"], sys.modules["torch._utils"] = torch, utils
CLASSES = {"F32": torch.FloatStorage, "F16": torch.HalfStorage, "BF16": torch.BFloat16Storage}


class TorchPickler(pickle.Pickler):
    def persistent_id(self, obj):
        if isinstance(obj, Storage):
            return ("storage", CLASSES[obj.dtype], obj.key, "cpu", obj.count)
        return None


def strides(shape):
    out, n = [], 1
    for s in reversed(shape):
        out.insert(0, n)
        n *= max(s, 1)
    return out


def write_bin(path, tensors, dtype, transposed=()):
    """tensors: name -> (shape, numbers). Those in `transposed` are stored the other way round."""
    import collections
    state, blobs = collections.OrderedDict(), []
    for i, (name, (shape, xs)) in enumerate(tensors.items()):
        stride = strides(shape)
        if name in transposed:
            rows, cols = shape
            xs = [xs[r * cols + c] for c in range(cols) for r in range(rows)]
            stride = [1, rows]
        state[name] = Tensor(Storage(dtype, str(i), len(xs)), 0, shape, stride)
        blobs.append(pack(dtype, xs))
    state._metadata = collections.OrderedDict([("", {"version": 1})])
    out = io.BytesIO()
    TorchPickler(out, protocol=2).dump(state)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as z:
        z.writestr("archive/data.pkl", out.getvalue())
        z.writestr("archive/byteorder", "little")
        for i, b in enumerate(blobs):
            z.writestr("archive/data/%d" % i, b)
        z.writestr("archive/version", "3\n")


def write_safetensors(path, tensors, dtype):
    header, data = {"__metadata__": {"format": "pt"}}, b""
    for name, (shape, xs) in tensors.items():
        b = pack(dtype, xs)
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [len(data), len(data) + len(b)]}
        data += b
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + data)


def make(names):
    return {n: (s, [exact(x) for x in values(n, count_of(s))]) for n, s in names.items()}


def write_sharded(folder, stem, ext, tensors, writer, dtype):
    os.makedirs(folder, exist_ok=True)
    names = list(tensors)
    half = len(names) // 2
    parts = [names[:half], names[half:]]
    weight_map = {}
    for i, part in enumerate(parts):
        file = "%s-%05d-of-00002.%s" % (stem, i + 1, ext)
        writer(os.path.join(folder, file), {n: tensors[n] for n in part}, dtype)
        weight_map.update({n: file for n in part})
    with open(os.path.join(folder, "%s.%s.index.json" % (stem, ext)), "w") as f:
        json.dump({"metadata": {"total_size": 0}, "weight_map": weight_map}, f)


def main():
    sizes, out = json.load(open(sys.argv[1])), sys.argv[2]
    V = sizes["vocab_base"]
    llm, trunk, unet, vae = {}, {}, {}, {}
    for name, shape in sizes["names"].items():
        if name.startswith("mm_decoder.") and "llama_cross_attn" not in name:
            shape = [V] + shape[1:] if name.endswith("embed_tokens.weight") else shape
            llm["model." + name[len("mm_decoder."):]] = shape
        elif name == "text_decoder.head.weight":
            llm["lm_head.weight"] = [V] + shape[1:]
        elif name.startswith("visual_tokenizer.sniffer.vision_model.visual.trunk."):
            trunk[name[len("visual_tokenizer.sniffer.vision_model."):]] = shape
        elif name.startswith("visual_tokenizer.encoder.unet."):
            unet[name[len("visual_tokenizer.encoder.unet."):]] = shape
        elif name.startswith("visual_tokenizer.encoder.vae."):
            n = name[len("visual_tokenizer.encoder.vae."):]
            for new, old in (("to_q", "query"), ("to_k", "key"), ("to_v", "value"), ("to_out.0", "proj_attn")):
                n = n.replace("mid_block.attentions.0.%s." % new, "mid_block.attentions.0.%s." % old)
            vae[n] = shape
    Q, F = sizes["names"]["image_decoder.neg_prompt_embeds"][1:]
    text = {"text_model.embeddings.token_embedding.weight": [24, F],
            "text_model.embeddings.position_embedding.weight": [Q, F],
            "text_model.final_layer_norm.weight": [F], "text_model.final_layer_norm.bias": [F]}
    for i in range(2):
        at = "text_model.encoder.layers.%d." % i
        for p in ("q", "k", "v", "out"):
            text[at + "self_attn.%s_proj.weight" % p], text[at + "self_attn.%s_proj.bias" % p] = [F, F], [F]
        for p in ("1", "2"):
            text[at + "layer_norm%s.weight" % p], text[at + "layer_norm%s.bias" % p] = [F], [F]
        text[at + "mlp.fc1.weight"], text[at + "mlp.fc1.bias"] = [2 * F, F], [2 * F]
        text[at + "mlp.fc2.weight"], text[at + "mlp.fc2.bias"] = [F, 2 * F], [F]

    L, T, U, A, X = make(llm), make(trunk), make(unet), make(vae), make(text)
    rotary = {"model.layers.0.self_attn.rotary_emb.inv_freq": ([4], [1.0, 0.5, 0.25, 0.125])}
    write_sharded(os.path.join(out, "llama"), "pytorch_model", "bin", {**L, **rotary},
                  lambda p, t, d: write_bin(p, t, d, transposed={"model.layers.0.self_attn.q_proj.weight"}), "F16")
    write_sharded(os.path.join(out, "llama-st"), "model", "safetensors", L, write_safetensors, "BF16")
    os.makedirs(os.path.join(out, "convnext"), exist_ok=True)
    tower = {"logit_scale": ([], [1.0]), "text.token_embedding.weight": ([3, 2], [0.0] * 6),
             "visual.head.proj.weight": ([2, 2], [0.0] * 4)}
    write_bin(os.path.join(out, "convnext", "open_clip_pytorch_model.bin"), {**T, **tower}, "F32")
    for part, tensors in (("unet", U), ("vae", A), ("text_encoder", X), ("scheduler", None), ("tokenizer", None)):
        folder = os.path.join(out, "diffusion", part)
        os.makedirs(folder, exist_ok=True)
        if part == "unet":
            write_safetensors(os.path.join(folder, "diffusion_pytorch_model.safetensors"), tensors, "F32")
        elif part == "vae":
            write_bin(os.path.join(folder, "diffusion_pytorch_model.bin"), tensors, "F32")
        elif part == "text_encoder":
            write_safetensors(os.path.join(folder, "model.safetensors"), tensors, "F16")
            json.dump({"hidden_act": "gelu", "num_attention_heads": 2, "layer_norm_eps": 1e-05},
                      open(os.path.join(folder, "config.json"), "w"))
        elif part == "scheduler":
            json.dump({"prediction_type": "epsilon", "steps_offset": 1},
                      open(os.path.join(folder, "scheduler_config.json"), "w"))
        else:
            json.dump({"pad_token": "!"}, open(os.path.join(folder, "special_tokens_map.json"), "w"))
            json.dump({"!": 0, "x": 1}, open(os.path.join(folder, "vocab.json"), "w"))
    composite = {}
    for n, (s, xs) in L.items():
        composite["text_decoder.head.weight" if n == "lm_head.weight" else "mm_decoder." + n[6:]] = xs
    for n, (s, xs) in T.items():
        composite["visual_tokenizer.sniffer.vision_model." + n] = xs
    for n, (s, xs) in U.items():
        composite["visual_tokenizer.encoder.unet." + n] = xs
    for n, (s, xs) in A.items():
        for new, old in (("to_q", "query"), ("to_k", "key"), ("to_v", "value"), ("to_out.0", "proj_attn")):
            n = n.replace("mid_block.attentions.0.%s." % old, "mid_block.attentions.0.%s." % new)
        composite["visual_tokenizer.encoder.vae." + n] = xs
    json.dump(composite, open(os.path.join(out, "composite.json"), "w"))


if __name__ == "__main__":
    main()
