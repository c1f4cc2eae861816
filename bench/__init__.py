"""Measures what OTel Studio costs beside its peers, all in one run: `python -m bench`."""
