"""Synthetic tissue: the same from the same seed, all classes there, hospitals that differ, Beer and Lambert's law."""

import numpy as np
import pytest

from data_pipelines.builders import synthetic
from data_pipelines.synthesis import layout, staining, synthesise
from data_pipelines.synthesis.tissue import cells

ALL_HOSPITALS = [hospital for hospitals in synthetic.HOSPITALS.values() for hospital in hospitals]


@pytest.fixture(scope="module")
def tiles():
    """Four tiles of every hospital: {hospital: (images [4, 256, 256, 3], labels [4, 256, 256])}."""
    drawn = {h: [synthesise(synthetic.SEED, h, index) for index in range(4)] for h in ALL_HOSPITALS}
    return {h: tuple(np.stack(part) for part in zip(*pairs, strict=True)) for h, pairs in drawn.items()}


def test_same_arguments_give_the_same_bytes(tiles):
    image, label = synthesise(synthetic.SEED, "H03", 2)
    assert image.shape == (256, 256, 3) and label.shape == (256, 256)
    assert image.dtype == label.dtype == np.uint8
    assert image.tobytes() == tiles["H03"][0][2].tobytes()
    assert label.tobytes() == tiles["H03"][1][2].tobytes()


@pytest.mark.parametrize("arguments", [(1, "H03", 0), (0, "H03", 1), (0, "H04", 0)])
def test_another_seed_index_or_hospital_gives_another_tile(arguments):
    image, label = synthesise(0, "H03", 0, size=64)
    other_image, other_label = synthesise(*arguments, size=64)
    assert np.mean(image != other_image) > 0.5
    assert not np.array_equal(label, other_label)


def test_unknown_hospital():
    with pytest.raises(KeyError, match="H15"):
        synthesise(0, "H15", 0, size=64)


def test_every_class_has_a_sensible_share(tiles):
    labels = np.stack([labels for _, labels in tiles.values()])
    counts = np.bincount(labels.ravel(), minlength=256)
    assert set(np.flatnonzero(counts)) == {0, 1, 2, 3, 4, 255}
    shares = counts / counts.sum()
    assert shares[:5].min() >= 0.06 and shares[:5].max() <= 0.40
    assert 0.03 <= shares[255] <= 0.15
    assert (labels[..., 0] == 255).all()  # the border


def test_regions_show_what_they_are_named_after(tiles):
    """In every hospital nuclei crowd in infiltrate more than in stroma (less red light), and stroma is pinker."""
    for hospital, (images, labels) in tiles.items():
        red, green = images[..., 0].astype(float), images[..., 1].astype(float)
        excess = red - green
        infiltrate, stroma = labels == 2, labels == 1
        if min(infiltrate.sum(), stroma.sum()) > 2000:
            assert red[infiltrate].std() > red[stroma].std(), hospital
            assert excess[stroma].mean() > excess[infiltrate].mean() + 5, hospital


def test_hospitals_differ_in_the_direction_of_their_optical_density(tiles):
    directions, darkness = [], []
    for images, _ in tiles.values():
        density = -np.log10((images.reshape(-1, 3).astype(float) + 1) / 256).mean(0)
        directions.append(density / np.linalg.norm(density))
        darkness.append(density.sum())
    training = np.stack(directions[:8])
    angles = np.degrees(np.arccos(np.clip(training @ training.T, -1, 1)))
    assert angles.max() > 12  # degrees
    assert np.median(angles[np.triu_indices(8, 1)]) > 4
    assert max(darkness) > 1.5 * min(darkness)


def test_training_hospitals_are_an_orthogonal_array():
    assert np.array_equal(staining.TRAINING.T @ staining.TRAINING, 8 * np.eye(7))


def test_other_hospitals_lie_within_the_training_range():
    stains = np.stack([staining.appearance(h).stains for h in ALL_HOSPITALS])
    assert (stains[8:] <= stains[:8].max(0) + 1e-6).all() and (stains[8:] >= stains[:8].min(0) - 1e-6).all()
    for trait in ("thickness", "gamma", "blur", "noise", "magnification"):
        values = [getattr(staining.appearance(h), trait) for h in ALL_HOSPITALS]
        assert min(values[:8]) <= min(values[8:]) + 1e-9 and max(values[8:]) <= max(values[:8]) + 1e-9


def test_beer_lambert_by_hand():
    look = staining.Appearance(
        stains=np.array([[0.6, 0.5, 0.25], [0.1, 1.0, 0.5], [0.2, 0.9, 0.9]], np.float32),
        thickness=2.0,
        white=np.array([1.0, 0.9, 0.8], np.float32),
        gamma=1.0,
        blur=0.5,
        noise=0.0,
        magnification=1.0,
    )
    light = staining.transmit(np.array([[[0.5, 0.25, 0.0], [0.0, 0.0, 0.0]]], np.float32), look)
    # Densities: 2 * (0.5 * 0.6 + 0.25 * 0.1) = 0.65; 2 * (0.25 + 0.25) = 1; 2 * (0.125 + 0.125) = 0.5.
    by_hand = [10**-0.65, 0.9 * 0.1, 0.8 * 10**-0.5]
    np.testing.assert_allclose(light[0, 0], by_hand, rtol=1e-5)
    np.testing.assert_allclose(light[0, 1], look.white, rtol=1e-6)  # empty glass


def test_a_share_of_the_pixels_goes_to_the_highest_values():
    kind = np.full((2, 5), layout.STROMA, np.uint8)
    kind[0, 0] = layout.FAT
    field = np.arange(10, dtype=np.float32)[::-1].reshape(2, 5)  # highest where fat is already
    layout._paint(kind, field, kind == layout.STROMA, 0.3, layout.TUMOUR)
    assert np.flatnonzero(kind.ravel() == layout.TUMOUR).tolist() == [1, 2, 3]


def test_crumbs_go_to_the_tissue_around_them():
    kind = np.full((64, 64), layout.STROMA, np.uint8)
    kind[:, 40:] = layout.TUMOUR
    clean = kind.copy()
    kind[10:14, 10:14] = layout.NECROSIS
    kind[20:24, 50:54] = layout.STROMA
    assert np.array_equal(layout._without_crumbs(kind), clean)


def test_packed_cells_have_their_spacing():
    rim, centre, number = cells(np.random.default_rng(0), 128, 10.0)
    assert 100 < number.max() < 350  # 128 / 10 squared is 164; packing at random is a little denser
    assert rim.shape == centre.shape == (128, 128) and centre.min() == 0 and centre.max() < 16


def test_plan_has_one_source_per_hospital(monkeypatch):
    monkeypatch.setattr(synthetic, "SIDE", 48)
    found = synthetic.find_sources(None)
    assert [(source.name, source.split) for source in found.sources][7:11] == [
        ("H08", "train"),
        ("H09", "validation"),
        ("H10", "validation"),
        ("H11", "test"),
    ]
    assert len(found.sources) == 14 and found.faults == ()
    stored = list(found.sources[8].tiles())
    assert len(stored) == synthetic.TILES_PER_HOSPITAL["validation"] == 8
    assert stored[5].id == "H09-005" and stored[5].hospital == "H09" and stored[5].patient == "H09-P2"
    assert stored[5].image.shape == (48, 48, 3)
    assert len({tile.id for tile in stored}) == 8
    assert [c.name for c in synthetic.RECIPE.classes] == ["tumour", "stroma", "inflammatory", "necrosis", "other"]
