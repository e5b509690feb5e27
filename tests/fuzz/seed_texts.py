"""Annotations, the table of classes, and published weights."""

import gzip
import io
import json
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save
from seed import OneFile, digest_of

RING = [[10, 10], [60, 12], [55, 70], [12, 66], [10, 10]]
HOLE = [[20, 20], [30, 20], [30, 30], [20, 30], [20, 20]]


def _geojson() -> bytes:
    def feature(kind: str, coordinates: Any, name: str) -> dict:
        properties = {"objectType": "annotation", "classification": {"name": name, "color": [200, 0, 0]}}
        geometry = {"type": kind, "coordinates": coordinates}
        return {"type": "Feature", "id": "a", "geometry": geometry, "properties": properties}

    features = [
        feature("Polygon", [RING, HOLE], "gland"),
        feature("MultiPolygon", [[RING], [[[x + 100, y] for x, y in RING]]], "stroma"),
        feature("LineString", RING[:3], "gland"),
        feature("Point", [5.5, 7], "gland"),
    ]
    return json.dumps({"type": "FeatureCollection", "features": features}).encode()


def _imagescope() -> bytes:
    vertices = "".join(f'<Vertex X="{x}" Y="{y}" Z="0"/>' for x, y in RING)
    region = f'<Region Id="1" Type="0" NegativeROA="0" Text=""><Vertices>{vertices}</Vertices></Region>'
    layer = f'<Annotation Id="1" Name="gland" LineColor="255"><Regions>{region}</Regions></Annotation>'
    return f'<Annotations MicronsPerPixel="0.25">{layer}</Annotations>'.encode()


def _asap() -> bytes:
    places = "".join(f'<Coordinate Order="{n}" X="{x}" Y="{y}"/>' for n, (x, y) in enumerate(RING))
    one = f'<Annotation Name="a" Type="Polygon" PartOfGroup="gland" Color="#F4FA58"><Coordinates>{places}</Coordinates>'
    groups = '<Group Name="gland" PartOfGroup="None" Color="#64FE2E"><Attributes/></Group>'
    text = f"<ASAP_Annotations><Annotations>{one}</Annotation></Annotations>"
    return f"{text}<AnnotationGroups>{groups}</AnnotationGroups></ASAP_Annotations>".encode()


def _zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo("a.geojson"), _geojson())
    return buffer.getvalue()


def _read_annotations(path: Path) -> bytes:
    from data_pipelines.annotations.files import read_annotations

    found = read_annotations(path)
    return digest_of([(a.geometry.wkt, a.name, a.colour, a.label) for a in found.annotations])


CLASS_TABLE = b"""background = "stroma"
ignored = ["artefact", 7]

[[class]]
name = "tumour"
colour = "#c80000"
aliases = ["Tumor", "carcinoma"]
values = [1, 2]
"""


def _read_class_table(path: Path) -> bytes:
    from data_pipelines.annotations.table import read_class_table

    return digest_of([read_class_table(path)])


ANNOTATIONS = {
    "a.geojson": OneFile(_geojson, _read_annotations, "text"),
    "a.geojson.gz": OneFile(lambda: gzip.compress(_geojson(), mtime=0), _read_annotations, checked=True),
    "a.zip": OneFile(_zipped, _read_annotations, checked=True),
    "imagescope.xml": OneFile(_imagescope, _read_annotations, "text"),
    "asap.xml": OneFile(_asap, _read_annotations, "text"),
    "classes.toml": OneFile(lambda: CLASS_TABLE, _read_class_table, "text"),
}


def _safetensors() -> bytes:
    return save({"w": np.arange(12, dtype=np.float32).reshape(3, 4), "b": np.ones(4, np.float16)})


def _torch_zip() -> bytes:
    """As torch.save writes it, by hand: PyTorch is not needed to test."""
    storage = b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuL12L\ntQ"
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"L0L\n(L3L\nL4L\nt(L4L\nL1L\ntI00\n}tR"
    table = b"\x80\x02}(X\x01\0\0\0w" + tensor + b"u."
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in (("data.pkl", table), ("data/0", struct.pack("<12f", *range(12))), ("version", b"3\n")):
            archive.writestr(zipfile.ZipInfo(f"archive/{name}"), content)
    return buffer.getvalue()


def _torch_old() -> bytes:
    storage = b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuL4L\nNtQ"
    tensor = b"ctorch._utils\n_rebuild_tensor\n(" + storage + b"L0L\n(L2L\nL2L\nt(L2L\nL1L\nttR"
    head = [pickle.dumps(value, 2) for value in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})]
    data = pickle.dumps(["0"], 2) + struct.pack("<q4f", 4, 1, 2, 3, 4)
    return b"".join([*head, b"\x80\x02}(X\x01\0\0\0w" + tensor + b"u.", data])


def _read_weights(path: Path) -> bytes:
    from crcfp_jax.models.encoders.weight_files import read_tensors

    return digest_of(part for name, array in sorted(read_tensors(path).tensors.items()) for part in (name, array))


WEIGHTS = {
    "a.safetensors": OneFile(_safetensors, _read_weights),
    "zip.pth": OneFile(_torch_zip, _read_weights, checked=True),
    "old.pth": OneFile(_torch_old, _read_weights),
}
