"""Damaged files of every kind: one line that names the file, or what was in the whole one; see campaign.py."""

import json

import campaign
import pytest


@pytest.mark.parametrize("cases", [300, pytest.param(20_000, marks=pytest.mark.slow)])
def test_damage_is_told_or_does_no_harm(cases, tmp_path):
    counts, faults = campaign.run(cases, seed=cases, folder=tmp_path)
    print(campaign.table(counts))
    assert not faults, "\n".join(json.dumps(fault)[:500] for fault in faults[:20])
    assert sum(map(sum, (own.values() for own in counts.values()))) == cases
    assert all(own["told"] for own in counts.values())
