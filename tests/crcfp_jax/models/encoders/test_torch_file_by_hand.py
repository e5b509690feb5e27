"""PyTorch's files put together by hand: the old format, and every way in which a table can be none."""

import io
import pickle
import struct
import zipfile

import numpy as np
import pytest

from crcfp_jax.common.errors import UserError
from crcfp_jax.models.encoders.pickle_table import DamagedFile, PickleReader, Placeholder
from crcfp_jax.models.encoders.torch_file import MAGIC_NUMBER, PROTOCOL_VERSION, read_torch_file
from crcfp_jax.models.encoders.weight_files import read_tensors


def old_file(path, table, *, keys=(), data=b""):
    """A file of the old format, from the pickle of its table."""
    parts = [pickle.dumps(value, 2) for value in (MAGIC_NUMBER, PROTOCOL_VERSION, {"little_endian": True})]
    path.write_bytes(b"".join([*parts, table, pickle.dumps(list(keys), 2), data]))
    return path


class Call:
    """Pickles as a call of a global that doesn't exist here."""

    def __init__(self, name, *arguments):
        self.name, self.arguments = name, arguments


class Storage(tuple):
    __slots__ = ()


class Named:
    def __init__(self, name):
        self.name = name


def pickled(value):
    """A pickle, by hand, of dicts, lists, tuples, text, integers, calls and storages."""
    match value:
        case Named():
            module, _, name = value.name.rpartition(".")
            return f"c{module}\n{name}\n".encode()
        case Call():
            return pickled(Named(value.name)) + pickled(value.arguments) + b"R"
        case Storage():
            return pickled(tuple(value)) + b"Q"
        case dict():
            items = b"".join(pickled(key) + pickled(item) for key, item in value.items())
            return b"}(" + items + b"u"
        case tuple():
            return b"(" + b"".join(map(pickled, value)) + b"t"
        case str():
            return b"X" + struct.pack("<I", len(value)) + value.encode()
        case None:
            return b"N"
        case int():
            return f"L{value}L\n".encode()
    raise TypeError(value)


def one_tensor(*, kind="torch.FloatStorage", count=4, first=0, shape=(2, 2), strides=(2, 1), view=None):
    storage = Storage(("storage", Named(kind), "0", "cpu", count, view))
    return b"\x80\x02" + pickled({"w": Call("torch._utils._rebuild_tensor", storage, first, shape, strides)}) + b"."


DATA = struct.pack("<q4f", 4, 1, 2, 3, 4)


def test_file_by_hand(tmp_path):
    path = old_file(tmp_path / "a", one_tensor(strides=(1, 2)), keys=["0"], data=DATA)
    np.testing.assert_array_equal(read_torch_file(path).tables[""]["w"], [[1, 3], [2, 4]])


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"shape": (3, 2)}, "reaches beyond"),
        ({"first": 1}, "reaches beyond"),
        ({"first": -1}, "no proper shape"),
        ({"strides": (-2, 1)}, "no proper shape"),
        ({"strides": (1,)}, "no proper shape"),
        ({"shape": (2**40, 2**40), "strides": (0, 0)}, "larger than the file"),
        ({"shape": (1,) * 100, "strides": (0,) * 100}, "no proper shape"),
        ({"shape": (0, 2**62, 2**62), "strides": (0, 0, 0)}, "does not fit"),
        ({"shape": ("2", 2)}, "no proper shape"),
        ({"count": 2**60}, "nothing tells of"),
        ({"count": -4}, "without a proper name or length"),
        ({"kind": "os.system"}, "not known here"),
        ({"view": ("1", 0, 2)}, "views of storages"),
    ],
)
def test_tensor_that_is_none(tmp_path, changes, reason):
    path = old_file(tmp_path / "a.pt", one_tensor(**changes), keys=["0"], data=DATA)
    with pytest.raises(UserError, match=rf"a\.pt can't be used as weights: .*{reason}"):
        read_tensors(path)


@pytest.mark.parametrize(
    ("keys", "data", "reason"),
    [
        (["0"], DATA[:-1], "cut short"),
        (["0"], struct.pack("<Q", 2**63), "nothing tells of"),
        (["1"], DATA, "nothing tells of"),
        ([], b"", "storage 0 in it is missing"),
        (["0", "0"], DATA * 2, "no proper list"),
    ],
)
def test_storages_that_are_none(tmp_path, keys, data, reason):
    with pytest.raises(UserError, match=reason):
        read_tensors(old_file(tmp_path / "a.pt", one_tensor(), keys=keys, data=data))


