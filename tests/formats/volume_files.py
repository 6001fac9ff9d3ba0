"""Volumes written byte by byte, so that no library mends what a header says."""

import gzip
import struct

import numpy as np

CODES = {"uint8": 2, "int16": 4, "int32": 8, "float32": 16, "float64": 64, "int8": 256, "uint16": 512, "uint32": 768,
         "int64": 1024, "uint64": 1280}
META = {"int8": "MET_CHAR", "uint8": "MET_UCHAR", "int16": "MET_SHORT", "uint16": "MET_USHORT", "int32": "MET_INT",
        "uint32": "MET_UINT", "int64": "MET_LONG_LONG", "uint64": "MET_ULONG_LONG", "float32": "MET_FLOAT",
        "float64": "MET_DOUBLE"}
UPRIGHT = np.array([[-0.7, 0, 0, 20], [0, -0.6, 0, 16], [0, 0, 2.5, -50]])
"""RAS."""


def nifti(path, stored, slope=1.0, inter=0.0, *, sform=UPRIGHT, codes=(0, 1), pixdim=(0.7, 0.6, 2.5), qfac=1.0,
          units=2, quatern=(0, 0, 1), dims=(), zipped=False):
    """A NIfTI-1 file of `stored` (z, y, x) in its own byte order; the quaternion is that of `UPRIGHT`, and `dims` are
    further axes."""
    order = ">" if stored.dtype.byteorder == ">" else "<"
    z, y, x = stored.shape
    head = bytearray(352)
    for offset, form, *values in (
            (0, "i", 348), (40, "8h", 3 + len(dims), x, y, z, *(*dims, 1, 1, 1, 1)[:4]),
            (70, "2h", CODES[stored.dtype.name], 8 * stored.dtype.itemsize),
            (76, "8f", qfac, *pixdim, 0, 0, 0, 0), (108, "3f", 352, slope, inter), (123, "b", units),
            (252, "2h", *codes), (256, "6f", *quatern, *sform[:, 3]), (280, "12f", *np.ravel(sform)),
            (344, "4s", b"n+1")):
        struct.pack_into(order + form, head, offset, *values)
    data = bytes(head) + stored.tobytes()
    path.write_bytes(gzip.compress(data) if zipped else data)
    return path


def metaimage(path, stored, data=None, **fields):
    """A MetaImage of `stored` (z, y, x), with its voxels, or `data`, in a file beside a `.mhd`; None leaves a field
    out."""
    beside = path.suffix == ".mhd"
    z, y, x = stored.shape
    said = {"ObjectType": "Image", "NDims": 3, "BinaryData": True,
            "BinaryDataByteOrderMSB": stored.dtype.byteorder == ">", "DimSize": f"{x} {y} {z}",
            "ElementSpacing": "0.7 0.6 2.5", "ElementType": META[stored.dtype.name], **fields}
    said = {**said, "ElementDataFile": fields.get("ElementDataFile", path.with_suffix(".raw").name if beside
                                                  else "LOCAL")}
    data = stored.tobytes() if data is None else data
    head = "".join(f"{key} = {value}\n" for key, value in said.items() if value is not None).encode()
    path.write_bytes(head if beside else head + data)
    if beside:
        path.with_suffix(".raw").write_bytes(data)
    return path
