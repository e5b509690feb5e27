"""What may differ when a run folder is resumed."""

import json
from pathlib import Path

import pytest
from tiny import tiny_config

from crcfp_jax.common.errors import UserError
from crcfp_jax.config import check_values
from crcfp_jax.runs.settings import check_resumable, check_rules, keep_pixels, load_config

FOLDER = Path("runs/one")


def settings(fingerprint="aa", **changes):
    data = {"name": "bcss", "side": 320, "threads": 4, "flips": "horizontal", "whole_view_scale": 0.8}
    values = {"seed": 1, "data": data, "train": {"steps": 100}, "evaluation": {"model": "student"}}
    for key, value in changes.items():
        group, _, name = key.partition("__")
        if name:
            values[group][name] = value
        else:
            values[key] = value
    return values | {"data_fingerprint": fingerprint}


def older(**changes):
    """Settings of the time when there was no scale of the whole view."""
    values = settings(**changes)
    del values["data"]["whole_view_scale"]
    return values


def test_the_same_settings_and_harmless_changes_pass():
    assert check_resumable(settings(), settings(), FOLDER) == []
    assert check_resumable(settings(), settings(data__threads=16), FOLDER) == []


def test_more_steps_are_told():
    (note,) = check_resumable(settings(), settings(train__steps=200), FOLDER)
    assert note.startswith("config.train.steps was 100, now 200")


def test_every_differing_key_is_named():
    with pytest.raises(UserError) as caught:
        check_resumable(settings(), settings(seed=2, data__side=256), FOLDER)
    assert str(caught.value) == (
        "runs/one holds a run with other settings: config.data.side was 320, now 256, config.seed was 1, now 2; "
        "undo that or give another --workdir"
    )


def test_another_build_of_the_data_set_is_named():
    with pytest.raises(UserError, match=r"another build of data set 'bcss' \(data_fingerprint aa, now bb\)"):
        check_resumable(settings(), settings(fingerprint="bb"), FOLDER)


def test_another_split_is_named_and_follows_from_other_settings():
    one, other = settings() | {"split_hash": "aa"}, settings() | {"split_hash": "bb"}
    assert check_resumable(one, one, FOLDER) == []
    with pytest.raises(UserError) as caught:
        check_resumable(one, other, FOLDER)
    assert str(caught.value) == (
        "runs/one was trained on another split of data set 'bcss': the lists in its splits.json were others; restore "
        "them, or give another --workdir"
    )
    with pytest.raises(UserError, match=r"other settings: config\.seed was 1, now 2; undo"):
        check_resumable(one, other | {"seed": 2}, FOLDER)
    with pytest.raises(UserError, match="another build of data set 'bcss'"):
        check_resumable(one, other | {"data_fingerprint": "bb"}, FOLDER)


def test_a_run_from_before_the_split_was_remembered_opens():
    assert check_resumable(settings(), settings() | {"split_hash": "bb"}, FOLDER) == []
    stored = {"data": {"side": 64}, "data_fingerprint": "aa", "split_hash": "bb"}
    assert load_config(stored, FOLDER).data.side == 64


def test_stored_settings_come_back_locked_and_whole():
    config = load_config({"seed": 7, "data": {"side": 64}, "data_fingerprint": "aa"}, FOLDER)
    assert (config.seed, config.data.side, config.data.base_size) == (7, 64, 400)
    with pytest.raises(AttributeError):
        config.sede = 1


def test_a_run_that_goes_on_sees_its_images_as_before(tmp_path):
    config = tiny_config(model__pretrained="another")
    model = {"decoder_width": 32, "pixel_mean": [0.5, 0.5, 0.5], "pixel_deviation": [0.2, 0.2, 0.2]}
    stored = settings(model=model)
    (tmp_path / "config.json").write_text(json.dumps(stored))
    assert keep_pixels(config, tmp_path).model.pixel_mean == ()  # no checkpoint: nothing goes on
    (tmp_path / "checkpoints" / "4").mkdir(parents=True)
    kept = keep_pixels(config, tmp_path).model
    assert (kept.pixel_mean, kept.pixel_deviation) == ((0.5, 0.5, 0.5), (0.2, 0.2, 0.2))
    assert config.model.pixel_mean == () and kept.pretrained == "another"
    own = tiny_config(model__pixel_mean=(0.1, 0.1, 0.1))
    assert keep_pixels(own, tmp_path).model.pixel_mean == (0.1, 0.1, 0.1)
    (tmp_path / "config.json").write_text("{")  # the checkpoint's own settings decide
    assert keep_pixels(config, tmp_path) is config


