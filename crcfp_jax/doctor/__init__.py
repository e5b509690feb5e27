"""The run doctor: what a run's unlabelled images taught it over time, and what looks wrong, in plain words.

It reads a run folder and computes nothing on a device.
"""

from crcfp_jax.doctor.diagnosis import Diagnosis, examine
from crcfp_jax.doctor.folder import diagnose, write_report
from crcfp_jax.doctor.render import show, to_markdown

__all__ = ["Diagnosis", "diagnose", "examine", "show", "to_markdown", "write_report"]
