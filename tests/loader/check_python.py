"""The Python binding on a fixture dataset: raw DLPack always, numpy and torch where they are installed.

    check_python.py FOLDER PACKAGE
"""
import ctypes
import gc
import sys

folder, package = sys.argv[1:3]
sys.path.insert(0, package)
import deem_loader  # noqa: E402


def open_loader(**more):
    options = dict(sources=[{"name": "mmc4", "datasets": [folder], "weight": 1}], seed=7,
                   batch_global=4, batch_micro=2, image_side=8, decode_side=16, threads=2,
                   masks=True)
    options.update(more)
    return deem_loader.Loader(**options)


def values(tensor):
    count = 1
    for n in tensor.shape:
        count *= n
    kind = {"int32": ctypes.c_int32, "uint8": ctypes.c_uint8}[tensor.dtype]
    return list((kind * count).from_address(tensor.address))


loader = open_loader()
first = []
for _ in range(6):
    batch = next(loader)
    assert set(batch.keys()) >= {"text_ids", "targets", "image", "image_dec"}, batch.keys()
    ids = batch["text_ids"]
    assert ids.shape[0] == 2 and ids.shape[1] % 64 == 0 and ids.dtype == "int32"
    assert batch["image"].shape[1:] == (3, 8, 8)
    for r, row in enumerate(batch.info["rows"]):
        line = values(ids)[r * ids.shape[1]:(r + 1) * ids.shape[1]]
        assert line[0] == 1 and line[1] - 3 + 256 * (line[2] - 3) == row["sequence"]
    first.append((values(ids), values(batch["image"])))
    del batch, ids
loader.seek(1)
assert loader.tell() == 1
batch = next(loader)
assert batch.info["micro_batch"] == 2
assert (values(batch["text_ids"]), values(batch["image"])) == first[2]

# two batches in use, no third; one given back, and it goes on
other = next(loader)
try:
    next(loader)
    raise SystemExit("a third batch was handed out")
except deem_loader.LoaderError as error:
    assert "held" in str(error), error
other.release()
third = next(loader)
third.release()
batch.release()
assert loader.stats()["batches"] >= 8

for wrong in (dict(batch_micro=3), dict(image_sid=8), dict(threads=-1), dict(geometry="round")):
    try:
        open_loader(**wrong)
        raise SystemExit(f"{wrong} was accepted")
    except deem_loader.LoaderError as error:
        assert error.cause == 1, error


def check_array_library(name, module):
    """Zero copy: same address; the batch lives as long as the array."""
    batch = next(loader)
    tensor = batch["image"]
    array = module.from_dlpack(tensor)
    address = array.data_ptr() if name == "torch" else array.__array_interface__["data"][0]
    assert address == tensor.address, "a copy was made"
    want = values(tensor)
    batch.release()
    del batch
    gc.collect()
    for _ in range(3):
        next(loader).release()
    assert [int(v) for v in array.reshape(-1)] == want, "the batch was given back too early"
    print("checked with", name, module.__version__)


for name in ("numpy", "torch"):
    try:
        module = __import__(name)
    except ImportError:
        print(f"{name} is not installed: zero copy is not checked with it")
        continue
    check_array_library(name, module)
loader.close()
print("ok")