def test_a_stored_key_that_this_version_lacks_is_named():
    with pytest.raises(UserError, match=r"runs/one: config\.data\.sides is unknown to this version"):
        load_config({"data": {"sides": 64}}, FOLDER)


def test_a_run_older_than_a_setting_had_its_default():
    old = settings()
    del old["data"]["flips"]  # there was no choice: left and right only
    assert check_resumable(old, settings(data__flips="horizontal"), FOLDER) == []
    with pytest.raises(UserError, match=r"config\.data\.flips was 'horizontal', now 'both'"):
        check_resumable(old, settings(data__flips="both"), FOLDER)


def test_a_run_older_than_the_choice_of_what_is_evaluated_evaluated_the_student():
    old = settings()
    del old["evaluation"]
    assert check_resumable(old, settings(), FOLDER) == []
    assert load_config(old, FOLDER).evaluation.model == "student"
    with pytest.raises(UserError, match=r"config\.evaluation\.model was 'student', now 'teacher'"):
        check_resumable(old, settings(evaluation__model="teacher"), FOLDER)


# (side, base_size, share) of the configs shipped when the share was the setting.
@pytest.mark.parametrize(
    ("side", "base_size", "share"),
    [(320, 400, 1.0), (96, 192, 0.625), (96, 256, 0.47), (64, 192, 0.417), (64, 256, 0.3125)],
)
def test_the_share_of_the_whole_view_in_an_older_run_is_its_scale(side, base_size, share):
    old = older(data__side=side, data__base_size=base_size, data__whole_view_share=share)
    assert load_config(old, FOLDER).data.whole_view_scale == 0.8
    new = settings(data__side=side, data__base_size=base_size)
    assert check_resumable(old, new, FOLDER) == []


@pytest.mark.parametrize(("multiplier", "groups"), [(1.0, [[".*", 1.0]]), (10.0, [["backbone/.*", 1.0], [".*", 10.0]])])
def test_the_multiple_of_the_heads_in_an_older_run_is_a_group(multiplier, groups):
    old = settings() | {"optimizer": {"name": "sgd", "head_multiplier": multiplier}}
    found = load_config(old, FOLDER)
    check_values(found)
    assert json.loads(found.to_json())["optimizer"]["groups"] == groups
    now = json.loads(found.to_json())
    assert check_resumable(old, settings() | {"optimizer": now["optimizer"]}, FOLDER) == []
    other = now["optimizer"] | {"groups": [[".*", 3.0]]}
    with pytest.raises(UserError, match=r"config\.optimizer\.groups was .*, now \[\['\.\*', 3\.0\]\]"):
        check_resumable(old, settings() | {"optimizer": other}, FOLDER)


def test_a_share_of_its_own_and_a_run_before_it_keep_what_they_saw():
    old = older(data__side=32, data__base_size=64, data__whole_view_share=0.25)
    assert load_config(old, FOLDER).data.whole_view_scale == 2.0
    oldest = older(data__side=32, data__base_size=64)
    assert load_config(oldest, FOLDER).data.whole_view_scale == 0.5
    with pytest.raises(UserError, match=r"config\.data\.whole_view_scale was 0\.5, now 0\.8"):
        check_resumable(oldest, settings(data__side=32, data__base_size=64), FOLDER)


def test_what_was_called_scheme_2_is_not_opened_as_scheme_2():
    with pytest.raises(UserError, match=r"^runs/one: config\.method='crcfp_s2' was context and cross-consistency"):
        load_config(older(method="crcfp_s2"), FOLDER)
    assert load_config(settings(method="crcfp_s2"), FOLDER).method == "crcfp_s2"
    assert load_config(older(method="crcfp"), FOLDER).method == "crcfp"


def test_a_run_of_other_rules_is_not_trained_on():
    check_rules(settings(), FOLDER)
    with pytest.raises(UserError, match=r"^runs/one was trained by an older version, by other rules .*evaluate"):
        check_rules(older(), FOLDER)
    with pytest.raises(UserError, match="was context and cross-consistency"):  # not even evaluated
        check_rules(older(method="crcfp_s2"), FOLDER)


def test_a_dtype_left_to_the_processor_is_what_the_run_began_in():
    began = settings(model={"decoder_width": 256, "dtype": "bfloat16"})
    assert check_resumable(began, settings(model={"decoder_width": 256, "dtype": "auto"}), FOLDER) == []
    with pytest.raises(UserError, match=r"config\.model\.dtype was 'bfloat16', now 'float32'"):
        check_resumable(began, settings(model={"decoder_width": 256, "dtype": "float32"}), FOLDER)
