"""The deem loader in Python: ctypes on libdeem_loader.so, tensors by DLPack without a copy.

    import torch, deem_loader
    loader = deem_loader.Loader(
        sources=[{"name": "mmc4", "datasets": ["data/mmc4"], "weight": 2},
                 {"name": "pairs", "datasets": ["data/pairs"], "weight": 1}],
        seed=0, batch_global=16, batch_micro=4, image_side=256, decode_side=512)
    loader.seek(step)
    for batch in loader:
        ids = torch.from_dlpack(batch["text_ids"])      # (B, L) int32
        image = torch.from_dlpack(batch["image"])       # (I, 3, R, R) uint8

A batch's memory goes back to the loader when the batch and every tensor made from it are gone; at most
two batches may be in use. Names and shapes: loader/batch.h; options: loader/loader_export.h.
"""
import ctypes
import json
import os

__all__ = ["Loader", "LoaderError"]


class _Error(ctypes.Structure):
    _fields_ = [("cause", ctypes.c_int), ("sys", ctypes.c_int), ("code", ctypes.c_char * 32),
                ("text", ctypes.c_char * 1024)]


class _Tensor(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p), ("device_type", ctypes.c_int32),
                ("device_id", ctypes.c_int32), ("ndim", ctypes.c_int32),
                ("type_code", ctypes.c_uint8), ("type_bits", ctypes.c_uint8),
                ("type_lanes", ctypes.c_uint16), ("shape", ctypes.POINTER(ctypes.c_int64)),
                ("strides", ctypes.POINTER(ctypes.c_int64)), ("byte_offset", ctypes.c_uint64)]


class _Managed(ctypes.Structure):
    pass


_Deleter = ctypes.CFUNCTYPE(None, ctypes.POINTER(_Managed))
_Managed._fields_ = [("tensor", _Tensor), ("context", ctypes.c_void_p), ("deleter", _Deleter)]


class LoaderError(RuntimeError):
    """What went wrong; `cause` is the number of core/error.h."""

    def __init__(self, error):
        super().__init__(error.text.decode("utf-8", "replace"))
        self.cause = error.cause


def _find_library():
    here = os.path.dirname(os.path.abspath(__file__))
    names = [os.environ.get("DEEM_LOADER_LIBRARY")]
    names += [os.path.join(here, "..", "build", kind, "libdeem_loader.so")
              for kind in ("release", "cuda", "dev")]
    for name in names:
        if name and os.path.exists(name):
            return name
    raise OSError("libdeem_loader.so not found; set DEEM_LOADER_LIBRARY")


def _load():
    lib = ctypes.CDLL(_find_library())
    handle, error = ctypes.c_void_p, ctypes.POINTER(_Error)
    out = ctypes.POINTER(handle)
    signatures = {
        "open": (ctypes.c_int, [out, ctypes.c_char_p, ctypes.c_size_t, error]),
        "next": (ctypes.c_int, [handle, out, error]),
        "seek": (ctypes.c_int, [handle, ctypes.c_uint64, error]),
        "tell": (ctypes.c_uint64, [handle]),
        "stats": (ctypes.c_char_p, [handle]),
        "close": (None, [out]),
        "tensor": (ctypes.POINTER(_Managed), [handle, ctypes.c_char_p]),
        "describe": (ctypes.c_char_p, [handle]),
        "release": (None, [out]),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(lib, "loader_export_" + name)
        function.restype, function.argtypes = result, arguments
    return lib


_capsule_new = ctypes.pythonapi.PyCapsule_New
_capsule_new.restype = ctypes.py_object
_capsule_new.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
_capsule_valid = ctypes.pythonapi.PyCapsule_IsValid
_capsule_valid.restype = ctypes.c_int
_capsule_valid.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
_capsule_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_capsule_pointer.restype = ctypes.c_void_p
_capsule_pointer.argtypes = [ctypes.c_void_p, ctypes.c_char_p]


# A capsule that nobody consumed still owns its tensor; a consumer renames it.
@ctypes.CFUNCTYPE(None, ctypes.c_void_p)
def _drop_capsule(capsule):
    if _capsule_valid(capsule, b"dltensor"):
        managed = ctypes.cast(_capsule_pointer(capsule, b"dltensor"), ctypes.POINTER(_Managed))
        managed.contents.deleter(managed)


class Tensor:
    """One tensor of a batch: anything that takes DLPack takes it."""

    def __init__(self, batch, name):
        self._batch, self._name = batch, name
        managed = batch._managed(name)
        tensor = managed.contents.tensor
        self.shape = tuple(tensor.shape[i] for i in range(tensor.ndim))
        self.dtype = ("int", "uint")[tensor.type_code] + str(tensor.type_bits)
        self.address = tensor.data
        managed.contents.deleter(managed)

    def __dlpack__(self, *, stream=None, **_):
        return _capsule_new(ctypes.cast(self._batch._managed(self._name), ctypes.c_void_p),
                            b"dltensor", ctypes.cast(_drop_capsule, ctypes.c_void_p))

    def __dlpack_device__(self):
        return (1, 0)  # CPU


class Batch:
    """Tensors by name; `info` holds step, rows and pictures."""

    NAMES = ("text_ids", "attention_mask", "targets", "num_image_per_seq", "nearest_bos_idxs",
             "prompt_offset", "gt_text_ids", "image", "image_dec", "mask")

    def __init__(self, lib, handle):
        self._lib, self._handle = lib, handle
        text = lib.loader_export_describe(handle)
        if text is None:
            raise MemoryError("batch")
        self.info = json.loads(text)

    def _managed(self, name):
        managed = self._lib.loader_export_tensor(self._handle, name.encode())
        if not managed:
            raise KeyError(name)
        return managed

    def __getitem__(self, name):
        return Tensor(self, name)

    def __contains__(self, name):
        managed = self._lib.loader_export_tensor(self._handle, name.encode())
        if managed:
            managed.contents.deleter(managed)
        return bool(managed)

    def keys(self):
        return [name for name in self.NAMES if name in self]

    def release(self):
        """Gives the batch back now; tensors made from it keep it until they are gone."""
        if self._handle:
            self._lib.loader_export_release(ctypes.byref(self._handle))

    def __del__(self):
        self.release()


class Loader:
    """An endless iterator of batches; keyword arguments are the options of loader_export.h."""

    def __init__(self, **options):
        self._handle = ctypes.c_void_p()
        self._lib = _load()
        error = _Error()
        text = json.dumps(options).encode()
        if self._lib.loader_export_open(ctypes.byref(self._handle), text, len(text),
                                        ctypes.byref(error)) != 0:
            raise LoaderError(error)

    def __iter__(self):
        return self

    def __next__(self):
        handle, error = ctypes.c_void_p(), _Error()
        if self._lib.loader_export_next(self._handle, ctypes.byref(handle),
                                        ctypes.byref(error)) != 0:
            raise LoaderError(error)
        return Batch(self._lib, handle)

    def seek(self, step):
        """Goes to the first micro-batch of `step`; no batch may be in use."""
        error = _Error()
        if self._lib.loader_export_seek(self._handle, step, ctypes.byref(error)) != 0:
            raise LoaderError(error)

    def tell(self):
        return self._lib.loader_export_tell(self._handle)

    def stats(self):
        text = self._lib.loader_export_stats(self._handle)
        if text is None:
            raise MemoryError("stats")
        return json.loads(text)

    def close(self):
        if self._handle:
            self._lib.loader_export_close(ctypes.byref(self._handle))

    def __del__(self):
        self.close()
