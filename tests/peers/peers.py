"""Loaders side by side: pictures of one tar to a centre crop at 256 and 512 pixels, uint8, batches of 40.

    peers.py TAR FOLDER WORKERS EPOCHS [PEER...]

All but deem, SPDL and FFCV run one function on Pillow (data.md 6.1, bit for bit what deem gives); SPDL decodes
and resizes with its own FFmpeg. Each peer runs in a process of its own, once for WORKERS epochs and once
for WORKERS x (EPOCHS + 1); the difference is free of imports and start. Processor time counts all workers and
holds on a machine that others use, too.
"""
import importlib.metadata
import io
import os
import pathlib
import resource
import subprocess
import sys
import tarfile
import time

tar, folder, workers, epochs = sys.argv[1], pathlib.Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
BATCH, SIDES = 40, (256, 512)


def read_tar():
    with tarfile.open(tar) as archive:
        return [archive.extractfile(m).read() for m in archive if m.name.endswith(".jpg")]


def transform(data):
    """Both tensors by Pillow, channel first."""
    import numpy
    from PIL import Image
    picture = Image.open(io.BytesIO(data)).convert("RGB")
    out = []
    for side in SIDES:
        im = picture
        while min(im.size) >= 2 * side:
            im = im.resize((im.width // 2, im.height // 2), Image.BOX)
        f = side / min(im.size)
        im = im.resize((round(im.width * f), round(im.height * f)), Image.BICUBIC)
        x, y = (im.width - side) // 2, (im.height - side) // 2
        pixels = numpy.asarray(im.crop((x, y, x + side, y + side)))
        out.append(numpy.ascontiguousarray(pixels.transpose(2, 0, 1)))
    return out


def collate(samples):
    import numpy
    import torch
    return [torch.from_numpy(numpy.stack(column)) for column in zip(*samples)]


def decode_sample(sample):
    return transform(sample["jpg"])


def count(batches):
    return sum(len(batch[0]) for batch in batches)


def pillow_alone(n):
    files = read_tar()
    for _ in range(n):
        for data in files:
            transform(data)
    return n * len(files)


def webdataset(n):
    import torch
    import webdataset
    data = webdataset.WebDataset([tar] * workers, shardshuffle=False, empty_check=False,
                                 nodesplitter=None, workersplitter=webdataset.split_by_worker)
    loader = torch.utils.data.DataLoader(data.map(decode_sample), BATCH, num_workers=workers,
                                         collate_fn=collate, persistent_workers=True)
    return sum(count(loader) for _ in range(n // workers))  # each worker reads a tar of its own


def streaming(n):
    import streaming as mosaic
    import torch
    where = folder / "mds"
    if not where.exists():
        with mosaic.MDSWriter(out=str(where), columns={"jpg": "bytes"}) as writer:
            for data in read_tar():
                writer.write({"jpg": data})
    mosaic.base.util.clean_stale_shared_memory()

    class Pictures(mosaic.StreamingDataset):
        def __getitem__(self, i):
            return transform(super().__getitem__(i)["jpg"])
    data = Pictures(local=str(where), shuffle=False, batch_size=BATCH)
    loader = torch.utils.data.DataLoader(data, BATCH, num_workers=workers, collate_fn=collate,
                                         persistent_workers=True)
    return sum(count(loader) for _ in range(n))


def itself(data):
    return data


def litdata(n):
    import litdata as lit
    where = folder / "litdata"
    if not where.exists():
        lit.optimize(itself, [{"jpg": data} for data in read_tar()], str(where), chunk_bytes="64MB",
                     num_workers=1, start_method="fork", verbose=False)

    class Pictures(lit.StreamingDataset):
        def __getitem__(self, i):
            return transform(super().__getitem__(i)["jpg"])
    loader = lit.StreamingDataLoader(Pictures(str(where), shuffle=False), batch_size=BATCH, num_workers=workers,
                                     collate_fn=collate, persistent_workers=True)
    return sum(count(loader) for _ in range(n))


def energon(n):
    import megatron.energon as energon
    where = folder / "energon"
    if not where.exists():
        where.mkdir()
        (where / "00000.tar").symlink_to(os.path.abspath(tar))
        subprocess.run([pathlib.Path(sys.executable).parent / "energon", "prepare", "--non-interactive",
                        "--split-ratio", "1,0,0", "--sample-type", "CrudeWebdataset", str(where)],
                       check=True, stdout=subprocess.DEVNULL)

    class Encoder(energon.DefaultTaskEncoder):
        cookers = [energon.Cooker(lambda sample: energon.ImageSample(
            **energon.basic_sample_keys(sample), image=sample["jpg"]))]
        decoder = None

        def encode_sample(self, sample):
            sample.image = transform(sample.image)
            return sample

        def batch(self, samples):
            return collate([sample.image for sample in samples])

        def encode_batch(self, batch):
            return batch
    config = energon.WorkerConfig(rank=0, world_size=1, num_workers=workers)
    data = energon.get_train_dataset(str(where), worker_config=config, batch_size=BATCH,
                                     shuffle_buffer_size=None, max_samples_per_sequence=None,
                                     task_encoder=Encoder())
    want, got = n * len(read_tar()), 0
    for batch in energon.get_loader(data):
        got += len(batch[0])
        if got >= want:
            return got


def spdl(n):
    import spdl.io
    from spdl.pipeline import PipelineBuilder
    filters = [spdl.io.get_video_filter_desc(
        filter_desc=f"scale={s}:{s}:force_original_aspect_ratio=increase:flags=bicubic,crop={s}:{s}",
        pix_fmt="rgb24") for s in SIDES]
    files = read_tar()

    def decode(data):
        packets = [spdl.io.demux_image(data) for _ in SIDES]
        return [spdl.io.decode_packets(p, filter_desc=f) for p, f in zip(packets, filters)]

    def convert(samples):
        return [spdl.io.to_numpy(spdl.io.convert_frames(list(column))).transpose(0, 3, 1, 2).copy()
                for column in zip(*samples)]
    pipeline = (PipelineBuilder().add_source(data for _ in range(n) for data in files)
                .pipe(decode, concurrency=workers, output_order="input").aggregate(BATCH)
                .pipe(convert, output_order="input").add_sink(2).build(num_threads=workers, max_failures=0))
    with pipeline.auto_stop():
        return count(pipeline)


def ffcv(n):
    import ffcv.fields
    import ffcv.loader
    raise NotImplementedError(f"FFCV {ffcv.__version__} is installed; its transform is not written")


def deem(n):
    import deem_loader
    import torch
    loader = deem_loader.Loader(
        sources=[{"name": "pairs", "datasets": [str(folder / "dataset")], "weight": 1}], batch_global=4,
        batch_micro=4, image_side=SIDES[0], decode_side=SIDES[1], threads=workers)
    want, got = n * len(read_tar()), 0
    for batch in loader:
        both = [torch.from_dlpack(batch[name]) for name in ("image", "image_dec")]
        got += len(batch.info["images"])
        del both, batch
        if got >= want:
            return got


PEERS = {"deem": (deem, "deem"), "pillow, no loader": (pillow_alone, "pillow"),
         "torch DataLoader + webdataset + Pillow": (webdataset, "webdataset"),
         "MosaicML Streaming + Pillow": (streaming, "mosaicml-streaming"),
         "LitData + Pillow": (litdata, "litdata"), "Energon + Pillow": (energon, "megatron-energon"),
         "SPDL (FFmpeg)": (spdl, "spdl"), "FFCV": (ffcv, "ffcv")}


def measure(name, n):
    """Pictures, wall and processor seconds of a process of its own."""
    begin = time.monotonic()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, __file__, *sys.argv[1:5], "--one", name, str(n)],
                          capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    wall = time.monotonic() - begin
    if done.returncode:
        raise RuntimeError((done.stderr.strip().splitlines() or ["no message"])[-1])
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    pictures = int(done.stdout.split()[-1])
    if pictures == 0:
        raise RuntimeError((done.stderr.strip().splitlines() or ["no picture came"])[-1])
    return pictures, wall, cpu


def version(package):
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "this tree" if package == "deem" else "not installed"


def main():
    if "--one" in sys.argv:
        at = sys.argv.index("--one")
        print(PEERS[sys.argv[at + 1]][0](int(sys.argv[at + 2])))
        return
    wanted = sys.argv[5:] or list(PEERS)
    lines = ["| loader | version | pictures/s | pictures per processor second |", "| --- | --- | --- | --- |"]
    for name in wanted:
        try:
            measure(name, workers)  # writes its format, fills the page cache
            some, some_wall, some_cpu = measure(name, workers)
            many, wall, cpu = measure(name, workers * (1 + epochs))
            lines.append(f"| {name} | {version(PEERS[name][1])} | {(many - some) / (wall - some_wall):.1f} "
                         f"| {(many - some) / (cpu - some_cpu):.1f} |")
        except RuntimeError as error:
            lines.append(f"| {name} | {version(PEERS[name][1])} | {error} | |")
        print(lines[-1], flush=True)
    (folder / "result.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
