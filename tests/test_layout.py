"""The layout: which package may import which, read from the source.

`python tests/test_layout.py [CHECKOUT]` counts the modules of each folder and the imports between folders.
"""

import ast
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("crcfp_jax", "data_pipelines")

# From the bottom to the top: a room imports only rooms of lower floors. A room is a folder, and at the root of each
# package a module of its own where it lies elsewhere: settings at the bottom, what can be run above all that it runs.
FLOORS = (
    ("crcfp_jax.common",),
    ("crcfp_jax.config", "crcfp_jax.methods.systems"),
    (
        "data_pipelines",
        "data_pipelines.synthesis",
        "crcfp_jax.losses",
        "crcfp_jax.models.layers",
        "crcfp_jax.models.perturbations",
    ),
    ("data_pipelines.reading", "data_pipelines.storage", "crcfp_jax.models.encoders", "crcfp_jax.doctor"),
    ("data_pipelines.annotations", "crcfp_jax.models.decoders"),
    ("data_pipelines.study",),
    ("data_pipelines.builders",),
    ("data_pipelines.build", "crcfp_jax.models", "crcfp_jax.portable_model.to_onnx"),
    ("crcfp_jax.methods", "crcfp_jax.blending"),
    ("crcfp_jax.evaluation",),
    ("crcfp_jax.methods.terms",),
    ("crcfp_jax.training",),
    ("crcfp_jax.runs",),
    ("crcfp_jax.portable_model",),
    ("crcfp_jax.slides.writing",),
    ("crcfp_jax.slides",),
    ("crcfp_jax.queue",),
    ("crcfp_jax.tables", "crcfp_jax.review"),
    ("crcfp_jax", "crcfp_jax.crossvalidate", "crcfp_jax.figures"),
    ("crcfp_jax.suggest",),
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
MOST_MODULES = 18


def modules(root=ROOT):
    """Path of every module by its dotted name; a package's is that of its `__init__`."""
    found = {}
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def all_imports(path):
    """(line, dotted name) of every name that a file imports, within functions too: `from a import b` gives a.b."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def imports(path, known):
    """(line, module) of every import of `known` modules in a file."""
    for line, name in all_imports(path):
        if (module := name if name in known else name.rpartition(".")[0]) in known:
            yield line, module


def folder_of(name, path):
    """Dotted name of the folder that a module lies in."""
    return name if path.name == "__init__.py" else name.rpartition(".")[0]


def room_of(name, path):
    """The room of FLOORS that a module belongs to."""
    return name if name in FLOOR else folder_of(name, path)


def arrows(root=ROOT, room=folder_of):
    """(from, to): the imports, as (module, line, imported module), of every pair of rooms of which one imports other.

    An `__init__` that holds a docstring alone, as those of the packages, is nothing to import.
    """
    known = modules(root)
    empty = {name for name, path in known.items() if len(ast.parse(path.read_text()).body) <= 1}
    found = {}
    for name, path in known.items():
        for line, imported in imports(path, known):
            if imported in empty and known[imported].name == "__init__.py":
                continue
            pair = room(name, path), room(imported, known[imported])
            if pair[0] != pair[1]:
                found.setdefault(pair, []).append((name, line, imported))
    return found


def find_circle(pairs):
    """Rooms that import one another in a circle, or None."""
    following = {}
    for first, second in pairs:
        following.setdefault(first, set()).add(second)
    done = set()

    def walk(room, path):
        if room in path:
            return [*path[path.index(room) :], room]
        if room in done:
            return None
        for other in sorted(following.get(room, ())):
            if circle := walk(other, [*path, room]):
                return circle
        done.add(room)
        return None

    return next((circle for room in sorted(following) if (circle := walk(room, []))), None)


def test_every_module_has_a_floor():
    homeless = [name for name, path in modules().items() if room_of(name, path) not in FLOOR]
    assert not homeless, f"name the folders of these in FLOORS: {homeless}"


def test_imports_go_down():
    wrong = [
        f"{name}:{line} imports {imported}, but {above} is not below {room}"
        for (room, above), found in arrows(room=room_of).items()
        for name, line, imported in found
        if FLOOR[above] >= FLOOR[room]
    ]
    assert not wrong, "\n".join(wrong)


def test_no_circle_of_rooms():
    circle = find_circle(arrows(room=room_of))
    assert circle is None, " -> ".join(circle)


def test_no_circle_of_modules():
    circle = find_circle(arrows(room=lambda name, path: name))
    assert circle is None, " -> ".join(circle)


def test_data_pipelines_knows_common_alone():
    known = modules()
    wrong = [
        f"{name}:{line} imports {imported}"
        for name, path in known.items()
        if name.startswith("data_pipelines")
        for line, imported in imports(path, known)
        if imported.startswith("crcfp_jax") and not imported.startswith("crcfp_jax.common")
    ]
    assert not wrong, "\n".join(wrong)


def test_common_the_methods_data_and_the_doctor_never_import_jax():
    rooms = ("crcfp_jax.common", "crcfp_jax.methods.systems", "crcfp_jax.doctor")
    names = [name for name in modules() if name.startswith(rooms) and not name.endswith("__main__")]
    program = (
        f"import importlib, sys\nfor name in {names}:\n    importlib.import_module(name)\n"
        "    if 'jax' in sys.modules:\n        sys.exit(f'{name} imports jax')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr


def test_data_pipelines_never_imports_jax():
    # Read, not run: grain, which the loaders need, imports it by itself.
    wrong = [
        f"{name}:{line} imports {imported}"
        for name, path in modules().items()
        if name.startswith("data_pipelines")
        for line, imported in all_imports(path)
        if imported.split(".")[0] in ("jax", "flax", "optax")
    ]
    assert not wrong, "\n".join(wrong)


def test_folders_can_be_overlooked():
    crowded = {folder: number for folder, number in count_modules().items() if number > MOST_MODULES}
    assert not crowded, f"more than {MOST_MODULES} modules: {crowded}"


def test_no_module_only_passes_on():
    def passes_on(path):
        body = ast.parse(path.read_text()).body
        code = [node for node in body if not isinstance(node, ast.Expr)]
        return code and all(isinstance(node, ast.Import | ast.ImportFrom) for node in code)

    wrong = [name for name, path in modules().items() if passes_on(path)]
    assert not wrong, f"nothing but imports in {wrong}: import from where things are defined"


def test_tests_mirror_the_folders():
    folders = [path for package in PACKAGES for path in (ROOT / "tests" / package).rglob("*") if path.is_dir()]
    places = [path.relative_to(ROOT / "tests") for path in folders if path.name != "__pycache__"]
    strange = [place.as_posix() for place in places if not (ROOT / place / "__init__.py").is_file()]
    assert not strange, f"tests of packages that don't exist: {strange}"


def test_docstrings_name_what_is_there():
    """In `module.name`, module being one of ours, name stands in it."""
    homes = {}
    for path in modules().values():
        if path.name != "__init__.py":
            homes.setdefault(path.stem, []).append(path.read_text())
    wrong = [
        f"{path.relative_to(ROOT)}: `{module}.{name}`"
        for path in modules().values()
        for module, name in re.findall(r"`(\w+)\.(\w+)", path.read_text())
        if module in homes
        and name not in ("geojson", "jsonl")
        and not any(re.search(rf"\b{name}\b", home) for home in homes[module])
    ]
    assert not wrong, f"names of another time: {wrong}"


def count_modules(root=ROOT):
    """How many modules each folder holds, `__init__` not counted."""
    return Counter(folder_of(name, path) for name, path in modules(root).items() if path.name != "__init__.py")


def show_counts(root):
    """Prints the modules of each folder and the imports between folders."""
    counts, pairs = count_modules(root), arrows(root)
    print(f"{sum(counts.values())} modules in {len(counts)} folders")
    for folder, number in sorted(counts.items()):
        print(f"  {number:3d}  {folder}")
    print(f"{len(pairs)} arrows between folders, {sum(map(len, pairs.values()))} imports")
    for (first, second), found in sorted(pairs.items()):
        print(f"  {len(found):3d}  {first} -> {second}")
    both = sorted({tuple(sorted(pair)) for pair in pairs if pair[::-1] in pairs})
    print(f"{len(both)} pairs of folders import each other: {', '.join(' <-> '.join(pair) for pair in both) or '-'}")


if __name__ == "__main__":
    show_counts(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT)
