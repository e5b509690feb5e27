"""The names that The Cancer Genome Atlas gives to slides."""

import re

TCGA_NAME = re.compile(r"(TCGA-([A-Z0-9]{2})-[A-Z0-9]{4})-.+")  # patient, and its tissue source site: the hospital