@pytest.mark.parametrize(
    "hostile",
    [
        b"\x80\x02r\xff\xff\xff\xff.",  # a memo of 2^32 places
        b"\x80\x02]r\xff\xff\xff\x7f.",
        b"\x80\x04\x8e" + struct.pack("<Q", 2**62),  # a text of 2^62 bytes
        b"\x80\x04\x8d" + struct.pack("<Q", 2**40) + b"abc.",
        b"\x80\x02L" + b"9" * 10000 + b"L\n.",
        b"(" * 10000,
        b"]" * 20000 + b"a" * 19999 + b".",  # lists in lists
        b"\x80\x02\x82\x01.",  # the registry of extensions
        b"t.", b"R.", b"u.", b"0.", b"2.", b"a.", b"h\x05.", b".", b"",
        b"cos\nsystem\nX\x02\x00\x00\x00lsR.",
    ],
)  # fmt: skip
def test_hostile_pickle(tmp_path, hostile):
    with pytest.raises(UserError, match=r"a\.pt can't be used as weights"):
        read_tensors(old_file(tmp_path / "a.pt", hostile))


def test_tuples_in_tuples_as_a_key(tmp_path):
    # t = (t, t), sixty times: its hash would take 2^60 steps
    nested = b"K\x01" + b"q\x00h\x00\x86" * 60
    path = old_file(tmp_path / "a.pt", b"\x80\x02}" + nested + b"K\x01s.")
    with pytest.raises(UserError, match="holds no table"):
        read_tensors(path)


def old_file_with_keys(path, table, keys):
    """As old_file, from the pickle of its list of storages too."""
    parts = [pickle.dumps(value, 2) for value in (MAGIC_NUMBER, PROTOCOL_VERSION, {"little_endian": True})]
    path.write_bytes(b"".join([*parts, table, keys]))
    return path


@pytest.mark.parametrize(
    "keys",
    [
        b"\x80\x02)q\x010" + 40 * b"h\x01h\x01\x86q\x010" + b"]h\x01a.",  # written out it has 2 ** 40 parts
        b"\x80\x02" + 200_000 * b"]" + 199_999 * b"a" + b".",
        pickle.dumps([10**5000], 2),
    ],
    ids=["tuples in tuples", "lists in lists", "a long number"],
)
def test_what_is_no_list_of_storages_is_not_written_out(tmp_path, keys):
    path = old_file_with_keys(tmp_path / "w.pth", pickle.dumps({}, 2), keys)
    with pytest.raises(DamagedFile, match="no proper list of storages"):
        read_torch_file(path)


def test_long_integers_are_no_keys(tmp_path):
    path = old_file(tmp_path / "w.pth", pickle.dumps({10**5000: 1, 2**63: 1, "epoch": 3}, 2))
    assert read_torch_file(path).others == ["what a number stands for", "epoch"]
    length = 2_000_000
    number = b"\x8b" + struct.pack("<i", length) + length * b"\x11"
    # Each of these would hash two megabytes: 20 s in all.
    hostile = b"\x80\x02" + number + b"q\x010}" + 20_000 * b"h\x01Ns" + b"."
    assert not read_torch_file(old_file(tmp_path / "w.pth", hostile)).tables


def test_one_name_again_and_again(tmp_path):
    name = b"X" + struct.pack("<I", 10**6) + b"a" * 10**6 + b"q\x00"
    path = old_file(tmp_path / "a.pt", b"\x80\x04" + name + b"h\x00\x93" * 10**5 + b".")
    with pytest.raises(UserError, match="too long a text"):
        read_tensors(path)


def test_ordered_dicts_of_python_2():
    pairs = b"(lp0\n(lp1\nS'a'\naI1\naa"
    seen = []

    def call(name, arguments):
        seen.append((name, arguments))
        return Placeholder(name)

    PickleReader(io.BytesIO(b"ccollections\nOrderedDict\n(" + pairs + b"tR."), call, Placeholder).read()
    assert seen == [("collections.OrderedDict", ([["a", 1]],))]


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED])
def test_zip_that_grows(tmp_path, compression):
    path = tmp_path / "a.pt"
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("a/data.pkl", one_tensor(count=10**7, shape=(10**7,), strides=(1,)).replace(b"NtQ", b"tQ"))
        if compression == zipfile.ZIP_DEFLATED:
            archive.writestr("a/data/0", bytes(4 * 10**7))
    reason = "compressed or larger" if compression == zipfile.ZIP_DEFLATED else "it lacks data/0"
    with pytest.raises(UserError, match=reason):
        read_tensors(path)


def test_other_files(tmp_path):
    for content, reason in (
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "pointer of Git LFS"),
        (b"\n<!DOCTYPE html>", "a web page"),
        (b"", "something else"),
        (b"hello", "something else"),
        (b"\x80\x02K\x01.", "none that torch.save has written"),
    ):
        path = tmp_path / "a.pth"
        path.write_bytes(content)
        with pytest.raises(UserError, match=rf"a\.pth .*{reason}"):
            read_tensors(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(UserError, match="a zip archive, but none"):
        read_tensors(path)
    with pytest.raises(DamagedFile, match="no file of tensors"):
        path.write_bytes(b"hello")
        read_torch_file(path)
